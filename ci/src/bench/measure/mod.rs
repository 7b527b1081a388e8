// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs everything that is measured, in every setting.

mod bare;
mod filter;
pub mod footprint;
mod kvm;
mod lines;
mod linux;
mod peer;
mod programs;
mod versions;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;

use crate::bench::Options;
use crate::bench::figures::Figure;
use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::programs::Files;
use crate::bench::operations::OPERATIONS;
use crate::cargo;
use crate::interrupt::Interrupted;
use crate::progress::Step;
use crate::setup;
use crate::workshop::Workshop;

/// How many emulated machines run at a time, each on a CPU of its own.
const AT_A_TIME: usize = 2;

/// What is built before anything is measured, and whether the rest is still of use.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What it was built with.
    pub workshop: &'a Workshop,
    /// Satori's image.
    pub satori: PathBuf,
    /// The guest programs.
    pub guests: Files,
    /// Something could not be measured, so that nobody waits for the rest.
    pub given_up: AtomicBool,
}

/// What is measured in one boot of an emulated machine, or in a few.
type Job<'a> = Box<dyn FnOnce() -> Result<Figures> + Send + 'a>;

/// Measures what the options ask for.
///
/// # Errors
/// When something cannot be had, built or run.
pub fn measure(workshop: &Workshop, options: &Options) -> Result<Figures> {
    let filter = Filter(options.filter.as_deref());
    check(filter)?;
    setup::everything(workshop)?;
    fs::create_dir_all(workshop.target())?;
    let parts = Parts {
        workshop,
        satori: cargo::build_satori(workshop)?,
        guests: Files::build(workshop)?,
        given_up: AtomicBool::new(false),
    };
    // Those who run them would build them, too, but at once.
    cargo::build_agent(workshop)?;
    cargo::build_workload(workshop)?;
    let measured = carry_out(jobs(&parts, filter), &parts.given_up)?;
    let versions = versions::versions(workshop)?;
    let wanted = measured.figures.into_iter().filter(|figure| filter.wants_figure(figure));
    Ok(Figures { versions, figures: wanted.collect(), footprint: measured.footprint })
}

/// Refuses what no operation, setting or size has in its name, before anything is built for it.
fn check(filter: Filter<'_>) -> Result<()> {
    let is_wanted = |setting: Setting| {
        linux::is_wanted(filter, setting)
            || [1, 2, 4].into_iter().any(|cpus| !programs::wanted(filter, setting, cpus).is_empty())
    };
    if filter.wants_footprint() || Setting::ALL.into_iter().any(is_wanted) {
        return Ok(());
    }
    let operations: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    bail!(
        "no operation or setting has {:?} in its name; settings are {}; operations are {}, and footprint",
        filter.0.unwrap_or_default(),
        Setting::ALL.map(Setting::name).join(", "),
        operations.join(", ")
    )
}

/// The longest come first.
fn jobs<'a>(parts: &'a Parts<'a>, filter: Filter<'a>) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = vec![Box::new(move || kvm::measure(parts, filter, 1).map(only))];
    if filter.wants_footprint() {
        jobs.push(Box::new(move || {
            let step = Step::start("measuring Satori's footprint");
            let footprint = footprint::measure(parts)?;
            step.done();
            Ok(Figures { footprint, ..Figures::default() })
        }));
    }
    for cpus in [4, 2, 1] {
        let benches = programs::wanted(filter, Setting::Satori, cpus);
        if !benches.is_empty() {
            jobs.push(Box::new(move || bare::satori(parts, &benches, cpus).map(only)));
        }
    }
    jobs.push(Box::new(move || kvm::measure(parts, filter, 2).map(only)));
    if linux::is_wanted(filter, Setting::Metal) {
        jobs.push(Box::new(move || linux::on_metal(parts).map(only)));
    }
    if linux::is_wanted(filter, Setting::Satori) {
        jobs.push(Box::new(move || linux::in_satori(parts).map(only)));
    }
    jobs
}

fn only(figures: Vec<Figure>) -> Figures {
    Figures { figures, ..Figures::default() }
}

/// Does all of `jobs`, some at a time, until one fails.
fn carry_out(jobs: Vec<Job<'_>>, given_up: &AtomicBool) -> Result<Figures> {
    let queue = Mutex::new(VecDeque::from(jobs));
    let next = || {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        job.filter(|_| !given_up.load(Relaxed))
    };
    let work = || {
        let mut measured = Vec::new();
        while let Some(job) = next() {
            measured.push(job().inspect_err(|_| given_up.store(true, Relaxed))?);
        }
        Ok(measured)
    };
    let measured: Vec<Result<Vec<Figures>>> = thread::scope(|scope| {
        // A machine ends with the thread that booted it.
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let end = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("a thread that measures panicked")))
        };
        workers.into_iter().map(end).collect()
    });
    let mut all = Figures::default();
    for Figures { figures, footprint, .. } in
        measured.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten()
    {
        all.figures.extend(figures);
        all.footprint.extend(footprint);
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_filter_that_nothing_fits_is_refused_with_all_that_would() {
        for good in [None, Some("cpuid"), Some("metal"), Some("linux_fork"), Some("foot"), Some("zap_page_4")]
        {
            check(Filter(good)).unwrap();
        }
        let error = check(Filter(Some("cpuidd"))).unwrap_err().to_string();
        assert!(
            error.contains("\"cpuidd\"") && error.contains("kvm-on-kvm") && error.contains("cr8_read"),
            "{error}"
        );
    }

    #[test]
    fn after_a_failure_nothing_more_begins() {
        let begun = Mutex::new(0);
        let begin = || *begun.lock().unwrap() += 1;
        let fail: Job<'_> = Box::new(|| Err(anyhow!("no")));
        let wait: Job<'_> = Box::new(|| {
            thread::sleep(Duration::from_millis(100));
            Ok(Figures::default())
        });
        let more: Job<'_> = Box::new(|| {
            begin();
            Ok(Figures::default())
        });
        let error = carry_out(vec![wait, fail, more], &AtomicBool::new(false)).unwrap_err();
        assert_eq!((error.to_string().as_str(), *begun.lock().unwrap()), ("no", 0));
    }

    #[test]
    fn what_all_measured_comes_together() {
        let footprint = |name: &str| -> Job<'_> {
            let footprint = [(name.to_owned(), 1)].into();
            Box::new(|| Ok(Figures { footprint, ..Figures::default() }))
        };
        let all = carry_out(vec![footprint("a"), footprint("b"), footprint("c")], &AtomicBool::new(false));
        assert_eq!(all.unwrap().footprint.len(), 3);
    }
}
