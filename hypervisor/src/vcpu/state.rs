// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a vCPU has beyond its VMCS and its general registers.

use crate::irqchip::local_apic::LocalApic;
use crate::irqchip::local_apic::Mode;
use crate::mmu::GuestPhysical;
use crate::mmu::flush::Generation;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest_tsc::GuestTsc;
use crate::vcpu::msr_policy::MISC_ENABLE_AT_RESET;
use crate::vcpu::processor_state::ProcessorState;
use enlightenments::offer::registers::VirtualProcessor;

/// What a vCPU does. It is kept here alone: the VMCS's activity state stays "active", and who is not running is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It executes instructions.
    Running,
    /// It has executed HLT and waits for an interrupt.
    Halted,
    /// It waits for a start-up IPI, and for nothing else (SDM vol. 3, "MP Initialization Protocol").
    WaitForSipi,
}

/// The last interrupt that was injected, if it was the 8259As'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum External {
    /// It was the local APIC's.
    None,
    /// It had this vector.
    Injected(u8),
    /// Its delivery did not take place: they were told that it was taken, and so it comes again with this vector.
    Waits(u8),
}

/// An access that was refused though the tables permit it.
#[derive(Clone, Copy, Debug)]
struct Refused {
    address: GuestPhysical,
    /// Of the tables.
    generation: Generation,
    times: u32,
}

/// A vCPU's own state.
#[derive(Debug)]
pub struct State {
    /// Its local APIC.
    pub apic: LocalApic,
    /// The mode of it that the VMCS stands for.
    pub apic_mode: Mode,
    /// Where a MOV of 32 bits to its EOI register was decoded last, and how long that is.
    pub eoi_store: Option<(u64, u32)>,
    /// An exception to be raised at the next entry.
    pub exception: Option<Exception>,
    /// A non-maskable interrupt waits to be delivered.
    pub nmi: bool,
    /// Whether the last interrupt was the 8259As'.
    pub external: External,
    /// Something may have become deliverable: look before the next entry.
    pub attention: bool,
    /// Something less is to be seen to before the next entry, of which no event follows by itself.
    pub glance: bool,
    /// The local APIC's deadline may have changed: arm the timer anew.
    pub timer_changed: bool,
    /// Linear mappings are to be dropped: INVVPID before the next entry.
    pub flush_linear: bool,
    /// Guest-physical mappings that this CPU has are not to be trusted: INVEPT before the next entry.
    pub flush_guest_physical: bool,
    /// Whether it executes instructions, and if not, what it waits for.
    pub activity: Activity,
    /// It spins: another vCPU might make better use of the CPU. The scheduler takes it back.
    pub yields: bool,
    /// Its TSC.
    pub tsc: GuestTsc,
    /// IA32_TSC_ADJUST.
    pub tsc_adjust: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// Its own registers of Hyper-V's interface.
    pub virtual_processor: VirtualProcessor,
    /// Registers that VMX does not switch.
    pub processor: ProcessorState,
    /// It is to go on on the next CPU. The scheduler takes it there.
    pub moves_on: bool,
    /// The count of changes of the machine's MSR bitmap that L0 was told of.
    pub msr_bitmap_seen: u64,
    /// Where an access was refused last that the tables permit, and how often in a row.
    refused: Option<Refused>,
    /// What of exits' cost is our own.
    #[cfg(feature = "measure")]
    pub shares: crate::vcpu::shares::Shares,
}

impl State {
    /// A vCPU after RESET, with that local APIC, whose TSC was zero at `started_at` in the machine's time.
    #[must_use]
    pub fn new(apic: LocalApic, started_at: u64, processor: ProcessorState) -> Self {
        let apic_id = apic.id();
        let mut state = Self {
            apic_mode: apic.mode(),
            apic,
            eoi_store: None,
            exception: None,
            nmi: false,
            external: External::None,
            attention: true,
            glance: false,
            timer_changed: true,
            flush_linear: true,
            flush_guest_physical: false,
            activity: Activity::WaitForSipi,
            yields: false,
            tsc: GuestTsc::new(started_at),
            tsc_adjust: 0,
            misc_enable: 0,
            virtual_processor: VirtualProcessor::new(apic_id),
            processor,
            moves_on: false,
            msr_bitmap_seen: 0,
            refused: None,
            #[cfg(feature = "measure")]
            shares: Default::default(),
        };
        state.reset(started_at);
        state
    }

    /// RESET, of what is here: see [`Guest::reset`](super::guest::Guest::reset).
    pub(super) fn reset(&mut self, started_at: u64) {
        self.apic.reset();
        self.processor.reset();
        self.tsc = self.tsc.restarted(started_at);
        self.tsc_adjust = 0;
        self.misc_enable = MISC_ENABLE_AT_RESET;
        self.virtual_processor = VirtualProcessor::new(self.apic.id());
        self.start_over();
    }

    /// INIT, of what is here: see [`Guest::init`](super::guest::Guest::init).
    pub(super) fn init(&mut self) {
        self.apic.init();
        self.processor.init();
        self.start_over();
    }

    /// What RESET and INIT have alike.
    fn start_over(&mut self) {
        self.exception = None;
        self.nmi = false;
        self.external = External::None;
        self.yields = false;
        self.activity = if self.apic.is_bootstrap() { Activity::Running } else { Activity::WaitForSipi };
        self.flush_linear();
        self.change_timer();
    }

    /// The guest's TSC when the processor's is `tsc`.
    #[inline]
    #[must_use]
    pub fn guest_tsc(&self, tsc: u64) -> u64 {
        self.tsc.at(tsc)
    }

    /// When the guest's TSC stands at `now`: the machine's time when the local APIC's timer is next due, `None` while it raises
    /// no interrupt. This is what wakes a vCPU that has halted, on whichever CPU somebody watches the clock for it.
    #[must_use]
    pub fn timer_deadline(&self, now: u64) -> Option<u64> {
        self.apic.next_deadline().map(|deadline| self.tsc.time_at(deadline, now))
    }

    /// An access to `address` was refused that the tables permit, which are at `generation`: how often in a row, this one
    /// included. After a removal it begins anew: then several vCPUs want the page back at once, and all but one come late.
    pub fn note_refused(&mut self, address: GuestPhysical, generation: Generation) -> u32 {
        let times = match self.refused {
            Some(last) if (last.address, last.generation) == (address, generation) => {
                last.times.saturating_add(1)
            }
            _ => 1,
        };
        self.refused = Some(Refused { address, generation, times });
        times
    }

    /// The delivery of an interrupt with this vector, which was injected last, did not take place.
    pub fn take_back(&mut self, vector: u8) {
        match self.external {
            External::Injected(external) if external == vector => self.external = External::Waits(vector),
            _ => self.apic.take_back(vector),
        }
    }

    /// Notes that the timer is to be armed anew before the next entry.
    pub fn change_timer(&mut self) {
        self.timer_changed = true;
        self.attention = true;
    }

    /// As [`Self::change_timer`], where nothing else has changed.
    pub fn change_deadline(&mut self) {
        self.timer_changed = true;
        self.glance = true;
    }

    /// Notes that linear mappings of this vCPU are to be dropped before the next entry.
    pub fn flush_linear(&mut self) {
        self.flush_linear = true;
        self.attention = true;
    }
}

#[cfg(test)]
mod tests;
