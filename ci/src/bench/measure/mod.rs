// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs everything that is measured, in every setting.

pub mod footprint;

use anyhow::Result;

use crate::bench::Options;
use crate::bench::figures::Figures;
use crate::workshop::Workshop;

/// Measures what the options ask for.
///
/// # Errors
/// When something cannot be had, built or run.
pub fn measure(workshop: &Workshop, options: &Options) -> Result<Figures> {
    let is_wanted = options.filter.as_ref().is_none_or(|filter| "footprint".contains(filter.as_str()));
    let footprint = if is_wanted { footprint::measure(workshop)? } else { Default::default() };
    Ok(Figures { footprint, ..Figures::default() })
}
