// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where, who may do what with it, and what memory it takes.

use super::machine::load;
use super::machine::store;
use super::*;
use std::vec::Vec;

#[test]
fn memory_is_taken_as_it_is_touched_large_where_a_whole_block_is_ram() {
    let machine = Machine::with_ram(LARGE + 3);
    assert_eq!((machine.space.bytes(), machine.space.backed_bytes()), ((LARGE + 3) * FRAME, FRAME));
    let first = machine.reaches_memory(5, false);
    assert_eq!(machine.space.backed_bytes(), (LARGE + 1) * FRAME);
    assert_eq!(machine.mapped(5).map(|found| found.level), Some(2));
    assert_eq!(machine.reaches_memory(6, true), first + FRAME);
    // The rest is no whole block: a frame, and a table for such.
    machine.reaches_memory(LARGE + 1, true);
    assert_eq!(machine.space.backed_bytes(), (LARGE + 3) * FRAME);
    assert_eq!(machine.mapped(LARGE + 1).map(|found| found.level), Some(1));
    assert_eq!(machine.mapped(LARGE), None);
}

#[test]
fn ram_at_an_odd_place_is_mapped_in_small_pages_and_whole() {
    let machine = Machine::new(true);
    machine.put(1, Content::Ram(Ram::new(2 * LARGE * FRAME).unwrap()), 2 * LARGE);
    for frame in [1, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE] {
        machine.reaches_memory(frame, true);
        assert_eq!(machine.mapped(frame).map(|found| found.level), Some(1));
    }
    assert_eq!(machine.touch(0, 0, false), Outcome::Exit(Fault::Nothing));
    assert_eq!(machine.touch(0, 2 * LARGE + 1, false), Outcome::Exit(Fault::Nothing));
}

#[test]
fn software_reads_zeros_where_nothing_is_there_yet_and_takes_nothing() {
    let machine = Machine::with_ram(LARGE);
    let mut bytes = [9; 300];
    machine.space.read(GuestPhysical(FRAME - 100), &mut bytes).unwrap();
    assert_eq!(bytes, [0; 300]);
    assert_eq!(machine.space.backed_bytes(), FRAME, "the record that nothing is there");
}

#[test]
fn what_software_writes_is_read_by_it_and_by_the_guest() {
    let machine = Machine::with_ram(2 * LARGE + 10);
    let bytes: Vec<u8> = (0..3 * FRAME as u32).map(|n| (n * 7) as u8).collect();
    let start = GuestPhysical((2 * LARGE - 1) * FRAME + 8);
    machine.space.write(start, &bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    machine.space.read(start, &mut back).unwrap();
    assert!(back == bytes);
    let seen = load(machine.reaches_memory(2 * LARGE, false)).to_le_bytes();
    let offset = FRAME as usize - 8;
    assert_eq!(seen, bytes[offset..offset + 8]);
}

#[test]
fn memory_that_is_held_is_what_it_is_at_each_address() {
    let machine = Machine::with_ram(2);
    let rom = Ram::new(FRAME).unwrap();
    rom.write(0, 0, &[7]).unwrap();
    machine.put(8, Content::Rom(rom), 1);
    machine.put(9, Content::Ram(Ram::new(FRAME).unwrap()), 1);
    machine.space.hold(&mut |memory| {
        let read = |address| {
            let mut byte = [0];
            memory.read(address, &mut byte).map(|()| byte[0])
        };
        for round in 1..4 {
            memory.write(at(1), &[round]).unwrap();
            assert_eq!(memory.write(at(8), &[round]), Err(Unbacked { address: at(8) }));
            assert_eq!((read(at(8)), read(at(1))), (Ok(7), Ok(round)));
            assert_eq!(memory.compare_exchange(at(9), u64::from(round) - 1, round.into()), Ok(true));
            assert_eq!((read(at(9)), read(at(2))), (Ok(round), Err(Unbacked { address: at(2) })));
            assert_eq!(machine.space.read(at(1), &mut [0]), Ok(()), "sections nest");
        }
    });
    let mut byte = [0];
    machine.space.read(at(1), &mut byte).unwrap();
    assert_eq!(byte, [3]);
}

#[test]
fn a_write_that_leaves_ram_writes_nothing_and_names_the_place() {
    let machine = Machine::with_ram(2);
    machine.put(3, Content::Device, 1);
    let edge = GuestPhysical(2 * FRAME - 2);
    assert_eq!(machine.space.write(edge, &[1; 4]), Err(Unbacked { address: at(2) }));
    let mut back = [9; 2];
    machine.space.read(edge, &mut back).unwrap();
    assert_eq!(back, [0; 2]);
    assert_eq!(machine.space.read(edge, &mut [0; 4]), Err(Unbacked { address: at(2) }));
    assert_eq!(machine.space.write(at(3), &[1]), Err(Unbacked { address: at(3) }));
    let last = GuestPhysical(u64::MAX);
    assert_eq!(machine.space.read(last, &mut [0; 4]), Err(Unbacked { address: last }));
    assert_eq!(machine.space.write(last, &[0; 4]), Err(Unbacked { address: last }));
}

#[test]
fn a_word_is_exchanged_only_if_it_is_what_was_expected() {
    let machine = Machine::with_ram(1);
    let word = GuestPhysical(24);
    assert_eq!(machine.space.compare_exchange(word, 1, 2), Ok(false));
    assert_eq!(machine.space.compare_exchange(word, 0, 2), Ok(true));
    assert_eq!(machine.space.compare_exchange(word, 0, 3), Ok(false));
    assert_eq!(machine.space.compare_exchange(at(1), 0, 3), Err(Unbacked { address: at(1) }));
}

#[test]
fn rom_is_read_but_not_written_and_its_owner_fills_it() {
    let machine = Machine::new(true);
    let rom = Ram::new(FRAME).unwrap();
    rom.write(0, 0, b"firmware").unwrap();
    machine.put(7, Content::Rom(Arc::clone(&rom)), 1);
    assert_eq!(load(machine.reaches_memory(7, false)).to_le_bytes(), *b"firmware");
    assert_eq!(machine.touch(0, 7, true), Outcome::Exit(Fault::Protected));
    assert_eq!(machine.touch(1, 7, true), Outcome::Exit(Fault::Protected));
    assert_eq!(machine.space.write(at(7), &[1]), Err(Unbacked { address: at(7) }));
    assert_eq!(machine.space.compare_exchange(at(7), 0, 1), Err(Unbacked { address: at(7) }));
    let mut bytes = [0; 4];
    machine.space.read(at(7), &mut bytes).unwrap();
    assert_eq!(bytes, *b"firm");
}

#[test]
fn devices_and_nothing_are_told_apart_and_take_nothing() {
    let machine = Machine::with_ram(4);
    machine.put(100, Content::Device, 2);
    let held = machine.space.held_bytes();
    for write in [false, true] {
        let outcomes = [99, 100, 101, 102, u64::MAX / FRAME].map(|frame| {
            let access = Access { read: !write, write, execute: false };
            machine.space.fault(ME, GuestPhysical(frame * FRAME + 5), access)
        });
        let (device, nothing) = (Fault::Device, Fault::Nothing);
        assert_eq!(outcomes, [nothing, device, device, nothing, nothing]);
    }
    assert_eq!((machine.space.held_bytes(), machine.space.backed_bytes()), (held, FRAME));
}

#[test]
fn what_the_processor_plays_is_mapped_and_is_no_memory_to_anybody_else() {
    let machine = Machine::with_ram(4);
    let ram = Ram::new(FRAME).unwrap();
    let address = ram.back(0).unwrap().address;
    machine.put(100, Content::Played(ram), 1);
    let place = GuestPhysical(100 * FRAME);
    assert_eq!(machine.reaches_memory(100, true), address, "it is told by where it is");
    assert_eq!(machine.space.read(place, &mut [0; 4]), Err(Unbacked { address: place }));
    assert_eq!(machine.space.write(place, &[0; 4]), Err(Unbacked { address: place }));
    let page = OverlayPage::writable().unwrap();
    assert!(machine.space.overlay(ME, &page, Some(100)).is_err());
    assert_eq!(machine.space.bytes(), 4 * FRAME);
}

#[test]
fn the_same_ram_is_seen_at_two_places_and_again_later() {
    let machine = Machine::new(true);
    let (alpha, beta) = (Ram::new(FRAME).unwrap(), Ram::new(FRAME).unwrap());
    machine.put(0, Content::Ram(Arc::clone(&alpha)), 1);
    machine.put(9, Content::Ram(Arc::clone(&alpha)), 1);
    store(machine.reaches_memory(0, true), 5);
    assert_eq!(load(machine.reaches_memory(9, false)), 5);
    assert_eq!(machine.space.backed_bytes(), 3 * FRAME, "a frame, and the record of it");
    machine.put(0, Content::Ram(beta), 1);
    store(machine.reaches_memory(0, true), 6);
    assert_eq!(load(machine.reaches_memory(9, false)), 5);
    machine.put(0, Content::Ram(alpha), 1);
    assert_eq!(load(machine.reaches_memory(0, false)), 5);
}

#[test]
fn what_is_left_of_a_slot_stays_what_it_was() {
    let machine = Machine::with_ram(LARGE);
    for frame in 0..LARGE {
        store(machine.reaches_memory(frame, true), frame);
    }
    machine.put(10, Content::Device, 5);
    machine.space.remove(machine.leave(0), range(100, 1)).unwrap();
    for frame in 0..LARGE {
        match frame {
            10..15 => assert_eq!(machine.touch(0, frame, false), Outcome::Exit(Fault::Device)),
            100 => assert_eq!(machine.touch(0, frame, false), Outcome::Exit(Fault::Nothing)),
            _ => assert_eq!(load(machine.reaches_memory(frame, false)), frame),
        }
    }
    assert_eq!(machine.space.bytes(), (LARGE - 6) * FRAME);
}

#[test]
fn what_was_populated_does_not_fault() {
    let machine = Machine::with_ram(3 * LARGE + 5);
    machine.put(LARGE, Content::Device, 3);
    let rom = Ram::new(2 * FRAME).unwrap();
    machine.put(4 * LARGE, Content::Rom(rom), 2);
    machine.space.populate(ME, range(0, 5 * LARGE)).unwrap();
    let whole = |frame| machine.space.fault(ME, at(frame), Access { read: true, write: true, execute: true });
    let memory = (0..3 * LARGE + 5).filter(|frame| !(LARGE..LARGE + 3).contains(frame));
    for frame in memory {
        assert_eq!(whole(frame), Fault::Spurious);
    }
    assert_eq!(whole(LARGE), Fault::Device);
    let read = Access { read: true, ..Access::default() };
    assert_eq!(machine.space.fault(ME, at(4 * LARGE + 1), read), Fault::Spurious);
}

#[test]
fn a_gibibyte_takes_three_tables() {
    let machine = Machine::with_ram(LARGE * LARGE);
    assert_eq!(machine.space.held_bytes(), FRAME);
    machine.reaches_memory(12345, true);
    machine.reaches_memory(LARGE * LARGE - 1, true);
    assert_eq!(machine.space.held_bytes(), 3 * FRAME);
}

/// No more can be promised than there is; then nothing changes.
#[test]
fn ram_that_cannot_be_kept_is_not_promised() {
    let absurd = 1 << 45;
    assert!(Ram::new(absurd).is_err_and(|error| error.bytes >= absurd));
}

/// All tables that a guest could ever take are set aside, however its slots change; and all are given back.
#[test]
fn tables_are_set_aside_for_the_worst_case() {
    let machine = Machine::new(true);
    // One page in each of many large blocks, each slot far from the other: three tables each.
    for round in 0..4 {
        let places: Vec<u64> = (1..20).map(|n| n * frames_of(4) + round).collect();
        for &place in &places {
            machine.put(place, Content::Ram(Ram::new(2 * FRAME).unwrap()), 2);
            machine.reaches_memory(place, true);
            machine.reaches_memory(place + 1, true);
        }
        assert_eq!(machine.space.held_bytes(), (1 + 3 * 19) * FRAME);
        for &place in &places {
            machine.space.remove(machine.leave(0), range(place, 2)).unwrap();
        }
        assert_eq!(machine.space.held_bytes(), FRAME, "tables that translate nothing are gone");
    }
    let left: Vec<_> = std::iter::from_fn(|| machine.space.tables.memory().take(1).ok()).collect();
    assert_eq!(
        left.len(),
        Machine::CPUS,
        "what is no more needed is no more set aside, but for one for each CPU"
    );
}

#[test]
fn a_page_leaves_nothing_behind_where_the_memory_under_it_is_gone() {
    let machine = Machine::with_ram(LARGE);
    machine.reaches_memory(0, true);
    let taken = machine.space.held_bytes();
    let place = 5 * LARGE * LARGE;
    machine.put(place, Content::Ram(Ram::new(3 * FRAME).unwrap()), 3);
    let page = OverlayPage::writable().unwrap();
    for at in place..place + 3 {
        machine.put(place, Content::Ram(Ram::new(3 * FRAME).unwrap()), 3);
        machine.space.overlay(machine.leave(0), &page, Some(at)).unwrap();
        (place..place + 3).for_each(|frame| _ = machine.reaches_memory(frame, true));
        machine.space.remove(machine.leave(0), range(place, 3)).unwrap();
        assert_eq!(
            machine.touch(0, at, true),
            Outcome::Memory { address: machine.reaches_memory(at, false) }
        );
        machine.space.overlay(machine.leave(0), &page, None).unwrap();
        assert_eq!(machine.touch(0, at, false), Outcome::Exit(Fault::Nothing));
        assert_eq!(machine.space.held_bytes(), taken);
    }
}
