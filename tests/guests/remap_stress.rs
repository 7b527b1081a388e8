// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs see what is mapped in a window while one of them changes that, among a device, RAM, other RAM and ROM.
//!
//! An epoch counts the changes: it is odd while one is under way. What a vCPU reads between two looks at the same even
//! epoch must be what is mapped in that epoch. What it writes there is then in that mapping and in no other.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Content;
use tests::exerciser::Counters;
use tests::exerciser::WINDOW;
use tests::lane::Noise;
use tests::lane::PAGE;
use tests::physical;
use tests::processors;
use tests::say;
use tests::sync::Barrier;
use tests::time;
use tests::verdict;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// Looks of each worker into the window.
const OPERATIONS: u64 = 400_000;
const PAGES: usize = 8;
const CONTENTS: [Content; 4] = [Content::Device, Content::Alpha, Content::Beta, Content::Rom];
/// What the device reads as.
const ONES: u64 = u64::MAX;
/// How long a content stays, in microseconds, at most.
const STAYS_US: usize = 100;

/// Where a page holds its own name, and from where on a word for each vCPU.
const NAME: u64 = 0;
const LANES: u64 = 512;

static EPOCH: AtomicU64 = AtomicU64::new(0);
static MAPPED: AtomicUsize = AtomicUsize::new(Content::Device as usize);
static WORKING: AtomicUsize = AtomicUsize::new(VCPUS - 1);
static READY: Barrier = Barrier::new();

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, |number| if number == 0 { remap() } else { work(number) });
    names_are_as_before();
    before.report();
}

/// What the two kinds of RAM hold in a page, for as long as the program runs.
fn name(content: Content, page: usize) -> u64 {
    let content = if content == Content::Beta { 0xbbbb } else { 0xaaaa };
    content << 32 | page as u64
}

fn page(number: usize) -> u64 {
    // Some beside each other, some at the other end.
    let index = if number < PAGES / 2 { number } else { 511 - number };
    WINDOW + index as u64 * PAGE
}

fn remap() {
    for content in [Content::Alpha, Content::Beta] {
        exerciser::show(content);
        for number in 0..PAGES {
            physical::write(page(number) + NAME, name(content, number));
        }
    }
    exerciser::show(Content::Device);
    READY.wait(VCPUS);
    let mut noise = Noise::new(0);
    let mut changes = 0;
    while WORKING.load(Acquire) > 0 {
        let content = CONTENTS[noise.below(CONTENTS.len())];
        EPOCH.fetch_add(1, SeqCst);
        exerciser::show(content);
        MAPPED.store(content as usize, Relaxed);
        EPOCH.fetch_add(1, SeqCst);
        time::spin(noise.below(STAYS_US) as u64);
        changes += 1;
    }
    say!("count: operations {}", effort::of(OPERATIONS) * (VCPUS - 1) as u64);
    say!("count: changes {changes}");
}

fn names_are_as_before() {
    for content in [Content::Alpha, Content::Beta, Content::Rom] {
        exerciser::show(content);
        for number in 0..PAGES {
            let seen: u64 = physical::read(page(number) + NAME);
            expect_eq(format_args!("{content:?}, page {number}, in the end"), seen, name(content, number));
        }
    }
}

/// What a vCPU's word in one page of one RAM may be: one value, or another where a write met a change.
#[derive(Clone, Copy, Default)]
struct Word {
    known: u64,
    perhaps: Option<u64>,
}

fn work(number: usize) {
    READY.wait(VCPUS);
    let mut noise = Noise::new(number as u64);
    let mut words = [[Word::default(); PAGES]; 2];
    let lane = LANES + 8 * number as u64;
    for operation in 0..effort::of(OPERATIONS) {
        let at = noise.below(PAGES);
        if let Some((content, seen)) = in_one_epoch(|| physical::read::<u64>(page(at) + NAME)) {
            let expected = if content == Content::Device { ONES } else { name(content, at) };
            expect_eq(format_args!("{content:?}, page {at}"), seen, expected);
        }
        if let Some((content, seen)) = in_one_epoch(|| physical::read::<u64>(page(at) + lane))
            && let Some(words) = words_of(&mut words, content)
        {
            settle(&mut words[at], seen, content, at);
        }
        // One that may be one thing or another is not written again before it is known.
        if operation % 2 == 0 && words.iter().all(|words| words[at].perhaps.is_none()) {
            let value = operation << 8 | number as u64;
            match in_one_epoch(|| physical::write(page(at) + lane, value)) {
                Some((content, ())) => {
                    if let Some(words) = words_of(&mut words, content) {
                        words[at] = Word { known: value, perhaps: None };
                    }
                }
                None => words.iter_mut().for_each(|words| words[at].perhaps = Some(value)),
            }
        }
    }
    WORKING.fetch_sub(1, AcqRel);
}

/// Does it, and tells what was mapped meanwhile; `None` if that changed.
fn in_one_epoch<R>(act: impl FnOnce() -> R) -> Option<(Content, R)> {
    let epoch = EPOCH.load(SeqCst);
    let content = CONTENTS[MAPPED.load(Relaxed)];
    let result = act();
    (epoch.is_multiple_of(2) && EPOCH.load(SeqCst) == epoch).then_some((content, result))
}

fn words_of(words: &mut [[Word; PAGES]; 2], content: Content) -> Option<&mut [Word; PAGES]> {
    match content {
        Content::Alpha => Some(&mut words[0]),
        Content::Beta => Some(&mut words[1]),
        Content::Device | Content::Rom => None,
    }
}

fn settle(word: &mut Word, seen: u64, content: Content, at: usize) {
    if seen != word.known && Some(seen) != word.perhaps {
        let Word { known, perhaps } = *word;
        verdict::fail(format_args!(
            "own word in {content:?}, page {at}: expected {known:#x} or {perhaps:x?}, saw {seen:#x}"
        ));
    }
    *word = Word { known: seen, perhaps: None };
}
