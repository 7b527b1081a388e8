// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the data sheet promises of the pair, mode by mode, and what holds whatever a guest does.

use super::*;
use proptest::prelude::*;

const FIRST_COMMAND: u16 = 0x20;
const FIRST_MASK: u16 = 0x21;
const SECOND_COMMAND: u16 = 0xA0;
const SECOND_MASK: u16 = 0xA1;

const EOI: u8 = 0x20;
const SPECIFIC_EOI: u8 = 0x60;
const READ_IRR: u8 = 0x0A;
const READ_ISR: u8 = 0x0B;
const POLL: u8 = 0x0C;
const SPECIAL_MASK: u8 = 0x68;
const NO_SPECIAL_MASK: u8 = 0x48;
const AUTO_EOI: u8 = 0x02;
const SPECIAL_FULLY_NESTED: u8 = 0x10;

/// Vectors 0x20 to 0x2F, nothing masked; ICW4 has these bits beside the one for the 8086.
fn initialized(icw4: u8) -> PicPair {
    let mut pic = PicPair::new();
    for (command, mask, vector, wired) in
        [(FIRST_COMMAND, FIRST_MASK, 0x20, 4), (SECOND_COMMAND, SECOND_MASK, 0x28, 2)]
    {
        pic.write(command, 0x11);
        [vector, wired, icw4 | 1, 0].into_iter().for_each(|value| pic.write(mask, value));
    }
    pic
}

fn pulse(pic: &mut PicPair, irq: u8) {
    pic.set_line(irq, false);
    pic.set_line(irq, true);
}

/// What the processor takes, if INTR is asserted.
fn taken(pic: &mut PicPair) -> Option<u8> {
    pic.interrupts().then(|| pic.acknowledge())
}

fn requested(pic: &mut PicPair) -> [u8; 2] {
    [FIRST_COMMAND, SECOND_COMMAND].map(|port| {
        pic.write(port, READ_IRR);
        pic.read(port)
    })
}

fn in_service(pic: &mut PicPair) -> [u8; 2] {
    [FIRST_COMMAND, SECOND_COMMAND].map(|port| {
        pic.write(port, READ_ISR);
        pic.read(port)
    })
}

#[test]
fn firmware_leaves_real_modes_vectors_and_all_masked() {
    let mut pic = PicPair::new();
    (0..16).for_each(|irq| pic.set_line(irq, true));
    assert!(!pic.interrupts());
    assert_eq!([pic.read(FIRST_MASK), pic.read(SECOND_MASK)], [0xFB, 0xFF]);
    pic.write(FIRST_MASK, 0);
    assert_eq!(taken(&mut pic), Some(0x08));
    pic.write(FIRST_MASK, 0xFB);
    pic.write(SECOND_MASK, 0);
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), Some(0x70));
}

#[test]
fn an_edge_interrupts_once_and_a_second_waits_for_the_eoi() {
    let mut pic = initialized(0);
    pic.set_line(3, true);
    assert_eq!(requested(&mut pic)[0], 1 << 3);
    assert_eq!(taken(&mut pic), Some(0x23));
    assert_eq!((requested(&mut pic)[0], in_service(&mut pic)[0]), (0, 1 << 3));
    assert_eq!(taken(&mut pic), None);
    pulse(&mut pic, 3);
    assert_eq!(taken(&mut pic), None, "in service");
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), Some(0x23));
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), None, "the line is asserted all the time");
}

/// "Interrupt Request Register": the line has to stay asserted until the acknowledgement.
#[test]
fn an_edge_that_is_withdrawn_is_spurious_irq_7_and_nothing_is_in_service() {
    let mut pic = initialized(0);
    pic.set_line(3, true);
    pic.set_line(3, false);
    assert!(!pic.interrupts());
    assert_eq!(pic.acknowledge(), 0x27);
    assert_eq!(in_service(&mut pic), [0, 0]);
}

#[test]
fn spurious_irq_15_leaves_the_cascade_in_service() {
    let mut pic = initialized(0);
    pic.set_line(10, true);
    // What the first one has seen already is an acknowledgement too late for the second one.
    pic.second.set_line(2, false);
    assert_eq!(pic.acknowledge(), 0x2F);
    assert_eq!(in_service(&mut pic), [CASCADE, 0]);
}

#[test]
fn a_level_interrupts_as_long_as_it_lasts() {
    let mut pic = initialized(0);
    pic.write(ELCR + 1, 0xFF);
    assert_eq!([pic.read(ELCR), pic.read(ELCR + 1)], [0, 0xDE], "IRQ 8 and 13 are edges");
    pic.set_line(11, true);
    for _ in 0..3 {
        assert_eq!(taken(&mut pic), Some(0x2B));
        assert_eq!(taken(&mut pic), None, "in service");
        pic.write(SECOND_COMMAND, EOI);
        pic.write(FIRST_COMMAND, EOI);
    }
    pic.set_line(11, false);
    assert_eq!(taken(&mut pic), None);
}

#[test]
fn the_system_control_interrupt_is_a_level_from_the_start() {
    let mut pic = PicPair::new();
    assert_eq!([pic.read(ELCR), pic.read(ELCR + 1)], [0, 2]);
    assert_eq!(initialized(0).read(ELCR + 1), 2, "initialization leaves it");
}

#[test]
fn lower_numbers_interrupt_higher_ones_and_not_the_other_way() {
    let mut pic = initialized(0);
    pic.set_line(5, true);
    assert_eq!(taken(&mut pic), Some(0x25));
    pic.set_line(6, true);
    assert_eq!(taken(&mut pic), None);
    pic.set_line(1, true);
    assert_eq!(taken(&mut pic), Some(0x21));
    // The second one is at the place of IR2.
    pic.set_line(8, true);
    assert_eq!(taken(&mut pic), None);
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(in_service(&mut pic)[0], 1 << 5, "an EOI that names none ends the highest");
    assert_eq!(taken(&mut pic), Some(0x28));
    pic.write(SECOND_COMMAND, EOI);
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), None);
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), Some(0x26));
}

#[test]
fn two_of_the_second_one_come_one_after_the_other() {
    let mut pic = initialized(0);
    pic.set_line(10, true);
    pic.set_line(12, true);
    assert_eq!(taken(&mut pic), Some(0x2A));
    pic.write(SECOND_COMMAND, EOI);
    assert_eq!(taken(&mut pic), None, "the cascade is in service");
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(taken(&mut pic), Some(0x2C));
}

/// "Special Fully Nested Mode".
#[test]
fn in_special_fully_nested_mode_the_second_one_nests() {
    for (icw4, expected) in [(0, None), (SPECIAL_FULLY_NESTED, Some(0x29))] {
        let mut pic = initialized(icw4);
        pic.set_line(12, true);
        assert_eq!(taken(&mut pic), Some(0x2C));
        pic.set_line(9, true);
        assert_eq!(taken(&mut pic), expected);
    }
}

#[test]
fn a_masked_request_is_kept() {
    let mut pic = initialized(0);
    pic.write(FIRST_MASK, 1 << 4);
    pic.set_line(4, true);
    assert_eq!((taken(&mut pic), requested(&mut pic)[0]), (None, 1 << 4));
    pic.write(FIRST_MASK, 0);
    assert_eq!(taken(&mut pic), Some(0x24));
}

/// "Automatic Rotation" and "Specific Rotation".
#[test]
fn priorities_rotate_as_they_are_told_to() {
    let order = |pic: &mut PicPair| {
        [0, 1, 3, 4, 5, 6, 7].into_iter().for_each(|irq| pulse(pic, irq));
        core::iter::from_fn(|| {
            let vector = taken(pic)?;
            pic.write(FIRST_COMMAND, EOI);
            Some(vector & 7)
        })
        .collect::<Vec<_>>()
    };
    let mut pic = initialized(0);
    assert_eq!(order(&mut pic), [0, 1, 3, 4, 5, 6, 7]);
    // Set priority: IR4 is the lowest.
    pic.write(FIRST_COMMAND, 0xC4);
    assert_eq!(order(&mut pic), [5, 6, 7, 0, 1, 3, 4]);
    // Rotate on a specific EOI, of what is not even in service.
    pic.write(FIRST_COMMAND, 0xE0);
    assert_eq!(order(&mut pic), [1, 3, 4, 5, 6, 7, 0]);
    // Rotate on an EOI that names none.
    pulse(&mut pic, 3);
    assert_eq!(taken(&mut pic), Some(0x23));
    pic.write(FIRST_COMMAND, 0xA0);
    assert_eq!(order(&mut pic), [4, 5, 6, 7, 0, 1, 3]);
}

#[test]
fn automatic_eoi_leaves_nothing_in_service_and_may_rotate() {
    let mut pic = initialized(AUTO_EOI);
    pic.write(FIRST_COMMAND, 0x80);
    pulse(&mut pic, 4);
    assert_eq!((taken(&mut pic), in_service(&mut pic)), (Some(0x24), [0, 0]));
    [4, 5].into_iter().for_each(|irq| pulse(&mut pic, irq));
    assert_eq!(taken(&mut pic), Some(0x25), "IR4 is the lowest now");
    assert_eq!(taken(&mut pic), Some(0x24));
    pic.write(FIRST_COMMAND, 0x00);
    [4, 5].into_iter().for_each(|irq| pulse(&mut pic, irq));
    assert_eq!(taken(&mut pic), Some(0x25));
    [4, 5].into_iter().for_each(|irq| pulse(&mut pic, irq));
    assert_eq!(taken(&mut pic), Some(0x25), "it rotates no more");
}

/// "Special Mask Mode": what is in service and masked holds back nothing, and no EOI ends it that does not name it.
#[test]
fn special_mask_mode_lets_lower_ones_in() {
    let mut pic = initialized(0);
    pic.set_line(3, true);
    assert_eq!(taken(&mut pic), Some(0x23));
    pic.write(FIRST_MASK, 1 << 3);
    pic.set_line(6, true);
    assert_eq!(taken(&mut pic), None);
    pic.write(FIRST_COMMAND, SPECIAL_MASK);
    assert_eq!(taken(&mut pic), Some(0x26));
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(in_service(&mut pic)[0], 1 << 3);
    pic.write(FIRST_COMMAND, EOI);
    assert_eq!(in_service(&mut pic)[0], 1 << 3);
    pic.write(FIRST_COMMAND, SPECIFIC_EOI | 3);
    assert_eq!(in_service(&mut pic)[0], 0);
    pic.write(FIRST_COMMAND, NO_SPECIAL_MASK);
}

/// "Poll Command": the next read is an acknowledgement.
#[test]
fn a_poll_tells_the_line_and_takes_it() {
    let mut pic = initialized(0);
    pic.write(FIRST_COMMAND, POLL);
    assert_eq!(pic.read(FIRST_COMMAND), 0);
    pic.set_line(13, true);
    pic.write(FIRST_COMMAND, POLL);
    assert_eq!(pic.read(FIRST_COMMAND), 0x82);
    pic.write(SECOND_COMMAND, POLL);
    assert_eq!(pic.read(SECOND_COMMAND), 0x85);
    assert_eq!(in_service(&mut pic), [CASCADE, 1 << 5]);
    assert_eq!(pic.read(SECOND_MASK), 0, "one poll is one read");
}

#[test]
fn initialization_clears_the_mask_and_what_was_requested() {
    let mut pic = initialized(AUTO_EOI);
    pic.write(FIRST_MASK, 0xFF);
    pic.set_line(3, true);
    // Alone, and without ICW4: two words.
    pic.write(FIRST_COMMAND, 0x12);
    pic.write(FIRST_MASK, 0x47);
    assert_eq!((pic.read(FIRST_MASK), requested(&mut pic)[0]), (0, 0));
    assert_eq!(taken(&mut pic), None, "the edge is to come again");
    pulse(&mut pic, 3);
    assert_eq!(taken(&mut pic), Some(0x43));
    assert_eq!(in_service(&mut pic)[0], 1 << 3, "no automatic EOI any more");
}

#[test]
fn nobody_drives_irq_2() {
    let mut pic = initialized(0);
    pic.set_line(2, true);
    assert!(!pic.interrupts());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Line(u8, bool),
    Read(u16),
    Write(u16, u8),
    Take,
    /// INTA though INTR may not be asserted.
    Acknowledge,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop::sample::select(vec![0x20, 0x21, 0xA0, 0xA1, ELCR, ELCR + 1, 0x80]);
    let command = prop_oneof![
        2 => Just(EOI), 1 => any::<u8>(), 1 => Just(SPECIAL_MASK), 1 => Just(POLL), 1 => 0xC0_u8..0xC8,
        1 => SPECIFIC_EOI..SPECIFIC_EOI + 8, 1 => Just(0x11)
    ];
    prop_oneof![
        6 => (0_u8..16, any::<bool>()).prop_map(|(irq, asserted)| Step::Line(irq, asserted)),
        1 => port().prop_map(Step::Read),
        3 => (port(), command).prop_map(|(port, value)| Step::Write(port, value)),
        4 => Just(Step::Take),
        1 => Just(Step::Acknowledge),
    ]
}

proptest! {
    /// Whatever a guest writes, and whatever its devices do.
    #[test]
    fn what_is_requested_and_in_service_makes_sense(steps in prop::collection::vec(step(), 0..200)) {
        let mut pic = initialized(0);
        let mut lines = 0_u16;
        for step in steps {
            match step {
                Step::Line(irq, asserted) => {
                    pic.set_line(irq, asserted);
                    lines = lines & !(1 << irq) | u16::from(asserted) << irq;
                }
                Step::Read(port) => drop(pic.read(port)),
                Step::Write(port, value) => pic.write(port, value),
                Step::Take => _ = taken(&mut pic),
                Step::Acknowledge => _ = pic.acknowledge(),
            }
            let [first, second] = requested(&mut pic);
            // Nothing is requested whose line is not asserted; a level is requested as long as it is.
            let level = u16::from_le_bytes([pic.read(ELCR), pic.read(ELCR + 1)]);
            let requests = u16::from_le_bytes([first & !CASCADE, second]);
            prop_assert_eq!(requests & !lines, 0);
            prop_assert_eq!(lines & level & !requests, 0);
            // The second one is heard as long as it interrupts and has not been since.
            prop_assert!(pic.second.interrupts() || first & CASCADE == 0);
            // One that names all ends all.
            let mut ended = pic.clone();
            (0..8).for_each(|ir| ended.write(FIRST_COMMAND, SPECIFIC_EOI | ir));
            prop_assert_eq!(in_service(&mut ended)[0], 0);
        }
    }

    /// INTR is asserted exactly if there is an interrupt to be taken: one that is requested, and else a spurious one, which leaves no trace.
    #[test]
    fn what_is_asserted_can_be_taken(steps in prop::collection::vec(step(), 0..100)) {
        let mut pic = initialized(0);
        for step in steps {
            match step {
                Step::Line(irq, asserted) => pic.set_line(irq, asserted),
                Step::Read(port) => drop(pic.read(port)),
                Step::Write(port, value) => pic.write(port, value),
                Step::Take | Step::Acknowledge => {
                    let asserted = pic.interrupts();
                    let before = pic.clone();
                    let vector = pic.acknowledge();
                    let requested = requested(&mut before.clone());
                    match asserted {
                        true => prop_assert!(requested.iter().any(|lines| lines & 1 << (vector & 7) != 0)),
                        false => prop_assert_eq!(&pic, &before),
                    }
                }
            }
        }
    }
}
