// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a Linux in its own place, alike on every machine: a multiboot loader gives its vmlinux and its first file system, and it
//! is entered by PVH.
//!
//! Prints `start: TSC`, which is that of this program's first instruction. Linux has the TSC of its own first instruction as the last
//! word of its command line, `start-tsc=TSC`, but for those few instructions that write it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::fmt::Write;
use core::ops::Range;
use tests::acpi;
use tests::multiboot;
use tests::multiboot::field;
use tests::multiboot::string;
use tests::physical;
use tests::pvh_kernel::File;
use tests::pvh_kernel::START_INFO_BYTES;
use tests::pvh_kernel::StartInfo;
use tests::say;
use tests::start_info::RAM;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::fail;

tests::multiboot_program_by_addresses!(run);

const PAGE: u64 = 4096;

/// Firmware and loaders keep their own below it.
const HIGH_MEMORY: u64 = 1 << 20;

fn run() {
    expect_eq("EAX at the entry", multiboot::magic(), multiboot::MAGIC);
    let mut modules = multiboot::modules().map(|module| module.range);
    let (Some(kernel), Some(files), None) = (modules.next(), modules.next(), modules.next()) else {
        fail("modules: expected two, vmlinux and the first file system");
    };
    let footprint = File(kernel.clone()).footprint();
    expect("the kernel belongs to RAM", lies_in_ram(&footprint));
    expect("the kernel does not belong where this program is", !overlaps(&footprint, &physical::image()));

    let mut taken = Taken::new(footprint.clone(), [kernel.clone(), files.clone()]);
    let [kernel, files] = [kernel, files].map(|module| taken.out_of_the_way(&footprint, &module));
    let start_info = taken.highest_free(START_INFO_BYTES);
    let mut start_info = StartInfo::new(
        start_info.start,
        &files.to,
        acpi::rsdps().next().unwrap_or_default(),
        multiboot::memory_map(),
    );
    // The loader's words begin with the name of what it loaded.
    string(field(multiboot::CMDLINE))
        .skip_while(|byte| *byte != b' ')
        .skip(1)
        .for_each(|byte| start_info.add(byte));
    [&kernel, &files].into_iter().for_each(Move::carry_out);
    let kernel = File(kernel.to);
    kernel.load();
    let entry = kernel.entry();

    say!("start: {}", time::at_entry());
    // Writing to memory cannot fail.
    let _ = write!(start_info, " start-tsc={}", time::tsc());
    start_info.enter(entry);
}

/// From where a module goes to where; it may be the same.
struct Move {
    from: Range<u64>,
    to: Range<u64>,
}

impl Move {
    fn carry_out(&self) {
        if self.from != self.to {
            physical::copy(self.from.start, self.to.start, self.from.end - self.from.start);
        }
    }
}

/// What of RAM is no more to be used.
struct Taken {
    ranges: [Range<u64>; Taken::MOST],
    count: usize,
}

impl Taken {
    /// The program, the kernel, what the loader tells, two modules before they are moved and after, and what the kernel is told.
    const MOST: usize = 11;

    fn new(footprint: Range<u64>, modules: [Range<u64>; 2]) -> Self {
        let mut taken = Self { ranges: [const { 0..0 }; Self::MOST], count: 0 };
        let others = [physical::image(), footprint].into_iter().chain(modules);
        others.chain(multiboot::occupied()).for_each(|range| taken.take(range));
        taken
    }

    fn take(&mut self, range: Range<u64>) {
        self.ranges[self.count] = range;
        self.count += 1;
    }

    /// A module keeps its place unless the kernel goes there.
    fn out_of_the_way(&mut self, footprint: &Range<u64>, module: &Range<u64>) -> Move {
        let stays = !overlaps(module, footprint);
        let to = if stays { module.clone() } else { self.highest_free(module.end - module.start) };
        Move { from: module.clone(), to }
    }

    /// Takes so many bytes, from a page border on, as high as they fit below 4 GiB.
    fn highest_free(&mut self, bytes: u64) -> Range<u64> {
        let places = ram().filter_map(|region| self.highest_free_in(&region, bytes));
        let Some(start) = places.max() else {
            fail(format_args!("no room for {bytes} bytes: expected more memory"));
        };
        self.take(start..start + bytes);
        start..start + bytes
    }

    fn highest_free_in(&self, region: &Range<u64>, bytes: u64) -> Option<u64> {
        let mut end = region.end;
        // Each round but the last steps below one more range.
        loop {
            let start = end.checked_sub(bytes)? / PAGE * PAGE;
            if start < region.start {
                return None;
            }
            match self.ranges.iter().find(|range| overlaps(range, &(start..start + bytes))) {
                Some(range) => end = range.start,
                None => return Some(start),
            }
        }
    }
}

/// RAM that can be used at all.
fn ram() -> impl Iterator<Item = Range<u64>> {
    let regions = multiboot::memory_map().filter(|region| region.kind == RAM);
    regions.map(|region| region.range.start.max(HIGH_MEMORY)..region.range.end.min(1 << 32))
}

fn lies_in_ram(range: &Range<u64>) -> bool {
    ram().any(|region| region.start <= range.start && range.end <= region.end)
}

fn overlaps(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
