// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC of one vCPU, in xAPIC and x2APIC mode (SDM vol. 3, "Advanced Programmable Interrupt
//! Controller (APIC)").
//!
//! Whoever runs the vCPU asks [`LocalApic::pending`] before each entry, [`LocalApic::acknowledge`]s what it
//! injects, calls [`LocalApic::expire`] no later than [`LocalApic::next_deadline`], and does what an
//! [`Effect`] or a [`Delivery`] says. Sections of the SDM are cited by their titles, since their numbers
//! move.

mod address;
mod base;
mod error_status;
mod general_protection;
mod interrupt_command;
mod interrupts;
mod local_vector;
mod msr;
mod page;
mod register;
mod register_page;
mod registers;
#[cfg(test)]
mod tests;
mod timer;
mod vector_set;
mod virtualization;

pub use address::Address;
pub use base::LOCAL_APIC_BASE;
pub use base::Mode;
pub use general_protection::GeneralProtection;
pub use local_vector::LocalSource;
pub use page::END_OF_INTERRUPT;
pub use virtualization::CR8_EXITS;
pub use virtualization::Part;

use super::Message;
use base::ApicBase;
use core::num::NonZeroU32;
use error_status::ErrorStatus;
use interrupt_command::InterruptCommand;
use local_vector::LocalVector;
use register::Register;
use register_page::RegisterPage;
use timer::Timer;
use vector_set::VectorSet;

/// What a guest's write to its local APIC asks of the rest of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// The I/O APICs are to be told that the handler of this vector has ended.
    EndOfInterrupt {
        /// The vector, which was level triggered.
        vector: u8,
    },
    /// The message is to be handed to each local APIC that it addresses, or for lowest priority to one of
    /// them.
    Send(Message),
    /// [`LocalApic::next_deadline`] may have changed.
    TimerChanged,
}

/// What a message, or a local source, asks of the CPU that it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing: it was not accepted.
    Ignored,
    /// The IRR has it; a CPU that sleeps is to look at [`LocalApic::pending`].
    Interrupt,
    /// A non-maskable interrupt.
    Nmi,
    /// A system-management interrupt.
    Smi,
    /// INIT. The APIC itself is yet to be told, by [`LocalApic::init`].
    Init,
    /// A start-up IPI. It matters to a CPU that waits for one.
    StartUp {
        /// The page number of the entry point.
        page: u8,
    },
    /// The 8259A has an interrupt, and supplies its vector.
    ExtInt,
}

/// A local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    /// The x2APIC ID; in xAPIC mode its low eight bits count.
    id: u32,
    /// Whether this is the bootstrap processor's.
    bootstrap: bool,
    base: ApicBase,
    /// Where the task priority and the three sets are, and what the other registers show.
    page: RegisterPage,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    /// What is requested or in service has changed by our hand since [`Self::take_changed_requests`] was asked.
    requests_changed: bool,
    /// Whose ends are told has changed since [`Self::take_changed_ends`] was asked.
    ends_changed: bool,
    /// How often the guest's accesses to CR8 have exited since RESET.
    cr8_exits: u32,
    spurious_vector: u32,
    /// The register of xAPIC mode; in x2APIC mode the ID decides.
    logical_destination: u32,
    destination_format: u32,
    interrupt_command: InterruptCommand,
    local_vectors: [LocalVector; LocalSource::COUNT],
    errors: ErrorStatus,
    timer: Timer,
}

impl LocalApic {
    /// A local APIC after RESET.
    ///
    /// `id` is the x2APIC ID, `bootstrap` tells whether the vCPU is the bootstrap processor, and `input_tick`
    /// is how many ticks of the guest's TSC one tick of the APIC timer's input clock lasts (before the
    /// divider).
    #[must_use]
    pub fn new(id: u32, bootstrap: bool, input_tick: NonZeroU32) -> Self {
        let mut apic = Self {
            id,
            bootstrap,
            base: ApicBase::at_reset(bootstrap),
            page: RegisterPage::own(),
            irr: VectorSet::empty(Register::INTERRUPT_REQUEST),
            isr: VectorSet::empty(Register::IN_SERVICE),
            tmr: VectorSet::empty(Register::TRIGGER_MODE),
            requests_changed: true,
            ends_changed: true,
            cr8_exits: 0,
            spurious_vector: 0,
            logical_destination: 0,
            destination_format: 0,
            interrupt_command: InterruptCommand::default(),
            local_vectors: [LocalVector::RESET; LocalSource::COUNT],
            errors: ErrorStatus::default(),
            timer: Timer::new(input_tick),
        };
        apic.init();
        apic
    }

    /// RESET: everything is as [`Self::new`] made it ("Local APIC State After Power-Up or Reset").
    pub fn reset(&mut self) {
        self.base = ApicBase::at_reset(self.bootstrap);
        self.cr8_exits = 0;
        self.init();
    }

    /// INIT: as RESET, but IA32_APIC_BASE is kept, and so the mode ("Local APIC State After an INIT Reset
    /// ("Wait-for-SIPI" State)").
    pub fn init(&mut self) {
        self.page.clear();
        for set in [&mut self.irr, &mut self.isr, &mut self.tmr] {
            set.forget();
        }
        self.requests_changed = true;
        self.ends_changed = true;
        self.spurious_vector = 0xFF;
        self.logical_destination = 0;
        self.destination_format = u32::MAX;
        self.interrupt_command = InterruptCommand::default();
        self.local_vectors = [LocalVector::RESET; LocalSource::COUNT];
        self.errors = ErrorStatus::default();
        self.timer = Timer::new(self.timer.input_tick());
        self.show_all();
    }

    /// Whether it is the bootstrap processor's, whatever the guest has written to IA32_APIC_BASE.
    #[must_use]
    pub fn is_bootstrap(&self) -> bool {
        self.bootstrap
    }

    /// The x2APIC ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How software reaches the APIC now. Only in [`Mode::Xapic`] does [`LOCAL_APIC_BASE`] lead to it.
    #[must_use]
    #[inline]
    pub fn mode(&self) -> Mode {
        self.base.mode()
    }

    /// IA32_APIC_BASE.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base.value()
    }

    /// A guest's write to IA32_APIC_BASE. An APIC that is disabled forgets its state; one that goes to x2APIC
    /// mode keeps it but for what "x2APIC State Transitions" lists.
    pub fn set_base(&mut self, value: u64) -> Result<Effect, GeneralProtection> {
        let before = self.mode();
        self.base = self.base.rewritten(value)?;
        match (before, self.mode()) {
            (_, Mode::Disabled) => {
                self.init();
                Ok(Effect::TimerChanged)
            }
            (Mode::Xapic, Mode::X2apic) => {
                self.interrupt_command = self.interrupt_command.with_high(0);
                self.show_all();
                Ok(Effect::None)
            }
            _ => Ok(Effect::None),
        }
    }

    /// When the timer next raises an interrupt, in ticks of the guest's TSC; `None` while it raises none.
    #[must_use]
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.local_vector(LocalSource::Timer).masked() { None } else { self.timer.deadline() }
    }

    /// Raises the timer's interrupt where it is due, and re-arms a periodic timer for its next period; tells whether it was due.
    /// `now` is the guest's TSC.
    pub fn expire(&mut self, now: u64) -> bool {
        let is_due = self.timer.expire(self.local_vector(LocalSource::Timer).timer_mode(), now);
        if is_due {
            // The timer's entry has no delivery mode: what comes of it is in the IRR.
            let _ = self.signal(LocalSource::Timer);
        }
        is_due
    }

    fn local_vector(&self, source: LocalSource) -> LocalVector {
        self.local_vectors[source as usize]
    }

    /// Bit 8 of the spurious-interrupt vector register ("Local APIC State After It Has Been Software
    /// Disabled").
    fn software_enabled(&self) -> bool {
        self.spurious_vector & 1 << 8 != 0
    }

    /// Bit 12 of the spurious-interrupt vector register.
    fn suppresses_eoi_broadcast(&self) -> bool {
        self.spurious_vector & 1 << 12 != 0
    }
}
