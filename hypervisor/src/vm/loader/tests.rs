// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels made for the purpose, loaded into a model of a guest's memory: good ones, and damaged ones.

mod bzimage;
mod modules;
mod multiboot;
mod pvh;

use super::*;
use crate::mmu::model::ModelMemory;
use crate::vm::memory_layout::LEGACY_VIDEO;
use proptest::prelude::*;

const MEBIBYTES: u32 = 64;
const RSDP: GuestPhysical = GuestPhysical(0xE_0000);

/// Where the loaders' own structures are.
const OWN: core::ops::Range<u64> = 0x1000..0xE000;

/// The memory map that kernels are given: address, size, kind.
const MAP: [(u64, u64, u32); 4] =
    [(0, 0x9_FC00, 1), (0x9_FC00, 0x6_0400, 2), (0x10_0000, 0x3F0_0000, 1), (0xE000_0000, 0x10_0000, 2)];

/// A guest's memory in which no byte is zero, so that one that was not cleared is seen.
fn dirty_memory() -> ModelMemory {
    let ram = MemoryLayout::new(MEBIBYTES).ram();
    let memory = ModelMemory::new(&ram);
    for range in ram {
        let bytes = vec![0xCC; (range.end - range.start) as usize];
        memory.write(GuestPhysical(range.start), &bytes).unwrap();
    }
    memory
}

fn source<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>, command_line: &'a str) -> BootSource<'a> {
    BootSource {
        kernel: File { name: "kernel", content: kernel },
        initrd: initrd.map(|content| File { name: "initrd", content }),
        modules: Vec::new(),
        command_line,
    }
}

fn load_into(memory: &ModelMemory, source: &BootSource<'_>) -> Result<EntryState, LoadError> {
    load(memory, MemoryLayout::new(MEBIBYTES), RSDP, source)
}

/// Why a kernel that is given without initrd and command line cannot be loaded.
fn refusal(kernel: &[u8]) -> Reason {
    let memory = ModelMemory::new(&MemoryLayout::new(MEBIBYTES).ram());
    let error = load_into(&memory, &source(kernel, None, "")).unwrap_err();
    assert_eq!(error.file, "kernel");
    error.reason
}

/// Loads a damaged kernel, and checks that whatever came of it stayed in the places that loaders may write to.
fn damaged_kernel_stays_in_place(kernel: &[u8], initrd: &[u8]) -> Result<(), TestCaseError> {
    let layout = MemoryLayout::new(MEBIBYTES);
    let memory = ModelMemory::new(&layout.ram());
    let loaded = load_into(&memory, &source(kernel, Some(initrd), "quiet"));
    if let Err(error) = &loaded {
        // The loader has judged all ranges itself; it must not learn from a failing write.
        prop_assert!(!matches!(error.reason, Reason::Unbacked(_)), "{error}");
        prop_assert!(!error.to_string().is_empty());
    }
    for low in [0..LEGACY_VIDEO.start, LEGACY_VIDEO.end..HIGH_MEMORY] {
        let mut bytes = memory.bytes(low.start, (low.end - low.start) as usize);
        if low.contains(&OWN.start) {
            bytes[OWN.start as usize..OWN.end as usize].fill(0);
        }
        prop_assert!(
            bytes.iter().all(|&byte| byte == 0),
            "something was written where loaders have no business"
        );
    }
    let entered_at = match loaded {
        Ok(EntryState::Protected32 { eip, .. }) => eip.into(),
        Ok(EntryState::Long64 { rip, .. }) => rip,
        Err(_) => return Ok(()),
    };
    prop_assert!((HIGH_MEMORY..layout.low_ram_end()).contains(&entered_at));
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn other_files_are_refused() {
    for content in [&b""[..], b"\x7F", b"#!/bin/sh\n", &[0; 4096]] {
        assert_eq!(refusal(content), Reason::UnknownFormat);
    }
}

#[test]
fn the_file_and_its_fault_are_named() {
    let memory = dirty_memory();
    let kernel = pvh::kernel();
    let say = |source: BootSource<'_>| load_into(&memory, &source).unwrap_err().to_string();
    assert_eq!(say(source(&kernel, Some(&[]), "")), "initrd: is empty; leave it out");
    assert_eq!(
        say(source(&kernel, None, &"x".repeat(4096))),
        "kernel: takes a command line of at most 4095 bytes, and it is given 4096; shorten `command-line`"
    );
    assert_eq!(
        say(source(b"x", None, "")),
        "kernel: is neither an ELF kernel nor a bzImage, and has no multiboot header in its first 8192 bytes"
    );
}

#[test]
fn a_command_line_with_a_nul_is_refused() {
    let kernel = pvh::kernel();
    let error = load_into(&dirty_memory(), &source(&kernel, None, "a\0b")).unwrap_err();
    assert_eq!(error.reason, Reason::NulInCommandLine);
}

#[test]
fn an_initrd_that_finds_no_room_is_refused() {
    let kernel = pvh::kernel();
    let initrd = vec![1; (MEBIBYTES as usize - 1) << 20];
    let error = load_into(&dirty_memory(), &source(&kernel, Some(&initrd), "")).unwrap_err();
    assert_eq!(
        (error.file.as_str(), error.reason),
        ("initrd", Reason::NoRoom { bytes: 63 << 20, last: u64::MAX })
    );
}
