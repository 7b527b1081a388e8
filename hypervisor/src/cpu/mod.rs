// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical CPUs: the tables, interrupts and clock of each, who is there, and how they reach each other.

pub mod attention;
pub mod clock;
pub mod cpus;
#[cfg(target_os = "none")]
pub mod descriptors;
pub mod hardware;
pub mod interrupt_command;
#[cfg(target_os = "none")]
pub mod interrupts;
#[cfg(target_os = "none")]
pub mod io_apic;
#[cfg(target_os = "none")]
pub mod likeness;
#[cfg(target_os = "none")]
pub mod local_apic;
pub mod memory_types;
pub mod migration;
pub mod number;
#[cfg(target_os = "none")]
pub mod others;
#[cfg(target_os = "none")]
pub mod per_cpu;
pub mod pic;
#[cfg(target_os = "none")]
pub mod power;
pub mod random;
#[cfg(target_os = "none")]
pub mod refusable;
#[cfg(target_os = "none")]
pub mod stop;
pub mod timekeeper;
pub mod timeline;
#[cfg(target_os = "none")]
pub mod trampoline;
pub mod tsc_offset;
pub mod wall_clock;

pub use cpus::Cpus;
pub use number::CpuNumber;
pub use number::PerCpu;

/// A physical CPU of ours, with VMX on.
#[cfg(target_os = "none")]
#[derive(Debug)]
pub struct Cpu {
    /// Which one it is.
    pub number: CpuNumber,
    /// Its place for the current VMCS.
    pub slot: evmcs::VmcsSlot,
    /// Its VMX.
    pub processor: crate::vmx::processor::Processor,
    /// Its local APIC.
    pub apic: local_apic::LocalApic,
    /// Its segments.
    pub descriptors: descriptors::Descriptors,
    /// Its part in Hyper-V's interface, where there is one.
    pub joined: Option<crate::hyperv::Joined>,
}

#[cfg(target_os = "none")]
impl Cpu {
    /// Makes it ready for the VMCSs that the machine uses, before the first vCPU: enlightened ones, or ordinary ones without `nested`.
    ///
    /// # Panics
    /// If it has no assist page, or a vCPU already: faults of our own.
    pub fn use_vmcss(&mut self, nested: Option<crate::vm::enlightened::NestedOffer>) {
        if let Some(nested) = nested {
            let joined = self.joined.as_ref().expect("L0's interface is joined before it is used");
            joined.enlighten(&mut self.slot, nested.direct_flush).expect("no vCPU has been here yet");
        }
    }

    /// Lets go of VMX, and of what L0 was told of this CPU, as before another kernel starts. No vCPU is left here.
    pub fn retire(self) {
        let Self { mut slot, processor, joined, .. } = self;
        if let Err(still_resident) = slot.retire() {
            log::error!("{still_resident}");
            return;
        }
        processor.vmxoff();
        if let Some(joined) = joined {
            joined.leave();
        }
    }
}

/// Interrupt vectors of our own.
pub mod vector {
    /// The local APIC's timer: a guest's timer is due.
    pub const TIMER: u8 = 0x20;
    /// A character came in on the serial port.
    pub const SERIAL: u8 = 0x21;
    /// Another CPU wants something: see [`attention`](super::attention).
    pub const KICK: u8 = 0x22;
    /// The machine below us has been migrated to another: see [`migration`](super::migration).
    pub const REENLIGHTENMENT: u8 = 0x23;
    /// What the local APIC raises when there is nothing to raise (SDM vol. 3, "Spurious Interrupt").
    pub const SPURIOUS: u8 = 0xff;
}
