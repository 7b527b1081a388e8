// SPDX-License-Identifier: MIT OR Apache-2.0
//! A local APIC that the processor plays while the guest runs: what it is told before an entry, and what it asks for by an
//! exit (SDM vol. 3, "APIC Virtualization and Virtual Interrupts").
//!
//! The processor has the page. It plays the task priority there, in the guest's accesses and for CR8. One that plays the whole
//! of it delivers the highest vector of the IRR, too, and carries out EOI; in xAPIC mode it reads registers from there. What it
//! leaves to software comes by an exit after the write was made, or for other MSRs of x2APIC mode instead of it.

use super::Effect;
use super::LocalApic;
use super::Mode;
use super::VectorSet;
use super::register::Register;
use super::register_page::RegisterPage;
use crate::memory::Frames;
use core::mem;

/// After so many accesses to CR8 that exit the processor is to play it. Guests that use it do so all the time; others look once or
/// twice, and had better not pay at each entry for what it takes.
pub const CR8_EXITS: u32 = 64;

/// The registers that the processor shows from the page, apart from those that it keeps itself.
const SHOWN: [Register; 15] = [
    Register::ID,
    Register::VERSION,
    Register::LOGICAL_DESTINATION,
    Register::DESTINATION_FORMAT,
    Register::SPURIOUS_VECTOR,
    Register::ERROR_STATUS,
    Register::INTERRUPT_COMMAND,
    Register::LVT_TIMER,
    Register::LVT_THERMAL,
    Register::LVT_PERFORMANCE,
    Register::LVT_LINT0,
    Register::LVT_LINT1,
    Register::LVT_ERROR,
    Register::INITIAL_COUNT,
    Register::DIVIDE_CONFIGURATION,
];

/// What of a local APIC a processor plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The task priority as CR8, once the guest has shown that it uses that.
    Cr8,
    /// The task priority alone.
    TaskPriority,
    /// All that is frequent, in either mode.
    Whole,
}

impl LocalApic {
    /// Has the registers stand in a frame, for a processor that plays that part of them. After RESET.
    #[must_use]
    pub fn in_frame(mut self, frame: Frames, part: Part) -> Self {
        self.page = RegisterPage::Frame(frame, part);
        self.init();
        self
    }

    /// The frame that the processor is to have while the guest runs: where there is one, unless it waits to be of use, or the APIC
    /// is disabled, when its page shows nothing.
    #[must_use]
    #[inline]
    pub fn virtual_page(&self) -> Option<u64> {
        let is_of_use = self.mode() != Mode::Disabled && !self.waits_for_cr8();
        self.page.address().filter(|_| is_of_use)
    }

    /// The guest's access to CR8 exits. Tells whether that was the last that does, and the processor plays it from here on, until
    /// RESET.
    #[must_use]
    pub fn note_cr8_exit(&mut self) -> bool {
        let waited = self.waits_for_cr8();
        self.cr8_exits = self.cr8_exits.saturating_add(1);
        waited && !self.waits_for_cr8()
    }

    fn waits_for_cr8(&self) -> bool {
        self.page.part() == Some(Part::Cr8) && self.cr8_exits < CR8_EXITS
    }

    /// Whether the processor delivers interrupts and carries out EOI.
    #[must_use]
    #[inline]
    pub fn is_played(&self) -> bool {
        self.page.is_shared() && self.mode() != Mode::Disabled
    }

    /// Whether it does so by MSRs.
    #[must_use]
    pub fn is_played_by_msrs(&self) -> bool {
        self.page.is_shared() && self.mode() == Mode::X2apic
    }

    /// The class that the task priority has to fall below for an interrupt to be taken that it alone holds back; zero if there is
    /// none ("Detection of TPR Threshold"). Never above the task priority's own class.
    #[must_use]
    pub fn task_priority_threshold(&self) -> u32 {
        let class = |set: &VectorSet| set.highest(&self.page).unwrap_or(0) >> 4;
        let waits = class(&self.irr);
        let is_held_back = waits > class(&self.isr) && u64::from(waits) <= self.cr8();
        if is_held_back { waits.into() } else { 0 }
    }

    /// Whether what is requested or in service has changed by our hand since this was asked last, so that the processor has to be
    /// told.
    #[inline]
    pub fn take_changed_requests(&mut self) -> bool {
        mem::take(&mut self.requests_changed)
    }

    /// The same of [`Self::eoi_exits`].
    #[inline]
    pub fn take_changed_ends(&mut self) -> bool {
        mem::take(&mut self.ends_changed)
    }

    /// The guest interrupt status with which the processor goes on: the highest vector that is requested, and the highest in
    /// service ("Guest Interrupt Status").
    #[must_use]
    pub fn interrupt_status(&self) -> u16 {
        let requesting = self.irr.highest(&self.page).unwrap_or(0);
        let servicing = self.isr.highest(&self.page).unwrap_or(0);
        u16::from(servicing) << 8 | u16::from(requesting)
    }

    /// The vectors whose EOI exits, 64 in a word: those that an I/O APIC waits for.
    #[must_use]
    pub fn eoi_exits(&self) -> [u64; 4] {
        match self.suppresses_eoi_broadcast() {
            true => [0; 4],
            false => [0, 1, 2, 3].map(|quarter| self.tmr.quarter(&self.page, quarter)),
        }
    }

    /// The processor has made a guest's write of 32 bits at `offset` in the page, and leaves it to us what comes of it. `now` is
    /// the guest's TSC.
    pub fn written(&mut self, offset: u64, now: u64) -> Effect {
        let Some(register) = Register::at_offset(offset) else { return Effect::None };
        if register == Register::SELF_IPI && self.mode() == Mode::X2apic {
            // With a vector that no interrupt has ("Self-IPI Virtualization").
            self.send_to_itself(self.page.get(register) as u8);
            return Effect::None;
        }
        // Of writes to the destination it does not tell.
        let high = self.page.get(Register::INTERRUPT_COMMAND_HIGH);
        self.interrupt_command = self.interrupt_command.with_high(high);
        self.mmio_write(offset, self.page.get(register), now)
    }

    /// Has the page show a register that stands elsewhere.
    #[inline]
    pub(super) fn show(&self, register: Register) {
        if !matches!(register, Register::END_OF_INTERRUPT | Register::TASK_PRIORITY) {
            self.show_rare(register);
        }
    }

    fn show_rare(&self, register: Register) {
        if SHOWN.contains(&register) {
            // None of these depends on the time.
            let value = self.read(register, 0).unwrap_or(0);
            self.page.set(register, value);
        }
    }

    /// Has the page show the destination, which stands there alone while the processor plays the APIC.
    pub(super) fn show_command_high(&self) {
        self.page.set(Register::INTERRUPT_COMMAND_HIGH, self.interrupt_command.high());
    }

    /// Has the page show all of them.
    pub(super) fn show_all(&self) {
        SHOWN.into_iter().for_each(|register| self.show(register));
        self.show_command_high();
    }
}
