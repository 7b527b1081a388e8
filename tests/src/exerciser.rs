// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exerciser: a device of Satori's by which a program changes its own machine under itself.

use crate::ports;
use crate::say;
use crate::sync::SpinLock;
use crate::verdict;
use crate::verdict::expect_eq;

/// Written: a command, which is done when the write is. Read: 0 when the last one was done, 1 when it was refused.
pub const COMMAND: u16 = 0x620;
/// Written: the command's first operand.
pub const A: u16 = 0x624;
/// Written: its second operand.
pub const B: u16 = 0x628;
/// Read: what the last command left.
pub const VALUE: u16 = 0x62c;

/// Command: the mappings of frames A to A + B go; what is in them stays.
const ZAP: u32 = 1;
/// Command: this vCPU goes on on the next physical CPU.
const MIGRATE: u32 = 6;

/// The 2 MiB of guest-physical addresses that [`show`] gives a content.
pub const WINDOW: u64 = 0xc000_0000;

const PAGE_SHIFT: u32 = 12;

/// What is in the [`WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A device that reads as all ones and forgets what is written.
    Device,
    /// Some RAM.
    Alpha,
    /// Other RAM.
    Beta,
    /// What is in alpha, read-only: writes are lost.
    Rom,
}

/// What Satori counts, of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// INVEPT, single context.
    InveptSingle,
    /// INVEPT, global.
    InveptGlobal,
    /// Hypercalls that flush on all CPUs.
    RemoteFlushHypercalls,
    /// Flushes of other CPUs without one.
    RemoteFlushNative,
    /// INVVPID, single context.
    InvvpidSingle,
    /// Entries that might have needed an INVEPT, and did not.
    InveptElided,
    /// Faults of second-level translation.
    Faults,
    /// Of these, those whose entry already permitted the access.
    SpuriousFaults,
    /// vCPUs that went to another CPU.
    Migrations,
}

impl Counter {
    /// All of them, by their numbers.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::InveptSingle, "invept_single"),
        (Self::InveptGlobal, "invept_global"),
        (Self::RemoteFlushHypercalls, "remote_flush_hypercalls"),
        (Self::RemoteFlushNative, "remote_flush_native"),
        (Self::InvvpidSingle, "invvpid_single"),
        (Self::InveptElided, "invept_elided"),
        (Self::Faults, "faults"),
        (Self::SpuriousFaults, "spurious_faults"),
        (Self::Migrations, "migrations"),
    ];
}

/// The counters at one time.
#[derive(Clone, Copy, Debug)]
pub struct Counters([u32; Counter::ALL.len()]);

impl Counters {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(Counter::ALL.map(|(counter, _)| value(7, counter as u32, 0)))
    }

    /// By how much `counter` has grown since.
    #[must_use]
    pub fn growth(&self, counter: Counter) -> u32 {
        value(7, counter as u32, 0).wrapping_sub(self.0[counter as usize])
    }

    /// Prints by how much each has grown since, in lines `count: NAME N`, and fails if there was a global INVEPT.
    #[track_caller]
    pub fn report(&self) {
        for (counter, name) in Counter::ALL {
            say!("count: {name} {}", self.growth(counter));
        }
        expect_eq("global INVEPTs", self.growth(Counter::InveptGlobal), 0);
    }
}

/// The operands are those of the whole machine.
static ONE_AT_A_TIME: SpinLock = SpinLock::new();

/// Whether there is one. Other machines have no port there, which reads all ones, or have ACPI's events of general purpose, which
/// read zeros where an operand cannot be read.
#[must_use]
pub fn is_there() -> bool {
    ports::in_u32(COMMAND) <= 1 && ports::in_u32(A) == u32::MAX
}

/// Gives a command; what it left, or `None` if it was refused.
pub fn command(command: u32, a: u32, b: u32) -> Option<u32> {
    ONE_AT_A_TIME.with(|| {
        ports::out_u32(A, a);
        ports::out_u32(B, b);
        ports::out_u32(COMMAND, command);
        (ports::in_u32(COMMAND) == 0).then(|| ports::in_u32(VALUE))
    })
}

/// Gives a command that must not be refused.
#[track_caller]
fn value(number: u32, a: u32, b: u32) -> u32 {
    match command(number, a, b) {
        Some(value) => value,
        None => verdict::fail(format_args!("the exerciser refused command {number} with {a:#x}, {b:#x}")),
    }
}

fn frame(address: u64) -> u32 {
    (address >> PAGE_SHIFT) as u32
}

/// Takes the mappings of so many pages from `address` on away; what is in them stays.
#[track_caller]
pub fn zap(address: u64, pages: u32) {
    value(ZAP, frame(address), pages);
}

/// Takes the mappings away that the last command did, which was [`zap`], by a single write of a port.
pub fn zap_again() {
    ports::out_u32(COMMAND, ZAP);
}

/// Begins to note which pages of RAM are written.
#[track_caller]
pub fn start_log() {
    value(2, 0, 0);
}

/// Which of so many pages (32 at most) from `address` on were written since the last time: a bit for each. They are
/// protected again.
#[track_caller]
#[must_use]
pub fn fetch_log(address: u64, pages: u32) -> u32 {
    value(3, frame(address), pages)
}

/// Ends noting which pages are written.
#[track_caller]
pub fn stop_log() {
    value(4, 0, 0);
}

/// Gives the [`WINDOW`] this content.
#[track_caller]
pub fn show(content: Content) {
    value(5, content as u32, 0);
}

/// Goes on on the next physical CPU; where there is but one, on that.
#[track_caller]
pub fn migrate() {
    value(MIGRATE, 0, 0);
}

/// As [`migrate`], by a single write of a port, and without a look at what came of it.
pub fn migrate_at_once() {
    ports::out_u32(COMMAND, MIGRATE);
}

/// The number of the physical CPU that this vCPU is on.
#[track_caller]
#[must_use]
pub fn place() -> u32 {
    value(8, 0, 0)
}

/// Makes large mappings again of so many pages from `address` on, where they fit.
#[track_caller]
pub fn collapse(address: u64, pages: u32) {
    value(9, frame(address), pages);
}

/// Whether the page at `address` was touched since this was asked last.
#[track_caller]
#[must_use]
pub fn age(address: u64) -> bool {
    value(10, frame(address), 0) != 0
}

/// How many physical CPUs run.
#[track_caller]
#[must_use]
pub fn cpus() -> u32 {
    value(11, 0, 0)
}

/// Has RDMSR of an MSR that the processor serves exit on all vCPUs, or not. A vCPU goes by that after its next exit, and whoever
/// gave the command at once.
#[track_caller]
pub fn intercept_reads(msr: u32, exits: bool) {
    value(12, msr, exits.into());
}

/// How often RDMSR exited on this vCPU.
#[track_caller]
#[must_use]
pub fn read_exits() -> u32 {
    value(13, 0, 0)
}

/// Has the TSC of the machine below taken for one that ticks `numerator` / `denominator` times as fast as at the start, on all CPUs;
/// comes back when it is.
#[track_caller]
pub fn pretend_rate(numerator: u32, denominator: u32) {
    value(14, numerator, denominator);
    while value(15, 0, 0) != 0 {}
}

/// How often this machine was started again by itself.
#[track_caller]
#[must_use]
pub fn restarts() -> u32 {
    value(16, 0, 0)
}

/// How often all vCPUs of this machine have exited. Between two of these [`EXITS_OF_ASKING`] are of the asking itself.
#[track_caller]
#[must_use]
pub fn exits() -> u32 {
    value(17, 0, 0)
}

/// What [`command`] costs: three writes of ports, the last of which is counted already when the command is executed, and two reads.
pub const EXITS_OF_ASKING: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_at_their_numbers() {
        for (number, (counter, _)) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, number);
        }
    }
}
