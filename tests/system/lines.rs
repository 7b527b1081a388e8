// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of Satori's report, and the figures in them.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::lab::Console;

/// Until the next line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(60);

/// The next line with `text`.
///
/// # Errors
/// When there comes none, or a panic before it.
pub fn line_with(session: &mut impl Console, text: &str) -> Result<String> {
    while let Some(line) = session.line(TIME_TO_TELL)? {
        ensure!(!line.contains("PANIC in Satori"), "{line}");
        if line.contains(text) {
            return Ok(line);
        }
    }
    bail!("the machine ended without {text:?}")
}

/// All lines to the machine's end, none of which takes longer than `within`.
///
/// # Errors
/// When one does.
pub fn lines_to_the_end(console: &mut impl Console, within: Duration) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = console.line(within)? {
        lines.push(line);
    }
    Ok(lines)
}

/// The number that stands before `unit`.
///
/// # Errors
/// When there is none.
pub fn number_before(line: &str, unit: &str) -> Result<u64> {
    let (before, _) = line.split_once(unit).with_context(|| format!("no {unit:?} in {line:?}"))?;
    let digits = before.rsplit(' ').next().unwrap_or_default();
    digits.parse().with_context(|| format!("no number before {unit:?} in {line:?}"))
}

/// The number that stands behind `name`.
///
/// # Errors
/// When there is none.
pub fn number_after(line: &str, name: &str) -> Result<u64> {
    let (_, after) = line.split_once(name).with_context(|| format!("no {name:?} in {line:?}"))?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().with_context(|| format!("no number behind {name:?} in {line:?}"))
}
