// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs a vCPU to go on on another CPU: the exerciser's command less a plain read of one of its ports.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::effort;
use tests::exerciser;
use tests::ports;
use tests::say;
use tests::time;
use tests::verdict::expect;

tests::program!(run);

const ROUNDS: u64 = 2_000;
const WARM_UP: u64 = 20;

fn run() {
    expect("there is more than one CPU", exerciser::cpus() > 1);
    let _ = ticks(WARM_UP, || exerciser::migrate());
    let rounds = effort::of(ROUNDS);
    let reads = ticks(rounds, || _ = ports::in_u32(exerciser::COMMAND));
    let migrations = ticks(rounds, || ports::out_u32(exerciser::COMMAND, exerciser::MIGRATE));
    say!("bench: migration {}", migrations.saturating_sub(reads) / rounds);
}

fn ticks(rounds: u64, act: impl Fn()) -> u64 {
    let start = time::tsc();
    (0..rounds).for_each(|_| act());
    time::tsc() - start
}
