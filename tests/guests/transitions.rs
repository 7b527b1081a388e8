// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits in known numbers between marks at which whoever runs Satori reads what it counts: so many CPUIDs, and so many
//! reads of a device's port, each in two numbers, so that what a mark costs itself can be told from them.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::catalogue::TRANSITIONS;
use tests::marks::mark;
use tests::say;
use tests::serial;
use tests::time;

tests::program!(run);

/// A kind of exit, and what makes so many of them.
struct Kind {
    name: &'static str,
    exits: fn(u64),
}

const KINDS: [Kind; 2] =
    [Kind { name: "cpuid", exits: cpuids }, Kind { name: "port_read", exits: port_reads }];

fn run() {
    let mut number = 0;
    mark(number);
    for Kind { name, exits } in KINDS {
        for rounds in TRANSITIONS {
            let start = time::tsc();
            exits(rounds);
            say!("bench: nested_{name} {}", (time::tsc() - start) / rounds);
            number += 1;
            mark(number);
        }
    }
}

fn cpuids(rounds: u64) {
    // SAFETY: it changes registers only; RBX is kept.
    unsafe {
        asm!(
            "mov r9, rbx",
            "2:",
            "xor eax, eax",
            "cpuid",
            "dec r8",
            "jnz 2b",
            "mov rbx, r9",
            in("r8") rounds,
            clobber_abi("sysv64"),
        );
    }
}

fn port_reads(rounds: u64) {
    // SAFETY: reading this register changes nothing that is used here.
    unsafe {
        asm!(
            "2:",
            "in al, dx",
            "dec r8",
            "jnz 2b",
            inout("r8") rounds => _,
            in("dx") serial::LINE_STATUS,
            out("al") _,
        );
    }
}
