// SPDX-License-Identifier: MIT OR Apache-2.0
//! What software finds in configuration space, and what it can change of it.

use super::*;
use proptest::prelude::*;

const ID: Identity = Identity { vendor: 0x1AF4, device: 0x1042, revision: 1, class: [1, 0x80, 0] };
const MEMORY: Bar = Bar::Memory { size: 0x4000 };
const PORTS: Bar = Bar::Io { size: 16 };

fn space() -> ConfigurationSpace {
    let mut space = ConfigurationSpace::new(ID);
    space.set_subsystem(0x1AF4, 0x1042);
    space.set_interrupt(17);
    space.set_command(Command::new().with_io(true).with_memory(true));
    space.set_bar(0, MEMORY, 0xC100_0000);
    space.set_bar(2, PORTS, 0xC010);
    space.add_capability(9, &[0x11; 14]);
    space.add_capability(0x11, &[0x22; 10]);
    space
}

fn double_word(space: &ConfigurationSpace, offset: usize) -> u32 {
    let mut bytes = [0; 4];
    space.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

#[test]
fn the_header_says_what_the_function_is() {
    let space = space();
    assert_eq!(double_word(&space, 0x00), 0x1042_1AF4);
    assert_eq!(double_word(&space, 0x04), 0x0010_0003);
    assert_eq!(double_word(&space, 0x08), 0x0180_0001);
    assert_eq!(double_word(&space, 0x0C), 0);
    assert_eq!(double_word(&space, 0x2C), 0x1042_1AF4);
    assert_eq!(double_word(&space, 0x3C), 0x0000_0111);
}

#[test]
fn capabilities_are_a_list_with_an_end() {
    let space = space();
    assert_eq!(double_word(&space, 0x34), 0x40);
    assert_eq!(double_word(&space, 0x40), 0x1111_5009);
    assert_eq!(double_word(&space, 0x50), 0x2222_0011);
}

#[test]
fn a_bar_tells_its_size_to_who_writes_ones() {
    let mut space = space();
    for (at, size) in [(0x10, 0xFFFF_C000), (0x14, 0), (0x18, 0xFFFF_FFF1), (0x1C, 0), (0x30, 0)] {
        space.write(at, &[0xFF; 4]);
        assert_eq!(double_word(&space, at), size, "at {at:#x}");
    }
}

#[test]
fn a_bar_answers_in_its_window_while_its_decoding_is_on() {
    let mut space = space();
    assert_eq!(space.decoded(0), Some(0xC100_0000..0xC100_4000));
    assert_eq!(space.decoded(2), Some(0xC010..0xC020));
    assert_eq!([1, 3, 4, 5, 6, usize::MAX].map(|bar| space.decoded(bar)), [const { None }; 6]);
    space.write(0x04, &[1]);
    assert_eq!((space.decoded(0), space.decoded(2)), (None, Some(0xC010..0xC020)));
    space.write(0x04, &[2]);
    assert_eq!((space.decoded(0), space.decoded(2)), (Some(0xC100_0000..0xC100_4000), None));
    space.write(0x04, &[3]);
    for outside in [0, 0xBFFF_C000, 0xE000_0000, 0xFEE0_0000, 0xFFFF_FFFF_u32] {
        space.write(0x10, &outside.to_le_bytes());
        assert_eq!(space.decoded(0), None, "{outside:#x}");
    }
    space.write(0x10, &0xDFFF_C000_u32.to_le_bytes());
    assert_eq!(space.decoded(0), Some(0xDFFF_C000..0xE000_0000));
    for outside in [0, 0xBFF0, 0x1_0000, 0xFFFF_FFFF_u32] {
        space.write(0x18, &outside.to_le_bytes());
        assert_eq!(space.decoded(2), None, "{outside:#x}");
    }
}

#[test]
fn beyond_the_end_are_zeros() {
    let mut space = space();
    for offset in [253, 256, 4095] {
        space.write(offset, &[0xFF; 8]);
        let mut bytes = [0xFF; 8];
        space.read(offset, &mut bytes);
        assert_eq!(bytes, [0; 8], "at {offset:#x}");
    }
}

proptest! {
    #[test]
    fn what_is_read_only_stays(writes: Vec<(u16, [u8; 4], u8)>) {
        let (fresh, mut space) = (space(), space());
        for (offset, bytes, length) in writes {
            space.write(usize::from(offset % 0x110), &bytes[..usize::from(length % 5)]);
        }
        for at in 0..SIZE {
            let changed = space.bytes[at] ^ fresh.bytes[at];
            prop_assert_eq!(changed & !fresh.writable[at], 0);
        }
        let writable: u32 = fresh.writable.iter().map(|mask| mask.count_ones()).sum();
        // Command, interrupt line, and two BARs.
        prop_assert_eq!(writable, 4 + 8 + 18 + 28);
    }
}
