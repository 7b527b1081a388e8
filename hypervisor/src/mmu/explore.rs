// SPDX-License-Identifier: MIT OR Apache-2.0
//! Histories under loom: every interleaving of them, and every value that their loads may find.

use super::Kick;
use super::rule::Rule;
use crate::cpu::CpuNumber;
use loom::model::Builder;
use loom::thread;
use std::panic;
use std::string::String;

/// How many times a thread is interrupted in the midst of its work, at most; with `None` any number of times.
pub(crate) type Preemptions = Option<usize>;

/// So many CPUs, of which none has to be kicked: who waits lets the others run.
#[derive(Debug)]
pub(crate) struct Yields(pub(crate) usize);

impl Kick for Yields {
    fn kick(&self, _: CpuNumber) {}

    fn relax(&self) {
        thread::yield_now();
    }

    fn cpus(&self) -> usize {
        self.0
    }
}

/// Explores `history`, which panics where something is wrong.
pub(crate) fn explore(preemptions: Preemptions, history: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(history);
}

/// Explores `history` with `rule` broken: in some interleaving something must be used that is stale, or while it is released.
pub(crate) fn finds(rule: Rule, preemptions: Preemptions, history: impl Fn() + Send + Sync + 'static) {
    let explored = panic::AssertUnwindSafe(|| rule.broken(|| explore(preemptions, history)));
    let found = panic::catch_unwind(explored).expect_err("a broken rule must be found");
    let message = found.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| found.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(
        message.contains("stale use") || message.contains("Causality violation"),
        "something else went wrong: {message}"
    );
}
