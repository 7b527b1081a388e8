// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each vCPU of a machine with as many physical CPUs runs, on a CPU of its own.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use tests::exerciser;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::madt;
use tests::processors;
use tests::verdict::expect_eq;

tests::program!(run);

/// The vCPUs that were seen on each CPU, a bit for each.
static SEEN_ON: [AtomicU32; processors::MOST] = [const { AtomicU32::new(0) }; processors::MOST];

fn run() {
    let vcpus = madt::processors();
    expect_eq("physical CPUs", exerciser::cpus() as usize, vcpus);
    processors::together(vcpus, |number| {
        expect_eq("APIC ID", LocalApic::current().read(Register::ID) >> 24, number as u32);
        SEEN_ON[exerciser::place() as usize].fetch_or(1 << number, Relaxed);
    });
    for (cpu, vcpus) in SEEN_ON.iter().enumerate().take(vcpus) {
        expect_eq(format_args!("number of vCPUs on CPU {cpu}"), vcpus.load(Relaxed).count_ones(), 1);
    }
}
