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
    let count = match ranges.remaining() {
        0 => return Ok(()),
        count if count <= MAX_GUEST_PHYSICAL_RANGES as u64 => count as u16,
        _ => return flush_space(calls, input, root),
    };
    write_space(input, root);
    for (number, range) in ranges.enumerate() {
        let offset = offset_of!(FlushGuestPhysicalAddressList, ranges) + number * size_of::<PageRange>();
        input.write(offset, range);
    }
    flush_written(calls, input, count)
}

/// Calls until all is done: L0 may come back after some ranges, and has done at least one more each time.
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
