// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workload: does what its arguments say, and prints `workload: ok CHECKSUM`, or what went wrong.
//!
//! Without arguments it is all tasks of [`workload::plan`]; with `devices KEY=VALUE…` it is what
//! [`workload::devices`] says; and `bench start-tsc=TSC` times fixed work. As the system's first process it powers off in the end.

mod bench;
mod busy;
mod drive;
mod system;

use std::io;
use std::process::ExitCode;

use workload::devices::Plan;

fn main() -> ExitCode {
    let started_at = system::tsc();
    let status = match run(started_at) {
        Ok(status) => status,
        Err(error) => {
            println!("workload: failed: {error}");
            ExitCode::FAILURE
        }
    };
    if std::process::id() == 1 {
        system::power_off();
    }
    status
}

fn run(started_at: u64) -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((first, rest)) = arguments.split_first() else { return tell(busy::run()?) };
    match first.as_str() {
        "devices" => tell(drive::run(&Plan::parse(rest).map_err(io::Error::other)?)?),
        "bench" => bench::run(rest, started_at).map(|()| ExitCode::SUCCESS),
        "status" => {
            let number = rest.first().and_then(|number| number.parse().ok()).unwrap_or_default();
            Ok(bench::status_of(number).into())
        }
        other => Err(io::Error::other(format!("{other:?} is no plan; there are devices and bench"))),
    }
}

fn tell(checksum: u64) -> io::Result<ExitCode> {
    println!("workload: ok {checksum:016x}");
    Ok(ExitCode::SUCCESS)
}
