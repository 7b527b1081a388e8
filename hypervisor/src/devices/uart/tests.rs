// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the data sheet of the 16550 promises, and what drivers probe for.

use super::Full;
use super::Uart;
use proptest::prelude::*;
use std::collections::VecDeque;

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

const RECEIVED_DATA: u8 = 1;
const TRANSMITTER_EMPTY: u8 = 2;
const LINE_STATUS: u8 = 4;
const MODEM_STATUS: u8 = 8;

const OUT2: u8 = 8;
const LOOPBACK: u8 = 0x10;

/// With FIFOs at the given trigger level (0 to 3), connected to the interrupt controller.
fn with_fifos(trigger: u8) -> Uart {
    let mut uart = Uart::new();
    set(&mut uart, FCR, trigger << 6 | 1);
    set(&mut uart, MCR, OUT2);
    uart
}

/// Writes what is not to be sent.
fn set(uart: &mut Uart, offset: u8, value: u8) {
    assert_eq!(uart.write(offset, value), None);
}

fn fill(uart: &mut Uart, bytes: usize) {
    for byte in 0..bytes {
        assert_eq!(uart.receive(byte as u8), Ok(()));
    }
}

#[test]
fn reset_leaves_what_the_table_says() {
    // Data sheet, table "UART Reset Configuration".
    let mut uart = Uart::new();
    assert_eq!(uart.read(IER), 0);
    assert_eq!(uart.read(IIR), 1);
    assert_eq!(uart.read(LCR), 0);
    assert_eq!(uart.read(MCR), 0);
    assert_eq!(uart.read(LSR), 0x60);
    assert_eq!(uart.read(MSR), 0xB0);
    assert!(!uart.interrupt_line());
}

#[test]
fn written_byte_goes_out_at_once() {
    let mut uart = Uart::new();
    assert_eq!(uart.write(DATA, b'x'), Some(b'x'));
    assert_eq!(uart.read(LSR), 0x60);
}

#[test]
fn divisor_hides_behind_dlab() {
    let mut uart = Uart::new();
    set(&mut uart, IER, 0x05);
    set(&mut uart, LCR, 0x83);
    set(&mut uart, DATA, 0x0C);
    set(&mut uart, IER, 0x12);
    assert_eq!((uart.read(DATA), uart.read(IER)), (0x0C, 0x12));
    set(&mut uart, LCR, 0x03);
    assert_eq!((uart.read(DATA), uart.read(IER)), (0, 0x05));
}

#[test]
fn fifos_tell_a_16550a_from_its_elders_and_its_heirs() {
    // What Linux's autoconfig looks at: IIR[7:6], no EFR behind LCR, no 64-byte FIFO, a scratch register.
    let mut uart = Uart::new();
    set(&mut uart, IER, 0xFF);
    assert_eq!(uart.read(IER), 0x0F);
    set(&mut uart, IER, 0);
    set(&mut uart, FCR, 0x01);
    assert_eq!(uart.read(IIR) >> 6, 3);
    for configuration_mode in [0x80, 0xBF] {
        set(&mut uart, LCR, configuration_mode);
        assert_ne!(uart.read(IIR), 0);
    }
    set(&mut uart, LCR, 0);
    set(&mut uart, FCR, 0x21);
    assert_eq!(uart.read(IIR) & 0x20, 0);
    set(&mut uart, FCR, 0);
    assert_eq!(uart.read(IIR) >> 6, 0);
    set(&mut uart, SCR, 0xA5);
    assert_eq!(uart.read(SCR), 0xA5);
}

#[test]
fn loopback_turns_the_modem_outputs_into_inputs() {
    // Data sheet, "Modem Control Register", bit 4; Linux's autoconfig tests RTS and OUT2.
    let mut uart = Uart::new();
    for (outputs, inputs) in
        [(0x0A, 0x90), (0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80), (0x0F, 0xF0)]
    {
        set(&mut uart, MCR, LOOPBACK | outputs);
        assert_eq!(uart.read(MSR) & 0xF0, inputs);
    }
    set(&mut uart, MCR, 0);
    assert_eq!(uart.read(MSR) & 0xF0, 0xB0);
}

#[test]
fn changed_modem_lines_are_told_once() {
    // Data sheet, "Modem Status Register".
    let mut uart = Uart::new();
    set(&mut uart, MCR, LOOPBACK | 0x03 | OUT2);
    assert_eq!(uart.read(MSR), 0xB0);
    set(&mut uart, IER, MODEM_STATUS);
    // RI rises, which does not count; DSR falls.
    set(&mut uart, MCR, LOOPBACK | 0x06 | OUT2);
    assert!(uart.interrupt_line());
    assert_eq!(uart.read(IIR), 0x00);
    assert_eq!(uart.read(MSR), 0xD2);
    assert_eq!(uart.read(IIR), 0x01);
    // RI falls.
    set(&mut uart, MCR, LOOPBACK | 0x02 | OUT2);
    assert_eq!(uart.read(MSR), 0x94);
    assert_eq!(uart.read(MSR), 0x90);
}

#[test]
fn loopback_sends_to_the_own_receiver_only() {
    // Data sheet, "Modem Control Register", bit 4.
    let mut uart = with_fifos(0);
    set(&mut uart, MCR, LOOPBACK);
    assert_eq!(uart.write(DATA, 0x42), None);
    assert_eq!(uart.room(), 0);
    assert_eq!(uart.receive(0x43), Err(Full));
    assert_eq!(uart.read(LSR), 0x61);
    assert_eq!(uart.read(DATA), 0x42);
    assert_eq!(uart.read(LSR), 0x60);
}

#[test]
fn trigger_level_parts_data_ready_from_timeout() {
    // Data sheet, "FIFO Interrupt Mode Operation".
    for (trigger, level) in [(0, 1), (1, 4), (2, 8), (3, 14)] {
        let mut uart = with_fifos(trigger);
        set(&mut uart, IER, RECEIVED_DATA);
        fill(&mut uart, level - 1);
        assert_eq!(uart.read(IIR), if level == 1 { 0xC1 } else { 0xCC });
        assert_eq!(uart.interrupt_line(), level > 1);
        fill(&mut uart, 1);
        assert_eq!(uart.read(IIR), 0xC4);
        assert!(uart.interrupt_line());
        while uart.read(LSR) & 1 != 0 {
            uart.read(DATA);
        }
        assert_eq!(uart.read(IIR), 0xC1);
        assert!(!uart.interrupt_line());
    }
}

#[test]
fn transmitter_interrupt_is_told_once_each_time() {
    // Data sheet, table "Interrupt Control Functions": reset by reading the IIR, if it is the source.
    let mut uart = with_fifos(0);
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert!(uart.interrupt_line());
    assert_eq!(uart.read(IIR), 0xC2);
    assert!(!uart.interrupt_line());
    assert_eq!(uart.read(IIR), 0xC1);
    assert_eq!(uart.write(DATA, b'a'), Some(b'a'));
    assert_eq!(uart.read(IIR), 0xC2);
    // Enabled while it is: nothing new. Enabled anew, as Linux tests: it is due again.
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert_eq!(uart.read(IIR), 0xC1);
    set(&mut uart, IER, 0);
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert_eq!(uart.read(IIR), 0xC2);
}

#[test]
fn a_transmitter_that_is_held_back_is_not_empty_and_says_when_it_is_again() {
    let mut uart = with_fifos(0);
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert_eq!(uart.read(LSR), 0x60);
    uart.hold_back();
    assert!(!uart.interrupt_line());
    assert_eq!(uart.read(LSR), 0);
    let sent = (0..100).filter(|_| uart.write(DATA, b'a').is_some()).count();
    assert_eq!(sent, 16, "as much as was begun before it looked");
    set(&mut uart, IER, 0);
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert!(!uart.interrupt_line());
    uart.release();
    assert!(uart.interrupt_line());
    assert_eq!((uart.read(IIR), uart.read(LSR)), (0xC2, 0x60));
    uart.release();
    assert!(!uart.interrupt_line(), "it was not held back");
}

#[test]
fn interrupts_are_told_by_priority() {
    // Data sheet, table "Interrupt Control Functions".
    let mut uart = with_fifos(0);
    set(&mut uart, MCR, LOOPBACK | OUT2);
    set(&mut uart, IER, RECEIVED_DATA | TRANSMITTER_EMPTY | LINE_STATUS | MODEM_STATUS);
    for byte in 0..17 {
        set(&mut uart, DATA, byte);
    }
    assert_eq!(uart.read(IIR), 0xC6);
    assert_eq!(uart.read(LSR), 0x63);
    assert_eq!(uart.read(IIR), 0xC4);
    // Telling another source has not taken the transmitter's interrupt back.
    set(&mut uart, FCR, 0x03);
    assert_eq!(uart.read(IIR), 0xC2);
    assert_eq!(uart.read(IIR), 0xC0);
    uart.read(MSR);
    assert_eq!(uart.read(IIR), 0xC1);
}

#[test]
fn overrun_loses_the_new_byte_and_is_told_once() {
    // Data sheet, "Line Status Register", bit 1.
    let mut uart = with_fifos(3);
    fill(&mut uart, 16);
    assert_eq!(uart.room(), 0);
    assert_eq!(uart.read(LSR), 0x61);
    assert_eq!(uart.receive(99), Err(Full));
    assert_eq!(uart.read(LSR), 0x63);
    assert_eq!(uart.read(LSR), 0x61);
    for byte in 0..16 {
        assert_eq!(uart.read(DATA), byte);
    }
    assert_eq!(uart.read(LSR), 0x60);
}

#[test]
fn without_fifos_there_is_one_buffer() {
    let mut uart = Uart::new();
    set(&mut uart, IER, RECEIVED_DATA);
    // Without the enable bit the others do not count.
    set(&mut uart, FCR, 0xC0);
    assert_eq!(uart.room(), 1);
    fill(&mut uart, 1);
    assert_eq!(uart.room(), 0);
    assert_eq!(uart.read(IIR), 0x04);
}

#[test]
fn switching_and_clearing_empty_the_receiver() {
    // Data sheet, "FIFO Control Register".
    let mut uart = with_fifos(0);
    for control in [0x03, 0x00, 0x01] {
        if uart.room() > 0 {
            fill(&mut uart, 1);
        }
        set(&mut uart, FCR, control);
        assert_eq!(uart.read(LSR) & 1, 0, "{control:#x}");
    }
    fill(&mut uart, 2);
    set(&mut uart, FCR, 0x05);
    assert_eq!(uart.room(), 14);
}

#[test]
fn out2_gates_the_interrupt_but_not_its_identification() {
    let mut uart = with_fifos(0);
    set(&mut uart, MCR, 0);
    set(&mut uart, IER, TRANSMITTER_EMPTY);
    assert!(!uart.interrupt_line());
    set(&mut uart, MCR, OUT2);
    assert!(uart.interrupt_line());
    assert_eq!(uart.read(IIR), 0xC2);
}

#[derive(Clone, Debug)]
enum Step {
    Receive(u8),
    ReadData,
    Read(u8),
    Write(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Receive),
        3 => Just(Step::ReadData),
        2 => any::<u8>().prop_map(|offset| Step::Read(offset % 9)),
        2 => (0_u8..9, any::<u8>()).prop_map(|(offset, value)| Step::Write(offset, value)),
        1 => any::<(u8, u8)>().prop_map(|(offset, value)| Step::Write(offset, value)),
    ]
}

proptest! {
    #[test]
    fn received_bytes_come_out_in_order(steps in prop::collection::vec(
        prop_oneof![any::<u8>().prop_map(Step::Receive), Just(Step::ReadData)], 0..200,
    )) {
        let mut uart = with_fifos(2);
        let mut model = VecDeque::new();
        for step in steps {
            if let Step::Receive(byte) = step {
                let taken = uart.receive(byte).is_ok();
                prop_assert_eq!(taken, model.len() < 16);
                if taken {
                    model.push_back(byte);
                }
            } else {
                prop_assert_eq!(uart.read(DATA), model.pop_front().unwrap_or(0));
            }
            prop_assert_eq!(uart.room(), 16 - model.len());
            prop_assert_eq!(uart.read(LSR) & 1 != 0, !model.is_empty());
        }
    }

    #[test]
    fn any_sequence_of_accesses_is_survived(steps in prop::collection::vec(step(), 0..300)) {
        let mut uart = Uart::new();
        for step in steps {
            match step {
                Step::Receive(byte) => {
                    let room = uart.room();
                    prop_assert_eq!(uart.receive(byte).is_ok(), room > 0);
                }
                Step::ReadData => {
                    uart.read(DATA);
                }
                Step::Read(offset) => {
                    uart.read(offset);
                }
                Step::Write(offset, value) => {
                    let _ = uart.write(offset, value);
                }
            }
            prop_assert!(uart.room() <= 16);
            // The line never stays up for a reason that the guest cannot find.
            prop_assert!(!uart.interrupt_line() || uart.clone().read(IIR) & 1 == 0);
        }
    }
}
