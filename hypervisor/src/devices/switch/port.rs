// SPDX-License-Identifier: MIT OR Apache-2.0
//! A port of a switch, as the network card has it that is plugged in.

use super::NoPort;
use super::Switch;
use super::counters::Counters;
use super::counters::Traffic;
use super::frames::Frames;
use super::inbox::Inbox;
use crate::devices::ethernet::Header;
use crate::devices::virtio::doorbell::Doorbell;
use alloc::sync::Arc;

/// A port in use. When it is dropped its place is free again, and the addresses that were seen there are forgotten.
#[derive(Debug)]
pub struct Port {
    switch: Arc<Switch>,
    place: usize,
    inbox: Arc<Inbox>,
}

impl Port {
    pub(super) fn plug(switch: &Arc<Switch>, owner: &str) -> Result<Self, NoPort> {
        let inbox = Arc::new(Inbox::new(owner));
        let place = switch.plug(&inbox)?;
        Ok(Self { switch: Arc::clone(switch), place, inbox })
    }

    /// Once: what is rung when frames wait, and none did before.
    pub fn connect(&self, doorbell: Doorbell) {
        self.inbox.connect(doorbell);
    }

    /// Frames are taken from here on. Before, they are dropped.
    pub fn listen(&self) {
        self.inbox.listen();
    }

    /// No frames are taken from here on, and those that wait are dropped.
    pub fn deafen(&self) {
        self.inbox.deafen();
    }

    /// Sends a frame, from its header on and without a check sequence. Tells how many copies were made, for that is what
    /// the sender's time goes to. One that is too short or too long is dropped.
    pub fn send(&self, frame: &[u8]) -> usize {
        let Some(header) = Header::of(frame) else {
            self.inbox.counting.refused();
            return 0;
        };
        self.inbox.counting.sent(Traffic { packets: 1, bytes: frame.len() as u64 });
        self.switch.forward(self.place, header, frame)
    }

    /// Takes all that waits into `frames`, of which none is left.
    ///
    /// # Panics
    /// If some are left.
    pub fn take(&self, frames: &mut Frames) {
        self.inbox.take(frames);
    }

    /// The machine has got that of what was taken.
    pub fn count_received(&self, traffic: Traffic) {
        self.inbox.counting.received(traffic);
    }

    /// So many of the frames that were taken are lost.
    pub fn count_dropped(&self, packets: u64) {
        self.inbox.counting.dropped(packets);
    }

    /// What has passed.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inbox.counting.now()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.switch.unplug(self.place);
    }
}
