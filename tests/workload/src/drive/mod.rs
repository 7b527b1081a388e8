// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does with the machine's devices what the plan says, and tells what it found.

mod disk;
mod drivers;
mod entropy;
mod network;
mod patience;

use std::io;

use workload::devices::Plan;

use patience::Patience;

/// Does it, and gives the checksum of the disk, or zero without one.
///
/// # Errors
/// What the system says, or what was found to be wrong.
pub fn run(plan: &Plan) -> io::Result<u64> {
    if let Some(address) = plan.address {
        network::bring_up(address)?;
        // Before there is a second thread.
        network::serve()?;
    }
    let patience = Patience::begin()?;
    drivers::tell_virtio()?;
    let checksum = plan.disk.as_deref().map_or(Ok(0), |file| disk::read(file, &patience))?;
    if let Some(scratch) = &plan.scratch {
        disk::write_and_read(scratch, &patience)?;
    }
    entropy::check(&patience)?;
    if let Some(peer) = plan.peer {
        network::ping(peer, plan.pings, &patience)?;
        network::stream(peer, &patience)?;
    }
    drivers::check_interrupts()?;
    Ok(checksum)
}
