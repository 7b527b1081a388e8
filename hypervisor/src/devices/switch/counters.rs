// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has passed a port of a switch, as its machine sees it.

use core::ops::AddAssign;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// A number of frames, and of the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub packets: u64,
    /// Bytes, headers counted.
    pub bytes: u64,
}

impl AddAssign<&[u8]> for Traffic {
    fn add_assign(&mut self, frame: &[u8]) {
        self.packets += 1;
        self.bytes += frame.len() as u64;
    }
}

/// What has passed a port since it was plugged in.
///
/// Each frame that was given to the port is in `received` or in `dropped`, or waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What the machine has sent.
    pub sent: Traffic,
    /// Frames of it, beside those in `sent`, that were too short or too long for the switch.
    pub refused: u64,
    /// What the machine has received.
    pub received: Traffic,
    /// Frames for it that it did not get: too many waited, none of its buffers was large enough, or it did not listen.
    pub dropped: u64,
}

/// [`Counters`] that many CPUs count with.
#[derive(Debug, Default)]
pub(super) struct Counting {
    sent: CountingTraffic,
    refused: AtomicU64,
    received: CountingTraffic,
    dropped: AtomicU64,
}

impl Counting {
    pub(super) fn sent(&self, traffic: Traffic) {
        self.sent.add(traffic);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, traffic: Traffic) {
        self.received.add(traffic);
    }

    pub(super) fn dropped(&self, packets: u64) {
        self.dropped.fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Counters {
        Counters {
            sent: self.sent.now(),
            refused: self.refused.load(Ordering::Relaxed),
            received: self.received.now(),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug, Default)]
struct CountingTraffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl CountingTraffic {
    fn add(&self, traffic: Traffic) {
        self.packets.fetch_add(traffic.packets, Ordering::Relaxed);
        self.bytes.fetch_add(traffic.bytes, Ordering::Relaxed);
    }

    fn now(&self) -> Traffic {
        Traffic { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}
