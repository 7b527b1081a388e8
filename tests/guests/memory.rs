// SPDX-License-Identifier: MIT OR Apache-2.0
//! All RAM of the memory map is there, starts as zero, and is distinct: no two addresses are the same memory.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::physical;
use tests::start_info;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Of each page the first word is looked at, and one that moves through the page from one page to the next.
const STRIDE: u64 = 8;

fn run() {
    expect_eq("magic of the start info", start_info::magic(), start_info::MAGIC);
    expect("the start info has a memory map", start_info::version() >= 1);
    the_map_is_what_was_asked_for();
    it_starts_as_zero();
    each_address_is_memory_of_its_own();
    accesses_across_pages_are_whole();
}

fn the_map_is_what_was_asked_for() {
    let ram = start_info::memory_map().filter(|region| region.kind == start_info::RAM);
    let end = ram.map(|region| region.range.end).max();
    expect_eq("the end of RAM", end, Some(u64::from(catalogue::MEMORY_MIB) * MIB));
    let mut reached = 0;
    for region in start_info::memory_map() {
        expect("the memory map is in order and regions do not overlap", region.range.start >= reached);
        expect("no region is empty", !region.range.is_empty());
        reached = region.range.end;
    }
}

/// Each page of RAM above the image to which nothing was loaded.
fn free_pages() -> impl Iterator<Item = u64> {
    let low = physical::image().end.next_multiple_of(PAGE);
    let occupied = start_info::occupied();
    start_info::memory_map()
        .filter(|region| region.kind == start_info::RAM)
        .flat_map(move |region| (region.range.start.max(low)..region.range.end).step_by(PAGE as usize))
        .filter(move |page| !occupied.iter().any(|taken| taken.start < page + PAGE && *page < taken.end))
}

fn words(page: u64) -> [u64; 3] {
    [page, page + (page / PAGE * STRIDE) % PAGE, page + PAGE - STRIDE]
}

fn it_starts_as_zero() {
    for address in free_pages().flat_map(words) {
        expect_eq(format_args!("RAM at {address:#x} at the start"), physical::read::<u64>(address), 0);
    }
}

/// Every page is given its own address as a value, in three places, before any is read back. Then the inverse.
fn each_address_is_memory_of_its_own() {
    for invert in [0, u64::MAX] {
        for address in free_pages().flat_map(words) {
            physical::write(address, address ^ invert);
        }
        for address in free_pages().flat_map(words) {
            expect_eq(format_args!("RAM at {address:#x}"), physical::read(address), address ^ invert);
        }
    }
}

/// Where one 2 MiB page ends and the next begins: a word that lies in both is whole, and each half is in its place.
fn accesses_across_pages_are_whole() {
    for boundary in (2 * MIB..u64::from(catalogue::MEMORY_MIB) * MIB).step_by(2 * MIB as usize) {
        physical::write(boundary - 8, 0x1111_1111_1111_1111_u64);
        physical::write(boundary, 0x2222_2222_2222_2222_u64);
        physical::write_unaligned(boundary - 4, 0x0123_4567_89ab_cdef);
        let seen = (physical::read(boundary - 8), physical::read(boundary));
        let expected = (0x89ab_cdef_1111_1111_u64, 0x2222_2222_0123_4567_u64);
        expect_eq(format_args!("RAM on both sides of {boundary:#x}"), seen, expected);
        let word = physical::read_unaligned(boundary - 4);
        expect_eq(format_args!("the word across {boundary:#x}"), word, 0x0123_4567_89ab_cdef);
    }
}
