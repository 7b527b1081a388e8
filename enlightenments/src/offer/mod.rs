// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we offer to our guests, seen from the hypervisor's side of the interface.
//!
//! It is the least that flushes of other processors' TLBs take: the [`leaves`] of CPUID by which a guest learns of it, the
//! [`registers`] by which it says who it is and places the hypercall page, and the four [`flush`] calls. All of it is logic
//! alone; whoever runs the guest puts pages where the registers say, and has processors flush.
//!
//! It knows nothing of [`consume`](crate::consume): what a guest is offered does not depend on what L0 offers us, but
//! where the one is built on the other the hypervisor crate joins them.

pub mod flush;
pub mod leaves;
pub mod registers;

use hyperv_bindings::PAGE_SIZE;

/// What of a guest's machine the offer depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offering {
    /// The TSC is invariant, and the guest may have CPUID say so.
    pub invariant_tsc: bool,
    /// Input in XMM registers can be read.
    pub xmm_input: bool,
}

/// Virtual processors that a partition can have. Their VP indices are 0 and up: those of its vCPUs.
pub const MOST_PROCESSORS: u32 = 64;

/// What the hypercall page holds: VMCALL and RET, which have the same bytes in 32-bit and in 64-bit code, and then nothing
/// but breakpoints.
#[must_use]
pub const fn hypercall_page() -> [u8; PAGE_SIZE] {
    const CODE: [u8; 4] = [0x0f, 0x01, 0xc1, 0xc3];
    const INT3: u8 = 0xcc;
    let mut page = [INT3; PAGE_SIZE];
    let mut byte = 0;
    while byte < CODE.len() {
        page[byte] = CODE[byte];
        byte += 1;
    }
    page
}
