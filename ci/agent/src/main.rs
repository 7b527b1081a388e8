// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent: runs QEMU as the lab asks over standard input and output, one run after the other.
//!
//! As the first process of the emulated KVM host it first makes that host what it is to be. On a machine with VT-x it
//! is a program like any other. A KVM host that itself runs in a machine of QEMU's has its requests with it, in a file.

mod host;
mod marks;
mod qemu;
mod serve;
mod tsc;

use std::fs;
use std::io::Write;

use agent::protocol::FRAME;
use agent::protocol::Frame;
use agent::protocol::REQUESTS;

fn main() {
    let first_process = std::process::id() == 1;
    let prepared = if first_process { host::prepare() } else { Ok(()) };
    let served = prepared.and_then(|()| match fs::read_to_string(REQUESTS) {
        Ok(requests) if first_process => serve::serve_file(&requests),
        _ => serve::serve(),
    });
    if let Err(error) = served {
        // Whoever reads it may be gone, and then nobody is to be told.
        let _ = tell(&Frame::Failed(error.to_string()));
    }
    if first_process {
        host::power_off();
    }
}

/// Sends a frame.
fn tell(frame: &Frame) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(&[FRAME])?;
    writeln!(output, "{frame}")?;
    output.flush()
}
