// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs everything that is measured, in every setting.

pub mod linux;

use anyhow::Result;

use crate::bench::Options;
use crate::bench::figures::Figures;
use crate::workshop::Workshop;

/// Measures what the options ask for.
///
/// # Errors
/// When something cannot be had, built or run.
pub fn measure(_workshop: &Workshop, _options: &Options) -> Result<Figures> {
    Ok(Figures::default())
}
