// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori tells of its flushes when a VM has ended: lines with `flushes: invept_single N, invept_global N, ...`.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// What was told so far.
#[derive(Debug, Default)]
pub struct Flushes {
    /// How often each VM's end told of a global INVEPT, and how often not.
    lines: u32,
    global: u64,
}

impl Flushes {
    /// Takes the next line of the machine's.
    ///
    /// # Errors
    /// When it tells of flushes in another way than we know.
    pub fn look(&mut self, line: &str) -> Result<()> {
        if line.contains(" flushes: ") {
            self.global += count(line, "invept_global")?;
            self.lines += 1;
        }
        Ok(())
    }

    /// After start-up no INVEPT was a global one.
    ///
    /// # Errors
    /// When one was, or nothing was told.
    pub fn none_was_global(&self) -> Result<()> {
        ensure!(self.lines > 0, "no line told of flushes");
        ensure!(self.global == 0, "{} global INVEPTs were told of", self.global);
        Ok(())
    }
}

/// The number behind `name` in a line of counters.
fn count(line: &str, name: &str) -> Result<u64> {
    let (_, rest) =
        line.split_once(&format!(" {name} ")).with_context(|| format!("no {name} in {line:?}"))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().with_context(|| format!("no number behind {name} in {line:?}"))
}
