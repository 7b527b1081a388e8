// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits at a port of a switch for its machine, and how that one learns of it.

use super::PortReport;
use super::counters::Counting;
use super::frames::Frames;
use crate::devices::virtio::doorbell::Doorbell;
use alloc::string::String;
use core::mem;
use spin::Mutex;
use spin::Once;

/// One port, as senders see it.
#[derive(Debug)]
pub(super) struct Inbox {
    /// What is plugged in.
    owner: String,
    waiting: Mutex<Waiting>,
    doorbell: Once<Doorbell>,
    pub(super) counting: Counting,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Frames,
    /// The machine has a driver that will take them.
    listens: bool,
}

impl Inbox {
    pub(super) fn new(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            waiting: Mutex::default(),
            doorbell: Once::new(),
            counting: Counting::default(),
        }
    }

    pub(super) fn connect(&self, doorbell: Doorbell) {
        self.doorbell.call_once(|| doorbell);
    }

    /// Takes frames from now on.
    pub(super) fn listen(&self) {
        self.waiting.lock().listens = true;
    }

    /// Takes no frames from now on, and drops those that wait.
    pub(super) fn deafen(&self) {
        let mut waiting = self.waiting.lock();
        waiting.listens = false;
        self.counting.dropped(waiting.frames.clear());
    }

    /// Leaves a copy of `frame` here, if there is room. Who empties it is told when it was empty: it looks again itself
    /// before it ends.
    pub(super) fn put(&self, frame: &[u8]) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.frames.is_empty();
        let taken = waiting.listens && waiting.frames.push(frame);
        drop(waiting);
        if !taken {
            self.counting.dropped(1);
        } else if was_empty && let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }

    /// Exchanges what waits for `frames`, which are none.
    ///
    /// # Panics
    /// If there are some: they would come back.
    pub(super) fn take(&self, frames: &mut Frames) {
        assert!(frames.is_empty(), "frames are taken by who has none left");
        mem::swap(frames, &mut self.waiting.lock().frames);
    }

    pub(super) fn report(&self, switch: &str) -> PortReport {
        PortReport { switch: switch.into(), owner: self.owner.clone(), counters: self.counting.now() }
    }
}
