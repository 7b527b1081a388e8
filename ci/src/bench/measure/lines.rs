// SPDX-License-Identifier: MIT OR Apache-2.0
//! What bench programs print, and what agents add at their marks: the figures in it.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::protocol::Counters;
use agent::protocol::OF_L1;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::lab::Console;

/// What the last line of a program begins with.
const VERDICT: &str = "verdict: ";

/// Between two marks with nothing between them.
const NOTHING: &str = "nothing";

/// All lines to the machine's end, none of which takes longer than `within`.
///
/// # Errors
/// When one does, or Satori panics.
pub fn to_the_end(console: &mut impl Console, within: Duration) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = console.line(within)? {
        ensure!(!line.contains("PANIC in Satori"), "{line}");
        lines.push(line);
    }
    Ok(lines)
}

/// Figures of the programs of these names, which ran one after the other.
///
/// # Errors
/// When one of them failed or did not come to its end, or when a line cannot be read, or others that it needs are not there.
pub fn figures(lines: &[String], programs: &[&str], setting: Setting, cpus: u32) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (lines, program) in of_each(lines, programs)?.into_iter().zip(programs) {
        figures.extend(figures_of_one(lines, setting, cpus).with_context(|| (*program).to_owned())?);
    }
    Ok(figures)
}

/// The lines of each of these programs.
fn of_each<'a>(lines: &'a [String], programs: &[&str]) -> Result<Vec<&'a [String]>> {
    let mut parts = lines.split_inclusive(|line| line.starts_with(VERDICT));
    let part = |name: &&str| {
        let part = parts.next().unwrap_or_default();
        match part.last().and_then(|line| line.strip_prefix(VERDICT)) {
            Some("pass") => Ok(part),
            Some(verdict) => bail!("{name}: {verdict}"),
            None => bail!("{name} ended without a verdict; the last lines were:\n{}", end_of(part)),
        }
    };
    programs.iter().map(part).collect()
}

/// As much of it as says enough about a failure.
fn end_of(lines: &[String]) -> String {
    const SHOWN: usize = 20;
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// The figures in the lines of one program, in their order.
fn figures_of_one(lines: &[String], setting: Setting, cpus: u32) -> Result<Vec<Figure>> {
    let told = Told::by(lines)?;
    let figure = |(operation, instructions): &(String, u64)| {
        let (exits, transitions) = told.exits_and_transitions(operation, setting)?;
        let (operation, instructions) = (operation.clone(), *instructions);
        Ok(Figure { operation, setting, cpus, instructions, exits, transitions })
    };
    told.costs.iter().map(figure).collect()
}

/// What a program tells.
#[derive(Debug, Default)]
struct Told {
    /// Lines `bench: NAME N`.
    costs: Vec<(String, u64)>,
    /// Lines `exits: NAME X.XX`.
    exits: BTreeMap<String, f64>,
    /// Lines `marked: NAME K R`.
    marked: BTreeMap<String, Marked>,
    /// The marks of those with [`NOTHING`] between them and the next ones.
    nothing: Vec<u64>,
    /// What KVM had counted at each mark, on the machine itself.
    at_marks: BTreeMap<u64, Counters>,
    /// The same of the KVM that runs on that one.
    at_marks_of_l1: BTreeMap<u64, Counters>,
}

/// Between this mark and the next one an operation happened so often.
#[derive(Clone, Copy, Debug)]
struct Marked {
    mark: u64,
    times: u64,
}

impl Told {
    fn by(lines: &[String]) -> Result<Self> {
        let mut told = Self::default();
        for line in lines {
            told.take(line).with_context(|| format!("no figure: {line:?}"))?;
        }
        Ok(told)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        if let Some(cost) = line.strip_prefix("bench: ") {
            let [name, cost] = words(cost)?;
            ensure!(self.costs.iter().all(|(known, _)| known != name), "{name} is there twice");
            self.costs.push((name.into(), cost.parse()?));
        } else if let Some(exits) = line.strip_prefix("exits: ") {
            let [name, exits] = words(exits)?;
            let exits: f64 = exits.parse()?;
            ensure!(exits.is_finite() && exits >= 0.0, "{exits} is no number of exits");
            self.exits.insert(name.into(), exits);
        } else if let Some(marked) = line.strip_prefix("marked: ") {
            let [name, mark, times] = words(marked)?;
            let marked = Marked { mark: mark.parse()?, times: times.parse()? };
            ensure!(marked.times > 0, "nothing was done");
            if name == NOTHING {
                self.nothing.push(marked.mark);
            } else {
                self.marked.insert(name.into(), marked);
            }
        } else {
            let (of_l1, line) = line.strip_prefix(OF_L1).map_or((false, line), |line| (true, line));
            if let Some(told) = line.strip_prefix("counters at mark ") {
                let (mark, counters) = told.split_once(": ").context("no counters")?;
                let counters = Counters::parse(counters);
                let at_marks = if of_l1 { &mut self.at_marks_of_l1 } else { &mut self.at_marks };
                at_marks.insert(mark.parse()?, counters);
            }
        }
        Ok(())
    }

    /// VM exits of one operation to who runs the guest, and, where that is not the emulated CPU's own hypervisor, to that one.
    fn exits_and_transitions(&self, operation: &str, setting: Setting) -> Result<(Option<f64>, Option<f64>)> {
        let counted = self.exits.get(operation).copied();
        let Some(marked) = self.marked.get(operation) else { return Ok((counted, None)) };
        let each = |at_marks| {
            self.each(*marked, at_marks).with_context(|| format!("exits of {operation} were not counted"))
        };
        Ok(match setting {
            Setting::Metal | Setting::Satori => (counted, None),
            Setting::Kvm => (Some(each(&self.at_marks)?), None),
            Setting::SatoriOnKvm | Setting::SatoriOnKvmWithoutEvmcs => (counted, Some(each(&self.at_marks)?)),
            Setting::KvmOnKvm | Setting::KvmOnKvmWithoutEvmcs => {
                (Some(each(&self.at_marks_of_l1)?), Some(each(&self.at_marks)?))
            }
        })
    }

    /// How many exits one of the operations took, by what was counted at marks, in hundredths; without what marks cost.
    fn each(&self, marked: Marked, at_marks: &BTreeMap<u64, Counters>) -> Result<f64> {
        let cost_of_marks = self.cost_of_marks(at_marks)?;
        let exits = exits_behind(marked.mark, at_marks)?.saturating_sub(cost_of_marks);
        Ok((exits as f64 * 100.0 / marked.times as f64).round() / 100.0)
    }

    /// How many exits two marks take: the median, since a system below has more to do at one time than at another.
    fn cost_of_marks(&self, at_marks: &BTreeMap<u64, Counters>) -> Result<u64> {
        let costs = self.nothing.iter().map(|mark| exits_behind(*mark, at_marks));
        let mut costs = costs.collect::<Result<Vec<u64>>>()?;
        costs.sort_unstable();
        costs.get(costs.len() / 2).copied().context("nobody tells what marks cost themselves")
    }
}

/// Exits between a mark and the next one, without those that interrupts of the host itself made.
fn exits_behind(mark: u64, at_marks: &BTreeMap<u64, Counters>) -> Result<u64> {
    let exits = |mark: u64| {
        let counters = at_marks.get(&mark).with_context(|| format!("no counters at mark {mark}"))?;
        let exits = counters.get("exits");
        ensure!(exits > 0, "KVM's counters cannot be read; its debugfs must be mounted");
        Ok(exits.saturating_sub(counters.get("irq_exits")))
    };
    let next = mark.checked_add(1).context("no mark comes behind the last number")?;
    Ok(exits(next)?.saturating_sub(exits(mark)?))
}

/// The words of a line of so many.
fn words<const N: usize>(line: &str) -> Result<[&str; N]> {
    let words: Vec<&str> = line.split(' ').collect();
    <[&str; N]>::try_from(words).ok().with_context(|| format!("not {N} words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Operation, instructions, exits and transitions.
    type Read = (String, u64, Option<f64>, Option<f64>);

    fn read(text: &str, setting: Setting) -> Result<Vec<Read>> {
        let figures = figures_of_one(&lines(text), setting, 1)?;
        Ok(figures.into_iter().map(|f| (f.operation, f.instructions, f.exits, f.transitions)).collect())
    }

    #[test]
    fn satori_counts_its_exits_itself() {
        let text = "[ 0.1] INFO  vm bench: started\nbench: cpuid 250\nexits: cpuid 1.00\nbench: empty 2\nverdict: pass";
        let expected = [("cpuid".to_owned(), 250, Some(1.0), None), ("empty".to_owned(), 2, None, None)];
        assert_eq!(read(text, Setting::Satori).unwrap(), expected);
        assert_eq!(read(text, Setting::SatoriOnKvm).unwrap(), expected);
    }

    const MARKED: &str = "marked: nothing 0 1
        counters at mark 0: exits 1000, irq_exits 100
        counters at mark 1: exits 1050, irq_exits 110
        bench: cpuid 1251
        L1 counters at mark 2: exits 500
        mark 2
        counters at mark 2: exits 2000, irq_exits 200, other 7
        L1 counters at mark 3: exits 900, irq_exits 100
        mark 3
        counters at mark 3: exits 2460, irq_exits 220
        marked: cpuid 2 200";

    #[test]
    fn marks_are_without_what_they_cost_and_without_interrupts() {
        let expected = [("cpuid".to_owned(), 1251, Some(2.0), None)];
        assert_eq!(read(MARKED, Setting::Kvm).unwrap(), expected);
        let counted = format!("{MARKED}\nexits: cpuid 1.01");
        let expected = [("cpuid".to_owned(), 1251, Some(1.01), Some(2.0))];
        assert_eq!(read(&counted, Setting::SatoriOnKvm).unwrap(), expected);
        let of_l1 = format!("{MARKED}\nL1 counters at mark 0: exits 10\nL1 counters at mark 1: exits 110");
        let expected = [("cpuid".to_owned(), 1251, Some(1.0), Some(2.0))];
        assert_eq!(read(&of_l1, Setting::KvmOnKvm).unwrap(), expected);
    }

    #[test]
    fn of_what_marks_cost_the_median_counts() {
        let more = |mark, exits| {
            format!(
                "\nmarked: nothing {mark} 1\ncounters at mark {mark}: exits 1\ncounters at mark {}: exits {}",
                mark + 1,
                1 + exits
            )
        };
        // Beside the 40 that are there: one time in five the host did nothing, and one time much.
        let text = format!("{MARKED}{}{}{}{}", more(10, 0), more(12, 40), more(14, 900), more(16, 40));
        assert_eq!(read(&text, Setting::Kvm).unwrap(), [("cpuid".to_owned(), 1251, Some(2.0), None)]);
    }

    #[test]
    fn what_is_missing_is_told() {
        let complaint = |text: &str, setting| format!("{:#}", read(text, setting).unwrap_err());
        let said = complaint(MARKED, Setting::KvmOnKvm);
        assert_eq!(said, "exits of cpuid were not counted: no counters at mark 1");
        let said = complaint("bench: cpuid 1\nmarked: cpuid 2 1", Setting::Kvm);
        assert!(said.contains("nobody tells what marks cost"), "{said}");
        let unread = MARKED.replace("exits 2460, irq_exits 220", "other 1");
        assert!(complaint(&unread, Setting::Kvm).contains("debugfs"));
    }

    #[test]
    fn hostile_lines_are_refused_and_others_are_nobodys() {
        let refused = [
            "bench: cpuid",
            "bench: cpuid x",
            "bench: cpuid -1",
            "bench: cpuid 1 2",
            "bench: cpuid 18446744073709551616",
            "bench: a 1\nbench: a 1",
            "exits: cpuid NaN",
            "exits: cpuid -1",
            "exits: cpuid inf",
            "marked: cpuid 0 0",
            "marked: cpuid 0",
            "counters at mark x: exits 1",
            "counters at mark 1",
            "L1 counters at mark 99999999999999999999: exits 1",
            "bench: a 1\nmarked: nothing 0 1\nmarked: a 18446744073709551615 1\ncounters at mark 18446744073709551615: exits 1",
        ];
        for text in refused {
            assert!(read(text, Setting::Kvm).is_err(), "{text}");
        }
        assert_eq!(read("mark 0\n\nbench\n bench\nL1 kernel: x\n\u{fffd}", Setting::Kvm).unwrap(), []);
    }

    #[test]
    fn a_counter_that_goes_back_is_no_negative_cost() {
        let text = "bench: a 1\nmarked: nothing 0 1\nmarked: a 2 18446744073709551615
            counters at mark 0: exits 18446744073709551615\ncounters at mark 1: exits 1
            counters at mark 2: exits 1\ncounters at mark 3: exits 18446744073709551615, irq_exits 18446744073709551615";
        assert_eq!(read(text, Setting::Kvm).unwrap(), [("a".to_owned(), 1, Some(0.0), None)]);
    }

    #[test]
    fn programs_end_with_their_verdicts() {
        let text = lines("a\nverdict: pass\nb\nverdict: pass\nrest");
        let parts = of_each(&text, &["one", "two"]).unwrap();
        assert_eq!(parts, [&text[..2], &text[2..4]]);
        let complaint = |text: &str| of_each(&lines(text), &["one", "two"]).unwrap_err().to_string();
        assert!(complaint("verdict: pass\nrest").starts_with("two ended without a verdict"));
        assert_eq!(complaint("verdict: fail: no memory"), "one: fail: no memory");
    }
}
