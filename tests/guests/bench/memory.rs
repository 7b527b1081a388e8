// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: the first touch of fresh pages, small and large, and taking the mapping of a page away.

use tests::bench::Bench;
use tests::bench::Often;
use tests::bench::timed;
use tests::exerciser;
use tests::exerciser::Counter;
use tests::exerciser::Counters;
use tests::lane::PAGE;
use tests::physical;
use tests::ports;
use tests::start_info;
use tests::verdict::expect_within;
use tests::verdict::fail;

/// Bytes of a large page.
const LARGE_PAGE: u64 = 2 << 20;

pub fn measure(bench: &mut Bench) {
    faults(bench, "fault_4k", 80, small_pages());
    faults(bench, "fault_2m", 16, large_pages());
    if exerciser::is_there() {
        zap(bench);
    }
}

/// Pages behind the last place where a large page fits. The first of them costs the tables, too, and is not among them.
fn small_pages() -> impl Iterator<Item = u64> {
    let taken = start_info::occupied();
    let is_free = move |page: &u64| !taken.iter().any(|taken| taken.start < page + PAGE && *page < taken.end);
    let first = end_of_large_pages();
    physical::write(first, 1_u8);
    (first + PAGE..end_of_ram()).step_by(PAGE as usize).filter(is_free)
}

/// Large pages that nobody has touched.
fn large_pages() -> impl Iterator<Item = u64> {
    (2 * LARGE_PAGE..end_of_large_pages()).step_by(LARGE_PAGE as usize)
}

/// What it costs to touch a page for the first time, one after the other.
fn faults(bench: &mut Bench, name: &str, counted: u64, mut pages: impl Iterator<Item = u64>) {
    let before = exerciser::is_there().then(Counters::now);
    let mut touched = 0;
    bench.measure(name, Often::scarce(counted), |count| {
        let mut touch = || {
            let Some(page) = pages.next() else {
                fail(format_args!("{name}: more than {touched} fresh pages needed"))
            };
            touched += 1;
            timed(|| physical::write(page, 1_u8))
        };
        (0..count).map(|_| touch()).sum()
    });
    if let Some(before) = before {
        // Pages of the program's own may be among them, which it comes to use meanwhile.
        let faults = u64::from(before.growth(Counter::Faults));
        expect_within(format_args!("faults of {name}"), faults, touched..=touched + 3);
    }
}

/// The exerciser's command, less a plain read of one of its ports. With each come the exit of the read, and that of the touch without
/// which there is nothing to take away.
fn zap(bench: &mut Bench) {
    let page = end_of_large_pages() - LARGE_PAGE + 5 * PAGE;
    physical::write(page, 1_u8);
    // Splits the large page that it is in.
    exerciser::zap(page, 1);
    let each = || {
        physical::write(page, 1_u8);
        let zap = timed(exerciser::zap_again);
        let read = timed(|| _ = ports::in_u32(exerciser::COMMAND));
        zap - read
    };
    bench.measure("zap_page", Often { beside: 2, ..Often::AT_WILL }, |times| {
        // Whoever counts exits meanwhile gives other commands.
        exerciser::zap(page, 1);
        (0..times).map(|_| each()).sum()
    });
}

fn end_of_ram() -> u64 {
    let ram = start_info::memory_map().filter(|region| region.kind == start_info::RAM);
    ram.map(|region| region.range.end).max().unwrap_or_default()
}

fn end_of_large_pages() -> u64 {
    end_of_ram() / LARGE_PAGE * LARGE_PAGE
}
