// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a device's driver hears of it: by a message, or by the function's line.

use super::CONFIGURATION_INTERRUPT;
use super::Function;
use super::QUEUE_INTERRUPT;
use super::Slot;
use crate::devices::virtio::Interrupts;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering;

/// How a device's driver is interrupted.
pub(super) struct Interrupter<'a> {
    pub(super) function: &'a Function,
    pub(super) slot: Slot<'a>,
}

impl Interrupter<'_> {
    /// Sends the message of `vector`; or, where messages are not used, says why in ISR status and asserts the line.
    fn interrupt(&self, vector: &AtomicU16, why: u8) {
        let Self { function, slot } = self;
        let mut msix = function.msix.lock();
        if msix.control().enabled() {
            let message = msix.signal(vector.load(Ordering::Relaxed));
            drop(msix);
            if let Some(message) = message {
                slot.upstream.send(message);
            }
            return;
        }
        drop(msix);
        function.isr.fetch_or(why, Ordering::SeqCst);
        function.update_line(*slot);
    }
}

impl Interrupts for Interrupter<'_> {
    fn queue(&self, queue: u16) {
        if let Some(vector) = self.function.vectors.get(usize::from(queue)) {
            self.interrupt(vector, QUEUE_INTERRUPT);
        }
    }

    fn configuration(&self) {
        let function = self.function;
        function.generation.fetch_add(1, Ordering::SeqCst);
        function.isr.fetch_or(CONFIGURATION_INTERRUPT, Ordering::SeqCst);
        self.interrupt(&function.vectors[function.queues.len()], CONFIGURATION_INTERRUPT);
    }
}
