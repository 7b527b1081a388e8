// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the log says on the way up: the machine, and what Satori takes of it.

use crate::acpi::Platform;
use crate::boot_info::BootInfo;
use crate::boot_info::ImageLayout;
use crate::cpu::clock::Calibration;
use crate::cpu::clock::Source;
use crate::memory::FRAME;
use crate::memory::address_space;
use crate::memory::frame_bitmap::FrameBitmap;
use crate::memory::frames;
use crate::memory::heap;
use alloc::string::String;
use core::fmt::Write;
use enlightenments::consume::Surroundings;
use log::info;
use log::warn;

/// What we run on, and what of it we use.
pub(super) fn machine(
    boot: &BootInfo,
    platform: &Platform,
    calibration: Calibration,
    surroundings: &Surroundings,
) {
    let Calibration { clock, source, contradiction } = calibration;
    let mhz = (clock.tsc_hz() + 500_000) / 1_000_000;
    info!("started by {}; {} CPU(s), TSC at {mhz} MHz", boot.protocol, platform.cpus.len());
    for word in boot.unknown_words() {
        warn!("command line: {word:?} means nothing to Satori; docs/manifest.md says what does");
    }
    info!("{surroundings}");
    if source != Source::Timer {
        info!("the TSC's rate is {} Hz, {source}", clock.tsc_hz());
    }
    if let Some(hz) = contradiction {
        warn!("the TSC ticks at {hz} Hz {}: one of the two is wrong", Source::ReferenceTime);
    }
}

/// What Satori takes for itself, before there is any virtual machine.
pub(super) fn footprint(image: &ImageLayout, memory_end: u64, cpus: usize) {
    let whole = image.physical();
    let (tables, stacks) = address_space::held_bytes();
    let bitmap = FrameBitmap::words_for((memory_end / FRAME) as usize) as u64 * 8;
    let parts = [
        ("image", whole.end - whole.start),
        ("heap", heap::held_bytes()),
        ("stacks", stacks),
        ("page tables", tables),
        ("frame allocator", bitmap),
        ("VMXON regions", cpus as u64 * FRAME),
    ];
    let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let mut text = String::new();
    for (name, bytes) in parts {
        // A string takes everything.
        let _ = write!(text, ", {name} {}", bytes.div_ceil(1024));
    }
    info!("Satori takes {} KiB{text}; {} MiB are free", total.div_ceil(1024), frames::free_bytes() >> 20);
}
