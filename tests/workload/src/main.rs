// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workload: does what its arguments say, and prints `workload: ok CHECKSUM`, or what went wrong.
//!
//! Without arguments it is all tasks of [`workload::plan`]; with `devices KEY=VALUE…` it is what
//! [`workload::devices`] says.

mod busy;
mod drive;
mod system;

use std::io;
use std::process::ExitCode;

use workload::devices::Plan;

fn main() -> ExitCode {
    match run() {
        Ok(checksum) => {
            println!("workload: ok {checksum:016x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("workload: failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<u64> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        None => busy::run(),
        Some((first, rest)) if first == "devices" => {
            drive::run(&Plan::parse(rest).map_err(io::Error::other)?)
        }
        Some((other, _)) => Err(io::Error::other(format!("{other:?} is no plan; there is devices"))),
    }
}
