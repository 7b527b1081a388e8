// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual CPU, and its ways between physical ones.

// UNSAFETY: gives a VMCS its memory.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::cpu::hardware::tsc;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::physical;
use crate::mmu::root::Root;
use crate::schedule::board::Board;
use crate::schedule::queue::Sleeper;
use crate::schedule::vpid::Vpid;
use crate::vcpu::exits::exception;
use crate::vcpu::host_state;
use crate::vcpu::initial_state;
use crate::vcpu::processor_state::ProcessorState;
use crate::vcpu::state::State;
use crate::vm::Vm;
use crate::vm::loader::EntryState;
use crate::vmx::entry::EntryFrame;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use core::ptr::NonNull;
use evmcs::Active;
use evmcs::Vmcs;
use evmcs::VmcsError;
use evmcs::VmcsRegion;
use evmcs::controls::Controls;
use evmcs::field;

/// A virtual CPU.
#[derive(Debug)]
pub struct Vcpu {
    /// Its machine, whose tables the VMCS names: they stay for as long as there is a vCPU.
    pub(super) vm: Arc<Vm>,
    /// Which of its machine's vCPUs it is; also its APIC id.
    pub(super) index: usize,
    pub(super) vmcs: Vmcs,
    /// The processor's own part of the VMCS.
    region: Option<Frames>,
    /// Boxed, since the VMCS knows its address.
    pub(super) frame: Box<EntryFrame>,
    /// All the rest.
    pub(super) state: State,
    pub(super) vpid: Vpid,
    /// What VMX does not switch, while it is not loaded.
    processor_state: ProcessorState,
    /// This CPU's registers hold what VMX does not switch.
    loaded: bool,
    /// It stays on its CPU, unless its guest sends it elsewhere.
    pinned: bool,
    /// How it starts, until it has been on a CPU.
    start: Option<Start>,
    /// When a timer of the guest, or the VM's time limit, next needs it to run.
    pub(super) deadline: Option<u64>,
}

/// How a vCPU starts.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// In the kernel, as its loader says.
    Kernel(EntryState),
    /// Waiting for a start-up IPI.
    WaitForSipi,
}

impl Vcpu {
    /// The vCPU of number `index` of `vm`, as after RESET. The first enters its kernel as `entry` says, the others wait to be
    /// started.
    pub fn new(vm: &Arc<Vm>, index: usize, entry: EntryState, vpid: Vpid, pinned: bool) -> Result<Self, OutOfFrames> {
        let region = Frames::one()?;
        let page = NonNull::new(physical::pointer(region.address())).expect("no frame is at address zero");
        // SAFETY: one and the same frame, which this vCPU keeps until the VMCS is released.
        let vmcs_region = unsafe { VmcsRegion::new(page, region.address()) };
        Ok(Self {
            vmcs: Vmcs::native(vmcs_region, vm.revision),
            region: Some(region),
            frame: Box::default(),
            state: State::new(index as u32, vm.timer_input_tick, vm.started_at),
            vpid,
            processor_state: ProcessorState::at_reset(vm.machine.cpuid.supported_xcr0())?,
            loaded: false,
            pinned,
            start: Some(if index == 0 { Start::Kernel(entry) } else { Start::WaitForSipi }),
            deadline: None,
            vm: Arc::clone(vm),
            index,
        })
    }

    /// Where others find it.
    pub fn set_home(&mut self, cpu: CpuNumber) {
        self.vm.machine.posts[self.index].set_home(cpu);
    }

    /// Whether it may be given to another CPU.
    #[must_use]
    pub fn may_move(&self) -> bool {
        !self.pinned
    }

    /// Whether the registers of its CPU hold its state that VMX does not switch.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Takes that state out of the registers, for another vCPU.
    pub fn unload(&mut self) {
        self.processor_state.save();
        self.loaded = false;
    }

    /// Lets go of the CPU, as before it goes to another one.
    pub fn leave(&mut self, cpu: &mut Cpu) {
        if self.loaded {
            self.unload();
        }
        self.vmcs.release(&mut cpu.slot).unwrap_or_else(not_ours);
    }

    /// Ends it: the processor lets go of the VMCS, and its memory is given back. Tells whether it was the machine's last.
    pub fn retire(mut self, cpu: &mut Cpu, board: &Board) -> bool {
        self.vmcs.release(&mut cpu.slot).unwrap_or_else(not_ours);
        self.vm.machine.memory.roots().unload(self.index);
        self.vm.retire_one(&self.state)
    }

    /// Makes it the one that this CPU works for. What has to be dropped when it comes from elsewhere is dropped.
    pub(super) fn arrive(&mut self, cpu: &mut Cpu, board: &Board) {
        let Cpu { number, slot, processor, descriptors, .. } = cpu;
        let resident = self.vmcs.resident_on() == Some(number.index() as u32);
        let mut vmcs = self.vmcs.activate(slot).unwrap_or_else(not_ours);
        if !resident {
            host_state::write(&mut vmcs, descriptors, &self.frame);
            processor.invvpid_single(self.vpid);
            self.state.arrived();
        }
        if let Some(start) = self.start.take() {
            initialise();
        }
        if !self.loaded {
            self.processor_state.load();
            self.loaded = true;
        }
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        // The processor may write to it until the VMCS is released: then it is lost rather than given to somebody else.
        if self.vmcs.resident_on().is_some() {
            mem::forget(self.region.take());
        }
    }
}

/// A VMCS of this CPU could not be made current or released: a fault of our own.
#[cold]
pub(super) fn not_ours<T>(error: VmcsError) -> T {
    panic!("{error}")
}
