// SPDX-License-Identifier: MIT OR Apache-2.0
//! A processor that plays the task priority, and tells accesses to the rest of the local APIC by exits of their own.

use super::*;
use crate::irqchip::local_apic::CR8_EXITS;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::memory::Frames;
use crate::vcpu::controls;
use crate::vcpu::model::CODE;
use crate::vcpu::model::LENGTH;
use crate::vcpu::model::Model;
use crate::vmx::exit::EventInformation;
use crate::vmx::exit::ExitReason;
use core::num::NonZeroU32;
use proptest::prelude::*;

const INTERRUPT_FLAG: u64 = 1 << 9;
// Offsets in the page of the local APIC.
const VERSION: u64 = 0x30;
const TASK_PRIORITY: u64 = 0x80;
const EOI: u64 = 0xb0;
const INTERRUPT_COMMAND: u64 = 0x300;
const ITSELF: u32 = 1 << 18;
// IA32_APIC_BASE.
const DISABLED: u64 = LOCAL_APIC_BASE | 1 << 8;
const XAPIC: u64 = DISABLED | 1 << 11;
const X2APIC: u64 = XAPIC | 1 << 10;

/// Ready to take interrupts.
fn model() -> Model {
    let mut model = Model::long_64().with_played_apic(Part::TaskPriority);
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    model
}

fn interrupt(model: &mut Model, vector: u8) {
    model.write_apic(INTERRUPT_COMMAND, ITSELF | u32::from(vector));
}

/// What the next entry injects, if anything has to be seen to before it. It is taken, as by that entry.
fn enters(model: &mut Model) -> Option<u8> {
    if model.state.attention {
        model.guest().deliver_events();
    }
    let information = EventInformation::from(model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION));
    model.write(field::VM_ENTRY_INTERRUPTION_INFORMATION, 0);
    information.valid().then_some(information.vector())
}

/// MOV to CR8 as the processor carries it out: "TPR Virtualization".
fn writes_cr8(model: &mut Model, value: u8) {
    writes_priority(model, value << 4);
}

/// The same, for a write to the register.
fn writes_priority(model: &mut Model, value: u8) {
    model.set_virtual_apic(TASK_PRIORITY, value.into());
    if u32::from(value >> 4) < model.read(field::TPR_THRESHOLD) {
        assert_eq!(model.exit(ExitReason::TPR_BELOW_THRESHOLD), Ok(()));
    }
}

fn shadow(model: &mut Model) -> (bool, bool) {
    let controls = PrimaryControls::from_bits(model.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
    assert_eq!(controls.cr8_load_exiting(), controls.cr8_store_exiting());
    (controls.use_tpr_shadow(), controls.cr8_load_exiting())
}

fn sets_base(model: &mut Model, base: u64) {
    let effect = model.state.apic.set_base(base).expect("that is a legal mode");
    model.guest().carry_out(effect);
}

/// The instruction `code` at RIP touches the page at that offset.
fn touches(model: &mut Model, code: &[u8], kind: u8, offset: u64) -> Result<(), End> {
    model.write(field::GUEST_RIP, CODE);
    model.store(CODE, code);
    let qualification = ApicAccessQualification::new().with_offset(offset).with_kind(kind);
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
    model.tell(field::VM_EXIT_INSTRUCTION_LENGTH, code.len() as u32);
    model.exit(ExitReason::APIC_ACCESS)
}

/// MOV [RBX], EAX; XCHG [RBX], EAX; no instruction.
const STORE: &[u8] = &[0x89, 0x03];
const EXCHANGE: &[u8] = &[0x87, 0x03];
const NONE: &[u8] = &[0x0f, 0xff];

#[test]
fn what_is_used_is_what_there_is_and_what_is_asked_for() {
    let all = controls::wanted();
    let without_delivery =
        Controls { secondary: all.secondary.with_virtual_interrupt_delivery(false), ..all };
    let without_shadow = Controls { primary: all.primary.with_use_tpr_shadow(false), ..all };
    assert_eq!(part(&all), Some(Part::Whole));
    assert_eq!(part(&without_delivery), Some(Part::TaskPriority));
    assert_eq!(part(&without_shadow), None);
    for (asked, has_accesses) in
        [(None, false), (Some(Part::Cr8), false), (Some(Part::TaskPriority), true), (Some(Part::Whole), true)]
    {
        let limited = limited(all, asked);
        assert_eq!(part(&limited), asked);
        assert_eq!(limited.secondary.virtualize_apic_accesses(), has_accesses);
        assert_eq!(limited.primary.cr8_load_exiting(), asked.is_none());
        // SDM vol. 3, "VM-Execution Control Fields": neither goes without the other two.
        let whole = asked == Some(Part::Whole);
        assert_eq!(limited.secondary.apic_register_virtualization(), whole);
        assert_eq!(limited.secondary.virtual_interrupt_delivery(), whole);
        assert_eq!(limited.secondary.virtualize_x2apic_mode(), whole);
    }
    let secondary = all.secondary.with_virtualize_apic_accesses(false);
    let without_accesses = limited(Controls { secondary, ..all }, Some(Part::TaskPriority));
    assert!(!without_accesses.secondary.virtualize_apic_accesses(), "none that the processor has not");
    assert_eq!(part(&without_accesses), Some(Part::Cr8));
}

/// SDM vol. 3, "Checks on VMX Controls": accesses to the page are not virtualized together with x2APIC mode. And what has no frame
/// is not played at all.
#[test]
fn the_processor_plays_the_mode_that_the_apic_is_in() {
    let page = |controls: SecondaryControls| controls.virtualize_apic_accesses();
    let msrs = |controls: SecondaryControls| controls.virtualize_x2apic_mode();
    let delivery = |controls: SecondaryControls| controls.virtual_interrupt_delivery();
    for (part, has_page) in [(None, false), (Some(Part::TaskPriority), true), (Some(Part::Whole), true)] {
        let mut apic = LocalApic::new(0, true, NonZeroU32::MIN);
        if let Some(part) = part {
            apic = apic.in_frame(Frames::one().expect("the host has memory"), part);
        }
        let whole = part == Some(Part::Whole);
        let mut controls = controls::wanted().secondary;
        for (base, expected) in [
            (XAPIC, (has_page, false, whole)),
            (X2APIC, (has_page && !whole, whole, whole)),
            (DISABLED, (has_page, false, false)),
            (XAPIC, (has_page, false, whole)),
        ] {
            let _ = apic.set_base(base).expect("that is a legal mode");
            controls = settled(controls, &apic, has_page);
            assert_eq!((page(controls), msrs(controls), delivery(controls)), expected, "{part:?} {base:#x}");
            assert_eq!(controls.apic_register_virtualization(), delivery(controls));
        }
    }
}

/// Its MSRs that do not exit are the CPU's own for all others.
#[test]
fn msrs_of_x2apic_exit_unless_the_processor_plays_them() {
    let mut model = model();
    let exiting = model.machine.msr_bitmap.address(false);
    assert_ne!(exiting, model.machine.msr_bitmap.address(true));
    for base in [XAPIC, X2APIC, DISABLED] {
        sets_base(&mut model, base);
        assert_eq!(model.read(field::MSR_BITMAP_ADDRESS), exiting);
    }
}

/// SDM vol. 3, "Interaction of Task Priorities between CR8 and APIC".
#[test]
fn cr8_and_the_register_are_one_and_stand_where_the_processor_looks() {
    let mut model = model();
    assert_eq!(shadow(&mut model), (true, false));
    let page = model.read(field::VIRTUAL_APIC_ADDRESS);
    assert_eq!(Some(page), model.state.apic.virtual_page());
    model.write_apic(TASK_PRIORITY, 0x73);
    assert_eq!((model.virtual_apic(TASK_PRIORITY), model.state.apic.cr8()), (0x73, 7));
    writes_cr8(&mut model, 4);
    assert_eq!(model.virtual_apic(TASK_PRIORITY), 0x40);
    assert_eq!(model.state.apic.mmio_read(TASK_PRIORITY, 0), 0x40);
    assert_eq!(model.state.apic.processor_priority(), 0x40);
}

#[test]
fn an_interrupt_that_the_task_priority_holds_back_comes_when_that_falls_below_its_class() {
    let mut model = model();
    writes_cr8(&mut model, 6);
    interrupt(&mut model, 0x51);
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 5));
    writes_cr8(&mut model, 5);
    assert!(!model.state.attention, "no exit yet");
    writes_cr8(&mut model, 4);
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (Some(0x51), 0));
}

#[test]
fn with_interrupts_off_it_waits_for_its_window_and_not_for_the_task_priority() {
    let mut model = model();
    writes_cr8(&mut model, 6);
    interrupt(&mut model, 0x51);
    assert_eq!(enters(&mut model), None);
    model.write(field::GUEST_RFLAGS, 2);
    writes_cr8(&mut model, 0);
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 0));
    let controls = PrimaryControls::from_bits(model.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
    assert!(controls.interrupt_window_exiting());
}

#[test]
fn one_in_service_holds_back_without_exits_until_it_ends() {
    let mut model = model();
    interrupt(&mut model, 0x61);
    assert_eq!(enters(&mut model), Some(0x61));
    writes_cr8(&mut model, 7);
    interrupt(&mut model, 0x55);
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 0));
    for _ in 0..2 {
        // The second time it is known.
        assert_eq!(touches(&mut model, STORE, ApicAccessQualification::WRITE, EOI), Ok(()));
    }
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 5));
    writes_cr8(&mut model, 0);
    assert_eq!(enters(&mut model), Some(0x55));
}

#[test]
fn reset_and_init_leave_no_priority_and_no_threshold() {
    for init in [false, true] {
        let mut model = model();
        writes_cr8(&mut model, 9);
        interrupt(&mut model, 0x71);
        assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 7));
        match init {
            true => model.guest().init(),
            false => model.guest().reset(0),
        }
        assert_eq!((model.read(field::TPR_THRESHOLD), model.state.apic.cr8()), (0, 0));
        assert_eq!(model.virtual_apic(TASK_PRIORITY), 0);
        assert_eq!(shadow(&mut model), (true, false));
    }
}

/// MOV from and to CR8, by turns, which exit.
fn accesses_cr8(model: &mut Model, times: u32) {
    const RAX_FROM: u64 = 0x18;
    const RAX_TO: u64 = 0x08;
    model.frame.registers.rax = model.state.apic.cr8();
    for time in 0..times {
        model.tell(field::EXIT_QUALIFICATION, if time % 2 == 0 { RAX_FROM } else { RAX_TO });
        model.executes(ExitReason::CONTROL_REGISTER);
    }
}

#[test]
fn cr8_alone_is_played_once_the_guest_has_used_it_often_and_until_reset() {
    let mut model = Model::long_64().with_played_apic(Part::Cr8);
    model.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
    model.write_apic(TASK_PRIORITY, 0x60);
    interrupt(&mut model, 0x51);
    accesses_cr8(&mut model, CR8_EXITS - 1);
    assert_eq!((shadow(&mut model), enters(&mut model)), ((false, true), None));
    accesses_cr8(&mut model, 1);
    assert_eq!((shadow(&mut model), model.virtual_apic(TASK_PRIORITY)), ((true, false), 0x60));
    assert_eq!(Some(model.read(field::VIRTUAL_APIC_ADDRESS)), model.state.apic.virtual_page());
    // Before it is entered again the processor knows what waits.
    assert_eq!((enters(&mut model), model.read(field::TPR_THRESHOLD)), (None, 5));
    writes_cr8(&mut model, 4);
    assert_eq!(enters(&mut model), Some(0x51));
    model.guest().init();
    assert_eq!(shadow(&mut model), (true, false));
    model.guest().reset(0);
    assert_eq!(shadow(&mut model), (false, true));
}

#[test]
fn the_shadow_goes_with_the_mode() {
    let mut model = model();
    writes_cr8(&mut model, 3);
    sets_base(&mut model, X2APIC);
    assert_eq!((shadow(&mut model), model.state.apic.cr8()), ((true, false), 3));
    sets_base(&mut model, DISABLED);
    assert_eq!(shadow(&mut model), (false, true));
    sets_base(&mut model, XAPIC);
    assert_eq!((shadow(&mut model), model.read(field::TPR_THRESHOLD)), ((true, false), 0));
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn nothing_is_in_the_page_but_in_xapic_mode() {
    const LOAD: &[u8] = &[0x48, 0x8b, 0x03];
    let mut model = model();
    let loads = |model: &mut Model| {
        assert_eq!(touches(model, LOAD, ApicAccessQualification::READ, VERSION), Ok(()));
        model.frame.registers.rax
    };
    assert_eq!(loads(&mut model), 0x0105_0014);
    for base in [X2APIC, DISABLED] {
        sets_base(&mut model, base);
        assert_eq!(loads(&mut model), u64::MAX);
    }
}

/// The code is looked at once; what is there afterwards shows whether it is looked at again.
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn the_instruction_that_ends_interrupts_is_decoded_once() {
    let mut model = model();
    let ends = |model: &mut Model, code| touches(model, code, ApicAccessQualification::WRITE, EOI);
    for code in [EXCHANGE, STORE, NONE] {
        interrupt(&mut model, 0x51);
        assert_eq!(enters(&mut model), Some(0x51));
        assert_eq!((ends(&mut model, code), model.state.exception), (Ok(()), None));
        assert_eq!(model.read(field::GUEST_RIP), CODE + LENGTH);
        assert_eq!(model.state.apic.processor_priority(), 0);
    }
    // Of another length, elsewhere, or another register: another instruction.
    assert!(ends(&mut model, &[0x0f, 0xff, 0xff]).is_err());
    assert!(touches(&mut model, NONE, ApicAccessQualification::READ, EOI).is_err());
    assert!(touches(&mut model, NONE, ApicAccessQualification::WRITE, TASK_PRIORITY).is_err());
    model.state.eoi_store = Some((CODE + 1, NONE.len() as u32));
    assert!(ends(&mut model, NONE).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn an_instruction_that_does_more_than_to_end_an_interrupt_is_decoded_each_time() {
    let mut model = model();
    for _ in 0..3 {
        model.frame.registers.rax = 0x5555;
        assert_eq!(touches(&mut model, EXCHANGE, ApicAccessQualification::WRITE, EOI), Ok(()));
        assert_eq!(model.frame.registers.rax, 0);
    }
}

/// What a guest does, and what comes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Interrupt(u8),
    Cr8(u8),
    TaskPriority(u8),
    EndOfInterrupt,
    Interrupts(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0x20..=0xff_u8).prop_map(Step::Interrupt),
        (0..16_u8).prop_map(Step::Cr8),
        any::<u8>().prop_map(Step::TaskPriority),
        Just(Step::EndOfInterrupt),
        any::<bool>().prop_map(Step::Interrupts),
    ]
}

proptest! {
    /// The other one exits for each of its accesses.
    #[test]
    #[cfg_attr(miri, ignore = "reads the processor's TSC")]
    fn interrupts_come_as_to_one_whose_task_priority_software_plays(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let (mut shadowed, mut other) = (model(), Model::long_64());
        other.write(field::GUEST_RFLAGS, 2 | INTERRUPT_FLAG);
        other.enable_apic();
        for step in steps {
            match step {
                Step::Interrupt(vector) => {
                    interrupt(&mut shadowed, vector);
                    interrupt(&mut other, vector);
                }
                Step::Cr8(value) => {
                    writes_cr8(&mut shadowed, value);
                    other.write_apic(TASK_PRIORITY, u32::from(value) << 4);
                }
                Step::TaskPriority(value) => {
                    writes_priority(&mut shadowed, value);
                    other.write_apic(TASK_PRIORITY, value.into());
                }
                Step::EndOfInterrupt => {
                    prop_assert_eq!(touches(&mut shadowed, STORE, ApicAccessQualification::WRITE, EOI), Ok(()));
                    other.write_apic(EOI, 0);
                }
                Step::Interrupts(on) => {
                    let rflags = 2 | if on { INTERRUPT_FLAG } else { 0 };
                    for model in [&mut shadowed, &mut other] {
                        model.write(field::GUEST_RFLAGS, rflags);
                        // As its window does.
                        model.state.attention |= on;
                    }
                }
            }
            prop_assert_eq!(enters(&mut shadowed), enters(&mut other), "after {:?}", step);
            prop_assert!(u64::from(shadowed.read(field::TPR_THRESHOLD)) <= shadowed.state.apic.cr8());
        }
    }
}
