// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of [`Terminal`], on a model of a UART whose line is as fast as a test lets it be.

use super::*;
use crate::console::serial::COM1;
use std::cell::RefCell;

const FIFO: usize = 16;

/// A 16550 with a line that a test drives.
#[derive(Default)]
struct Model {
    registers: [u8; 8],
    /// In the transmitter.
    fifo: VecDeque<u8>,
    /// On the line.
    sent: Vec<u8>,
    /// Whether the line takes what is written at once.
    fast: bool,
    received: VecDeque<u8>,
    status_reads: usize,
}

impl Model {
    fn raises_interrupt(&self) -> bool {
        self.registers[1] & 1 != 0 && !self.received.is_empty()
            || self.registers[1] & 2 != 0 && self.fifo.is_empty()
    }

    fn empty(&mut self) {
        self.sent.extend(self.fifo.drain(..));
    }
}

impl PortIo for &RefCell<Model> {
    fn read_u8(&self, port: u16) -> u8 {
        let mut model = self.borrow_mut();
        match port - COM1 {
            0 => model.received.pop_front().unwrap_or(0),
            5 => {
                model.status_reads += 1;
                u8::from(!model.received.is_empty()) | if model.fifo.is_empty() { 0x60 } else { 0 }
            }
            register => model.registers[usize::from(register)],
        }
    }

    fn write_u8(&self, port: u16, value: u8) {
        let mut model = self.borrow_mut();
        match port - COM1 {
            0 if model.registers[3] & 0x80 == 0 => {
                model.fifo.push_back(value);
                assert!(model.fifo.len() <= FIFO, "the transmitter takes no more");
                if model.fast {
                    model.empty();
                }
            }
            register => model.registers[usize::from(register)] = value,
        }
    }

    fn read_u32(&self, _port: u16) -> u32 {
        unreachable!("a UART has bytes")
    }

    fn write_u16(&self, _port: u16, _value: u16) {
        unreachable!("a UART has bytes")
    }
}

fn on(model: &RefCell<Model>) -> Terminal<&RefCell<Model>> {
    let mut terminal = Terminal { serial: Serial::find(model, COM1), interrupts: true, ..Terminal::new() };
    terminal.use_interrupts();
    terminal
}

/// The line moves until there is no interrupt any more; gives what the interrupts told.
fn drain(model: &RefCell<Model>, terminal: &mut Terminal<&RefCell<Model>>) -> Vec<News> {
    let mut news = Vec::new();
    model.borrow_mut().empty();
    while model.borrow().raises_interrupt() {
        news.push(terminal.interrupt());
        model.borrow_mut().empty();
    }
    news
}

fn sent(model: &RefCell<Model>) -> String {
    String::from_utf8(mem::take(&mut model.borrow_mut().sent)).unwrap()
}

#[test]
fn nobody_waits_for_a_slow_line_and_all_arrives_in_order() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    let mut expected = String::new();
    for number in 0..100 {
        terminal.write_line(format_args!("line {number}"));
        expected += &format!("line {number}\r\n");
        for byte in b"guest\n" {
            assert!(!terminal.write_guest(None, &[*byte]));
        }
        expected += "guest\n";
    }
    assert!(
        model.borrow().status_reads <= 2 * 100,
        "a look at the port for a line of our own, none for a byte"
    );
    assert!(drain(&model, &mut terminal).iter().all(|news| !news.typed && !news.room));
    assert_eq!(sent(&model), expected);
    assert_eq!(model.borrow().registers[1], 1, "only what is typed interrupts now");
}

#[test]
fn a_fast_line_takes_everything_at_once_without_interrupts() {
    let model = RefCell::new(Model { fast: true, ..Model::default() });
    let mut terminal = on(&model);
    for _ in 0..100 {
        terminal.write_guest(Some("a"), b"0123456789");
    }
    assert_eq!(sent(&model), "a| 0123456789\r\n".repeat(100));
    assert_eq!(model.borrow().registers[1], 1);
}

#[test]
fn guests_are_held_back_from_half_on_and_go_on_when_little_is_left() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    let mut taken = 0;
    while !terminal.write_guest(None, b"x") {
        taken += 1;
        if taken > FIFO {
            // The line is found to move.
            model.borrow_mut().empty();
        }
        assert!(taken < CAPACITY);
    }
    assert!(taken >= GUESTS_WAIT - 1 && terminal.guests_wait());
    assert!(terminal.write_guest(Some("other"), b"y"), "all are");
    terminal.write_line(format_args!("our own"));
    let news = drain(&model, &mut terminal);
    assert_eq!(news.iter().filter(|news| news.room).count(), 1);
    assert!(!terminal.guests_wait() && sent(&model).ends_with("our own\r\n"));
}

#[test]
fn lines_of_our_own_leave_room_for_what_a_guest_sends_before_it_is_told_to_wait() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    while terminal.lost == 0 {
        terminal.write_line(format_args!("our own"));
    }
    terminal.write_guest(Some("guest"), b"its first line");
    drain(&model, &mut terminal);
    assert!(sent(&model).ends_with("guest| its first line\r\n"));
}

#[test]
fn a_stuck_line_holds_nobody_and_what_is_lost_is_said_when_it_moves() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    for _ in 0..CAPACITY {
        assert!(!terminal.write_guest(None, b"x"));
    }
    for number in 0..CAPACITY / 8 {
        terminal.write_line(format_args!("{number:14}"));
    }
    assert!(model.borrow().status_reads < 10_000_000);
    let lost = terminal.lost;
    assert!(lost > 1000);
    drain(&model, &mut terminal);
    terminal.write_line(format_args!("at last"));
    drain(&model, &mut terminal);
    assert!(sent(&model).ends_with(&format!("({lost} lines are lost here)\r\nat last\r\n")));
}

#[test]
fn what_is_typed_is_taken_at_the_interrupt_and_none_of_it_gets_lost() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    model.borrow_mut().received.extend((0..5000).map(|number| number as u8));
    assert_eq!(
        drain(&model, &mut terminal),
        [News { typed: true, room: false }],
        "then there is no room for more"
    );
    let mut read = Vec::new();
    while let Some(byte) = terminal.read_byte() {
        read.push(byte);
        drain(&model, &mut terminal);
    }
    assert!(read.into_iter().eq((0..5000).map(|number| number as u8)));
}

#[test]
fn our_lines_stand_neither_in_a_guests_nor_in_what_is_being_typed() {
    let model = RefCell::new(Model { fast: true, ..Model::default() });
    let mut terminal = on(&model);
    terminal.write_guest(None, b"# ");
    terminal.write_line(format_args!("one"));
    assert_eq!(sent(&model), "# \r\none\r\n");
    terminal.write_guest(None, b"# ");
    terminal.show(b"satori> he", b"satori> he");
    assert_eq!(sent(&model), "# \r\nsatori> he");
    terminal.write_guest(Some("a"), b"text");
    assert_eq!(sent(&model), "\r\x1b[Ka| text\r\nsatori> he");
    terminal.show(b"lp\r\nok\r\n", b"");
    terminal.write_line(format_args!("two"));
    assert_eq!(sent(&model), "lp\r\nok\r\ntwo\r\n");
}

#[test]
fn without_interrupts_the_line_is_waited_for() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    terminal.write_line(format_args!("waits, for it is long enough"));
    assert!(!terminal.waiting.is_empty());
    model.borrow_mut().empty();
    model.borrow_mut().fast = true;
    terminal.use_no_interrupts();
    terminal.write_line(format_args!("at once"));
    assert_eq!(sent(&model), "waits, for it is long enough\r\nat once\r\n");
}

#[test]
fn flushing_sends_all_that_waits() {
    let model = RefCell::default();
    let mut terminal = on(&model);
    terminal.write_line(format_args!("{}", "x".repeat(100)));
    model.borrow_mut().empty();
    model.borrow_mut().fast = true;
    terminal.flush();
    assert_eq!(sent(&model), "x".repeat(100) + "\r\n");
}
