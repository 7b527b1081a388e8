// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of random bytes.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;

use crate::drive::patience::Patience;

const DEVICE: &str = "/dev/hwrng";

/// What drives it.
const CURRENT: &str = "/sys/class/misc/hw_random/rng_current";

/// Reads it twice; there must be no zeros, nor the same twice. A machine without one is told.
pub fn check(patience: &Patience) -> io::Result<()> {
    let driver = fs::read_to_string(CURRENT).unwrap_or_default();
    if !driver.starts_with("virtio") {
        println!("workload: entropy: none of virtio's");
        return Ok(());
    }
    patience.wait_for("random bytes");
    let mut device = File::open(DEVICE)?;
    let mut both = [[0_u8; 64]; 2];
    for bytes in &mut both {
        device.read_exact(bytes)?;
    }
    let [first, second] = both;
    if first == second || both.iter().any(|bytes| bytes.iter().all(|byte| *byte == bytes[0])) {
        return Err(io::Error::other(format!("{DEVICE} is not random: {first:02x?}, {second:02x?}")));
    }
    println!("workload: entropy: random, by {}", driver.trim());
    Ok(())
}
