// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs all CPUs together to take one page's mapping away while all but one spin in the guest: what all of them execute,
//! less their spinning.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::bench;
use tests::effort;
use tests::exerciser;
use tests::exerciser::EXITS_OF_ASKING;
use tests::physical;
use tests::ports;
use tests::processors;
use tests::say;
use tests::spinners;
use tests::spinners::Observed;
use tests::time;
use tests::verdict::fail;

tests::program!(run);

const ROUNDS: u64 = 1_000;
const PAGE: u64 = 8 << 20;

/// Of the vCPUs there run as many as there are CPUs.
fn run() {
    processors::together(exerciser::cpus() as usize, |number| {
        if number == 0 {
            measure();
            spinners::end();
        } else {
            spinners::spin(number);
        }
    });
}

fn measure() {
    let name = match exerciser::cpus() {
        2 => "zap_page_2_cpus",
        4 => "zap_page_4_cpus",
        other => fail(format_args!("expected 2 or 4 CPUs, saw {other}")),
    };
    time::spin(1_000);
    let thousandths = spinners::instructions_in_1000_ticks();
    say!("note: {name}: {thousandths} instructions in 1000 ticks");
    touch();
    exerciser::zap(PAGE, 1);
    let rounds = effort::of(ROUNDS);
    cost(name, rounds, thousandths);
    exits(name, rounds);
}

fn cost(name: &str, rounds: u64, thousandths: u64) {
    let cost = |Observed { ticks, spun }: Observed| (ticks * thousandths / 1_000).saturating_sub(spun);
    let (mut zaps, mut reads, mut taken) = (0, 0, 0);
    for _ in 0..rounds {
        touch();
        let observed = spinners::observe(exerciser::zap_again);
        taken += observed.ticks;
        zaps += cost(observed);
        reads += cost(spinners::observe(|| _ = ports::in_u32(exerciser::COMMAND)));
    }
    say!("bench: {name} {}", zaps.saturating_sub(reads) / rounds);
    say!("note: {name}: {} ticks", taken / rounds);
}

/// Those of all vCPUs, without that of the touch.
fn exits(name: &str, rounds: u64) {
    let before = exerciser::exits();
    touch();
    exerciser::zap(PAGE, 1);
    for _ in 1..rounds {
        touch();
        exerciser::zap_again();
    }
    // One of the commands was given in full, too.
    let exits = exerciser::exits().wrapping_sub(before) - EXITS_OF_ASKING - (EXITS_OF_ASKING - 1);
    bench::say_exits(name, u64::from(exits) - rounds, rounds);
}

fn touch() {
    physical::write(PAGE, 1_u8);
}
