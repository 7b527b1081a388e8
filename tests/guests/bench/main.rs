// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each operation costs that one vCPU can do by itself, in the lines of [`tests::bench`].
//!
//! It runs on Satori, and unchanged on QEMU. What only one of them has it measures where that is.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod devices;
mod instructions;
mod memory;
mod timer;

use tests::bench::Bench;

tests::program!(run);

fn run() {
    let mut bench = Bench::start();
    instructions::measure(&mut bench);
    timer::measure(&mut bench);
    memory::measure(&mut bench);
    devices::measure(&mut bench);
    // Who has begun with these does not go back.
    instructions::measure_x2apic(&mut bench);
    instructions::measure_cr8(&mut bench);
}
