// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues in memory that holds anything, and that changes between any two accesses.

use super::*;
use crate::mmu::Unbacked;
use std::cell::Cell;
use std::cell::RefCell;

const RAM: u64 = 0x300;
const MOST: u16 = 16;

/// Memory that somebody changes under the device, and that counts its accesses.
struct Restless {
    memory: ModelMemory,
    accesses: Cell<usize>,
    changes: RefCell<Vec<(u64, u16)>>,
}

impl Restless {
    fn change(&self) {
        self.accesses.set(self.accesses.get() + 1);
        if let Some((at, value)) = self.changes.borrow_mut().pop() {
            self.memory.write(GuestPhysical(at % (RAM - 2)), &value.to_le_bytes()).unwrap();
        }
    }
}

impl GuestMemory for Restless {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.change();
        self.memory.read(address, buffer)
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.change();
        self.memory.write(address, bytes)
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.memory.compare_exchange(address, current, new)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pop,
    PopOrAwait,
    UndoPop,
    Read,
    Write,
    Push,
    ShouldInterrupt,
    Suppress,
    Await,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Pop),
        2 => Just(Step::PopOrAwait),
        1 => Just(Step::UndoPop),
        2 => Just(Step::Read),
        2 => Just(Step::Write),
        2 => Just(Step::Push),
        1 => Just(Step::ShouldInterrupt),
        1 => Just(Step::Suppress),
        1 => Just(Step::Await),
    ];
    prop::collection::vec(step, 1..60)
}

/// Mostly what makes some sense: small indices, flags, lengths of tables, addresses in the memory.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![3 => 0_u16..8, 2 => (0_u16..8).prop_map(|n| n * 16), 2 => 0..RAM as u16, 1 => any::<u16>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is in memory and becomes of it: each step is over after a bounded number of accesses, and panics never.
    #[test]
    fn any_memory_is_borne(
        content in prop::collection::vec(word(), RAM as usize / 2),
        areas in [0..RAM + 64, 0..RAM + 64, 0..RAM + 64],
        size_bits in 0_u32..5, features in prop_oneof![Just(0), Just(INDIRECT_DESCRIPTORS), Just(INDIRECT_DESCRIPTORS | EVENT_INDEX)],
        changes in prop::collection::vec((any::<u64>(), word()), 0..200),
        steps in steps(),
    ) {
        let memory = ModelMemory::new(&[0..RAM]);
        let bytes: Vec<u8> = content.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(GuestPhysical(0), &bytes).unwrap();
        let memory = Restless { memory, accesses: Cell::new(0), changes: RefCell::new(changes) };
        let mut queue = Queue::new(MOST);
        queue.set_size(1 << size_bits).unwrap();
        let alignments = [16, 2, 4];
        for ((area, address), alignment) in
            [Area::Descriptors, Area::Driver, Area::Device].into_iter().zip(areas).zip(alignments)
        {
            queue.set_address(area, address / alignment * alignment);
        }
        queue.enable(features).unwrap();
        let mut chain = Chain::new(MOST);
        let mut popped = false;
        for step in steps {
            memory.accesses.set(0);
            let before = queue.popped;
            match step {
                Step::Pop | Step::PopOrAwait => {
                    let pop = if matches!(step, Step::Pop) { Queue::pop } else { Queue::pop_or_await };
                    let outcome = pop(&mut queue, &memory, &mut chain);
                    popped = outcome == Ok(true);
                    let moved = queue.popped.wrapping_sub(before);
                    prop_assert_eq!(moved, u16::from(popped), "what is popped is progress");
                }
                Step::UndoPop if popped => {
                    queue.undo_pop();
                    popped = false;
                }
                Step::UndoPop => {}
                Step::Read => {
                    let (left, mut buffer) = (chain.readable(), [0; 100]);
                    if let Ok(read) = chain.read(&memory, &mut buffer) {
                        prop_assert_eq!(read as u64, left.min(100));
                    }
                }
                Step::Write => {
                    let left = chain.writable();
                    if let Ok(written) = chain.write(&memory, &[0xff; 100]) {
                        prop_assert_eq!(written as u64, left.min(100));
                    }
                }
                Step::Push => drop(queue.push(&memory, &chain, 7)),
                Step::ShouldInterrupt => drop(queue.should_interrupt(&memory)),
                Step::Suppress => drop(queue.suppress_notifications(&memory)),
                Step::Await => drop(queue.await_notifications(&memory)),
            }
            // An index or two, a head, the descriptors of the chain and the one that leads to its table.
            prop_assert!(memory.accesses.get() <= 5 + usize::from(MOST), "{:?}: {}", step, memory.accesses.get());
        }
    }
}
