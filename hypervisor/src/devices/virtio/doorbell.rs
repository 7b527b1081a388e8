// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a device asks that its own machine's CPU serves it, though no vCPU has: a packet has come, or there is more to do
//! than one exit should.

use crate::vm::post::Posts;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;

/// The doorbell of one device. Whoever rings it may be on any CPU, and holds no lock for it.
#[derive(Clone, Debug)]
pub struct Doorbell {
    rung: Arc<AtomicBool>,
    posts: Arc<Posts>,
}

impl Doorbell {
    /// Of a device of the machine whose vCPUs those are.
    #[must_use]
    pub fn new(posts: Arc<Posts>) -> Self {
        Self { rung: Arc::default(), posts }
    }

    /// Has the device served soon. What was done before is seen there.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::Release) {
            self.posts.ask_for_work();
        }
    }

    /// Whether it was rung since this was asked last.
    #[must_use]
    pub fn answer(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire)
    }
}
