// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads in the place of CPUs: what loom explores in the small, at full size and by chance.

use super::machine::word;
use super::*;
use crate::mmu::model;
use crate::mmu::walker::walk;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use std::thread;

const ROUNDS: u64 = 3000;
const FRAMES: u64 = LARGE + 8;
/// Where the RAM is that comes and goes.
const WINDOW: u64 = 4 * LARGE;

/// The guest on a CPU: each word that it changes is its own, and nobody else's value is ever there.
fn run_guest(space: &GuestSpace, number: usize, over: &AtomicBool) -> u64 {
    let (me, root) = (Machine::cpu(number), space.root());
    let mut values = vec![0_u64; FRAMES as usize];
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        rounds += 1;
        let frame = rounds * 7919 % FRAMES;
        let occupancy = &space.coherence().occupancy;
        if let Some(generation) = occupancy.enter(me, root) {
            root.credit(me, generation);
        }
        let reached = walk(root.pointer(), frame, true).map(|found| {
            let word = word(found.address + 64 * number as u64);
            assert_eq!(word.load(Ordering::Relaxed), values[frame as usize], "another page, or a lost write");
            word.store(rounds, Ordering::Relaxed);
            values[frame as usize] = rounds;
        });
        let window = walk(root.pointer(), WINDOW, false).map(|found| word(found.address));
        let window = window.map(|word| word.load(Ordering::Relaxed));
        assert!(window.is_none_or(|value| value == 1 || value == 2), "{window:?} in the window");
        occupancy.leave(me);
        let access = Access { read: true, write: reached.is_none(), execute: false };
        let fault = match reached {
            None => space.fault(me, at(frame), access),
            Some(()) => space.fault(me, at(WINDOW), access),
        };
        assert!(matches!(fault, Fault::Resolved | Fault::Spurious | Fault::Again), "{fault:?}");
    }
    rounds
}

#[test]
fn guests_see_only_what_they_wrote_while_everything_changes_under_them() {
    let space = GuestSpace::new(model::coherence_of_threads(), Features { accessed_dirty: true }).unwrap();
    let windows = [1_u64, 2].map(|value| {
        let ram = Ram::new(FRAME).unwrap();
        ram.write(0, 0, &value.to_le_bytes()).unwrap();
        ram
    });
    space.set(ME, range(0, FRAMES), Content::Ram(Ram::new(FRAMES * FRAME).unwrap())).unwrap();
    space.set(ME, range(WINDOW, 1), Content::Ram(Arc::clone(&windows[0]))).unwrap();
    let over = AtomicBool::new(false);
    for vcpu in 1..4 {
        space.roots().load(vcpu, space.root());
    }
    thread::scope(|scope| {
        let guests = [1, 2].map(|number| {
            let (space, over) = (&space, &over);
            scope.spawn(move || run_guest(space, number, over))
        });
        let zapper = scope.spawn(|| {
            let me = Machine::cpu(3);
            for round in 0..ROUNDS {
                space.zap(me, range(round % FRAMES, round % 3 + 1));
            }
        });
        for round in 0..ROUNDS {
            match round % 16 {
                0 => space.start_log(ME, range(0, FRAMES)).unwrap(),
                5 => space.zap(ME, range(0, 2 * LARGE)),
                8 => space.stop_log(ME, range(0, FRAMES)),
                9 => space.collapse(ME, range(0, LARGE)),
                12 => {
                    let ram = Arc::clone(&windows[(round / 16 % 2) as usize]);
                    space.set(ME, range(WINDOW, 1), Content::Ram(ram)).unwrap();
                }
                _ => _ = space.fetch_log(ME, round % FRAMES, 64),
            }
        }
        zapper.join().unwrap();
        over.store(true, Ordering::Relaxed);
        let rounds: u64 = guests.into_iter().map(|guest| guest.join().unwrap()).sum();
        assert!(rounds > 0);
    });
    for vcpu in 1..4 {
        space.roots().unload(vcpu);
    }
    space.remove(ME, range(0, 5 * LARGE)).unwrap();
    assert_eq!(space.held_bytes(), FRAME, "all tables but the root are gone");
}
