// SPDX-License-Identifier: MIT OR Apache-2.0
//! An L0 that answers anything at all, as one CPU meets it.

use crate::consume::Hypercalls;
use crate::consume::MsrRefused;
use crate::consume::SyntheticMsrs;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::ResultValue;
use proptest::prelude::*;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What an access comes to.
#[derive(Clone, Copy, Debug)]
pub(in crate::consume) enum Answer {
    /// A #GP, or a failed call.
    Refused(u16),
    /// This, whatever was asked.
    Anything(u64),
    /// What was written last; for a call that all is done.
    AsItShould,
}

/// Goes through a list of answers, over and over.
#[derive(Clone, Debug)]
pub(in crate::consume) struct AnyL0 {
    answers: Vec<Answer>,
    next: Cell<usize>,
    written: RefCell<Vec<(u32, u64)>>,
    calls: Cell<usize>,
}

impl AnyL0 {
    /// Mostly it does as it should: else nothing would ever be in use.
    pub(in crate::consume) fn any() -> impl Strategy<Value = Self> {
        let answer = prop_oneof![
            1 => (1..0x80_u16).prop_map(Answer::Refused),
            1 => any::<u64>().prop_map(Answer::Anything),
            1 => (0..4_u64).prop_map(Answer::Anything),
            10 => Just(Answer::AsItShould),
        ];
        proptest::collection::vec(answer, 1..60).prop_map(|answers| Self {
            answers,
            next: Cell::default(),
            written: RefCell::default(),
            calls: Cell::default(),
        })
    }

    /// The last value that was written to each MSR, whatever came of it, and when.
    pub(in crate::consume) fn last_written(&self) -> BTreeMap<u32, (usize, u64)> {
        let written = self.written.borrow();
        written.iter().enumerate().map(|(time, (msr, value))| (*msr, (time, *value))).collect()
    }

    /// How many hypercalls were made.
    pub(in crate::consume) fn calls(&self) -> usize {
        self.calls.get()
    }

    fn answer(&self) -> Answer {
        let next = self.next.get();
        self.next.set(next + 1);
        self.answers[next % self.answers.len()]
    }
}

impl SyntheticMsrs for AnyL0 {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        match self.answer() {
            Answer::Refused(_) => Err(MsrRefused { msr }),
            Answer::Anything(value) => Ok(value),
            Answer::AsItShould => Ok(self.last_written().get(&msr).map_or(0, |(_, value)| *value)),
        }
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        self.written.borrow_mut().push((msr, value));
        match self.answer() {
            Answer::Refused(_) => Err(MsrRefused { msr }),
            Answer::Anything(_) | Answer::AsItShould => Ok(()),
        }
    }
}

impl Hypercalls for AnyL0 {
    fn call(&self, value: InputValue, _input: u64, _output: u64) -> ResultValue {
        self.calls.set(self.calls.get() + 1);
        assert!(self.calls.get() < 2000, "calls without end");
        ResultValue::from_bits(match self.answer() {
            Answer::Refused(status) => u64::from(status),
            Answer::Anything(result) => result,
            Answer::AsItShould => u64::from(value.rep_count()) << 32,
        })
    }
}
