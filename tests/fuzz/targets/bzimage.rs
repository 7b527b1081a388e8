// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux' bzImages.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|kernel: &[u8]| fuzz::load(kernel, &[]));
