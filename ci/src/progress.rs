// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a long step tells while it lasts: a spinner on a terminal, else one line at its start and one at its end.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// Where steps show that are under way at one time, a line for each: there is one terminal, whoever writes to it.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// One step under way, on standard error.
#[derive(Debug)]
pub struct Step {
    what: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    /// Announces `what`, such as "building the emulator".
    #[must_use]
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&what));
        if spinner.is_none() {
            eprintln!("satori: {what} ...");
        }
        Self { what, started: Instant::now(), spinner }
    }

    /// Shows `line`, the newest of what the step's program prints, beside the spinner.
    pub fn note(&self, line: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line.trim().replace('\t', " "));
        }
    }

    /// Tells that it was done. A step that is dropped without it has failed, and its error says the rest.
    pub fn done(mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        let told = format!("satori: {}: done in {:.1} s", self.what, self.started.elapsed().as_secs_f64());
        SPINNERS.suspend(|| eprintln!("{told}"));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

fn spinner(what: &str) -> ProgressBar {
    let spinner = SPINNERS.add(ProgressBar::new_spinner().with_prefix(what.to_owned()));
    if let Ok(style) = ProgressStyle::with_template("{spinner} satori: {prefix} {elapsed} {wide_msg:.dim}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
