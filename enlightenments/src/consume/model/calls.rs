// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model L0's hypercalls: every rule for the input is checked, and the answer can be bent.

use super::ModelL0;
use crate::consume::Hypercalls;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::ResultValue;
use hyperv_bindings::hypercall::Status;
use std::cell::Cell;
use std::cell::RefCell;

const FLUSH_SPACE: u64 = 0xAF;
const FLUSH_LIST: u64 = 0xB0;

/// Bits that have to be zero: 30:27, 47:44 and 63:60.
const RESERVED: u64 = 0b1111 << 27 | 0b1111 << 44 | 0b1111 << 60;

/// More calls than any test has a reason to make.
const ENDLESS: usize = 2000;

/// How L0 answers calls that are in order.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::consume) enum Manner {
    /// It does what it is asked for.
    #[default]
    Honest,
    /// After so many calls it does nothing any more, and answers with the status.
    Refuses { after: usize, status: Status },
    /// It does at most so many ranges in a call, and comes back with success.
    InSlices(u16),
    /// It does so many ranges from the start of the list, and then fails.
    FailsAfter { ranges: u16, status: Status },
    /// It does nothing, and claims that so many ranges are done.
    Claims(u16),
}

#[derive(Debug, Default)]
pub(in crate::consume) struct Calls {
    manner: Cell<Manner>,
    made: RefCell<Vec<InputValue>>,
}

impl Calls {
    pub(in crate::consume) fn answer(&self, manner: Manner) {
        self.manner.set(manner);
    }

    /// The calls that were made, in order.
    pub(in crate::consume) fn made(&self) -> Vec<InputValue> {
        self.made.borrow().clone()
    }
}

impl Hypercalls for ModelL0 {
    fn call(&self, value: InputValue, input: u64, output: u64) -> ResultValue {
        assert!(self.msrs.page(0, 0x4000_0001).is_some(), "a hypercall without a hypercall page");
        let made = self.calls.made.borrow().len();
        assert!(made < ENDLESS, "calls without end");
        self.calls.made.borrow_mut().push(value);
        let answered =
            self.check(value.into_bits(), input, output).and_then(|call| match self.calls.manner.get() {
                Manner::Refuses { after, status } if made >= after => Err(status),
                manner => Ok(self.answer(call, manner)),
            });
        answered.unwrap_or_else(|status| ResultValue::new().with_status(status))
    }
}

/// A call that is in order.
struct Call {
    root: u64,
    /// Where the list starts, its length and the first range that is to be done. `None` for the whole space.
    list: Option<(u64, u16, u16)>,
}

impl ModelL0 {
    fn check(&self, value: u64, input: u64, output: u64) -> Result<Call, Status> {
        let [code, fast, header] = [value & 0xFFFF, value >> 16 & 1, value >> 17 & 0x3FF];
        let [nested, count, start] = [value >> 31 & 1, value >> 32 & 0xFFF, value >> 48 & 0xFFF];
        let reps_are_right = match code {
            FLUSH_SPACE => count == 0 && start == 0,
            FLUSH_LIST => start < count,
            _ => return Err(Status::INVALID_HYPERCALL_CODE),
        };
        if !self.offers_flushes() {
            return Err(Status::INVALID_HYPERCALL_CODE);
        }
        if value & RESERVED != 0 || fast != 0 || header != 0 || nested != 0 || !reps_are_right {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        if (input | output) & 7 != 0 || (input & 0xFFF) + 16 + count * 8 > 4096 {
            return Err(Status::INVALID_ALIGNMENT);
        }
        if !self.memory.has(input & !0xFFF) {
            return Err(Status::INVALID_PARAMETER);
        }
        let [root, flags] = [self.memory.read(input), self.memory.read(input + 8)];
        if root & !0x000F_FFFF_FFFF_F000 != 0 || flags != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        let list = (code == FLUSH_LIST).then_some((input + 16, count as u16, start as u16));
        Ok(Call { root, list })
    }

    fn offers_flushes(&self) -> bool {
        self.offer.nested_features() & 1 << 18 != 0
    }

    fn answer(&self, call: Call, manner: Manner) -> ResultValue {
        let Call { root, list } = call;
        let Some((list, count, start)) = list else {
            self.tlbs.flush_space(root);
            return ResultValue::new();
        };
        let (end, claimed, status) = match manner {
            Manner::Honest | Manner::Refuses { .. } => (count, count, Status::SUCCESS),
            Manner::InSlices(ranges) => {
                let end = count.min(start + ranges);
                (end, end, Status::SUCCESS)
            }
            Manner::FailsAfter { ranges, status } => (count.min(ranges), count.min(ranges), status),
            Manner::Claims(ranges) => (start, ranges, Status::SUCCESS),
        };
        for number in start..end {
            let range = self.memory.read(list + u64::from(number) * 8);
            assert_eq!(range & 0x800, 0, "bit 11 means different things to different hypervisors");
            self.tlbs.flush_pages(root, range >> 12, (range & 0x7FF) + 1);
        }
        ResultValue::new().with_status(status).with_reps_completed(claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::SharedPage;
    use crate::consume::SyntheticMsrs;

    /// A list of one range in a page at 0x2000.
    fn ready() -> (ModelL0, SharedPage) {
        let l0 = ModelL0::everything();
        let _ = l0.page(0x1000);
        l0.cpu(0).write(0x4000_0000, 1).unwrap();
        l0.cpu(0).write(0x4000_0001, 0x1001).unwrap();
        let input = l0.page(0x2000);
        (l0, input)
    }

    fn status(value: u64, input: u64, output: u64) -> Status {
        let (l0, _page) = ready();
        l0.call(InputValue::from_bits(value), input, output).status()
    }

    #[test]
    fn calls_in_order_are_answered() {
        assert_eq!(status(0xAF, 0x2000, 0), Status::SUCCESS);
        assert_eq!(status(0x1_0000_00B0, 0x2000, 0), Status::SUCCESS);
        assert_eq!(status(0x1FE_0000_00B0, 0x2000, 0), Status::SUCCESS);
        assert_eq!(status(0x1FD_0001_FE00_00B0, 0x2000, 0), Status::INVALID_HYPERCALL_INPUT);
        assert_eq!(status(0x01FD_01FE_0000_00B0, 0x2000, 0), Status::SUCCESS);
    }

    #[test]
    fn unknown_calls_are_refused() {
        assert_eq!(status(0xAE, 0x2000, 0), Status::INVALID_HYPERCALL_CODE);
        assert_eq!(status(0, 0x2000, 0), Status::INVALID_HYPERCALL_CODE);
    }

    #[test]
    fn every_bit_that_does_not_belong_is_refused() {
        for bit in (16..32).chain(32..64) {
            assert_eq!(status(0xAF | 1 << bit, 0x2000, 0), Status::INVALID_HYPERCALL_INPUT, "bit {bit}");
        }
    }

    #[test]
    fn rep_start_and_count_have_to_fit_each_other() {
        for value in [0xB0, 0x0001_0001_0000_00B0, 0x01FE_01FE_0000_00B0] {
            assert_eq!(status(value, 0x2000, 0), Status::INVALID_HYPERCALL_INPUT, "{value:#x}");
        }
    }

    #[test]
    fn parameters_are_aligned_and_do_not_cross_a_page() {
        for (value, input, output) in [
            (0xAF, 0x2004, 0),
            (0xAF, 0x2000, 0x2801),
            (0xAF, 0x2FF8, 0),
            (0x1FF_0000_00B0, 0x2000, 0),
            (0x1FE_0000_00B0, 0x2008, 0),
        ] {
            assert_eq!(status(value, input, output), Status::INVALID_ALIGNMENT, "{value:#x} {input:#x}");
        }
    }

    #[test]
    fn roots_with_attributes_and_flags_are_refused() {
        for (offset, value) in [(0, 0x5000 | 0x1E_u64), (0, 1 << 52), (8, 1)] {
            let (l0, mut input) = ready();
            input.write(offset, value);
            let call = InputValue::from_bits(0xAF);
            assert_eq!(l0.call(call, 0x2000, 0).status(), Status::INVALID_PARAMETER);
        }
    }
}
