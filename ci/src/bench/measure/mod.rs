// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs everything that is measured, in every setting.

mod bare;
mod filter;
mod kvm;
mod lines;
mod peer;
mod programs;
mod versions;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;

use crate::bench::Options;
use crate::bench::figures::Figure;
use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::programs::Files;
use crate::cargo;
use crate::interrupt::Interrupted;
use crate::setup;
use crate::workshop::Workshop;

/// How many emulated machines run at a time, each on a CPU of its own.
const AT_A_TIME: usize = 2;

/// What is built before anything is measured.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What it was built with.
    pub workshop: &'a Workshop,
    /// Satori's image.
    pub satori: PathBuf,
    /// The guest programs.
    pub guests: Files,
}

/// What is measured in one boot of an emulated machine.
type Job<'a> = Box<dyn FnOnce() -> Result<Vec<Figure>> + Send + 'a>;

/// Measures what the options ask for.
///
/// # Errors
/// When something cannot be had, built or run, or nothing that is measured is called so.
pub fn measure(workshop: &Workshop, options: &Options) -> Result<Figures> {
    setup::everything(workshop)?;
    fs::create_dir_all(workshop.target())?;
    let parts = Parts { workshop, satori: cargo::build_satori(workshop)?, guests: Files::build(workshop)? };
    // Those who run it would build it, too, but at once.
    cargo::build_agent(workshop)?;
    let filter = Filter(options.filter.as_deref());
    let mut figures = carry_out(jobs(&parts, filter))?;
    figures.retain(|figure| filter.wants_figure(figure));
    ensure!(!figures.is_empty(), "nothing that is measured has {:?} in its name", options.filter);
    Ok(Figures { versions: versions::versions(workshop)?, figures, ..Figures::default() })
}

/// The longest come first.
fn jobs<'a>(parts: &'a Parts<'a>, filter: Filter<'a>) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = vec![
        Box::new(move || kvm::measure(parts, filter, 1)),
        Box::new(move || kvm::measure(parts, filter, 2)),
    ];
    for cpus in [4, 2, 1] {
        let benches = programs::wanted(filter, Setting::Satori, cpus);
        if !benches.is_empty() {
            jobs.push(Box::new(move || bare::satori(parts, &benches, cpus)));
        }
    }
    jobs
}

/// Does all of `jobs`, some at a time. When one fails the others come to their end, and no more begin.
fn carry_out(jobs: Vec<Job<'_>>) -> Result<Vec<Figure>> {
    let queue = Mutex::new(VecDeque::from(jobs));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut figures = Vec::new();
        while let Some(job) = next() {
            match job() {
                Ok(more) => figures.extend(more),
                Err(error) => {
                    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return Err(error);
                }
            }
        }
        Ok(figures)
    };
    let done: Vec<Result<Vec<Figure>>> = thread::scope(|scope| {
        // A machine ends with the thread that booted it.
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let joined = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("a thread that measures panicked")))
        };
        workers.into_iter().map(joined).collect()
    });
    Ok(done.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Gives a failure its name, and keeps the files of the machine that failed.
fn keeping_files(
    figures: Result<Vec<Figure>>,
    what: &str,
    keep: impl FnOnce() -> Result<PathBuf>,
) -> Result<Vec<Figure>> {
    match figures {
        Err(error) if !error.is::<Interrupted>() => {
            Err(error.context(format!("{what} was not measured (files are in {})", keep()?.display())))
        }
        figures => figures,
    }
}
