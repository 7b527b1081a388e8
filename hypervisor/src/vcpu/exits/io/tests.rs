// SPDX-License-Identifier: MIT OR Apache-2.0
//! IN and OUT; what is behind the ports is for the tests of the machine.

mod string;

use super::*;
use crate::cpu::CpuNumber;
use crate::vcpu::model::LENGTH;
use crate::vcpu::model::Model;
use crate::vmx::exit::ExitReason;

/// No device is here.
const ABSENT: u16 = 0x80;
const UART_DATA: u16 = 0x3f8;
const UART_INTERRUPT_ENABLE: u16 = 0x3f9;
const UART_MODEM_CONTROL: u16 = 0x3fc;
const UART_SCRATCH: u16 = 0x3ff;

const RUBBISH: u64 = 0x1122_3344_5566_7788;

fn plain(port: u16, size: u8, input: bool) -> IoQualification {
    IoQualification::new().with_port(port).with_size_less_one(size - 1).with_input(input)
}

fn prepare(model: &mut Model, qualification: IoQualification) {
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
}

/// RAX after IN, before which it held rubbish.
#[track_caller]
fn input(model: &mut Model, port: u16, size: u8) -> u64 {
    prepare(model, plain(port, size, true));
    model.frame.registers.rax = RUBBISH;
    model.executes(ExitReason::IO_INSTRUCTION);
    model.frame.registers.rax
}

#[track_caller]
fn output(model: &mut Model, port: u16, size: u8, value: u64) {
    prepare(model, plain(port, size, false));
    model.frame.registers.rax = value;
    model.executes(ExitReason::IO_INSTRUCTION);
    assert_eq!(model.frame.registers.rax, value);
}

#[test]
fn small_inputs_keep_what_is_above_and_wide_ones_clear_it() {
    let old = 0x1122_3344_5566_7788;
    assert_eq!(merged(old, 0xff, 1), 0x1122_3344_5566_77ff);
    assert_eq!(merged(old, 0xffff, 2), 0x1122_3344_5566_ffff);
    assert_eq!(merged(old, 0xffff_ffff, 4), 0xffff_ffff);
}

#[test]
fn registers_wrap_at_their_address_size() {
    assert_eq!(replaced(0xabcd_ffff, 0x1_0000, address_mask(0)), 0xabcd_0000);
    assert_eq!(replaced(0x1_ffff_ffff, 0x2_0000_0000, address_mask(1 << 7)), 0);
    assert_eq!(replaced(u64::MAX, 0, address_mask(2 << 7)), 0);
}

#[test]
fn an_absent_port_reads_as_all_ones_and_swallows_what_is_written() {
    let mut model = Model::long_64();
    assert_eq!(input(&mut model, ABSENT, 1), RUBBISH | 0xff);
    assert_eq!(input(&mut model, ABSENT, 2), RUBBISH | 0xffff);
    assert_eq!(input(&mut model, ABSENT, 4), 0xffff_ffff);
    for size in [1, 2, 4] {
        output(&mut model, ABSENT, size, RUBBISH);
    }
    // The last port is followed by the first.
    assert_eq!(input(&mut model, u16::MAX, 4), 0xffff_ffff);
    output(&mut model, u16::MAX, 4, RUBBISH);
}

#[test]
fn a_device_gets_the_bytes_of_a_wide_access_one_port_after_the_other() {
    let mut model = Model::long_64();
    output(&mut model, UART_SCRATCH, 1, 0xffff_ff5a);
    assert_eq!(input(&mut model, UART_SCRATCH, 1), RUBBISH & !0xff | 0x5a);
    assert_eq!(input(&mut model, UART_SCRATCH, 2), RUBBISH & !0xffff | 0xff5a, "the next port is absent");
    // The last of four ports is the scratch register.
    output(&mut model, UART_MODEM_CONTROL, 4, 0xa5_00_00_08);
    assert_eq!(input(&mut model, UART_SCRATCH, 1) & 0xff, 0xa5);
    assert_eq!(input(&mut model, UART_MODEM_CONTROL, 4), 0xa5b0_6008);
}

#[test]
fn an_access_without_consequences_leaves_every_group_of_the_vmcs_clean() {
    let mut model = Model::long_64();
    input(&mut model, ABSENT, 1);
    assert_eq!(model.clean_fields(), 0xffff);
    assert!(!model.state.attention);
}

/// With the I/O APIC's pin 4, the UART's, leading to vector 0x44.
fn with_uart_interrupt(level: bool) -> Model {
    let mut model = Model::long_64();
    model.enable_apic();
    model.state.attention = false;
    assert!(model.machine.write_io_apic(0, 0x10 + 2 * 4).is_empty());
    assert!(model.machine.write_io_apic(0x10, 0x44 | u32::from(level) << 15).is_empty());
    model
}

#[test]
fn the_uarts_interrupt_reaches_the_local_apic_through_the_io_apic() {
    let mut model = with_uart_interrupt(false);
    output(&mut model, UART_MODEM_CONTROL, 1, 8);
    assert_eq!(model.state.apic.pending(), None);
    assert!(!model.state.attention);
    output(&mut model, UART_INTERRUPT_ENABLE, 1, 2);
    assert_eq!(model.neighbours.take().notified, [CpuNumber::BOOT]);
    assert_eq!(model.takes_mail(), Ok(()));
    assert_eq!(model.state.apic.pending(), Some(0x44));
    assert!(model.state.attention);
}

#[test]
fn a_level_that_is_still_asserted_at_the_end_of_interrupt_interrupts_again() {
    const END_OF_INTERRUPT: u64 = 0xb0;
    let mut model = with_uart_interrupt(true);
    output(&mut model, UART_MODEM_CONTROL, 1, 8);
    output(&mut model, UART_INTERRUPT_ENABLE, 1, 2);
    for _ in 0..2 {
        assert_eq!(model.takes_mail(), Ok(()));
        assert_eq!(model.state.apic.pending(), Some(0x44));
        model.state.apic.acknowledge(0x44);
        assert_eq!(model.state.apic.pending(), None);
        let effect = model.state.apic.mmio_write(END_OF_INTERRUPT, 0, 0);
        model.guest().carry_out(effect);
    }
    assert_eq!(model.takes_mail(), Ok(()));
    model.state.apic.acknowledge(0x44);
    output(&mut model, UART_INTERRUPT_ENABLE, 1, 0);
    let effect = model.state.apic.mmio_write(END_OF_INTERRUPT, 0, 0);
    model.guest().carry_out(effect);
    assert!(model.machine.posts.are_empty());
    assert_eq!(model.state.apic.pending(), None);
}

#[test]
fn power_off_and_reset_end_the_vm_behind_the_instruction() {
    for (port, value, end) in [
        (0x605, 0x20, End::PoweredOff),
        (0xcf9, 6, End::Reset),
        (0xf4, 0x10, End::DebugExit { status: 0x21 }),
    ] {
        let mut model = Model::long_64();
        prepare(&mut model, plain(port, 1, false));
        model.frame.registers.rax = value;
        let next = model.read(field::GUEST_RIP) + LENGTH;
        assert_eq!(model.exit(ExitReason::IO_INSTRUCTION), Err(end));
        assert_eq!(model.read(field::GUEST_RIP), next);
    }
    let mut model = Model::long_64();
    output(&mut model, 0x605, 1, 0x34);
    output(&mut model, 0x604, 1, 0x20);
    output(&mut model, 0xcf9, 1, 2);
    // PCI's configuration address.
    output(&mut model, 0xcf8, 4, 0x8000_0600);
}

#[test]
fn input_that_was_held_back_is_looked_for_once_there_is_room() {
    let mut model = Model::long_64();
    let mut typed = b"ab".iter().copied();
    model.machine.receive(|| typed.next());
    input(&mut model, UART_SCRATCH, 1);
    assert_eq!(model.neighbours.take().asked_for_input, 0, "a guest that reads nothing disturbs nobody");
    input(&mut model, UART_DATA, 1);
    assert_eq!(model.neighbours.take().asked_for_input, 1);
    // The one that reads the console brings the rest, and finds that it is all.
    model.machine.receive(|| typed.next());
    model.machine.receive(|| typed.next());
    assert_eq!(input(&mut model, UART_DATA, 1) & 0xff, b'b'.into());
    model.machine.receive(|| typed.next());
    input(&mut model, UART_DATA, 1);
    assert_eq!(model.neighbours.take().asked_for_input, 1);
}

#[test]
fn an_interrupt_that_resets_the_vcpu_ends_the_vm() {
    let mut model = with_uart_interrupt(false);
    const INIT: u32 = 5 << 8;
    assert!(model.machine.write_io_apic(0x10, INIT).is_empty());
    output(&mut model, UART_MODEM_CONTROL, 1, 8);
    prepare(&mut model, plain(UART_INTERRUPT_ENABLE, 1, false));
    model.frame.registers.rax = 2;
    assert_eq!(model.exit(ExitReason::IO_INSTRUCTION), Ok(()));
    assert_eq!(model.takes_mail(), Err(End::Init));
}
