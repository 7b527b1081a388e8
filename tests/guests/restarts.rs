// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that starts again has nothing of the one before: all its memory is zero. It starts again `restarts=` times; by a reset, or
//! with `fail=1` since it halts for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::exerciser;
use tests::physical;
use tests::ports;
use tests::start_info;
use tests::time;
use tests::verdict;
use tests::verdict::expect_eq;

tests::program!(run);

const PAGE: u64 = 4096;
const MARK: u64 = 0x5a71_0000_dead_0001;

fn run() {
    for address in free_pages().flat_map(|page| [page, page + PAGE - 8]) {
        expect_eq(format_args!("RAM at {address:#x}"), physical::read::<u64>(address), 0);
        physical::write(address, MARK ^ address);
    }
    if u64::from(exerciser::restarts()) >= start_info::number("restarts").unwrap_or(0) {
        return;
    }
    if start_info::number("fail").is_some() {
        verdict::stop();
    }
    // So that Satori tells of each end: it does of 16 in a second.
    while time::tsc() < time::ticks(80_000) {}
    ports::out_u8(verdict::RESET_CONTROL, 0x06);
    verdict::fail("after a write to the reset control register: expected the end, saw the next instruction");
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
