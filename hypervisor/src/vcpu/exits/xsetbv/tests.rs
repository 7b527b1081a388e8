// SPDX-License-Identifier: MIT OR Apache-2.0
//! What XSETBV takes. That it gets into the processor is for the bare machine to show: a program cannot execute XSETBV.

use super::*;
use crate::vcpu::model::Model;
use crate::vcpu::model::XCR0;
use crate::vmx::exit::ExitReason;

fn prepare(model: &mut Model, register: u64, value: u64) {
    let registers = &mut model.frame.registers;
    // Upper halves do not count.
    registers.rcx = 0xbad << 32 | register;
    registers.rax = 0xbad << 32 | value & 0xffff_ffff;
    registers.rdx = 0xbad << 32 | value >> 32;
}

/// SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
#[test]
fn what_cpuid_does_not_offer_or_cannot_be_is_refused() {
    let mut model = Model::long_64();
    for value in [0, 2, 5, 6, 1 << 3 | 1, 0xe7, 1 << 63 | 1, 1 << 32 | 1] {
        prepare(&mut model, 0, value);
        model.raises(ExitReason::XSETBV, Exception::GeneralProtection);
    }
}

#[test]
fn there_is_one_extended_control_register() {
    let mut model = Model::long_64();
    for register in [1, 2, 0xffff_ffff] {
        prepare(&mut model, register, 1);
        model.raises(ExitReason::XSETBV, Exception::GeneralProtection);
    }
}

#[test]
fn what_cpuid_offers_and_can_be_is_taken() {
    let mut model = Model::long_64();
    for value in [1, 3, XCR0] {
        prepare(&mut model, 0, value);
        model.executes(ExitReason::XSETBV);
        assert_eq!(model.state.processor.xcr0(), value);
    }
}
