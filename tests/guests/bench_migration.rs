// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs a vCPU to go on on another CPU: the exerciser's command less a plain read of one of its ports.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::bench::Bench;
use tests::bench::Often;
use tests::bench::timed;
use tests::exerciser;
use tests::ports;
use tests::verdict::expect;

tests::program!(run);

fn run() {
    let mut bench = Bench::start();
    expect("there is more than one CPU", exerciser::cpus() > 1);
    // The exit of the read.
    let often = Often { beside: 1, ..Often::AT_WILL };
    bench.measure("migration", often, |times| {
        let migrations = timed(|| (0..times).for_each(|_| exerciser::migrate_at_once()));
        let reads = timed(|| (0..times).for_each(|_| _ = ports::in_u32(exerciser::COMMAND)));
        migrations.saturating_sub(reads)
    });
}
