// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests are hostile: whatever they hold in registers and memory, and for whatever reason they exit, a handler comes
//! back, and what it leaves can be entered.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::mmu::GuestPhysical;
use crate::mmu::space::Access;
use crate::vcpu::cpuid::xstate;
use crate::vcpu::model::DATA;
use crate::vcpu::model::RAM;
use crate::vcpu::model::UNMAPPED;
use crate::vm::exercise;
use crate::vm::exercise::Exercise;
use crate::vm::model::cpu;
use evmcs::Field;
use evmcs::controls::EntryControls;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

const LMA: u64 = 1 << 10;
/// Where the exerciser's window is.
const WINDOW: u64 = 0xc000_0000;

/// What the processor tells of an exit.
#[derive(Clone, Debug)]
struct Exit {
    reason: u16,
    qualification: u64,
    guest_physical: u64,
    linear: u64,
    length: u32,
    information: u32,
    vectoring: u32,
}

/// What the guest did before it.
#[derive(Clone, Debug)]
enum Change {
    Register(u8, u64),
    Field(usize, u64),
    Rights(usize, u32),
    Blocking(u32),
    Memory(u64, Vec<u8>),
}

/// What others do meanwhile.
#[derive(Clone, Debug)]
enum Meanwhile {
    /// Another vCPU, or an I/O APIC, sends something.
    Send(Message),
    /// Another vCPU touches memory.
    Touch(u64, bool),
    /// A command of the exerciser, with A and B.
    Command(u32, u32, u32),
    /// Something is typed.
    Type(u8),
}

const FIELDS: [Field<u64>; 13] = [
    field::GUEST_RIP,
    field::GUEST_RFLAGS,
    field::GUEST_CR0,
    field::CR0_READ_SHADOW,
    field::GUEST_CR3,
    field::GUEST_CR4,
    field::GUEST_IA32_EFER,
    field::GUEST_CS_BASE,
    field::GUEST_DS_BASE,
    field::GUEST_ES_BASE,
    field::GUEST_FS_BASE,
    field::GUEST_GS_BASE,
    field::GUEST_SS_BASE,
];
const RIGHTS: [Field<u32>; 2] = [field::GUEST_CS_ACCESS_RIGHTS, field::GUEST_SS_ACCESS_RIGHTS];

/// Guest-physical or -linear: mostly where something is, and around it.
fn address() -> impl Strategy<Value = u64> {
    let places =
        vec![0, CODE, DATA, UNMAPPED, RAM, 0xfec0_0000, 0xfec0_0010, 0xfee0_0000, 1 << 32, 1 << 47, 0];
    prop_oneof![
        2 => (select(vec![WINDOW, WINDOW + 0x1000, WINDOW + (2 << 20)]), 0_u64..16)
            .prop_map(|(place, offset)| place - 8 + offset),
        4 => (select(places), 0_u64..32).prop_map(|(place, offset)| place.wrapping_sub(8).wrapping_add(offset)),
        2 => (0_u64..0x41).prop_map(|number| 0xfee0_0000 + 16 * number),
        1 => any::<u64>(),
    ]
}

/// What registers hold: MSRs, addresses, control registers, single bits, anything.
fn value() -> impl Strategy<Value = u64> {
    let msrs =
        vec![0x10, 0x1b, 0x3b, 0x1a0, 0x1d9, 0x277, 0x6e0, 0x80b, 0x80f, 0x830, 0x832, 0x838, 0xc000_0080];
    let modes =
        vec![0x1ff, 0x11, 0x8000_0011, 0xc000_0031, 0x500, 0x2020, 0xfee0_0900, 0xfee0_0d00, 0x7040_6000];
    prop_oneof![
        3 => select(msrs),
        2 => 0x800_u64..0x840,
        3 => address(),
        2 => select(modes),
        2 => (0..64).prop_map(|bit| 1_u64 << bit),
        2 => any::<u64>(),
        2 => 0_u64..32,
    ]
}

/// Instructions that touch memory, and any bytes.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 8] = [
        &[0x8b, 0x03],
        &[0x89, 0x03],
        &[0xf3, 0xa5],
        &[0xa4],
        &[0xf3, 0xab],
        &[0x83, 0x0b, 0x08],
        &[0x48, 0x87, 0x03],
        &[0x0f, 0xba, 0x2b, 0x04],
    ];
    let known = select(known.map(<[u8]>::to_vec).to_vec());
    prop_oneof![3 => known, 1 => prop::collection::vec(any::<u8>(), 1..16)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0_u8..16, value()).prop_map(|(number, value)| Change::Register(number, value)),
        2 => code().prop_map(|code| Change::Memory(CODE, code)),
        1 => (0..RAM - 16, code()).prop_map(|(at, bytes)| Change::Memory(at, bytes)),
        1 => (0..FIELDS.len(), value()).prop_map(|(field, value)| Change::Field(field, value)),
        1 => Just(Change::Field(0, CODE)),
        1 => (0..RIGHTS.len(), any::<u32>()).prop_map(|(field, value)| Change::Rights(field, value)),
        1 => (0_u32..16).prop_map(Change::Blocking),
    ]
}

fn exit() -> impl Strategy<Value = Exit> {
    let handled = vec![10, 12, 28, 30, 30, 31, 32, 32, 48, 48, 48, 55, 7, 8];
    let reason = prop_oneof![8 => select(handled), 1 => 0_u16..80, 1 => any::<u16>()];
    // Low bits tell the kind of access; for I/O the port is above them.
    let port = select(vec![
        0x3f8_u64, 0x3f9, 0x3fa, 0x3fc, 0x3ff, 0x3f6, 0x620, 0x624, 0x628, 0x62c, 0x80, 0xffff, 0x20, 0x21,
        0xa0, 0xa1, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xf4, 0x4d0, 0x600, 0x602, 0x604,
        0x608, 0xcf9,
    ]);
    let qualification = prop_oneof![
        4 => (0_u64..0x1000, port).prop_map(|(low, port)| port << 16 | low),
        2 => (0_u64..8).prop_map(|kind| 0x180 | kind),
        1 => any::<u64>(),
    ];
    let event = |(kind, vector): (u32, u32)| 1 << 31 | kind << 8 | vector;
    let vectoring =
        prop_oneof![5 => Just(0), 1 => any::<u32>(), 1 => (0_u32..16, 0_u32..256).prop_map(event)];
    (reason, qualification, address(), address(), 1_u32..16, any::<u32>(), vectoring).prop_map(
        |(reason, qualification, guest_physical, linear, length, information, vectoring)| Exit {
            reason,
            qualification,
            guest_physical,
            linear,
            length,
            information,
            vectoring,
        },
    )
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    let deliveries = select(vec![
        DeliveryMode::Fixed,
        DeliveryMode::LowestPriority,
        DeliveryMode::Nmi,
        DeliveryMode::Smi,
        DeliveryMode::StartUp,
        DeliveryMode::ExtInt,
    ]);
    let message = (deliveries, any::<u8>(), any::<bool>()).prop_map(|(delivery, vector, level)| Message {
        destination: Destination::Everyone,
        delivery,
        vector,
        trigger: if level { Trigger::Level } else { Trigger::Edge },
    });
    let operand = || prop_oneof![0_u32..64, any::<u32>(), Just((WINDOW >> 12) as u32), 0_u32..5];
    prop_oneof![
        3 => message.prop_map(Meanwhile::Send),
        2 => (address(), any::<bool>()).prop_map(|(address, write)| Meanwhile::Touch(address, write)),
        3 => (0_u32..15, operand(), operand()).prop_map(|(number, a, b)| Meanwhile::Command(number, a, b)),
        2 => (0_u32..5).prop_map(|content| Meanwhile::Command(5, content, 0)),
        1 => any::<u8>().prop_map(Meanwhile::Type),
    ]
}

fn happens(model: &mut Model, meanwhile: Meanwhile) {
    let machine = &model.machine;
    match meanwhile {
        Meanwhile::Send(message) => machine.posts.send(message, Some(1)),
        Meanwhile::Touch(address, write) => {
            let access = Access { read: !write, write, execute: false };
            let _ = machine.memory.fault(cpu(1), GuestPhysical(address), access);
        }
        Meanwhile::Command(number, a, b) => {
            for (port, value) in [(0x624, a), (0x628, b), (0x620, number)] {
                let _ = machine.write_port(port, 4, value, || 0);
            }
            exercise::execute(&mut model.guest());
        }
        Meanwhile::Type(byte) => {
            let mut typed = Some(byte);
            machine.receive(|| typed.take());
        }
    }
}

fn with_exerciser(mut model: Model) -> Model {
    let machine = Arc::get_mut(&mut model.machine).expect("nobody else has it yet");
    machine.exercise = Some(Exercise::new(&machine.memory, 7).expect("the host has memory"));
    model
}

fn apply(model: &mut Model, change: Change) {
    match change {
        Change::Register(number, value) => model.guest().set_register(number, value),
        Change::Field(index, value) => model.write(FIELDS[index], value),
        Change::Rights(index, value) => model.write(RIGHTS[index], value),
        Change::Blocking(value) => model.write(field::GUEST_INTERRUPTIBILITY_STATE, value),
        Change::Memory(at, bytes) => model.store(at, &bytes),
    }
    // As the processor does at an exit (SDM vol. 3, "Recording VM-Exit Information and Updating VM-Entry Control Fields").
    let long_mode = model.read(field::GUEST_IA32_EFER) & LMA != 0;
    let controls =
        EntryControls::from_bits(model.read(field::VM_ENTRY_CONTROLS)).with_ia32e_mode_guest(long_mode);
    model.write(field::VM_ENTRY_CONTROLS, controls.into_bits());
    // Outside of 64-bit mode RIP has 32 bits.
    if !model.guest().in_64_bit_mode() {
        let rip = model.read(field::GUEST_RIP);
        model.write(field::GUEST_RIP, rip & 0xffff_ffff);
    }
}

fn tell(model: &mut Model, exit: &Exit) {
    model.tell(field::EXIT_QUALIFICATION, exit.qualification);
    model.tell(field::GUEST_PHYSICAL_ADDRESS, exit.guest_physical);
    model.tell(field::GUEST_LINEAR_ADDRESS, exit.linear);
    model.tell(field::VM_EXIT_INSTRUCTION_LENGTH, exit.length);
    model.tell(field::VM_EXIT_INSTRUCTION_INFORMATION, exit.information);
    model.tell(field::IDT_VECTORING_INFORMATION, exit.vectoring);
}

/// One exit, and what is prepared for the next entry. Whether the VM goes on.
fn step(model: &mut Model, exit: &Exit) -> bool {
    tell(model, exit);
    let reason = ExitReason::from_field(exit.reason.into());
    let (rip, registers) = (model.read(field::GUEST_RIP), model.frame.registers);
    if model.exit(reason).is_err() {
        return false;
    }
    if model.state.exception.is_some() {
        assert_eq!(
            model.read(field::GUEST_RIP),
            rip,
            "an exception is one of the instruction that raised it"
        );
        assert_eq!(model.frame.registers, registers);
    }
    if model.takes_mail().is_err() {
        return false;
    }
    let _ = (model.guest().has_wake_up(), model.guest().waits_for_others());
    model.guest().deliver_events();
    assert_eq!(model.state.exception, None);
    true
}

fn check_what_entry_checks(model: &mut Model) {
    let long_mode = model.read(field::GUEST_IA32_EFER) & LMA != 0;
    let controls = EntryControls::from_bits(model.read(field::VM_ENTRY_CONTROLS));
    assert_eq!(controls.ia32e_mode_guest(), long_mode);
    if !model.guest().in_64_bit_mode() {
        assert_eq!(model.read(field::GUEST_RIP) >> 32, 0);
    }
    assert!(model.state.processor.xcr0() & xstate::X87 != 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    #[cfg_attr(miri, ignore = "reads the processor's TSC")]
    fn no_guest_makes_a_handler_panic(
        long in any::<bool>(),
        steps in prop::collection::vec(
            (prop::collection::vec(change(), 0..8), prop::collection::vec(meanwhile(), 0..3), exit()), 1..24
        ),
    ) {
        let mut model = with_exerciser(if long { Model::long_64() } else { Model::protected_32() });
        for (changes, others, exit) in steps {
            others.into_iter().for_each(|meanwhile| happens(&mut model, meanwhile));
            changes.into_iter().for_each(|change| apply(&mut model, change));
            if !step(&mut model, &exit) {
                break;
            }
            check_what_entry_checks(&mut model);
        }
    }
}
