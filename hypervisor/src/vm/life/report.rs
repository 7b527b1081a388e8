// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is told of a virtual machine when it starts and when it ends.

use crate::console;
use crate::console::rate_limit::LeftOut;
use crate::memory::frames;
use crate::memory::heap;
use crate::schedule::board::Board;
use crate::vm::Vm;
use alloc::string::String;
use core::fmt::Write;
use log::info;

/// How many exit reasons a report names.
const REASONS_NAMED: usize = 6;

/// It was made in so many microseconds, and so many bytes were free before.
pub fn start(vm: &Vm, free_before: u64, micros: u64) {
    let memory = &vm.machine.memory;
    let (bytes, most) = (memory.bytes(), memory.set_aside_bytes());
    // Others give memory back meanwhile.
    let own = free_before.saturating_sub(frames::free_bytes() + bytes + most);
    info!(
        "vm {}: started: {} MiB, {} KiB of tables for them so far and {} at most, {} KiB of Satori's own; made in {micros} us",
        vm.name,
        bytes.div_ceil(1 << 20),
        memory.held_bytes() >> 10,
        most >> 10,
        own >> 10
    );
}

/// It has ended.
pub fn end(vm: &Vm, left_out: LeftOut, board: &Board) {
    let name = &vm.name;
    vm.machine.output.finish(console::write_guest);
    if let Some(end) = vm.outcome() {
        info!("vm {name}: ended: {end}{left_out}");
    }
    info!("vm {name}: {}", exits(vm));
    info!("vm {name}: flushes: {}", board.coherence.counters);
    #[cfg(feature = "measure")]
    info!("vm {name}: our own share in ticks: {}", vm.shares.lock());
}

/// Nothing of it is left: a machine that was started and ended has cost nothing.
pub fn memory(name: &str) {
    let (free, used) = (frames::free_bytes() >> 10, heap::used_bytes());
    info!("vm {name}: gave back its memory: {free} KiB are free, {used} bytes of Satori's heap in use");
}

/// "1234 exits: IO_INSTRUCTION 1000, HLT 234".
fn exits(vm: &Vm) -> String {
    let exits = vm.exits();
    let total: u64 = exits.iter().map(|(_, exits)| exits.count).sum();
    let mut text = alloc::format!("{total} exits");
    let mut separator = ": ";
    for (reason, exits) in exits.iter().take(REASONS_NAMED) {
        // A string takes everything.
        let _ = write!(text, "{separator}{reason:?} {}", exits.count);
        separator = ", ";
    }
    text
}
