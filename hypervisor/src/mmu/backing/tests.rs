// SPDX-License-Identifier: MIT OR Apache-2.0
//! RAM comes when it is touched, once, and goes with the last who has it; small enough for Miri.

use super::*;
use std::thread;

/// RAM of that size for which so many frames are set aside.
fn short_of_memory(frames: u64, memory: u64) -> Ram {
    Ram::out_of(Commitment::new(memory).unwrap(), frames).unwrap()
}

#[test]
fn the_record_of_a_gibibyte_is_a_frame() {
    let ram = Ram::new(1 << 30).unwrap();
    assert_eq!(ram.backed_bytes(), FRAME);
}

/// While it is being touched, too: then frames are neither left nor taken for a moment.
#[test]
fn the_bytes_of_the_record_do_not_depend_on_what_is_there() {
    let ram = Ram::new(LARGE * FRAME).unwrap();
    let expected = ram.record_bytes();
    assert_eq!(expected, 2 * FRAME);
    thread::scope(|scope| {
        let touching =
            scope.spawn(|| (0..50).for_each(|_| ram.memory.give_back(ram.memory.take(LARGE).unwrap())));
        while !touching.is_finished() {
            assert_eq!(ram.record_bytes(), expected);
        }
    });
}

#[test]
fn a_whole_block_is_one_piece_and_the_rest_is_not() {
    let ram = Ram::new((LARGE + 2) * FRAME).unwrap();
    assert_eq!(ram.look(0), None);
    let first = ram.back(3).unwrap();
    assert!(first.large);
    assert_eq!(ram.look(4), Some(Backed { address: first.address + FRAME, large: true }));
    assert!((first.address - 3 * FRAME).is_multiple_of(LARGE * FRAME));
    let rest = ram.back(LARGE + 1).unwrap();
    assert!(!rest.large);
    assert_eq!(ram.look(LARGE), None);
    assert_eq!(ram.look(LARGE + 1), Some(rest));
    assert_eq!(ram.backed_bytes(), (LARGE + 3) * FRAME, "a block, a frame, and two pages of words");
}

#[test]
fn where_no_large_piece_is_free_frames_come_one_by_one() {
    let ram = short_of_memory(LARGE, 4);
    let (one, other) = (ram.back(0).unwrap(), ram.back(LARGE - 1).unwrap());
    assert!(!one.large && !other.large && one.address != other.address);
    assert_eq!(ram.back(0), Ok(one));
    assert_eq!(ram.back(1), Err(NotNow::OutOfFrames));
    assert_eq!(ram.look(1), None);
    assert_eq!(ram.write(1, 0, &[1]), Err(NotNow::OutOfFrames));
    let mut byte = [9];
    ram.read(1, 0, &mut byte);
    assert_eq!(byte, [0]);
}

#[test]
fn what_is_being_brought_is_not_brought_twice() {
    let ram = short_of_memory(1, 3);
    ram.block(0).store(BUSY, Ordering::Relaxed);
    assert_eq!(ram.back(0), Err(NotNow::Busy));
    assert_eq!(ram.look(0), None);
    ram.block(0).store(EMPTY, Ordering::Relaxed);
    ram.back(0).unwrap();
}

#[test]
fn what_is_written_is_read() {
    let ram = Ram::new(2 * FRAME).unwrap();
    ram.write(1, 8, &[1, 2, 3]).unwrap();
    let mut bytes = [9; 5];
    ram.read(1, 7, &mut bytes);
    assert_eq!(bytes, [0, 1, 2, 3, 0]);
    assert_eq!(ram.compare_exchange(1, 1, 0x03_0201, 5), Ok(true));
    assert_eq!(ram.compare_exchange(1, 1, 0x03_0201, 6), Ok(false));
}

#[test]
fn many_who_touch_it_at_once_get_the_same_frame() {
    let ram = &short_of_memory(1, 3);
    let back = || loop {
        match ram.back(0) {
            Err(NotNow::Busy) => thread::yield_now(),
            other => return other.unwrap().address,
        }
    };
    let addresses = thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(back));
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(addresses.iter().all(|&address| address == addresses[0]));
}

#[test]
#[should_panic(expected = "frame 0x2 of RAM that has 0x2")]
fn a_frame_that_it_has_not_is_refused() {
    let _ = Ram::new(2 * FRAME).unwrap().back(2);
}
