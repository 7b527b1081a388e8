// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x bench`: what things cost with Satori and with KVM, counted in instructions by the same emulator with the same
//! guests.

mod accept;
pub mod baseline;
pub mod code;
pub mod cost;
pub mod figures;
pub mod footprint;
mod measure;
pub mod operations;
mod picture;
pub mod promises;
pub mod tables;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::workshop::Workshop;

use figures::Figures;

/// What is measured, and what becomes of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Measure only what has this in its name, of operations and settings (satori, kvm, satori-on-kvm, …), and compare that.
    pub filter: Option<String>,
    /// Take what was measured for what later runs are compared with, and put it into README.md and docs/.
    #[arg(long, conflicts_with = "filter")]
    pub accept: bool,
    /// Take the figures of an earlier run from its file instead of measuring.
    #[arg(long, value_name = "FILE", hide = true)]
    pub read: Option<PathBuf>,
}

/// Measures, and says whether nothing has become worse than it was accepted.
///
/// # Errors
/// When something cannot be had, built or run, or there is nothing to compare with.
pub fn bench(workshop: &Workshop, options: &Options) -> Result<bool> {
    let figures = match &options.read {
        Some(file) => Figures::read(file)?,
        None => measure::measure(workshop, options)?,
    };
    ensure!(!figures.figures.is_empty() || !figures.footprint.is_empty(), "no figures came of it");
    print!("{}", tables::all(&figures));
    keep(workshop, &figures)?;
    if options.accept {
        accept::accept(workshop.root(), &figures)?;
        println!("accepted; now commit ci/baseline.json, README.md, SPECIFICATION.md and docs/bench.svg");
        return Ok(true);
    }
    let accepted = baseline::read(workshop.root())?;
    let comparison = baseline::compare(&accepted, &figures, options.filter.is_some());
    print!("{comparison}");
    Ok(comparison.is_good())
}

/// Leaves the figures, and a picture of them where there is something to draw, for whoever looks at them later.
fn keep(workshop: &Workshop, figures: &Figures) -> Result<()> {
    let folder = workshop.target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (json, svg) = (folder.join("bench.json"), folder.join("bench.svg"));
    figures.write(&json)?;
    match picture::draw(figures) {
        Ok(picture) => {
            fs::write(&svg, picture).with_context(|| format!("cannot write {}", svg.display()))?;
        }
        Err(_) if !svg.exists() => {}
        // An older one would show something else.
        Err(_) => fs::remove_file(&svg)?,
    }
    println!("The figures are in {}.", json.display());
    Ok(())
}
