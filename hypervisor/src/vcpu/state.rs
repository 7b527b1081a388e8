// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a vCPU has beyond its VMCS and its general registers.

use crate::irqchip::Message;
use crate::irqchip::local_apic::Delivery;
use crate::irqchip::local_apic::LocalApic;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::msr_policy::MISC_ENABLE_AT_RESET;
use crate::vmx::exit::ExitReason;
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Exit reasons that have a counter of their own; what is beyond shares the last.
const REASONS: usize = 80;

/// A vCPU's own state.
#[derive(Debug)]
pub struct State {
    /// Its local APIC.
    pub apic: LocalApic,
    /// An exception to be raised at the next entry.
    pub exception: Option<Exception>,
    /// A non-maskable interrupt waits to be delivered.
    pub nmi: bool,
    /// Something may have become deliverable: look before the next entry.
    pub attention: bool,
    /// The local APIC's deadline may have changed: arm the timer anew.
    pub timer_changed: bool,
    /// Linear mappings are to be dropped: INVVPID before the next entry.
    pub flush_linear: bool,
    /// It executed HLT and waits for an interrupt.
    pub halted: bool,
    /// Added to the processor's TSC.
    pub tsc_offset: u64,
    /// IA32_TSC_ADJUST.
    pub tsc_adjust: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// XCR0; it is loaded while this vCPU is on a CPU.
    pub xcr0: u64,
    /// The console held back input because the guest's UART was full.
    pub input_waits: bool,
    /// Exits by reason.
    exits: [u64; REASONS],
}

impl State {
    /// A vCPU after RESET, whose TSC starts at zero when the processor's stands at `tsc_now`.
    #[must_use]
    pub fn new(apic_id: u32, timer_input_tick: NonZeroU32, tsc_now: u64) -> Self {
        Self {
            apic: LocalApic::new(apic_id, apic_id == 0, timer_input_tick),
            exception: None,
            nmi: false,
            attention: true,
            timer_changed: true,
            flush_linear: false,
            halted: false,
            tsc_offset: tsc_now.wrapping_neg(),
            tsc_adjust: 0,
            misc_enable: MISC_ENABLE_AT_RESET,
            xcr0: 1,
            // What was typed before this vCPU ran raises no interrupt any more.
            input_waits: true,
            exits: [0; REASONS],
        }
    }

    /// The guest's TSC when the processor's is `tsc`.
    #[inline]
    #[must_use]
    pub fn guest_tsc(&self, tsc: u64) -> u64 {
        tsc.wrapping_add(self.tsc_offset)
    }

    /// When the processor's TSC stands at `tsc`: where it will stand once the guest's has reached `guest_deadline`.
    #[must_use]
    pub fn processor_deadline(&self, guest_deadline: u64, tsc: u64) -> u64 {
        tsc.saturating_add(guest_deadline.saturating_sub(self.guest_tsc(tsc)))
    }

    /// Takes a message from an I/O APIC or another local APIC, if it is for this vCPU.
    pub fn deliver(&mut self, message: Message) -> Result<(), End> {
        if !self.apic.is_addressed_by(message.destination) {
            return Ok(());
        }
        match self.apic.accept(message) {
            Delivery::Interrupt => self.attention = true,
            Delivery::Nmi => {
                self.nmi = true;
                self.attention = true;
            }
            Delivery::Init => return Err(End::Init),
            // A start-up IPI means nothing to a CPU that runs; this machine has no SMM and no 8259A.
            Delivery::StartUp { .. } | Delivery::Smi | Delivery::ExtInt | Delivery::Ignored => {}
        }
        Ok(())
    }

    /// Notes that the timer is to be armed anew before the next entry.
    pub fn change_timer(&mut self) {
        self.timer_changed = true;
        self.attention = true;
    }

    /// Notes that linear mappings of this vCPU are to be dropped before the next entry.
    pub fn flush_linear(&mut self) {
        self.flush_linear = true;
        self.attention = true;
    }

    /// Counts an exit.
    #[inline]
    pub fn count(&mut self, reason: ExitReason) {
        self.exits[usize::from(reason.number()).min(REASONS - 1)] += 1;
    }

    /// How often the guest exited, by reason, the most frequent first.
    #[must_use]
    pub fn exit_counts(&self) -> Vec<(ExitReason, u64)> {
        let mut counts: Vec<_> =
            (0..).map(ExitReason::from_field).zip(self.exits).filter(|&(_, count)| count > 0).collect();
        counts.sort_by_key(|&(_, count)| core::cmp::Reverse(count));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_as_far_off_for_both_clocks() {
        let mut state = State::new(0, NonZeroU32::MIN, 5_000);
        assert_eq!(state.guest_tsc(5_100), 100);
        assert_eq!(state.processor_deadline(150, 5_100), 5_150);
        state.tsc_offset = u64::MAX / 2;
        assert_eq!(state.processor_deadline(u64::MAX / 2 + 30, 10), 30);
    }

    #[test]
    fn a_deadline_that_is_past_is_now_and_one_at_the_end_of_time_stays_there() {
        let state = State::new(0, NonZeroU32::MIN, 5_000);
        assert_eq!(state.processor_deadline(99, 5_100), 5_100);
        assert_eq!(state.processor_deadline(u64::MAX, 5_100), u64::MAX);
    }

    #[test]
    fn exits_are_counted_by_reason_most_frequent_first() {
        let mut state = State::new(0, NonZeroU32::MIN, 0);
        for reason in [ExitReason::HLT, ExitReason::CPUID, ExitReason::CPUID, ExitReason::from_field(5000)] {
            state.count(reason);
        }
        assert_eq!(state.exit_counts()[0], (ExitReason::CPUID, 2));
        assert_eq!(state.exit_counts().len(), 3);
    }
}
