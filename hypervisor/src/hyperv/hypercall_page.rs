// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page through which we call Hyper-V: a page of the image that L0 lays its own code over (TLFS, "Establishing the Hypercall
//! Interface").

// UNSAFETY: calls code that is not ours.
#![expect(unsafe_code)]

use crate::boot_info::ImageLayout;
use core::arch::asm;
use enlightenments::consume::Hypercalls;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::ResultValue;

// It has no content of its own: what is under an overlay is hidden. Should L0 take the page away, INT3 ends in a report.
core::arch::global_asm!(
    r#"
    .section .text.hypercall_page, "ax"
    .balign 4096
    .global satori_hypercall_page
satori_hypercall_page:
    .fill 4096, 1, 0xcc
    .text
"#
);

unsafe extern "C" {
    static satori_hypercall_page: u8;
}

/// The page's physical address.
#[must_use]
pub fn address() -> u64 {
    (&raw const satori_hypercall_page).addr() as u64 - ImageLayout::VIRTUAL_BASE
}

/// Hypercalls, once L0 has filled the page.
#[derive(Clone, Copy, Debug)]
pub struct NativeHypercalls(());

impl NativeHypercalls {
    /// # Safety
    /// L0 has taken the page, and keeps it for as long as this is used. Inputs are in pages that nobody else writes meanwhile, and
    /// nothing that is asked for changes memory that Rust knows of.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl Hypercalls for NativeHypercalls {
    fn call(&self, value: InputValue, input: u64, output: u64) -> ResultValue {
        let result: u64;
        // SAFETY: as whoever made `self` promised; L0's code returns, and keeps all registers but these.
        unsafe {
            asm!(
                "call {page}",
                page = in(reg) &raw const satori_hypercall_page,
                inout("rcx") value.into_bits() => _,
                inout("rdx") input => _,
                inout("r8") output => _,
                out("rax") result,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        ResultValue::from_bits(result)
    }
}
