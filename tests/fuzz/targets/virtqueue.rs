// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtqueue whose driver may write anything, at any time.
#![no_main]

use fuzz::Input;
use fuzz::Restless;
use hypervisor::devices::virtio::queue::Area;
use hypervisor::devices::virtio::queue::Chain;
use hypervisor::devices::virtio::queue::EVENT_INDEX;
use hypervisor::devices::virtio::queue::INDIRECT_DESCRIPTORS;
use hypervisor::devices::virtio::queue::Queue;
use libfuzzer_sys::fuzz_target;

/// Bytes of the guest's memory, and the most entries of the queue.
const RAM: usize = 0x400;
const MOST: u16 = 16;

/// One step reads two tables of descriptors, the second through an indirect one, and a ring: more would be a loop.
const MOST_ACCESSES: usize = 3 * MOST as usize + 64;

/// What is done to the queue, at most so often.
const MOST_STEPS: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let features = [0, INDIRECT_DESCRIPTORS, EVENT_INDEX, INDIRECT_DESCRIPTORS | EVENT_INDEX]
        [usize::from(input.byte()) % 4];
    let size = u16::from_le_bytes(input.take());
    let areas: [u16; 3] = std::array::from_fn(|_| u16::from_le_bytes(input.take()));
    let steps: [u8; 32] = input.take();
    let changes = (0..input.byte()).map(|_| input.take()).collect();
    let memory = Restless::new(RAM, input.rest(), changes);

    let mut queue = Queue::new(MOST);
    assert_eq!(queue.set_size(size).is_ok(), size.is_power_of_two() && size <= MOST);
    for (area, address) in [Area::Descriptors, Area::Driver, Area::Device].into_iter().zip(areas) {
        // Not far beyond the memory, or nothing would ever be read.
        queue.set_address(area, u64::from(address) % (RAM as u64 + 32));
    }
    if queue.enable(features).is_err() {
        return;
    }
    let mut chain = Chain::new(MOST);
    for step in steps.into_iter().cycle().take(MOST_STEPS) {
        let popped = match step % 8 {
            0 | 1 => queue.pop(&memory, &mut chain),
            2 => queue.pop_or_await(&memory, &mut chain),
            3 => queue.should_interrupt(&memory),
            4 => queue.suppress_notifications(&memory).map(|()| false),
            _ => queue.await_notifications(&memory).map(|_| false),
        };
        assert!(memory.take_accesses() <= MOST_ACCESSES, "step {step} never ends");
        if step % 8 > 2 || popped != Ok(true) {
            if popped.is_err() {
                // The device needs reset.
                return;
            }
            continue;
        }
        if use_up(&mut chain, &memory, step).and_then(|()| queue.push(&memory, &chain, step.into())).is_err()
        {
            return;
        }
        memory.take_accesses();
    }
});

/// Reads and writes all of the buffers, in pieces of some size.
fn use_up(chain: &mut Chain, memory: &Restless, step: u8) -> Result<(), hypervisor::devices::virtio::Broken> {
    let mut piece = [0x55; 64];
    let piece = &mut piece[..1 + usize::from(step) % 64];
    for _ in 0..MOST {
        let (readable, writable) = (chain.readable(), chain.writable());
        let read = chain.read(memory, piece)?;
        assert_eq!((chain.readable(), chain.writable()), (readable - read as u64, writable));
        let wrote = chain.write(memory, piece)?;
        assert_eq!((chain.readable(), chain.writable()), (readable - read as u64, writable - wrote as u64));
        assert_eq!(read as u64, readable.min(piece.len() as u64));
        assert_eq!(wrote as u64, writable.min(piece.len() as u64));
    }
    Ok(())
}
