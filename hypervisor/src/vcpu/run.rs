// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run loop: into the guest, out again, and what has to be done between.

// UNSAFETY: enters guests.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::hardware;
use crate::cpu::hardware::tsc;
use crate::cpu::local_apic::LocalApic;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::heap;
use crate::memory::physical;
use crate::vcpu::end::End;
use crate::vcpu::exits;
use crate::vcpu::exits::exception;
use crate::vcpu::exits::exception::Whose;
use crate::vcpu::guest::Guest;
use crate::vcpu::host_state;
use crate::vcpu::initial_state;
use crate::vcpu::processor_state;
use crate::vcpu::state::State;
use crate::vm::Vm;
use crate::vm::loader::EntryState;
use crate::vmx::entry;
use crate::vmx::entry::EntryFrame;
use crate::vmx::exit::ExitReason;
use crate::vmx::processor::Invept;
use crate::vmx::processor::Processor;
use alloc::boxed::Box;
use core::convert::Infallible;
use core::mem;
use core::mem::ManuallyDrop;
use core::num::NonZeroU32;
use core::ptr::NonNull;
use evmcs::Active;
use evmcs::VmInstructionError;
use evmcs::Vmcs;
use evmcs::VmcsError;
use evmcs::VmcsRegion;
use evmcs::controls::Controls;
use evmcs::field;

/// After this TSC, and so many seconds, a VM is ended.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The TSC at which it is over.
    pub deadline: u64,
    /// The limit, for the report.
    pub seconds: NonZeroU32,
}

/// A virtual CPU.
#[derive(Debug)]
pub struct Vcpu<'a> {
    /// Its machine, whose tables the VMCS names: they stay for as long as there is a vCPU.
    vm: &'a Vm,
    vmcs: Vmcs,
    /// The processor's own part of the VMCS. A vCPU that is not retired keeps it for ever: the processor may write to it.
    region: ManuallyDrop<Frames>,
    /// Boxed, since the VMCS knows its address.
    frame: Box<EntryFrame>,
    /// All the rest.
    pub state: State,
    vpid: u16,
}

impl<'a> Vcpu<'a> {
    /// A vCPU of `vm` that will enter its kernel as `entry` says.
    pub fn new(cpu: &mut Cpu, vm: &'a Vm, entry: EntryState, vpid: u16) -> Result<Self, OutOfFrames> {
        let region = Frames::one()?;
        let page = NonNull::new(physical::pointer(region.address())).expect("no frame is at address zero");
        // SAFETY: one and the same frame, which this vCPU keeps until the VMCS is released.
        let vmcs_region = unsafe { VmcsRegion::new(page, region.address()) };
        let vmcs = Vmcs::native(vmcs_region, cpu.processor.capabilities().revision);
        let state = State::new(0, vm.timer_input_tick, tsc());
        let mut vcpu =
            Self { vm, vmcs, region: ManuallyDrop::new(region), frame: Box::default(), state, vpid };
        let mut active = activate(&mut vcpu.vmcs, cpu);
        write_controls(&mut active, &vm.controls);
        active.write(field::EPT_POINTER, vm.ept_pointer());
        active.write(field::MSR_BITMAP_ADDRESS, vm.msr_bitmap.address());
        active.write(field::TSC_OFFSET, vcpu.state.tsc_offset);
        if vm.controls.secondary.enable_vpid() {
            active.write(field::VIRTUAL_PROCESSOR_IDENTIFIER, vpid);
        }
        vcpu.frame.registers = initial_state::write(&mut active, entry);
        Ok(vcpu)
    }

    /// Runs the guest until it ends.
    pub fn run(&mut self, cpu: &mut Cpu, limit: Option<TimeLimit>) -> End {
        let vm = self.vm;
        processor_state::reset(vm.machine.cpuid.supported_xcr0(), vm.controls.secondary.enable_rdtscp());
        // Whatever this CPU has cached under these tags is of others.
        cpu.processor.invept(Invept::SingleContext { pointer: vm.ept_pointer() });
        cpu.processor.invvpid_single(self.vpid);
        let Cpu { slot, descriptors, apic, processor, .. } = cpu;
        let mut vmcs = self.vmcs.activate(slot).unwrap_or_else(not_ours);
        host_state::write(&mut vmcs, descriptors, &self.frame);
        let mut guest = Guest { vmcs, frame: &mut self.frame, state: &mut self.state, machine: &vm.machine };
        let allocations = heap::allocations();
        let mut carrier = Carrier { processor, apic, vpid: self.vpid, limit };
        let Err(end) = carrier.run(&mut guest);
        assert_eq!(heap::allocations(), allocations, "a guest's exits allocate nothing");
        apic.set_timer(None);
        end
    }

    /// Ends it: the processor lets go of the VMCS, and its memory is given back.
    pub fn retire(mut self, cpu: &mut Cpu) {
        self.vmcs.release(&mut cpu.slot).unwrap_or_else(not_ours);
        drop(ManuallyDrop::into_inner(self.region));
    }
}

fn activate<'a>(vmcs: &'a mut Vmcs, cpu: &'a mut Cpu) -> Active<'a> {
    vmcs.activate(&mut cpu.slot).unwrap_or_else(not_ours)
}

/// A VMCS of this CPU could not be made current or released: a fault of our own.
#[cold]
fn not_ours<T>(error: VmcsError) -> T {
    panic!("{error}")
}

fn write_controls(vmcs: &mut Active<'_>, controls: &Controls) {
    vmcs.write(field::PIN_BASED_CONTROLS, controls.pin_based.into_bits());
    vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, controls.primary.into_bits());
    vmcs.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, controls.secondary.into_bits());
    vmcs.write(field::VM_EXIT_CONTROLS, controls.exit.into_bits());
    vmcs.write(field::VM_ENTRY_CONTROLS, controls.entry.into_bits());
    vmcs.write(field::EXCEPTION_BITMAP, exception::INTERCEPTED);
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

/// What of its CPU a running vCPU uses.
struct Carrier<'a> {
    processor: &'a Processor,
    apic: &'a mut LocalApic,
    vpid: u16,
    limit: Option<TimeLimit>,
}

impl Carrier<'_> {
    /// Goes round until the guest ends. It comes back by no other way.
    fn run(&mut self, guest: &mut Guest<'_>) -> Result<Infallible, End> {
        loop {
            if guest.state.attention {
                self.prepare(guest)?;
            }
            // SAFETY: the VMCS is current, its host state is this CPU's and of this frame, and its tables lead to the
            // guest's own memory alone.
            let flags = unsafe { entry::enter(guest.frame, guest.vmcs.launched()) };
            if flags.failed() {
                return Err(entry_failed(guest, flags));
            }
            let reason = ExitReason::from_field(guest.vmcs.note_exit());
            guest.state.count(reason);
            match reason {
                ExitReason::EXTERNAL_INTERRUPT => {
                    hardware::take_interrupts();
                    self.after_interrupt(guest)?;
                }
                ExitReason::EXCEPTION_OR_NMI => match exception::whose(guest) {
                    Whose::Nmi => hardware::take_nmi(),
                    Whose::MachineCheck => panic!("machine check while a guest ran"),
                    Whose::Guest(information) => exception::reflect(guest, information),
                },
                reason => exits::handle(guest, reason)?,
            }
        }
    }

    /// What must be done before an entry, now and then: flush, timer, HLT, events.
    #[cold]
    fn prepare(&mut self, guest: &mut Guest<'_>) -> Result<(), End> {
        if mem::take(&mut guest.state.flush_linear) {
            self.processor.invvpid_single(self.vpid);
        }
        loop {
            if mem::take(&mut guest.state.timer_changed) {
                self.arm(guest);
            }
            if !guest.state.halted || guest.has_wake_up() {
                guest.state.halted = false;
                guest.deliver_events();
                return Ok(());
            }
            if !guest.interrupts_enabled() {
                return Err(End::HaltedForEver { rip: guest.vmcs.read(field::GUEST_RIP) });
            }
            hardware::wait_for_interrupt();
            self.after_interrupt(guest)?;
        }
    }

    /// An interrupt of this CPU has come: a timer, input, or somebody else's affair.
    fn after_interrupt(&mut self, guest: &mut Guest<'_>) -> Result<(), End> {
        if let Some(limit) = self.limit.filter(|limit| limit.deadline <= tsc()) {
            return Err(End::TimeLimit {
                seconds: limit.seconds.get(),
                rip: guest.vmcs.read(field::GUEST_RIP),
            });
        }
        self.apic.forget_timer();
        guest.state.change_timer();
        guest.receive()
    }

    /// Raises the guest's timer interrupt if it is due, and sets this CPU's timer for when it will be, or for the limit.
    fn arm(&mut self, guest: &mut Guest<'_>) {
        let now = tsc();
        let state = &mut *guest.state;
        state.apic.expire(state.guest_tsc(now));
        let due = state.apic.next_deadline().map(|deadline| state.processor_deadline(deadline, now));
        let limit = self.limit.map(|limit| limit.deadline);
        self.apic.set_timer(due.into_iter().chain(limit).min());
    }
}

#[cold]
fn entry_failed(guest: &Guest<'_>, flags: entry::EntryFlags) -> End {
    let number = || VmInstructionError(guest.vmcs.read(field::VM_INSTRUCTION_ERROR));
    End::EntryFailed { error: (!flags.failed_invalid()).then(number) }
}
