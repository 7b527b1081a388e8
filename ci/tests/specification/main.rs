// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds SPECIFICATION.md to the tree: each promise has its number, and names tests or figures that there are.

mod names;
mod pattern;

use std::fs;
use std::path::Path;

use anyhow::Result;
use ci::bench::baseline;
use ci::bench::figures::Figures;
use ci::bench::footprint;
use ci::bench::promises;
use ci::bench::promises::Measurement;
use ci::bench::promises::Promise;

use names::Names;

/// What a reference to a fuzz target starts with, and to something measured.
const FUZZ: &str = "fuzz ";
const BENCH: &str = "bench ";

fn root() -> &'static Path {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder)
}

fn document() -> Result<String> {
    Ok(fs::read_to_string(root().join("SPECIFICATION.md"))?)
}

/// Complaints of all promises of the document, by what `complain` says of each.
fn complaints(mut complain: impl FnMut(&Promise<'_>) -> Result<Vec<String>>) -> Result<Vec<String>> {
    let text = document()?;
    let mut complaints = Vec::new();
    for promise in promises::all(&text) {
        let found = complain(&promise)?;
        complaints.extend(found.into_iter().map(|found| format!("promise {}: {found}", promise.number)));
    }
    Ok(complaints)
}

/// What is wrong with the numbers of the promises.
fn misnumbered(text: &str) -> Vec<String> {
    let promises = promises::all(text);
    let wrong =
        promises.iter().zip(1_usize..).filter(|(promise, number)| promise.number != number.to_string());
    wrong.map(|(promise, number)| format!("{:?} is promise {number}", promise.number)).collect()
}

/// What is wrong with what holds a promise.
fn unheld(promise: &Promise<'_>, names: &Names) -> Vec<String> {
    let mut complaints = Vec::new();
    if promise.names().next().is_none() {
        complaints.push("it names nothing that holds it".to_owned());
    }
    for name in promise.names().filter(|name| !name.starts_with(BENCH)) {
        let missing = match name.strip_prefix(FUZZ) {
            Some(target) => names.missing_targets(target),
            None => names.missing_tests(name),
        };
        complaints.extend(missing.into_iter().map(|missing| format!("there is no {missing}, of `{name}`")));
    }
    complaints
}

/// The limit of each thing that a promise says is measured.
fn limits<'a>(promise: &Promise<'a>) -> Result<Vec<(Measurement<'a>, f64)>> {
    let (measurements, limits) = (promise.measurements()?, promise.limits());
    let limit = |index: usize| limits.get(index).or(limits.last()).copied();
    Ok(measurements.into_iter().enumerate().filter_map(|(index, of)| Some((of, limit(index)?))).collect())
}

/// What exceeds its limit in these figures.
fn broken(figures: &Figures) -> Vec<String> {
    let of_promise = |promise: &Promise<'_>| {
        let values = limits(promise)?.into_iter().filter_map(|(of, limit)| Some((of.value(figures)?, limit)));
        Ok(values
            .filter(|(value, limit)| value > limit)
            .map(|(value, limit)| format!("{value} of {limit}"))
            .collect())
    };
    complaints(of_promise).unwrap()
}

#[cfg(test)]
mod tests {
    use ::tests::catalogue::BENCH_LIMITS;
    use ::tests::catalogue::NESTED_BENCH_LIMITS;
    use ci::bench::figures::Setting;
    use ci::bench::promises::Quantity;

    use super::*;

    #[test]
    fn promises_are_numbered_from_one_on() {
        let text = document().unwrap();
        assert!(!promises::all(&text).is_empty());
        assert_eq!(misnumbered(&text), Vec::<String>::new());
    }

    #[test]
    fn each_promise_names_what_holds_it_and_that_is_there() {
        let names = Names::of_tree(root()).unwrap();
        assert_eq!(complaints(|promise| Ok(unheld(promise, &names))).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_measured_is_an_operation_or_a_size() {
        let complaints = complaints(|promise| promise.measurements().map(|_| Vec::new()));
        complaints.unwrap();
    }

    #[test]
    fn limits_are_those_that_the_guest_programs_are_held_to() {
        let differing = |promise: &Promise<'_>| {
            let limits = limits(promise)?;
            let of_bench = limits.into_iter().filter_map(|(measurement, limit)| match measurement {
                Measurement::Operation { name, setting, quantity: Quantity::Instructions } => {
                    let held_to = match setting {
                        Setting::Satori => BENCH_LIMITS,
                        Setting::SatoriOnKvm => NESTED_BENCH_LIMITS,
                        _ => return None,
                    };
                    let (_, held) = held_to.iter().find(|(operation, _)| *operation == name)?;
                    (*held as f64 != limit).then(|| format!("{name} is held to {held}, not to {limit}"))
                }
                _ => None,
            });
            Ok(of_bench.collect())
        };
        assert_eq!(complaints(differing).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_was_accepted_keeps_what_is_promised() {
        if baseline::file(root()).exists() {
            assert_eq!(broken(&baseline::read(root()).unwrap()), Vec::<String>::new());
        }
    }

    #[test]
    fn the_trusted_base_is_as_small_as_promised() {
        let mut figures = Figures { footprint: footprint::of_code(root()).unwrap(), ..Figures::default() };
        assert_eq!(broken(&figures), Vec::<String>::new());
        figures.footprint.insert("unsafe_lines".into(), 1_000_000);
        assert_eq!(broken(&figures).len(), 1, "a limit that is exceeded is noticed");
    }

    #[test]
    fn a_name_that_is_not_in_the_tree_is_noticed() {
        let names = Names::of_tree(root()).unwrap();
        let held_by = |held_by| Promise { number: "1", words: "", measured: None, held_by };
        for good in
            ["`guest::cpuid`", "`fuzz decoder`", "`kvm without_evmcs::cpuid`", "`schedule::{queue,budget}`"]
        {
            assert_eq!(unheld(&held_by(good), &names), Vec::<String>::new());
        }
        for bad in [
            "nothing",
            "`guest::nothing`",
            "`nowhere::cpuid`",
            "`kvm without_nothing::cpuid`",
            "`linux::nothing_…`",
            "`guest::{cpuid,nothing}`",
            "`mmu::flush::nothing`",
            "`nothing`",
            "`fuzz nothing`",
        ] {
            assert_eq!(unheld(&held_by(bad), &names).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_gap_between_numbers_is_noticed() {
        let text = "| | promise | held by |\n|---|---|---|\n| 1 | a | `b` |\n| 3 | c | `d` |\n";
        assert_eq!(misnumbered(text), ["\"3\" is promise 2"]);
    }
}
