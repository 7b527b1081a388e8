// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was accepted, and whether what is measured now is worse.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use comfy_table::Table;

use crate::bench::figures::COMPILER;
use crate::bench::figures::EMULATOR;
use crate::bench::figures::Figure;
use crate::bench::figures::Figures;
use crate::bench::figures::GUEST_LINUX;
use crate::bench::figures::KVM_HOST;
use crate::bench::figures::QEMU;
use crate::bench::operations;
use crate::bench::operations::Group;
use crate::bench::tables;

/// How much more than was accepted is no worse, as a part of it.
const TOLERANCE: f64 = 0.02;

/// Nor is it if it is no more than so many, however small the figure.
const FEW_INSTRUCTIONS: f64 = 2.0;

/// So many of one operation's exits or transitions come and go: they are counted over as few as 16 operations, and an interrupt of
/// whoever is below is one. An operation that takes another one each time shows by its instructions, too.
const STRAY_EXITS: f64 = 0.15;

/// The quantity that every figure has.
const INSTRUCTIONS: &str = "instructions";

/// What to do when something became worse.
const ADVICE: &str = "Where it is meant, say so: cargo x bench --accept, and commit what that writes.";

/// Where it is in the tree.
#[must_use]
pub fn file(root: &Path) -> PathBuf {
    root.join("ci/baseline.json")
}

/// What was accepted.
///
/// # Errors
/// When nothing was, or the file is no baseline.
pub fn read(root: &Path) -> Result<Figures> {
    Figures::read(&file(root)).with_context(
        || "nothing to compare with: cargo x bench --accept takes what it measures for that; commit what it writes",
    )
}

/// One quantity of one operation in one setting, before and now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The operation, and the setting.
    pub what: String,
    /// The quantity: instructions, exits or transitions.
    pub quantity: &'static str,
    /// What was accepted.
    pub before: f64,
    /// What was measured, if it was.
    pub now: Option<f64>,
}

/// What came of comparing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What is worse than it may be, or was not measured.
    pub worse: Vec<Change>,
    /// What is better by as much as would be worse.
    pub better: Vec<Change>,
    /// What could not be compared, and what else is to be known.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether it may stay as it is.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.worse.is_empty()
    }
}

/// Compares what was measured with what was accepted. With `is_part` not all was measured, and only that is compared.
#[must_use]
pub fn compare(accepted: &Figures, measured: &Figures, is_part: bool) -> Comparison {
    let mut comparison = Comparison::default();
    let mut left_out: Vec<&str> = Vec::new();
    for before in accepted.figures.iter().filter(|figure| is_compared(figure)) {
        let other = versions_of(before).find(|version| differs(version, accepted, measured));
        let now = measured.find(&before.operation, before.setting, before.cpus);
        match (other, now) {
            (Some(version), _) if !left_out.contains(&version) => left_out.push(version),
            (Some(_), _) => {}
            (None, None) if is_part => {}
            (None, now) => judge(before, now, &mut comparison),
        }
    }
    let leave_out =
        |version| format!("not compared is what depends on {}", both(version, accepted, measured));
    comparison.notes = left_out.into_iter().map(leave_out).collect();
    comparison.notes.extend(note_of_new(accepted, measured));
    if differs(COMPILER, accepted, measured) && !comparison.is_good() {
        let compiler = both(COMPILER, accepted, measured);
        comparison.notes.push(format!("what became worse need not be your change: {compiler}"));
    }
    comparison
}

/// Names what would be compared, but was never accepted.
fn note_of_new(accepted: &Figures, measured: &Figures) -> Option<String> {
    let is_new =
        |now: &&Figure| is_compared(now) && accepted.find(&now.operation, now.setting, now.cpus).is_none();
    let name = |now: &Figure| format!("{} {}", now.setting, now.operation);
    let new: Vec<String> = measured.figures.iter().filter(is_new).map(name).collect();
    (!new.is_empty()).then(|| {
        format!("not in ci/baseline.json, so held to nothing until it is accepted: {}", new.join(", "))
    })
}

/// With one emulated CPU counts are exact; and of what others do we promise nothing. Nor of a whole guest on a KVM host, which has
/// other work meanwhile.
fn is_compared(figure: &Figure) -> bool {
    figure.setting.is_ours() && figure.cpus == 1 && !(figure.setting.is_nested() && is_whole_guest(figure))
}

fn is_whole_guest(figure: &Figure) -> bool {
    operations::named(&figure.operation).is_some_and(|known| known.group == Group::WholeGuest)
}

/// The versions beside Satori's that a figure depends on.
fn versions_of(figure: &Figure) -> impl Iterator<Item = &'static str> {
    let nested: &[&str] = if figure.setting.is_nested() { &[QEMU, KVM_HOST] } else { &[] };
    [EMULATOR].into_iter().chain(nested.iter().copied()).chain(is_whole_guest(figure).then_some(GUEST_LINUX))
}

fn differs(version: &str, accepted: &Figures, measured: &Figures) -> bool {
    accepted.versions.get(version) != measured.versions.get(version)
}

fn both(version: &str, accepted: &Figures, measured: &Figures) -> String {
    let of = |figures: &Figures| figures.versions.get(version).map_or("unknown", String::as_str).to_owned();
    format!("{version}: {} here, {} in the baseline", of(measured), of(accepted))
}

/// Sorts the quantities of a figure into what is worse and what is better.
fn judge(before: &Figure, now: Option<&Figure>, comparison: &mut Comparison) {
    let quantities = [
        (INSTRUCTIONS, Some(before.instructions as f64), now.map(|now| now.instructions as f64)),
        ("exits", before.exits, now.and_then(|now| now.exits)),
        ("transitions", before.transitions, now.and_then(|now| now.transitions)),
    ];
    for (quantity, accepted, now) in quantities {
        let Some(accepted) = accepted else { continue };
        if quantity != INSTRUCTIONS && is_whole_guest(before) {
            // It waits at marks for as long as we take, and is interrupted meanwhile.
            continue;
        }
        let what = format!("{} {}", before.setting, before.operation);
        let change = Change { what, quantity, before: accepted, now };
        let part = accepted * TOLERANCE;
        let slack = if quantity == INSTRUCTIONS { part.max(FEW_INSTRUCTIONS) } else { part + STRAY_EXITS };
        match now {
            Some(now) if now <= accepted + slack && now >= accepted - slack => {}
            Some(now) if now < accepted => comparison.better.push(change),
            _ => comparison.worse.push(change),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        if !self.better.is_empty() {
            let advice = "cargo x bench --accept holds later changes to it";
            writeln!(f, "Better by more than 2 %; {advice}:\n\n{}\n", table(&self.better))?;
        }
        if self.is_good() {
            return writeln!(f, "Nothing is worse than ci/baseline.json by more than 2 %.");
        }
        writeln!(f, "Worse than ci/baseline.json by more than 2 %:\n\n{}\n\n{ADVICE}", table(&self.worse))
    }
}

fn table(changes: &[Change]) -> Table {
    let mut table = tables::table(["setting and operation", "accepted", "now", "by", "of"]);
    for Change { what, quantity, before, now } in changes {
        let number =
            |value: f64| if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        table.add_row([
            what.clone(),
            number(*before),
            now.map_or_else(|| "not measured".into(), number),
            now.filter(|_| *before > 0.0)
                .map_or_else(String::new, |now| format!("{:+.1} %", (now / before - 1.0) * 100.0)),
            (*quantity).to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
