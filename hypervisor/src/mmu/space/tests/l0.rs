// SPDX-License-Identifier: MIT OR Apache-2.0
//! An L0 that flushes what it is told to, and nothing else: the rest stays cached, page by page, on every CPU.

use super::machine::Caches;
use crate::mmu::flush::GuestMappingFlush;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::PageSpan;
use hyperv_bindings::hypercall::Status;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::vec::Vec;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All is flushed.
    Done,
    /// So many ranges are flushed, or the whole space if there are any, and then it fails.
    Fails { after: usize },
    /// It says that all is flushed, and leaves the last range out. No L0 may do that: it shows that the last range matters.
    LeavesOutTheLast,
}

/// The ranges of a call; `None` is a whole space.
pub(super) type Call = Option<Vec<PageSpan>>;

#[derive(Debug)]
pub(super) struct L0 {
    pub(super) caches: Arc<Caches>,
    /// For the next calls.
    answers: Mutex<VecDeque<Answer>>,
    /// For all others.
    afterwards: Answer,
    calls: Mutex<Vec<Call>>,
}

impl L0 {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>, afterwards: Answer) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { caches: Arc::default(), answers, afterwards, calls: Mutex::default() })
    }

    /// The calls since this was asked last.
    pub(super) fn take_calls(&self) -> Vec<Call> {
        core::mem::take(&mut self.calls.lock().unwrap())
    }

    fn call(&self, call: Call) -> Result<(), Status> {
        const EVERYTHING: PageSpan = PageSpan { first_page: 0, pages: 1 << 52 };
        let spans = call.clone().unwrap_or([EVERYTHING].into());
        self.calls.lock().unwrap().push(call);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(self.afterwards);
        let reached = match answer {
            Answer::Done => spans.len(),
            Answer::Fails { after } => after.min(spans.len()),
            Answer::LeavesOutTheLast => spans.len() - 1,
        };
        let listed = |frame: u64| {
            spans[..reached]
                .iter()
                .any(|span| (span.first_page..span.first_page + span.pages).contains(&frame))
        };
        self.caches.forget(listed);
        if matches!(answer, Answer::Fails { .. }) { Err(Status::INVALID_PARAMETER) } else { Ok(()) }
    }
}

impl GuestMappingFlush for Arc<L0> {
    fn flush_space(&self, _: u64) -> Result<(), Status> {
        self.call(None)
    }

    fn flush_list(&self, _: u64, ranges: PageRanges) -> Result<(), Status> {
        self.call(Some(ranges.map(|range| range.as_simple()).collect()))
    }
}
