// SPDX-License-Identifier: MIT OR Apache-2.0
//! SPECIFICATION.md: its promises, what holds them, and the figures that were measured for them.
//!
//! A promise is a row of a table whose header ends in `held by`. Where such a row names `bench …`, its column `measured` is
//! not written by hand: it has the accepted figures of what is named, in that order.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::figures::Figure;
use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::operations;
use crate::bench::tables;

/// What a reference to something that is measured starts with.
const BENCH: &str = "bench ";

/// A row of a table of promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise<'a> {
    /// Its number, as it is written.
    pub number: &'a str,
    /// What is promised.
    pub words: &'a str,
    /// What was measured, where its table has that.
    pub measured: Option<&'a str>,
    /// What holds it.
    pub held_by: &'a str,
}

/// All promises of the document.
pub fn all(text: &str) -> Vec<Promise<'_>> {
    rows(text).filter_map(|(_, promise)| promise).collect()
}

/// The lines of the document, and the promises that are on them.
fn rows(text: &str) -> impl Iterator<Item = (&str, Option<Promise<'_>>)> {
    let mut header = Vec::new();
    text.lines().map(move |line| {
        let Some(cells) = cells(line) else {
            header.clear();
            return (line, None);
        };
        if header.is_empty() {
            header = cells;
            return (line, None);
        }
        (line, promise(&header, &cells))
    })
}

/// The cells of a line, if it is a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

fn promise<'a>(header: &[&str], cells: &[&'a str]) -> Option<Promise<'a>> {
    let is_rule = cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':') && !cell.is_empty());
    if header.last() != Some(&"held by") || is_rule {
        return None;
    }
    match *cells {
        [number, words, held_by] => Some(Promise { number, words, measured: None, held_by }),
        [number, words, measured, held_by] => {
            Some(Promise { number, words, measured: Some(measured), held_by })
        }
        _ => None,
    }
}

impl<'a> Promise<'a> {
    /// What is named between backticks in the column `held by`.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.held_by.split('`').skip(1).step_by(2)
    }

    /// Those of them that are measured.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn measurements(&self) -> Result<Vec<Measurement<'a>>> {
        let of_bench = self.names().filter_map(|name| name.strip_prefix(BENCH));
        of_bench
            .map(Measurement::parse)
            .collect::<Result<_>>()
            .with_context(|| format!("promise {}", self.number))
    }

    /// Its row with these figures, if it has any of them.
    fn row(&self, figures: &Figures) -> Result<Option<String>> {
        let Self { number, words, held_by, .. } = self;
        let measurements = self.measurements()?;
        if self.measured.is_none() || measurements.is_empty() {
            return Ok(None);
        }
        let told: Option<Vec<String>> = measurements.iter().map(|of| of.told(figures)).collect();
        let told = told.with_context(|| {
            format!("SPECIFICATION.md, promise {number}, names something that was not measured: {held_by}")
        })?;
        Ok(Some(format!("| {number} | {words} | {} | {held_by} |", told.join("; "))))
    }

    /// The numbers behind each "at most" of what is promised.
    #[must_use]
    pub fn limits(&self) -> Vec<f64> {
        let after = self.words.split("at most ").skip(1);
        let digits =
            |text: &str| text.split(|c: char| !c.is_ascii_digit() && c != '.').next().map(str::to_owned);
        after.filter_map(|text| digits(text)?.trim_end_matches('.').parse().ok()).collect()
    }
}

/// Something that `cargo x bench` measures: `NAME`, with Satori alone; `SETTING NAME`; either with `exits` or `transitions`
/// behind it; or `footprint NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement<'a> {
    /// Of an operation.
    Operation {
        /// Its name.
        name: &'a str,
        /// Where.
        setting: Setting,
        /// What of it.
        quantity: Quantity,
    },
    /// A size.
    Footprint(&'a str),
}

/// What is counted of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Instructions.
    Instructions,
    /// VM exits to who runs the guest.
    Exits,
    /// Exits to L0.
    Transitions,
}

impl<'a> Measurement<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if let ["footprint", name] = *words {
            return Ok(Self::Footprint(name));
        }
        let quantity = match words.last() {
            Some(&"exits") => Quantity::Exits,
            Some(&"transitions") => Quantity::Transitions,
            _ => Quantity::Instructions,
        };
        words.truncate(words.len() - usize::from(quantity != Quantity::Instructions));
        let (setting, name) = match *words {
            [name] => ("satori", name),
            [setting, name] => (setting, name),
            _ => bail!(
                "`{BENCH}{text}`: expected [SETTING] OPERATION [exits or transitions], or footprint NAME"
            ),
        };
        let known = Setting::ALL.into_iter().find(|known| known.name() == setting);
        let setting = known.with_context(|| format!("`{BENCH}{text}`: no setting {setting}"))?;
        operations::named(name).with_context(|| format!("`{BENCH}{text}`: no operation {name}"))?;
        Ok(Self::Operation { name, setting, quantity })
    }

    /// What came of it with one emulated CPU.
    #[must_use]
    pub fn value(self, figures: &Figures) -> Option<f64> {
        let (name, setting, quantity) = match self {
            Self::Operation { name, setting, quantity } => (name, setting, quantity),
            Self::Footprint(name) => return figures.footprint.get(name).map(|size| *size as f64),
        };
        let figure: &Figure = figures.find(name, setting, 1)?;
        match quantity {
            Quantity::Instructions => Some(figure.instructions as f64),
            Quantity::Exits => figure.exits,
            Quantity::Transitions => figure.transitions,
        }
    }

    /// That for people.
    fn told(self, figures: &Figures) -> Option<String> {
        let value = self.value(figures)?;
        Some(match self {
            Self::Operation { quantity: Quantity::Instructions, .. } => tables::count(value as u64),
            Self::Operation { .. } => tables::rate(Some(value)),
            Self::Footprint(name) if name.contains("_kib") => format!("{value} KiB"),
            Self::Footprint(_) => value.to_string(),
        })
    }
}

/// The document with these figures in its column `measured`.
///
/// # Errors
/// When it names something that is no measurement, or was not measured.
pub fn fill(text: &str, figures: &Figures) -> Result<String> {
    let mut filled = String::new();
    for (line, promise) in rows(text) {
        let row = promise.map(|promise| promise.row(figures)).transpose()?.flatten();
        filled.push_str(row.as_deref().unwrap_or(line));
        filled.push('\n');
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::made_up;

    const TEXT: &str = "\
# Words
| | promise | measured | held by |
|---|---|---|---|
| 1 | A CPUID takes at most 300, and at most 2.5 of another | 1; 2 | `bench cpuid`, `bench satori-on-kvm cpuid transitions` |
| 2 | It is small: at most 8192 KiB | | `bench footprint satori_kib_1_cpu` |
| 3 | By hand | 12 | `guest::cpuid` |

| | no promise | at all |
|---|---|---|
| 4 | x | `y` |

| | promise | held by |
|---|---|---|
| 5 | Another | `a`, and `b` |
";

    #[test]
    fn promises_are_rows_of_tables_that_say_what_holds_them() {
        let promises = all(TEXT);
        let numbers: Vec<&str> = promises.iter().map(|promise| promise.number).collect();
        assert_eq!(numbers, ["1", "2", "3", "5"]);
        assert_eq!(promises[3].names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(promises[0].limits(), [300.0, 2.5]);
    }

    #[test]
    fn figures_come_from_what_was_accepted_and_from_nowhere_else() {
        let filled = fill(TEXT, &made_up::figures()).unwrap();
        let measured: Vec<_> = all(&filled).iter().map(|promise| promise.measured).collect();
        assert_eq!(measured, [Some("200; 2.00"), Some("1696 KiB"), Some("12"), None]);
        assert_eq!(fill(&filled, &made_up::figures()).unwrap(), filled);
    }

    #[test]
    fn what_was_not_measured_or_is_no_measurement_is_refused() {
        let of = |name: &str| {
            format!("| | promise | measured | held by |\n|---|---|---|---|\n| 9 | x | 1 | `bench {name}` |\n")
        };
        let error = |name: &str| format!("{:#}", fill(&of(name), &made_up::figures()).unwrap_err());
        assert!(error("vmcall").contains("promise 9, names something that was not measured"));
        assert!(error("nothing").contains("no operation nothing"));
        assert!(error("xen cpuid").contains("no setting xen"));
        assert!(error("a b c").contains("expected [SETTING]"));
    }
}
