// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt lines of a machine: where devices assert them, and what comes of it at the I/O APIC and at the 8259As.
//!
//! INTR of the 8259As reaches the first vCPU by LINT0, and whom the I/O APIC's pin 0 names if that is in ExtINT mode. A vCPU asks
//! whether it does before it injects anything, and takes the vector only then; so nothing is spurious that is withdrawn in time.

use super::DeliveryMode;
use super::Destination;
use super::io_apic::IoApic;
use super::io_apic::Messages;
use super::io_apic::PINS;
use super::local_apic::LocalApic;
use super::pic::PicPair;
use crate::vm::post::Posts;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// The lines that ISA has: those of the 8259As.
const ISA: usize = 16;
/// The timer's pin at the I/O APIC, which is IRQ 0.
const TIMER: usize = crate::devices::pit::GSI;

/// Both interrupt controllers that are not a vCPU's own.
#[derive(Debug)]
pub struct InterruptLines {
    posts: Arc<Posts>,
    io_apic: Mutex<IoApic>,
    pic: Mutex<PicPair>,
    /// INTR. It changes under the lock of `pic`.
    external: AtomicBool,
    /// INTR has risen since the first vCPU was told.
    risen: AtomicBool,
}

impl InterruptLines {
    /// Of a machine whose vCPUs are reached by `posts`, after RESET.
    #[must_use]
    pub fn new(posts: Arc<Posts>) -> Self {
        Self {
            posts,
            io_apic: Mutex::default(),
            pic: Mutex::default(),
            external: AtomicBool::new(false),
            risen: AtomicBool::new(false),
        }
    }

    /// A device asserts the line of a global system interrupt, or stops doing so. Any CPU may call this; what follows is sent.
    /// There is nothing at a number that the I/O APIC does not have.
    pub fn set_line(&self, gsi: usize, asserted: bool) {
        if gsi >= PINS {
            return;
        }
        let message = self.io_apic.lock().set_line(gsi, asserted);
        if let Some(message) = message {
            self.posts.send(message, None);
        }
        match gsi {
            TIMER => self.on_pic(|pic| pic.set_line(0, asserted)),
            // Pin 0 of the I/O APIC is where INTR itself arrives.
            1..ISA => self.on_pic(|pic| pic.set_line(gsi as u8, asserted)),
            _ => {}
        }
    }

    /// Reads a port of the 8259As.
    pub fn read_pic(&self, port: u16) -> u8 {
        // A poll is an acknowledgement.
        self.on_pic(|pic| pic.read(port))
    }

    /// Writes to a port of the 8259As.
    pub fn write_pic(&self, port: u16, value: u8) {
        self.on_pic(|pic| pic.write(port, value));
    }

    /// Reads a register of the I/O APIC.
    pub fn read_io_apic(&self, offset: u64) -> u32 {
        self.io_apic.lock().mmio_read(offset)
    }

    /// Writes a register of the I/O APIC; gives the interrupts that follow from it.
    pub fn write_io_apic(&self, offset: u64, value: u32) -> Messages {
        let mut io_apic = self.io_apic.lock();
        let messages = io_apic.mmio_write(offset, value);
        let routes_external = io_apic.external_destination().is_some();
        drop(io_apic);
        if routes_external && self.external.load(Ordering::Relaxed) {
            self.posts.nudge_all();
        }
        messages
    }

    /// A level-triggered interrupt of `vector` has been handled; gives those that follow.
    pub fn end_of_interrupt(&self, vector: u8) -> Messages {
        self.io_apic.lock().end_of_interrupt(vector)
    }

    /// Whether INTR is asserted and reaches the vCPU of that index, which has that local APIC.
    #[inline]
    pub fn external_reaches(&self, vcpu: usize, apic: &LocalApic) -> bool {
        self.external.load(Ordering::Relaxed) && self.is_wired_to(vcpu, apic)
    }

    /// INTA: takes the vector of the interrupt that has the 8259As assert INTR; `None` if they no longer do.
    pub fn acknowledge_external(&self) -> Option<u8> {
        self.on_pic(|pic| pic.interrupts().then(|| pic.acknowledge()))
    }

    /// Whether INTR has risen since this was asked last: the first vCPU asks, for the sake of a LINT0 in another mode than ExtINT.
    #[inline]
    pub fn take_risen(&self) -> bool {
        self.risen.load(Ordering::Relaxed) && self.risen.swap(false, Ordering::Relaxed)
    }

    #[cold]
    fn is_wired_to(&self, vcpu: usize, apic: &LocalApic) -> bool {
        let by_io_apic = || self.external_destination().is_some_and(|to| apic.is_addressed_by(to));
        vcpu == 0 && apic.passes_external_interrupts() || by_io_apic()
    }

    fn external_destination(&self) -> Option<Destination> {
        self.io_apic.lock().external_destination()
    }

    /// Does something to the 8259As, and tells vCPUs if INTR has risen.
    fn on_pic<R>(&self, act: impl FnOnce(&mut PicPair) -> R) -> R {
        let mut pic = self.pic.lock();
        let result = act(&mut pic);
        let external = pic.interrupts();
        let rises = external && !self.external.load(Ordering::Relaxed);
        self.external.store(external, Ordering::Relaxed);
        drop(pic);
        if rises {
            self.tell_risen();
        }
        result
    }

    #[cold]
    fn tell_risen(&self) {
        self.risen.store(true, Ordering::Relaxed);
        if self.external_destination().is_some() {
            self.posts.nudge_all();
        } else {
            self.posts.nudge(0);
        }
    }
}

impl IoApic {
    /// Where INTR goes, if pin 0 is in ExtINT mode and not masked.
    #[must_use]
    pub fn external_destination(&self) -> Option<Destination> {
        self.enabled_message(0)
            .filter(|message| message.delivery == DeliveryMode::ExtInt)
            .map(|message| message.destination)
    }
}

#[cfg(test)]
mod tests;
