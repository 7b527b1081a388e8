// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual CPU, and its ways between physical ones.

// UNSAFETY: gives a VMCS its memory.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::irqchip::local_apic::LocalApic;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::physical;
use crate::mmu::Coherence;
use crate::mmu::Counter;
use crate::mmu::Counters;
use crate::mmu::residence::Residence;
use crate::schedule::budget::Budget;
use crate::schedule::queue::Sleeper;
use crate::schedule::vpid::Vpid;
use crate::vcpu::apic_virtualization;
use crate::vcpu::controls::PAUSE_LOOP_GAP;
use crate::vcpu::controls::PAUSE_LOOP_WINDOW;
use crate::vcpu::exits::exception;
use crate::vcpu::guest::Guest;
use crate::vcpu::host_state;
use crate::vcpu::initial_state;
use crate::vcpu::processor_state::ProcessorState;
use crate::vcpu::state::State;
use crate::vm::Vm;
use crate::vm::enlightened::Enlightened;
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
    /// Where its own translations are.
    residence: Residence,
    share: Share,
    /// How it starts, until it has.
    start: Option<Start>,
    /// When it is to run even if nobody else sets it going: a timer of the guest, or the end of its machine's time.
    pub(super) deadline: Option<u64>,
    /// Its machine, whose tables the VMCS names: they stay for as long as there is a vCPU. Last, so that it is let go when all
    /// else of the vCPU is gone.
    pub(super) vm: Arc<Vm>,
}

/// What a vCPU has of the physical CPUs.
#[derive(Debug)]
pub struct Share {
    /// It stays on its CPU, unless its guest sends it elsewhere.
    pub pinned: bool,
    /// How much of a CPU it may have, unless that is all.
    pub budget: Option<Budget>,
}

/// How a vCPU starts.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// In the kernel, as its loader says.
    Kernel(EntryState),
    /// As RESET leaves it.
    Reset,
}

impl Vcpu {
    /// The vCPU of number `index` of `vm`. The first enters its kernel as `entry` says, the others wait to be started.
    pub fn new(
        vm: &Arc<Vm>,
        index: usize,
        entry: EntryState,
        vpid: Vpid,
        share: Share,
    ) -> Result<Self, OutOfFrames> {
        let region = Frames::one()?;
        let page = NonNull::new(physical::pointer(region.address())).expect("no frame is at address zero");
        // SAFETY: one and the same frame, which this vCPU keeps until the VMCS is released.
        let vmcs_region = unsafe { VmcsRegion::new(page, region.address()) };
        let has_tsc_aux = vm.controls.secondary.enable_rdtscp();
        let processor = ProcessorState::at_reset(&vm.machine.cpuid, has_tsc_aux);
        let mut apic = LocalApic::new(index as u32, index == 0, vm.timer_input_tick);
        if let Some(part) = apic_virtualization::part(&vm.controls) {
            apic = apic.in_frame(Frames::one()?, part);
        }
        Ok(Self {
            vmcs: vm.vmcs(vmcs_region, index),
            region: Some(region),
            frame: Box::default(),
            state: State::new(apic, vm.started_at, processor),
            vpid,
            residence: Residence::new(),
            share,
            start: Some(if index == 0 { Start::Kernel(entry) } else { Start::Reset }),
            deadline: None,
            vm: Arc::clone(vm),
            index,
        })
    }

    /// Where others find it from here on.
    pub fn set_home(&self, cpu: CpuNumber) {
        self.vm.machine.posts.of(self.index).set_home(cpu);
    }

    /// Whether it may be given to another CPU.
    #[must_use]
    pub fn may_move(&self) -> bool {
        !self.share.pinned
    }

    /// Whether the registers of its CPU hold what VMX does not switch.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.state.processor.is_loaded()
    }

    /// Takes that out of the registers, for another vCPU.
    pub fn unload(&mut self) {
        self.state.processor.save();
    }

    /// Lets go of the CPU, as before it goes to another one.
    pub fn leave(&mut self, cpu: &mut Cpu) {
        self.unload();
        self.vmcs.release(&mut cpu.slot).unwrap_or_else(not_ours);
        self.residence.release();
    }

    /// Ends it: the processor lets go of the VMCS, and its memory is given back.
    pub fn retire(mut self, cpu: &mut Cpu, counters: &Counters) {
        self.leave(cpu);
        counters.stands_at(cpu.number, Counter::VmcsAccesses, cpu.slot.vmcs_accesses());
        self.vm.machine.memory.roots().unload(self.index);
        #[cfg(feature = "measure")]
        self.vm.shares.lock().add_all(&self.state.shares);
    }

    /// Makes it the one that this CPU works for; what has to be dropped when it comes from elsewhere is dropped.
    pub(super) fn arrive(&mut self, cpu: &mut Cpu, coherence: &Coherence) {
        let has_missed = self.may_have_missed_direct_flushes(cpu);
        if self.residence.arrive(cpu.number) {
            self.arrive_anew(cpu, coherence);
        } else if has_missed {
            // From when it is current on, L0 reaches it.
            self.vmcs.activate(&mut cpu.slot).unwrap_or_else(not_ours);
            self.drop_linear(cpu, coherence);
        }
        if let Some(start) = self.start.take() {
            self.start(start, cpu);
        }
        self.state.processor.load();
        if self.state.tsc.timeline() != cpu.apic.timeline() {
            self.follow_time(cpu);
        }
        // Whoever ran here has set the timer for itself.
        self.state.change_timer();
    }

    /// Whether L0 may have flushed for the guest while another vCPU's VMCS was the current one here: it did not reach this one.
    fn may_have_missed_direct_flushes(&self, cpu: &Cpu) -> bool {
        let flushes = |enlightened: &Enlightened| enlightened.flushes_directly();
        self.vm.enlightened.as_ref().is_some_and(flushes) && !self.vmcs.is_current(&cpu.slot)
    }

    fn drop_linear(&self, cpu: &Cpu, coherence: &Coherence) {
        cpu.processor.invvpid_single(self.vpid.number());
        coherence.counters.count(cpu.number, Counter::InvvpidSingle);
    }

    fn arrive_anew(&mut self, cpu: &mut Cpu, coherence: &Coherence) {
        let mut vmcs = self.vmcs.activate(&mut cpu.slot).unwrap_or_else(not_ours);
        host_state::write(&mut vmcs, &cpu.descriptors, &self.frame);
        self.drop_linear(cpu, coherence);
        let count = |counter| coherence.counters.count(cpu.number, counter);
        if self.start.is_none() {
            count(Counter::Migrations);
            if self.vm.machine.memory.root().stale(cpu.number).is_none() {
                count(Counter::InveptElided);
            }
        }
    }

    /// This CPU's TSC is another than the one that it knows.
    #[cold]
    fn follow_time(&mut self, cpu: &mut Cpu) {
        let scales = self.vm.controls.secondary.use_tsc_scaling();
        let mut vmcs = self.vmcs.activate(&mut cpu.slot).unwrap_or_else(not_ours);
        self.state.tsc.follow(cpu.apic.timeline(), &mut vmcs, scales);
    }

    /// RESET, and for the first vCPU the state in which its kernel is entered.
    fn start(&mut self, start: Start, cpu: &mut Cpu) {
        let vm = &*self.vm;
        let root = vm.machine.memory.root();
        vm.machine.memory.roots().load(self.index, root);
        let mut vmcs = self.vmcs.activate(&mut cpu.slot).unwrap_or_else(not_ours);
        write_controls(&mut vmcs, &vm.controls);
        vmcs.write(field::EPT_POINTER, root.pointer());
        if vm.controls.secondary.enable_vpid() {
            vmcs.write(field::VIRTUAL_PROCESSOR_IDENTIFIER, self.vpid.number());
        }
        let mut guest = Guest { vmcs, frame: &mut self.frame, state: &mut self.state, machine: &vm.machine };
        guest.reset(vm.started_at);
        if let Start::Kernel(entry) = start {
            initial_state::write(&mut guest, entry);
        }
    }
}

impl Sleeper for Box<Vcpu> {
    fn wakes(&self, now: u64) -> bool {
        if self.vm.is_held() {
            return false;
        }
        let mailbox = &self.vm.machine.posts.of(self.index).mailbox;
        !mailbox.is_empty() || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn deadline(&self) -> Option<u64> {
        self.deadline.filter(|_| !self.vm.is_held())
    }

    fn budget(&mut self) -> Option<&mut Budget> {
        self.share.budget.as_mut()
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

fn write_controls(vmcs: &mut Active<'_>, controls: &Controls) {
    vmcs.write(field::PIN_BASED_CONTROLS, controls.pin_based.into_bits());
    vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, controls.primary.into_bits());
    // The TSC is scaled where the rate is another: see `GuestTsc`. What becomes of the local APIC goes with its mode.
    let secondary = controls.secondary.with_use_tsc_scaling(false).with_virtualize_x2apic_mode(false);
    vmcs.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, secondary.into_bits());
    vmcs.write(field::VM_EXIT_CONTROLS, controls.exit.into_bits());
    vmcs.write(field::VM_ENTRY_CONTROLS, controls.entry.into_bits());
    vmcs.write(field::EXCEPTION_BITMAP, exception::INTERCEPTED);
    if controls.secondary.pause_loop_exiting() {
        vmcs.write(field::PLE_GAP, PAUSE_LOOP_GAP);
        vmcs.write(field::PLE_WINDOW, PAUSE_LOOP_WINDOW);
    }
    for field in [
        field::PAGE_FAULT_ERROR_CODE_MASK,
        field::PAGE_FAULT_ERROR_CODE_MATCH,
        field::CR3_TARGET_COUNT,
        field::VM_EXIT_MSR_STORE_COUNT,
        field::VM_EXIT_MSR_LOAD_COUNT,
        field::VM_ENTRY_MSR_LOAD_COUNT,
    ] {
        vmcs.write(field, 0);
    }
}

/// A VMCS of this CPU could not be made current or released: a fault of our own.
#[cold]
pub(super) fn not_ours<T>(error: VmcsError) -> T {
    panic!("{error}")
}
