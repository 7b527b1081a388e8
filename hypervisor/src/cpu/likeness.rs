// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all CPUs have in common, and how another CPU becomes like the one that boots: a vCPU runs on each of them alike.

// UNSAFETY: sets up the CPU that it runs on.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::cpu::clock::Clock;
use crate::cpu::descriptors;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::cpu::interrupts;
use crate::cpu::local_apic::LocalApic;
use crate::cpu::memory_types::MemoryTypes;
use crate::cpu::memory_types::NativeCache;
use crate::hyperv::Processors;
use crate::vmx::capabilities::Capabilities;
use crate::vmx::processor::Processor;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use core::arch::x86_64::__cpuid;
use core::arch::x86_64::__cpuid_count;
use evmcs::NativeInstructions;
use evmcs::VmcsSlot;
use evmcs::controls;

/// What the boot CPU is like.
#[derive(Debug)]
pub struct Likeness {
    clock: Clock,
    vmx: Capabilities,
    controls: controls::Capabilities,
    memory_types: MemoryTypes,
    hyperv: Option<&'static Processors>,
}

impl Likeness {
    /// That of this CPU, which has VMX; with `hyperv` it has joined Hyper-V's interface.
    #[must_use]
    pub fn of_this_cpu(clock: Clock, vmx: Capabilities, hyperv: Option<&'static Processors>) -> Self {
        Self { clock, vmx, controls: vmx_controls(), memory_types: memory_types(), hyperv }
    }

    /// The machine's time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Makes this CPU, which has just started, one that is like it. The reason why it cannot be, in one line.
    pub fn take_on(&self, number: CpuNumber, apic_id: u32) -> Result<Cpu, String> {
        interrupts::load_early();
        let descriptors = descriptors::load().map_err(|error| error.to_string())?;
        interrupts::load();
        let apic = LocalApic::enable(self.clock).map_err(|error| error.to_string())?;
        if apic.id() != apic_id {
            return Err(format!("another started in its place, with APIC id {:#x}", apic.id()));
        }
        // SAFETY: those of the boot CPU.
        if !unsafe { self.memory_types.adopt(&memory_types(), &NativeMsrs, &NativeCache) } {
            return Err("its memory type range registers are others than the boot CPU's".to_string());
        }
        let cpuid = |leaf| __cpuid_count(leaf, 0);
        let vmx = Capabilities::read(cpuid, &NativeMsrs).map_err(|error| error.to_string())?;
        if !vmx.alike(self.vmx) || vmx_controls() != self.controls {
            return Err("its VMX is not like the boot CPU's".to_string());
        }
        let processor = Processor::vmxon(vmx).map_err(|error| error.to_string())?;
        // Last: L0 is told of no page of a CPU that is left out, and another gets the number for which an outcome is noted here.
        let joined =
            self.hyperv.map(|hyperv| hyperv.join(number)).transpose().map_err(|error| error.to_string())?;
        // SAFETY: VMX is on, on this CPU, and stays on.
        let instructions = unsafe { NativeInstructions::new() };
        let slot = VmcsSlot::native(number.index() as u32, instructions);
        Ok(Cpu { number, slot, processor, apic, descriptors, joined })
    }
}

fn vmx_controls() -> controls::Capabilities {
    controls::Capabilities::read(&|msr| NativeMsrs.read(msr))
}

fn memory_types() -> MemoryTypes {
    MemoryTypes::read(__cpuid(1).edx, &NativeMsrs)
}
