// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults that the guest's memory resolves, those that it does not have to, and memory that is read-only or a device's.

use super::*;
use crate::cpu::CpuNumber;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::mmu::Counter;
use crate::mmu::space::Content;
use crate::mmu::space::Ram;
use crate::vcpu::guest::BLOCKED_BY_NMI;
use crate::vcpu::model::DATA;
use crate::vm::model::cpu;
use crate::vmx::exit::event;
use std::sync::Arc;

/// A place of two pages where a test puts what it likes.
const WINDOW: u64 = 0x9000_0000;
const WINDOW_END: u64 = WINDOW + 2 * FRAME;

fn put(model: &Model, content: Content) {
    model.machine.memory.set(CpuNumber::BOOT, WINDOW..WINDOW_END, content).expect("the host has memory");
}

/// Memory for the window, of which each byte tells its offset.
fn ram() -> Arc<Ram> {
    let ram = Ram::new(WINDOW_END - WINDOW).expect("the host has memory");
    let page = core::array::from_fn::<u8, { FRAME as usize }, _>(|offset| offset as u8);
    for frame in [0, 1] {
        ram.write(frame, 0, &page).expect("the host has memory");
    }
    ram
}

/// The guest touches `address`, and will do it again.
#[track_caller]
fn faults(model: &mut Model, qualification: EptQualification, address: u64) {
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
    model.tell(field::GUEST_PHYSICAL_ADDRESS, address);
    let (rip, registers) = (model.read(field::GUEST_RIP), model.frame.registers);
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    assert_eq!((model.read(field::GUEST_RIP), model.frame.registers), (rip, registers));
}

/// How many faults of the second level there were, and how many of them were spurious.
fn counted(model: &Model) -> (u64, u64) {
    let counters = &model.machine.memory.roots().coherence().counters;
    (counters.sum(Counter::SecondLevelFaults), counters.sum(Counter::SpuriousFaults))
}

/// Whether an INVEPT was asked for, once.
fn flush_is_asked(model: &mut Model) -> bool {
    let asked = core::mem::take(&mut model.state.flush_guest_physical);
    assert_eq!(core::mem::take(&mut model.state.attention), asked, "it is looked at before the next entry");
    asked
}

#[test]
fn memory_that_is_touched_is_brought_and_the_access_is_tried_again() {
    for qualification in [reading(), writing(), data_access().with_fetch(true)] {
        let mut model = Model::long_64();
        faults(&mut model, qualification, DATA + 8);
        assert_eq!(counted(&model), (1, 0));
        assert_eq!(model.state.exception, None);
        assert!(!flush_is_asked(&mut model));
        assert_eq!(model.clean_fields(), 0xffff);
    }
}

/// So do walks of the guest's own tables, whose instruction is not to be played either.
#[test]
fn a_page_table_of_the_guest_is_brought_as_well() {
    let mut model = Model::long_64();
    let walk = EptQualification::new().with_linear_valid(true).with_read(true).with_write(true);
    faults(&mut model, walk, DATA);
    assert_eq!(counted(&model), (1, 0));
}

/// Mostly another vCPU was faster.
#[test]
fn an_access_that_the_tables_permit_already_is_tried_again_and_flushes_only_if_it_is_refused_in_a_row() {
    let mut model = Model::long_64();
    faults(&mut model, reading(), DATA);
    faults(&mut model, reading(), DATA);
    assert_eq!(counted(&model), (2, 1));
    assert!(!flush_is_asked(&mut model));
    faults(&mut model, reading(), DATA);
    assert!(flush_is_asked(&mut model));
    // Another address is another story.
    faults(&mut model, writing(), DATA + FRAME);
    faults(&mut model, writing(), DATA + FRAME);
    assert!(!flush_is_asked(&mut model));
}

#[test]
fn an_access_that_is_refused_for_ever_ends_the_vm() {
    for (qualification, access) in [(reading(), "read"), (writing(), "write")] {
        let mut model = Model::long_64();
        faults(&mut model, qualification, DATA);
        for _ in 1..100 {
            faults(&mut model, qualification, DATA);
        }
        let end = End::Refused { address: GuestPhysical(DATA), access, rip: CODE };
        assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Err(end));
    }
}

/// Time and again a page is taken away, and two vCPUs want it back at once: each time one of them comes second.
#[test]
fn who_comes_second_after_each_removal_is_not_refused_in_a_row() {
    let mut model = Model::long_64();
    let access = Access { read: true, ..Default::default() };
    for round in 1..=300 {
        model.machine.memory.zap(CpuNumber::BOOT, DATA..DATA + FRAME);
        assert_eq!(model.machine.memory.fault(cpu(1), GuestPhysical(DATA), access), Fault::Resolved);
        faults(&mut model, reading(), DATA);
        assert_eq!(counted(&model), (2 * round, round));
        assert!(!flush_is_asked(&mut model), "round {round}");
    }
}

#[test]
fn where_no_device_answers_all_bits_are_one_and_writes_are_lost() {
    let mut model = Model::long_64();
    put(&model, Content::Device);
    let loads: [(&[u8], u64); 3] = [
        (&[0x8a, 0x03], 0x1122_3344_5566_77ff),
        (&[0x8b, 0x03], 0xffff_ffff),
        (&[0x48, 0x8b, 0x03], u64::MAX),
    ];
    for offset in [0, 1, 8, 0xff8, 0x1000] {
        for (code, value) in loads {
            model.frame.registers.rax = 0x1122_3344_5566_7788;
            plays(&mut model, code, reading(), WINDOW + offset);
            assert_eq!(model.frame.registers.rax, value);
        }
    }
    stores(&mut model, WINDOW, 0);
    assert_eq!(super::loads(&mut model, WINDOW), 0xffff_ffff);
    // What lies there later has nothing of it.
    put(&model, Content::Ram(ram()));
    assert_eq!(model.load(WINDOW), [0, 1, 2, 3, 4]);
    assert_eq!(counted(&model), (0, 0));
}

#[test]
fn read_only_memory_is_brought_for_reading() {
    let mut model = Model::long_64();
    put(&model, Content::Rom(ram()));
    faults(&mut model, reading(), WINDOW);
    faults(&mut model, data_access().with_fetch(true), WINDOW_END - 1);
    assert_eq!(counted(&model), (2, 0));
}

#[test]
fn a_write_to_read_only_memory_is_played_and_lost() {
    let mut model = Model::long_64();
    let rom = ram();
    put(&model, Content::Rom(Arc::clone(&rom)));
    stores(&mut model, WINDOW + 4, 0xdead_beef);
    // REP STOSD, two of them.
    let registers = &mut model.frame.registers;
    (registers.rdi, registers.rcx) = (WINDOW + 4, 2);
    let rip = model.read(field::GUEST_RIP);
    prepare(&mut model, &[0xf3, 0xab], writing(), WINDOW + 4);
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    assert_eq!((model.read(field::GUEST_RIP), model.frame.registers.rcx), (rip, 1));
    assert_eq!(model.load(WINDOW), core::array::from_fn::<u8, 16, _>(|offset| offset as u8));
    assert_eq!(counted(&model), (0, 0));
    // As RAM, later, it still has what it had.
    put(&model, Content::Ram(rom));
    assert_eq!(model.load(WINDOW + 4), [4, 5, 6, 7]);
}

#[test]
fn an_instruction_that_reads_and_writes_read_only_memory_reads_what_is_there() {
    let mut model = Model::long_64();
    put(&model, Content::Rom(ram()));
    // XCHG [RBX], EAX.
    model.frame.registers.rax = 0x55;
    plays(&mut model, &[0x87, 0x03], writing().with_read(true), WINDOW + 0x10);
    assert_eq!(model.frame.registers.rax, 0x1312_1110);
    // XCHG [RBX], RAX at an odd place.
    plays(&mut model, &[0x48, 0x87, 0x03], writing().with_read(true), WINDOW + 0x21);
    assert_eq!(model.frame.registers.rax, 0x2827_2625_2423_2221);
    // AND DWORD PTR [RBX], 0xc: of the bytes 00 01 02 03, nothing is left.
    plays(&mut model, &[0x83, 0x23, 0x0c], writing().with_read(true), WINDOW);
    assert_eq!(model.read(field::GUEST_RFLAGS) & 1 << 6, 1 << 6);
    assert_eq!(model.load(WINDOW), [0, 1, 2, 3]);
}

/// MOVSD from the I/O APIC's window.
#[test]
fn what_is_moved_from_a_device_to_read_only_memory_is_lost_like_any_write() {
    let mut model = Model::long_64();
    put(&model, Content::Rom(ram()));
    assert!(model.machine.write_io_apic(0, 1).is_empty());
    (model.frame.registers.rsi, model.frame.registers.rdi) = (IO_APIC_BASE + IO_APIC_WINDOW, WINDOW);
    plays(&mut model, &[0xa5], reading(), IO_APIC_BASE + IO_APIC_WINDOW);
    assert_eq!(model.frame.registers.rdi, WINDOW + 4);
    assert_eq!(model.load(WINDOW), [0, 1, 2, 3]);
}

fn take_interrupt(model: &mut Model, vector: u8) {
    model.enable_apic();
    let (destination, delivery, trigger) = (Destination::Everyone, DeliveryMode::Fixed, Trigger::Edge);
    let message = Message { destination, delivery, vector, trigger };
    assert_eq!(model.guest().accept(message), Ok(()));
    model.state.apic.acknowledge(vector);
    model.state.attention = false;
}

/// The delivery pushes on a stack, and reads tables, that are not mapped yet: first that is resolved, then, with another vCPU
/// having been faster, there is nothing to resolve.
#[test]
fn an_interrupt_whose_delivery_faulted_is_delivered_again() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RFLAGS, 2 | 1 << 9);
    take_interrupt(&mut model, 0x51);
    let cut_short = EventInformation::new().with_vector(0x51).with_valid(true);
    for faulted in 1..=2 {
        model.tell(field::IDT_VECTORING_INFORMATION, cut_short.into_bits());
        faults(&mut model, writing(), DATA);
        assert_eq!(counted(&model), (faulted, faulted - 1));
        assert_eq!(model.state.apic.pending(), Some(0x51));
        assert!(model.state.attention);
        model.guest().deliver_events();
        assert_eq!(model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION), cut_short.into_bits());
    }
}

#[test]
fn an_exception_whose_delivery_faulted_is_delivered_again_with_its_error_code() {
    let mut model = Model::long_64();
    let cut_short = EventInformation::new()
        .with_vector(14)
        .with_kind(event::HARDWARE_EXCEPTION)
        .with_error_code(true)
        .with_valid(true);
    model.tell(field::IDT_VECTORING_INFORMATION, cut_short.into_bits());
    model.tell(field::IDT_VECTORING_ERROR_CODE, 6);
    faults(&mut model, writing(), DATA);
    model.guest().deliver_events();
    assert_eq!(model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION), cut_short.into_bits());
    assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), 6);
}

/// SDM vol. 3, "Exit Qualification for EPT Violations", bit 12.
#[test]
fn an_iret_that_faulted_leaves_nmis_blocked() {
    let mut model = Model::long_64();
    faults(&mut model, reading(), DATA);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), 0);
    faults(&mut model, reading().with_nmi_unblocking(true), DATA + FRAME);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), BLOCKED_BY_NMI);
}
