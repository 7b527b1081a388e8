// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports, lines and deadlines together.

use super::*;
use crate::vm::model;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::cpu;

const CONTROL_PM: u16 = 0x604;

struct Board {
    chipset: Chipset,
    lines: Arc<InterruptLines>,
    neighbours: &'static ModelNeighbours,
}

fn board(setup: Setup) -> Board {
    let neighbours = ModelNeighbours::new();
    let machine = model::machine(2, neighbours);
    let lines = Arc::new(InterruptLines::new(Arc::clone(&machine.posts)));
    // What comes is seen at the 8259As.
    lines.write_pic(0x21, 0);
    lines.write_pic(0xa1, 0);
    let chipset = Chipset::new(setup, Arc::clone(&machine.posts), Arc::clone(&lines));
    Board { chipset, lines, neighbours }
}

impl Board {
    fn write(&self, writes: &[(u16, u8)], now: u64) {
        writes.iter().for_each(|&(port, value)| assert_eq!(self.chipset.write(port, value, now), None));
    }

    /// What the 8259As have, which is ended at once.
    fn taken(&self) -> Option<u8> {
        let vector = self.lines.acknowledge_external();
        [0xa0, 0x20].into_iter().for_each(|port| self.lines.write_pic(port, 0x20));
        vector
    }
}

#[test]
fn channel_0_interrupts_with_each_period_and_the_first_vcpu_is_told_when() {
    let board = board(model::setup());
    assert_eq!(board.chipset.next_deadline(), None);
    // The output rises when the mode is set.
    board.write(&[(0x43, 0x34), (0x40, 0xff), (0x40, 0xff)], 0);
    let period = board.chipset.next_deadline().expect("it counts");
    assert!(period.abs_diff(65_535 * model::HZ / 1_193_182) < 1_000);
    assert!(board.chipset.take_deadline_changed() && !board.chipset.take_deadline_changed());
    assert_eq!(board.neighbours.take().notified[..1], [cpu(0)]);
    assert_eq!(board.taken(), Some(0x08));
    for round in 1..4 {
        let due = board.chipset.next_deadline().expect("it goes on");
        assert!(due.abs_diff(round * period) < 1_000);
        board.chipset.expire(due - 1);
        assert_eq!(board.taken(), None);
        board.chipset.expire(due);
        assert_eq!(board.taken(), Some(0x08), "round {round}");
    }
    assert!(!board.chipset.take_deadline_changed(), "who serves it knows");
}

#[test]
fn a_deadline_that_comes_later_disturbs_nobody() {
    let board = board(model::setup());
    board.write(&[(0x43, 0x34), (0x40, 0xff), (0x40, 0xff)], 0);
    assert!(board.chipset.take_deadline_changed());
    board.write(&[(0x43, 0x30)], 0);
    assert!(!board.chipset.take_deadline_changed());
    assert_eq!(board.chipset.next_deadline(), None);
}

#[test]
fn the_clock_interrupts_by_irq_8_and_anew_when_register_c_was_read() {
    let board = board(model::setup());
    board.write(&[(0x70, 0x0b), (0x71, 0x42)], 0);
    let due = board.chipset.next_deadline().expect("1024 Hz");
    board.chipset.expire(due);
    assert_eq!((board.taken(), board.chipset.next_deadline()), (Some(0x70), None));
    let _ = board.chipset.take_deadline_changed();
    board.write(&[(0x70, 0x0c)], due);
    assert_eq!(board.chipset.read(0x71, || due), 0xc0);
    assert!(board.chipset.take_deadline_changed());
    let next = board.chipset.next_deadline().expect("it goes on");
    board.chipset.expire(next);
    assert_eq!(board.taken(), Some(0x70));
}

#[test]
fn the_power_button_is_a_system_control_interrupt_by_level() {
    let board = board(model::setup());
    board.write(&[(0x603, 1)], 0);
    board.chipset.press_power_button();
    assert_eq!((board.taken(), board.taken()), (Some(0x71), Some(0x71)));
    board.write(&[(0x601, 1)], 0);
    assert_eq!(board.taken(), None);
}

#[test]
fn each_way_to_end_is_one_event() {
    let board = board(model::setup());
    for (port, value, event) in [
        (CONTROL_PM + 1, 0x20, PowerEvent::PowerOff),
        (0xcf9, 0x06, PowerEvent::Reset),
        (0xcf9, 0x0e, PowerEvent::Reset),
        (0x64, 0xfe, PowerEvent::Reset),
        (0x92, 0x01, PowerEvent::Reset),
        (0xf4, 0x10, PowerEvent::DebugExit { status: 0x21 }),
        (0xf7, 0x00, PowerEvent::DebugExit { status: 1 }),
    ] {
        assert_eq!(board.chipset.write(port, value, 0), Some(event), "{port:#x}");
    }
}

#[test]
fn without_debug_exit_its_ports_are_absent() {
    let board = board(Setup { debug_exit: false, ..model::setup() });
    assert_eq!((board.chipset.write(0xf4, 0x10, 0), board.chipset.read(0xf4, || 0)), (None, 0xff));
}
