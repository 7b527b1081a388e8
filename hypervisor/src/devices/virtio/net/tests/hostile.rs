// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drivers that break the rules: they are told apart from others, and nothing else happens.

use super::*;
use crate::devices::virtio::model::RAM;
use proptest::prelude::*;

/// A descriptor that may be anything, and often is nearly right.
fn descriptor() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![0..RAM, RAM - 64..RAM + 64, any::<u64>()];
    let length = prop_oneof![4 => 0..2000_u32, 1 => any::<u32>()];
    let next = prop_oneof![8 => 0..16_u16, 1 => any::<u16>()];
    (address, length, 0..8_u16, next).prop_map(|(address, length, flags, next)| {
        let parts =
            [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        parts.concat()
    })
}

/// Flags, an index, and entries of a ring of what is available.
fn available() -> impl Strategy<Value = Vec<u8>> {
    let index = prop_oneof![8 => 0..300_u16, 1 => any::<u16>()];
    let entry = prop_oneof![8 => 0..16_u16, 1 => any::<u16>()];
    (0..4_u16, index, prop::collection::vec(entry, 257)).prop_map(|(flags, index, entries)| {
        [flags, index].into_iter().chain(entries).flat_map(u16::to_le_bytes).collect()
    })
}

fn queue() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (prop::collection::vec(descriptor(), 16).prop_map(|all| all.concat()), available())
}

proptest! {
    #[test]
    fn whatever_a_driver_makes_available_ends_in_work_or_in_a_broken_rule(
        features in prop::sample::select(vec![0, MERGEABLE, MERGEABLE | EVENT_INDEX | 1 << 28]),
        turns in prop::collection::vec((queue(), queue(), 0..4_u16), 1..6),
    ) {
        let switches = Switches::new();
        let victim = switches.port("lan", "victim").expect("there are free ports");
        victim.listen();
        let peer = Machine::new(&switches, 1, features);
        for (receive, transmit, occasion) in turns {
            for number in 0..10 {
                victim.send(&frame(mac(1), mac(2), number, 100 * number as usize + 60));
            }
            peer.driver.scribble(RECEIVE, ENTRIES, &receive.0, &receive.1);
            peer.driver.scribble(TRANSMIT, ENTRIES, &transmit.0, &transmit.1);
            let occasion = if occasion == 3 { Occasion::Rung } else { Occasion::Notified(occasion) };
            let mut turns = 0;
            while peer.serve(occasion) == Ok(Served::More) {
                turns += 1;
                prop_assert!(turns < 100, "more than a ring can hold");
            }
        }
    }
}
