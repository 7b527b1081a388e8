// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which event is injected, and which window is asked for when one waits.

use super::*;
use crate::irqchip::local_apic::Part;
use crate::vcpu::model::Model;
use crate::vmx::exit::ExitReason;

// Spelled out once more, so that the tests do not lean on the code.
const INTERRUPT_FLAG: u64 = 1 << 9;
const BLOCKED_BY_NMI: u32 = 1 << 3;
const STI_BLOCKING: u32 = 1 << 0;
const MOV_SS_BLOCKING: u32 = 1 << 1;

// Offsets in the page of the local APIC.
const TASK_PRIORITY: u64 = 0x80;
const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS_VECTOR: u64 = 0xf0;
const INTERRUPT_COMMAND: u64 = 0x300;
const SELF: u32 = 1 << 18;

const NMI_INJECTED: u32 = 0x8000_0202;
const GENERAL_PROTECTION_INJECTED: u32 = 0x8000_0b0d;

fn external(vector: u8) -> u32 {
    0x8000_0000 | u32::from(vector)
}

/// Ready to take interrupts.
fn model() -> Model {
    let mut model = Model::long_64();
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    write_apic(&mut model, SPURIOUS_VECTOR, 0x1ff);
    model
}

fn write_apic(model: &mut Model, offset: u64, value: u32) {
    let _ = model.state.apic.mmio_write(offset, value, 0);
}

fn interrupt(model: &mut Model, vector: u8) {
    write_apic(model, INTERRUPT_COMMAND, SELF | u32::from(vector));
}

/// What the next entry injects. It is taken, as by that entry.
fn injected(model: &mut Model) -> Option<u32> {
    model.guest().deliver_events();
    let information = model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION);
    model.write(field::VM_ENTRY_INTERRUPTION_INFORMATION, 0);
    EventInformation::from(information).valid().then_some(information)
}

/// Whether exits for an interrupt window and for an NMI window are asked for.
fn windows(model: &mut Model) -> (bool, bool) {
    let controls = PrimaryControls::from_bits(model.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
    (controls.interrupt_window_exiting(), controls.nmi_window_exiting())
}

/// SDM vol. 3, "Priority Among Concurrent Events".
#[test]
fn an_exception_comes_before_an_nmi_and_that_before_an_interrupt() {
    let mut model = model();
    interrupt(&mut model, 0x40);
    model.state.nmi = true;
    model.state.exception = Some(Exception::GeneralProtection);
    model.state.attention = true;
    assert_eq!(injected(&mut model), Some(GENERAL_PROTECTION_INJECTED));
    assert!(!model.state.attention, "the windows tell when to look again");
    assert_eq!(windows(&mut model), (true, true));
    assert_eq!(injected(&mut model), Some(NMI_INJECTED));
    assert_eq!(windows(&mut model), (true, false));
    assert_eq!(injected(&mut model), Some(external(0x40)));
    assert_eq!(windows(&mut model), (false, false));
    assert_eq!(injected(&mut model), None);
}

#[test]
fn an_exception_has_its_error_code_if_it_has_one() {
    let mut model = model();
    model.write(field::VM_ENTRY_EXCEPTION_ERROR_CODE, 0x55);
    model.state.exception = Some(Exception::InvalidOpcode);
    assert_eq!(injected(&mut model), Some(0x8000_0306));
    assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), 0x55);
    model.state.exception = Some(Exception::GeneralProtection);
    assert_eq!(injected(&mut model), Some(GENERAL_PROTECTION_INJECTED));
    assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), 0);
}

/// SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks" and "Checks on Guest Non-Register State": an entry that injects under blocking fails. An exception is never blocked.
#[test]
fn nothing_but_an_exception_is_injected_under_blocking_by_sti_or_mov_ss() {
    for blocking in [STI_BLOCKING, MOV_SS_BLOCKING] {
        let mut model = model();
        model.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking);
        interrupt(&mut model, 0x40);
        model.state.nmi = true;
        assert_eq!(injected(&mut model), None);
        assert_eq!(windows(&mut model), (true, true));
        assert!(model.state.nmi);
        assert_eq!(model.state.apic.pending(), Some(0x40));
        model.state.exception = Some(Exception::InvalidOpcode);
        assert_eq!(injected(&mut model), Some(0x8000_0306));
        model.write(field::GUEST_INTERRUPTIBILITY_STATE, 0);
        assert_eq!(injected(&mut model), Some(NMI_INJECTED));
        assert_eq!(injected(&mut model), Some(external(0x40)));
    }
}

#[test]
fn an_interrupt_waits_for_if_and_is_then_injected_through_the_window() {
    let mut model = model();
    model.write(field::GUEST_RFLAGS, 2);
    interrupt(&mut model, 0x40);
    assert_eq!(injected(&mut model), None);
    assert_eq!(windows(&mut model), (true, false));
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    assert_eq!(model.exit(ExitReason::INTERRUPT_WINDOW), Ok(()));
    assert!(model.state.attention);
    assert_eq!(injected(&mut model), Some(external(0x40)));
    assert_eq!(windows(&mut model), (false, false));
}

#[test]
fn an_nmi_waits_while_another_is_handled_and_if_does_not_matter_to_it() {
    let mut model = model();
    model.write(field::GUEST_RFLAGS, 2);
    model.state.nmi = true;
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, BLOCKED_BY_NMI);
    assert_eq!(injected(&mut model), None);
    assert_eq!(windows(&mut model), (false, true));
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, 0);
    assert_eq!(model.exit(ExitReason::NMI_WINDOW), Ok(()));
    assert!(model.state.attention);
    assert_eq!(injected(&mut model), Some(NMI_INJECTED));
    assert_eq!(windows(&mut model), (false, false));
}

#[test]
fn an_nmi_that_is_blocked_does_not_hold_back_interrupts() {
    let mut model = model();
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, BLOCKED_BY_NMI);
    model.state.nmi = true;
    interrupt(&mut model, 0x40);
    assert_eq!(injected(&mut model), Some(external(0x40)));
    assert_eq!(windows(&mut model), (false, true));
}

#[test]
fn with_nothing_new_the_controls_are_not_written() {
    let mut model = model();
    model.guest().vmcs.note_exit();
    model.guest().deliver_events();
    assert_eq!(model.clean_fields(), 0xffff);
}

/// SDM vol. 3, "Task and Processor Priorities".
#[test]
fn an_interrupt_has_to_be_above_the_priority_of_task_and_handler() {
    let mut model = model();
    write_apic(&mut model, TASK_PRIORITY, 0x50);
    interrupt(&mut model, 0x5f);
    assert_eq!(injected(&mut model), None);
    assert_eq!(windows(&mut model), (false, false), "no window opens for what TPR holds back");
    interrupt(&mut model, 0x60);
    assert_eq!(injected(&mut model), Some(external(0x60)));
    write_apic(&mut model, TASK_PRIORITY, 0);
    assert_eq!(injected(&mut model), None, "a handler of class 6 runs");
    interrupt(&mut model, 0x71);
    assert_eq!(injected(&mut model), Some(external(0x71)));
    write_apic(&mut model, END_OF_INTERRUPT, 0);
    write_apic(&mut model, END_OF_INTERRUPT, 0);
    assert_eq!(injected(&mut model), Some(external(0x5f)));
}

#[test]
fn the_higher_of_two_vectors_comes_first_and_the_other_gets_a_window_if_it_can_be_next() {
    let mut model = model();
    interrupt(&mut model, 0x40);
    interrupt(&mut model, 0x80);
    assert_eq!(injected(&mut model), Some(external(0x80)));
    assert_eq!(windows(&mut model), (false, false), "0x40 has to wait for the EOI");
    write_apic(&mut model, END_OF_INTERRUPT, 0);
    assert_eq!(injected(&mut model), Some(external(0x40)));
}

/// What each kind of event does to a guest that has halted (SDM vol. 2A, HLT).
#[test]
fn halt_ends_with_an_nmi_an_exception_or_an_interrupt_that_can_be_taken() {
    let wakes = |prepare: fn(&mut Model)| {
        let mut model = model();
        prepare(&mut model);
        model.guest().has_wake_up()
    };
    assert!(!wakes(|_| {}));
    assert!(wakes(|model| interrupt(model, 0x40)));
    assert!(!wakes(|model| {
        interrupt(model, 0x40);
        model.write(field::GUEST_RFLAGS, 2);
    }));
    assert!(!wakes(|model| {
        interrupt(model, 0x40);
        write_apic(model, TASK_PRIORITY, 0x40);
    }));
    assert!(wakes(|model| {
        model.state.nmi = true;
        model.write(field::GUEST_RFLAGS, 2);
    }));
    assert!(wakes(|model| model.state.exception = Some(Exception::InvalidOpcode)));
}

/// It is held back until the handler of the last one ends with IRET, and a halted guest executes none.
#[test]
fn an_nmi_that_is_blocked_does_not_end_halt() {
    let mut model = model();
    model.state.nmi = true;
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, BLOCKED_BY_NMI);
    assert!(!model.guest().has_wake_up());
}

/// SDM vol. 2A, HLT: a debug exception resumes execution. The HLT instruction itself was single-stepped.
#[test]
fn a_pending_single_step_ends_halt() {
    let mut model = model();
    model.write(field::GUEST_RFLAGS, 2 | 1 << 8);
    assert_eq!(model.exit(ExitReason::HLT), Ok(()));
    assert_eq!(model.state.activity, Activity::Halted);
    assert!(model.guest().is_awake());
}

/// SDM vol. 3, "VM-Entry Control Fields": an error code in real mode makes the entry fail.
#[test]
fn in_real_mode_exceptions_have_no_error_code() {
    let mut model = model();
    let cr0 = model.read(field::GUEST_CR0);
    model.write(field::GUEST_CR0, cr0 & !(cr0::PE | cr0::PG));
    model.guest().raise(Exception::GeneralProtection);
    assert_eq!(injected(&mut model), Some(0x8000_030d));
}

/// SDM vol. 3, "Instruction-Breakpoint Exception Condition".
#[test]
fn a_fault_keeps_the_breakpoint_on_its_instruction_from_striking_again() {
    let mut model = model();
    model.guest().raise(Exception::GeneralProtection);
    assert_eq!(injected(&mut model), Some(GENERAL_PROTECTION_INJECTED));
    assert_eq!(model.read(field::GUEST_RFLAGS) & 1 << 16, 1 << 16);
}

/// SDM vol. 3, "Format of Pending-Debug-Exceptions": conditions alone deliver nothing, an enabled breakpoint does.
#[test]
fn only_an_enabled_breakpoint_or_a_single_step_comes_first_and_ends_hlt() {
    const CONDITION_0: u64 = 1;
    const ENABLED: u64 = 1 << 12;
    let mut model = model();
    model.write(field::GUEST_PENDING_DEBUG_EXCEPTIONS, CONDITION_0 | ENABLED);
    assert!(model.guest().has_wake_up());
    interrupt(&mut model, 0x40);
    assert_eq!(injected(&mut model), None);
    model.write(field::GUEST_PENDING_DEBUG_EXCEPTIONS, CONDITION_0);
    assert_eq!(injected(&mut model), Some(external(0x40)));
    assert!(!model.guest().has_wake_up());
}

const EXT_INT: u32 = 7 << 8;
const LINT0: u64 = 0x350;
/// The vector that firmware leaves for IRQ 1.
const KEYBOARD: u8 = 0x09;

/// IRQ 1 of the 8259As is asserted and not masked.
fn press_key(model: &Model) {
    model.machine.lines.write_pic(0x21, 0);
    model.machine.set_line(1, true);
}

/// The vector is taken when it is injected, and not before: until then the line may be masked or fall.
#[test]
fn an_interrupt_of_the_8259as_waits_for_its_window_and_is_acknowledged_there() {
    let mut model = model();
    press_key(&model);
    model.write(field::GUEST_RFLAGS, 2);
    assert_eq!((injected(&mut model), windows(&mut model)), (None, (true, false)));
    assert_eq!(model.machine.lines.read_pic(0x20), 1 << 1, "still requested");
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, STI_BLOCKING);
    assert_eq!(injected(&mut model), None);
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, 0);
    assert_eq!(injected(&mut model), Some(external(KEYBOARD)));
    assert_eq!((model.machine.lines.read_pic(0x20), windows(&mut model)), (0, (false, false)));
    assert_eq!(injected(&mut model), None);
}

#[test]
fn an_interrupt_of_the_8259as_that_is_masked_meanwhile_is_not_injected() {
    let mut model = model();
    press_key(&model);
    model.write(field::GUEST_RFLAGS, 2);
    assert_eq!(injected(&mut model), None);
    model.machine.lines.write_pic(0x21, 0xff);
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    assert_eq!((injected(&mut model), windows(&mut model)), (None, (false, false)));
}

/// SDM vol. 3, "Task and Processor Priorities", holds for the local APIC's own interrupts alone.
#[test]
fn no_priority_holds_back_the_8259as_and_they_come_first() {
    let mut model = model();
    write_apic(&mut model, TASK_PRIORITY, 0xf0);
    press_key(&model);
    assert_eq!(injected(&mut model), Some(external(KEYBOARD)));
    write_apic(&mut model, TASK_PRIORITY, 0);
    interrupt(&mut model, 0x40);
    model.machine.lines.write_pic(0x20, 0x20);
    model.machine.set_line(3, true);
    assert_eq!((injected(&mut model), windows(&mut model)), (Some(external(0x0b)), (true, false)));
    assert_eq!(injected(&mut model), Some(external(0x40)));
}

/// SDM vol. 3, "Virtual-Interrupt Delivery": of the 8259As the processor knows nothing.
#[test]
fn where_the_processor_plays_the_local_apic_only_the_8259as_are_injected_and_have_a_window() {
    let mut model = model().with_played_apic(Part::Whole);
    write_apic(&mut model, LINT0, EXT_INT);
    interrupt(&mut model, 0x40);
    // What it is told stands in a VMCS that is not enlightened.
    assert!(model.state.apic.take_changed_requests() && model.state.apic.take_changed_ends());
    assert_eq!((injected(&mut model), windows(&mut model)), (None, (false, false)));
    assert!(model.guest().has_wake_up());
    press_key(&model);
    model.write(field::GUEST_RFLAGS, 2);
    assert_eq!((injected(&mut model), windows(&mut model)), (None, (true, false)));
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    assert_eq!((injected(&mut model), windows(&mut model)), (Some(external(KEYBOARD)), (false, false)));
    assert_eq!(model.state.apic.pending(), Some(0x40), "the processor delivers it");
}

#[test]
fn an_interrupt_of_the_8259as_ends_halt_where_lint0_lets_it_in() {
    for (lint0, wakes) in [(EXT_INT, true), (EXT_INT | 1 << 16, false)] {
        let mut model = model();
        write_apic(&mut model, LINT0, lint0);
        model.state.activity = Activity::Halted;
        press_key(&model);
        assert_eq!(model.guest().is_awake(), wakes);
        // Its CPU was told.
        assert!(!model.machine.posts.are_empty());
    }
}

#[test]
fn an_interrupt_of_the_8259as_whose_delivery_was_cut_short_comes_again_with_its_vector() {
    let mut model = model();
    press_key(&model);
    assert_eq!(injected(&mut model), Some(external(KEYBOARD)));
    model.state.take_back(KEYBOARD);
    assert!(model.guest().has_wake_up());
    model.machine.lines.write_pic(0x21, 0xff);
    assert_eq!(injected(&mut model), Some(external(KEYBOARD)), "they know it as taken");
    assert_eq!(injected(&mut model), None);
    // The same vector of the local APIC goes back there.
    interrupt(&mut model, 0x49);
    assert_eq!(injected(&mut model), Some(external(0x49)));
    model.state.take_back(0x49);
    assert_eq!(model.state.apic.pending(), Some(0x49));
}

/// SDM vol. 3, "Local Vector Table": the pin is as any other source there.
#[test]
fn a_lint0_in_another_mode_is_an_interrupt_with_each_rise_of_intr() {
    let mut model = model();
    write_apic(&mut model, LINT0, 0x55);
    press_key(&model);
    assert_eq!(model.guest().see_wires(), Ok(()));
    assert_eq!(injected(&mut model), Some(external(0x55)));
    assert_eq!((model.guest().see_wires(), injected(&mut model)), (Ok(()), None));
    const NMI_MODE: u32 = 4 << 8;
    write_apic(&mut model, LINT0, NMI_MODE);
    model.machine.set_line(1, false);
    model.machine.set_line(1, true);
    assert_eq!(model.guest().see_wires(), Ok(()));
    assert_eq!(injected(&mut model), Some(NMI_INJECTED));
}
