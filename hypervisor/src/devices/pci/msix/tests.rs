// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages that are sent, and those that wait.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Trigger;
use proptest::prelude::*;

const ON: MessageControl = MessageControl::new().with_enabled(true);
const ON_BUT_MASKED: MessageControl = ON.with_masked(true);

fn message(vector: u8) -> Message {
    Message {
        destination: Destination::Physical(1),
        delivery: DeliveryMode::Fixed,
        vector,
        trigger: Trigger::Edge,
    }
}

/// With messages in entries 0 and 1, both masked.
fn table() -> Msix {
    let mut msix = Msix::new(3);
    for (entry, vector) in [(0, 0x40_u32), (1, 0x41)] {
        let mut send = |message| panic!("{message:?}");
        msix.write_table(16 * entry, &0xFEE0_1000_u32.to_le_bytes(), &mut send);
        msix.write_table(16 * entry + 8, &vector.to_le_bytes(), &mut send);
    }
    msix
}

fn mask(msix: &mut Msix, entry: usize, masked: bool) -> Vec<Message> {
    let mut sent = Vec::new();
    msix.write_table(16 * entry + 12, &u32::from(masked).to_le_bytes(), |message| sent.push(message));
    sent
}

fn control(msix: &mut Msix, control: MessageControl) -> Vec<Message> {
    let mut sent = Vec::new();
    msix.set_control(control, |message| sent.push(message));
    sent
}

fn pending(msix: &Msix) -> u64 {
    let mut bytes = [0; 8];
    msix.read_pending(0, &mut bytes);
    u64::from_le_bytes(bytes)
}

#[test]
fn a_vector_that_is_not_masked_sends_its_message() {
    let mut msix = table();
    assert_eq!(control(&mut msix, ON), []);
    assert_eq!(mask(&mut msix, 1, false), []);
    assert_eq!(msix.signal(1), Some(message(0x41)));
    assert_eq!(pending(&msix), 0);
}

#[test]
fn what_was_signalled_under_a_mask_is_sent_once_when_that_goes() {
    let mut msix = table();
    control(&mut msix, ON);
    assert_eq!((msix.signal(0), msix.signal(0)), (None, None));
    assert_eq!(pending(&msix), 1);
    assert_eq!(mask(&mut msix, 1, false), []);
    assert_eq!(mask(&mut msix, 0, false), [message(0x40)]);
    assert_eq!(pending(&msix), 0);
    assert_eq!(mask(&mut msix, 0, true), []);
    assert_eq!(mask(&mut msix, 0, false), []);
}

/// As a driver does that changes its entries meanwhile.
#[test]
fn nothing_is_sent_by_a_change_of_the_table_under_the_functions_mask() {
    let mut msix = table();
    control(&mut msix, ON_BUT_MASKED);
    assert_eq!(msix.signal(0), None);
    assert_eq!(mask(&mut msix, 0, false), []);
    assert_eq!(control(&mut msix, ON_BUT_MASKED), []);
    assert_eq!(pending(&msix), 1);
    assert_eq!(control(&mut msix, ON), [message(0x40)]);
}

#[test]
fn the_functions_mask_holds_all_back() {
    let mut msix = table();
    control(&mut msix, ON_BUT_MASKED);
    mask(&mut msix, 0, false);
    mask(&mut msix, 1, false);
    assert_eq!((msix.signal(1), msix.signal(0)), (None, None));
    assert_eq!(pending(&msix), 0b11);
    assert_eq!(control(&mut msix, ON), [message(0x40), message(0x41)]);
    assert_eq!(pending(&msix), 0);
}

#[test]
fn nothing_is_sent_or_kept_while_messages_are_off() {
    let mut msix = table();
    mask(&mut msix, 0, false);
    assert_eq!((msix.signal(0), msix.signal(7), msix.signal(0xFFFF)), (None, None, None));
    assert_eq!(pending(&msix), 0);
    assert_eq!(control(&mut msix, ON), []);
}

#[test]
fn a_vector_that_names_no_local_apic_is_lost() {
    let mut msix = table();
    control(&mut msix, ON);
    assert_eq!(mask(&mut msix, 2, false), []);
    assert_eq!(msix.signal(2), None);
    assert_eq!(pending(&msix), 0);
}

#[test]
fn the_table_takes_whole_words_and_keeps_what_is_reserved() {
    let mut msix = Msix::new(1);
    let mut send = |message| panic!("{message:?}");
    msix.write_table(0, &[0xFF; 8], &mut send);
    msix.write_table(8, &[0xFF; 8], &mut send);
    for (offset, bytes) in
        [(0, &[0; 1][..]), (2, &[0; 2]), (1, &[0; 4]), (4, &[0; 8]), (16, &[0; 4]), (3, &[])]
    {
        msix.write_table(offset, bytes, &mut send);
    }
    let mut bytes = [0; 20];
    msix.read_table(0, &mut bytes);
    let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    assert_eq!(words, [0xFFFF_FFFC, 0xFFFF_FFFF, 0xFFFF_FFFF, 1, 0]);
    let mut odd = [0; 3];
    msix.read_table(11, &mut odd);
    assert_eq!(odd, [0xFF, 1, 0]);
}

proptest! {
    /// Never panics, and every signal is sent once: at once, when a mask goes, or is still pending.
    #[test]
    fn no_signal_is_lost_or_doubled(steps: Vec<(u8, u8)>) {
        let mut msix = table();
        let (mut due, mut sent) = ([0_u64; 2], [0_u64; 2]);
        let mut count = |message: Message| sent[usize::from(message.vector - 0x40)] += 1;
        for (what, which) in steps {
            let entry = usize::from(which % 2);
            match what % 4 {
                0 => {
                    let waits = pending(&msix) & 1 << entry != 0;
                    due[entry] += u64::from(msix.control().enabled() && !waits);
                    msix.signal(entry as u16).into_iter().for_each(&mut count);
                }
                1 => msix.write_table(16 * entry + 12, &u32::from(which & 2 != 0).to_le_bytes(), &mut count),
                _ => {
                    let value = MessageControl::new().with_enabled(which & 1 != 0).with_masked(which & 2 != 0);
                    msix.set_control(value, &mut count);
                }
            }
        }
        for entry in 0..2 {
            prop_assert_eq!(due[entry], sent[entry] + (pending(&msix) >> entry & 1));
        }
    }
}
