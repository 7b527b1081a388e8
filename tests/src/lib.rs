// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runtime of the guest programs that run *in* Satori, and the catalogue of them.
//!
//! A program is one file in `guests/`, checks one behaviour, and looks like this:
//!
//! ```ignore
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//!
//! tests::program!(run);
//!
//! fn run() {
//!     verdict::expect_eq("two and two", 2 + 2, 4);
//! }
//! ```
//!
//! It is an ELF file with a PVH note, so Satori, QEMU and others boot it without firmware; one that says `multiboot_program!`
//! or `multiboot_program_by_addresses!` has a multiboot header instead. It reports on COM1, and its
//! last line is a [`verdict`]. Built for the host, a program compiles and does nothing.
//!
//! A guest program owns its whole machine and has a thread for each vCPU, so what the runtime keeps is kept in statics of
//! atomics.
#![cfg_attr(not(test), no_std)]

pub mod acpi;
pub mod arrival;
pub mod bench;
pub mod catalogue;
pub mod control;
pub mod cpuid;
pub mod effort;
pub mod exceptions;
pub mod exerciser;
pub mod fw_cfg;
pub mod hyperv;
pub mod idt;
pub mod interrupts;
pub mod io_apic;
pub mod lane;
pub mod local_apic;
pub mod madt;
pub mod marks;
pub mod msr;
pub mod multiboot;
pub mod paging;
pub mod pci;
pub mod physical;
pub mod pic;
pub mod pit;
pub mod ports;
pub mod processors;
pub mod pvh_kernel;
pub mod rtc;
pub mod serial;
pub mod spinners;
pub mod start_info;
pub mod sync;
pub mod time;
pub mod verdict;
pub mod virtio;
pub mod xsave_area;

#[cfg(target_os = "none")]
mod entry;

/// Makes `$run`, a `fn()`, the program of this file, entered by PVH. When it returns, the verdict is "pass".
#[macro_export]
macro_rules! program {
    ($run:path) => {
        $crate::entered_program!(
            $run,
            ".section .note.pvh, \"a\", @note",
            ".balign 4",
            // XEN_ELFNOTE_PHYS32_ENTRY
            ".long 4, 4, 18",
            ".asciz \"Xen\"",
            ".long entry_32",
            ".text"
        );
    };
}

/// As [`program!`], but entered by multiboot 1, with modules at page borders and memory information.
#[macro_export]
macro_rules! multiboot_program {
    ($run:path) => {
        $crate::entered_program!(
            $run,
            ".section .multiboot, \"a\"",
            ".balign 4",
            // Magic, flags, and what makes the sum of all three 0.
            ".long 0x1badb002, 3, -0x1badb005",
            ".text"
        );
    };
}

/// As [`multiboot_program!`], but the header says what goes where. So loaders take it that know no ELF files of 64 bits.
#[macro_export]
macro_rules! multiboot_program_by_addresses {
    ($run:path) => {
        $crate::entered_program!(
            $run,
            ".section .multiboot, \"a\"",
            ".balign 4",
            "multiboot_header:",
            ".long 0x1badb002, 0x10003, -0x1badb002 - 0x10003",
            // Where the header, the file's part and its end go, the end of what is cleared behind it, and the entry.
            ".long multiboot_header, image_start, data_end, image_end, entry_32",
            ".text"
        );
    };
}

/// Makes `$run` the program of this file, with lines of assembly by which loaders know it.
#[doc(hidden)]
#[macro_export]
macro_rules! entered_program {
    ($run:path, $($line:literal),+) => {
        #[cfg(target_os = "none")]
        core::arch::global_asm!($($line),+);

        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        extern "C" fn program() {
            $run();
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _: fn() = $run;
            eprintln!("This program runs inside a virtual machine; it was built for the host.");
        }
    };
}
