// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x bench`: what things cost with Satori and with KVM, counted in instructions by the same emulator with the same
//! guests.

pub mod figures;
pub mod measure;

use anyhow::Result;

use crate::workshop::Workshop;

/// What is measured, and what becomes of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Measure only what has this in its name, of operations and settings (satori, kvm, satori-on-kvm, …), and compare that.
    pub filter: Option<String>,
    /// Take what was measured for what later runs are compared with, and put it into README.md and docs/.
    #[arg(long, conflicts_with = "filter")]
    pub accept: bool,
}

/// Measures, and says whether nothing has become worse than it was accepted.
///
/// # Errors
/// When something cannot be had, built or run.
pub fn bench(workshop: &Workshop, options: &Options) -> Result<bool> {
    let figures = measure::measure(workshop, options)?;
    println!("{figures:#?}");
    Ok(true)
}
