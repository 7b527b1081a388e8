// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU that goes from CPU to CPU: it costs no INVEPT once each has run it, and never meets a translation that is no more.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: CR3 is loaded anew, which only assembly can do.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::control;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Content;
use tests::exerciser::Counter;
use tests::exerciser::Counters;
use tests::exerciser::WINDOW;
use tests::paging;
use tests::physical;
use tests::say;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const MIGRATIONS: u64 = 4_000;
/// How often each history is played.
const HISTORIES: u64 = 300;

/// Two large pages with different contents.
const LEFT: u64 = 8 << 20;
const RIGHT: u64 = 12 << 20;
/// Page-directory entry: global.
const GLOBAL: u64 = 1 << 8;

fn run() {
    let before = Counters::now();
    let cpus = exerciser::cpus();
    expect("there is more than one CPU", cpus > 1);
    (0..cpus).for_each(|_| exerciser::migrate());
    migrations_cost_no_invept(cpus);
    linear_translations_do_not_come_back(cpus);
    guest_physical_translations_do_not_come_back(cpus);
    before.report();
}

fn migrations_cost_no_invept(cpus: u32) {
    physical::write(LEFT, 0_u64);
    let counters = Counters::now();
    let mut place = exerciser::place();
    let planned = effort::of(MIGRATIONS) as u32;
    for number in 0..planned {
        expect_eq("memory after a migration", physical::read::<u64>(LEFT), number.into());
        physical::write(LEFT, u64::from(number) + 1);
        exerciser::migrate();
        let next = exerciser::place();
        expect_eq("the CPU after a migration", next, (place + 1) % cpus);
        place = next;
    }
    let [single, global, invvpid, elided, migrations] = [
        Counter::InveptSingle,
        Counter::InveptGlobal,
        Counter::InvvpidSingle,
        Counter::InveptElided,
        Counter::Migrations,
    ]
    .map(|counter| counters.growth(counter));
    say!("count: invept_single_over_migrations {single}");
    say!("count: invvpid_single_over_migrations {invvpid}");
    expect_eq("single-context INVEPTs over all migrations", single, 0);
    expect_eq("global INVEPTs over all migrations", global, 0);
    expect("each migration was counted", migrations >= planned);
    expect("each migration cost a single-context INVVPID", invvpid >= planned);
    expect("INVEPTs were found to be unnecessary", elided > 0);
}

/// Cache x; migrate; change x's entry and INVLPG, or load CR3 anew; migrate back: x is what the entry says.
fn linear_translations_do_not_come_back(cpus: u32) {
    physical::write(LEFT, 1_u64);
    physical::write(RIGHT, 2_u64);
    let entry = |target| target | paging::PRESENT | paging::WRITABLE | paging::LARGE;
    let change: [fn(u64); 3] = [
        paging::map_window,
        |entry| {
            paging::change_window(entry);
            reload_tables();
        },
        // INVLPG takes global translations, too.
        |entry| paging::map_window(entry | GLOBAL),
    ];
    expect_eq("CR4 takes PGE", control::write_cr4(control::cr4() | control::CR4_PGE), Ok(()));
    for history in 0..effort::of(HISTORIES) {
        let change = change[history as usize % change.len()];
        // The other page each time, which INVLPG here takes effect for at once.
        paging::map_window(entry(LEFT));
        for _ in 0..cpus {
            expect_eq("x, cached on each CPU", paging::read_window(), 1);
            exerciser::migrate();
        }
        exerciser::migrate();
        change(entry(RIGHT));
        for distance in 0..cpus {
            expect_eq(format_args!("x, {distance} CPUs further on"), paging::read_window(), 2);
            exerciser::migrate();
        }
    }
}

fn reload_tables() {
    // SAFETY: it is loaded with what it holds.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _) };
}

/// Use a page; migrate; have other memory mapped there; migrate back: it is the other memory.
fn guest_physical_translations_do_not_come_back(cpus: u32) {
    for (content, value) in [(Content::Alpha, 0xaa_u64), (Content::Beta, 0xbb)] {
        exerciser::show(content);
        physical::write(WINDOW, value);
    }
    for history in 0..effort::of(HISTORIES) {
        exerciser::show(Content::Alpha);
        for _ in 0..cpus {
            expect_eq("alpha, cached on each CPU", physical::read::<u64>(WINDOW), 0xaa);
            exerciser::migrate();
        }
        (0..history % u64::from(cpus)).for_each(|_| exerciser::migrate());
        exerciser::show(Content::Beta);
        for distance in 0..cpus {
            // Away from where it was changed first, and all the way round.
            exerciser::migrate();
            let seen: u64 = physical::read(WINDOW);
            expect_eq(format_args!("beta, {distance} CPUs further on"), seen, 0xbb);
        }
    }
}
