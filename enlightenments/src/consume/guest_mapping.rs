// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushes, on all processors, of what L0 derived from one of our EPT roots: hypercalls 0x00AF and 0x00B0
//! (TLFS, `HvCallFlushGuestPhysicalAddressSpace` and `HvCallFlushGuestPhysicalAddressList`).
//!
//! A root goes by the address of its table. `Ok` means that no processor uses anything any more that was derived from the root, or from
//! it for these pages; after an error some may be flushed. `input` is a page that nobody else uses meanwhile, interrupt
//! handlers on this CPU included.

use super::Hypercalls;
use super::SharedPage;
use core::mem::offset_of;
use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::hypercall::CallCode;
use hyperv_bindings::hypercall::FlushGuestPhysicalAddress;
use hyperv_bindings::hypercall::FlushGuestPhysicalAddressList;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::MAX_GUEST_PHYSICAL_RANGES;
use hyperv_bindings::hypercall::PageRange;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;

/// What we call it when L0 says that it succeeded, but has not done everything and does not go on.
const GOES_NO_FURTHER: Status = Status::TIMEOUT;

/// Everything that was derived from `root`.
///
/// # Errors
/// When L0 ends the call with anything but success.
///
/// # Panics
/// If `root` is not the address of a table.
pub fn flush_space(calls: &impl Hypercalls, input: &mut SharedPage, root: u64) -> Result<(), Status> {
    write_space(input, root);
    let call = InputValue::new().with_code(CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE);
    match calls.call(call, input.address(), 0).status() {
        Status::SUCCESS => Ok(()),
        status => Err(status),
    }
}

/// What was derived from `root` for the pages in `ranges`; everything where one call cannot take that many.
///
/// # Errors
/// When L0 ends a call with anything but success, or with success and goes no further.
///
/// # Panics
/// If `root` is not the address of a table.
pub fn flush_list(
    calls: &impl Hypercalls,
    input: &mut SharedPage,
    root: u64,
    ranges: PageRanges,
) -> Result<(), Status> {
    let count = ranges.remaining();
    if count > MAX_GUEST_PHYSICAL_RANGES as u64 {
        return flush_space(calls, input, root);
    }
    write_space(input, root);
    for (number, range) in ranges.enumerate() {
        let offset = offset_of!(FlushGuestPhysicalAddressList, ranges) + number * size_of::<PageRange>();
        input.write(offset, range);
    }
    flush_written(calls, input, count as u16)
}

/// Calls until the `count` ranges in `input` are done: L0 may come back after some ranges, and has done at least one more each time.
fn flush_written(calls: &impl Hypercalls, input: &SharedPage, count: u16) -> Result<(), Status> {
    let call = InputValue::new().with_code(CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_LIST).with_rep_count(count);
    let mut done = 0;
    while done < count {
        let result = calls.call(call.with_rep_start(done), input.address(), 0);
        match (result.status(), result.reps_completed()) {
            (Status::SUCCESS, completed) if (done + 1..=count).contains(&completed) => done = completed,
            (Status::SUCCESS, _) => return Err(GOES_NO_FURTHER),
            (status, _) => return Err(status),
        }
    }
    Ok(())
}

fn write_space(input: &mut SharedPage, root: u64) {
    assert!(root.is_multiple_of(PAGE_SIZE as u64), "a root goes by its address, without attributes");
    input.write(offset_of!(FlushGuestPhysicalAddress, address_space), root);
    input.write(offset_of!(FlushGuestPhysicalAddress, flags), 0_u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::Partition;
    use crate::consume::model::Manner;
    use crate::consume::model::ModelL0;
    use crate::consume::model::Translation;
    use hyperv_bindings::hypercall::PageSpan;

    const ROOT: u64 = 0x1234_5000;
    const OTHER_ROOT: u64 = 0x1234_6000;
    const FIRST: u64 = 0x100;
    const CPUS: u32 = 3;
    const MOST: u64 = 510 * 2048;

    fn ready() -> (ModelL0, SharedPage) {
        let l0 = ModelL0::everything();
        let _ = l0.page(0x1000);
        // The model stays as it is after the partition was forgotten.
        let _ = Partition::join(&l0.cpu(0), &l0.capabilities(), 0x1000).unwrap();
        let input = l0.page(0x2000);
        (l0, input)
    }

    fn run(pages: u64) -> PageRanges {
        PageRanges::of(PageSpan { first_page: FIRST, pages }).unwrap()
    }

    /// What the CPUs have of each range's ends in a run, of the pages next to the run, and of another root.
    fn translations(root: u64, pages: impl IntoIterator<Item = u64>) -> Vec<Translation> {
        let on_each_cpu = |page| (0..CPUS).map(move |cpu| Translation { cpu, root, page });
        let mut translations: Vec<Translation> = pages.into_iter().flat_map(on_each_cpu).collect();
        translations.sort();
        translations
    }

    fn ends(ranges: PageRanges) -> Vec<u64> {
        let spans = ranges.map(PageRange::as_simple);
        let mut ends: Vec<u64> =
            spans.flat_map(|span| [span.first_page, span.first_page + span.pages - 1]).collect();
        ends.dedup();
        ends
    }

    /// Fills the TLBs with the run, its neighbours and another root, and tells what has to be there after the run was flushed.
    fn fill(l0: &ModelL0, pages: u64) -> Vec<Translation> {
        let neighbours = translations(ROOT, [FIRST - 1, FIRST + pages]);
        let others = translations(OTHER_ROOT, ends(run(pages)));
        let kept: Vec<Translation> = neighbours.into_iter().chain(others).collect();
        l0.tlbs.fill(kept.iter().copied().chain(translations(ROOT, ends(run(pages)))));
        let mut kept = kept;
        kept.sort();
        kept
    }

    #[test]
    fn a_space_is_flushed_on_all_processors_and_no_other_space() {
        let (l0, mut input) = ready();
        l0.tlbs.fill(translations(ROOT, [0, 1 << 40]));
        l0.tlbs.fill(translations(OTHER_ROOT, [0]));
        assert_eq!(flush_space(&l0, &mut input, ROOT), Ok(()));
        assert_eq!(l0.tlbs.held(), translations(OTHER_ROOT, [0]));
    }

    #[test]
    fn lists_flush_their_pages_on_all_processors_and_no_others() {
        for (pages, ranges) in [(1, 1), (2048, 1), (2049, 2), (MOST, 510)] {
            let (l0, mut input) = ready();
            let kept = fill(&l0, pages);
            assert_eq!(flush_list(&l0, &mut input, ROOT, run(pages)), Ok(()));
            assert_eq!(l0.tlbs.held(), kept, "{pages} pages");
            let made: Vec<_> = l0.calls.made().iter().map(|call| (call.code(), call.rep_count())).collect();
            assert_eq!(made, [(CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_LIST, ranges)]);
        }
    }

    #[test]
    fn one_page_more_than_a_list_can_take_flushes_the_space() {
        let (l0, mut input) = ready();
        fill(&l0, MOST + 1);
        assert_eq!(flush_list(&l0, &mut input, ROOT, run(MOST + 1)), Ok(()));
        assert!(l0.tlbs.held().iter().all(|held| held.root == OTHER_ROOT));
        let made: Vec<_> = l0.calls.made().iter().map(InputValue::code).collect();
        assert_eq!(made, [CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE]);
    }

    #[test]
    fn last_page_that_there_can_be_is_flushed() {
        let (l0, mut input) = ready();
        let last = (1 << 52) - 1;
        l0.tlbs.fill(translations(ROOT, [last - 1, last]));
        let ranges = PageRanges::of(PageSpan { first_page: last, pages: 1 }).unwrap();
        assert_eq!(flush_list(&l0, &mut input, ROOT, ranges), Ok(()));
        assert_eq!(l0.tlbs.held(), translations(ROOT, [last - 1]));
    }

    #[test]
    fn an_empty_list_is_not_worth_a_call() {
        let (l0, mut input) = ready();
        assert_eq!(flush_list(&l0, &mut input, ROOT, run(0)), Ok(()));
        assert_eq!(l0.calls.made(), []);
    }

    #[test]
    fn a_list_after_a_longer_one_has_only_its_own_ranges() {
        let (l0, mut input) = ready();
        flush_list(&l0, &mut input, ROOT, run(MOST)).unwrap();
        let kept = fill(&l0, 1);
        let far = translations(ROOT, [FIRST + MOST - 1]);
        l0.tlbs.fill(far.iter().copied());
        assert_eq!(flush_list(&l0, &mut input, ROOT, run(1)), Ok(()));
        assert!(kept.iter().chain(&far).all(|translation| l0.tlbs.held().contains(translation)));
    }

    #[test]
    fn what_l0_does_in_slices_is_gone_on_with_to_the_end() {
        for slice in [1, 7, 509, 510] {
            let (l0, mut input) = ready();
            let kept = fill(&l0, MOST);
            l0.calls.answer(Manner::InSlices(slice));
            assert_eq!(flush_list(&l0, &mut input, ROOT, run(MOST)), Ok(()));
            assert_eq!(l0.tlbs.held(), kept, "in slices of {slice}");
            let starts: Vec<u16> = l0.calls.made().iter().map(InputValue::rep_start).collect();
            assert!(starts.into_iter().eq((0..510).step_by(slice.into())));
        }
    }

    #[test]
    fn success_that_goes_no_further_is_a_failure_and_not_asked_for_again() {
        // None, again the first five, and more than there are.
        for (claimed, calls) in [(0, 1), (5, 2), (511, 1), (4095, 1)] {
            let (l0, mut input) = ready();
            l0.calls.answer(Manner::Claims(claimed));
            assert_eq!(flush_list(&l0, &mut input, ROOT, run(MOST)), Err(GOES_NO_FURTHER));
            assert_eq!(l0.calls.made().len(), calls);
        }
    }

    #[test]
    fn every_status_but_success_is_passed_on() {
        for status in (1..=0x100).chain([0x7FFF, 0xFFFF]).map(Status) {
            let (l0, mut input) = ready();
            fill(&l0, 2049);
            let held = l0.tlbs.held();
            l0.calls.answer(Manner::Refuses { after: 0, status });
            assert_eq!(flush_space(&l0, &mut input, ROOT), Err(status));
            assert_eq!(flush_list(&l0, &mut input, ROOT, run(2049)), Err(status));
            assert_eq!(l0.calls.made().len(), 2);
            assert_eq!(l0.tlbs.held(), held);
        }
    }

    #[test]
    fn partial_completion_is_a_failure_even_of_the_last_range() {
        for status in (1..=0x100).map(Status) {
            for ranges in [0, 1, 2] {
                let (l0, mut input) = ready();
                l0.calls.answer(Manner::FailsAfter { ranges, status });
                assert_eq!(flush_list(&l0, &mut input, ROOT, run(2049)), Err(status));
                assert_eq!(l0.calls.made().len(), 1);
            }
        }
    }

    #[test]
    fn rejection_in_the_middle_of_a_list_is_a_failure() {
        let (l0, mut input) = ready();
        l0.calls.answer(Manner::InSlices(5));
        flush_list(&l0, &mut input, ROOT, run(5 * 2048)).unwrap();
        l0.calls.answer(Manner::Refuses { after: 1, status: Status::TIMEOUT });
        assert_eq!(flush_list(&l0, &mut input, ROOT, run(MOST)), Err(Status::TIMEOUT));
    }

    #[test]
    fn rejection_after_a_time_of_working_is_a_failure_each_time() {
        let (l0, mut input) = ready();
        l0.calls.answer(Manner::Refuses { after: 3, status: Status::NOT_ALLOWED_WITH_NESTED_VIRT_ACTIVE });
        let outcomes: Vec<bool> = (0..6).map(|_| flush_list(&l0, &mut input, ROOT, run(7)).is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, false, false, false]);
    }

    #[test]
    #[should_panic(expected = "without attributes")]
    fn an_ept_pointer_is_no_root() {
        let (l0, mut input) = ready();
        let _ = flush_space(&l0, &mut input, ROOT | 0x1E);
    }
}
