// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels of multiboot 1, and ELF files with a PVH note.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|kernel: &[u8]| fuzz::load(kernel, &[&[0xee; 50]]));
