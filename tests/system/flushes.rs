// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori tells of its flushes when a VM has ended: lines with `flushes: invept_single N, invept_global N, ...`.

use anyhow::Result;
use anyhow::ensure;

use crate::lines::number_after;

/// In the lines of a run, after start-up no INVEPT was a global one.
///
/// # Errors
/// When one was, or nothing was told, or not as we know it.
pub fn none_was_global(lines: &[String]) -> Result<()> {
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(" flushes: ")).collect();
    ensure!(!told.is_empty(), "no line told of flushes");
    for line in told {
        ensure!(number_after(line, " invept_global ")? == 0, "a global INVEPT was told of: {line}");
    }
    Ok(())
}
