// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reset, INIT, being disabled, and the two modes.

use super::*;
use crate::irqchip::local_apic::Delivery;
use crate::irqchip::local_apic::GeneralProtection;
use crate::irqchip::local_apic::Mode;

/// "Local APIC State After Power-Up or Reset".
fn assert_registers_are_as_after_reset(apic: &mut LocalApic, id: u32) {
    assert_eq!(apic.mmio_read(ID, 0), id << 24);
    for register in [TPR, PPR, LDR, ESR, ICR_LOW, ICR_HIGH, INITIAL_COUNT, CURRENT_COUNT, DIVIDE] {
        assert_eq!(apic.mmio_read(register, 0), 0, "{register:#x}");
    }
    for word in 0..8 {
        for register in [ISR, TMR, IRR] {
            assert_eq!(apic.mmio_read(register + word * 16, 0), 0);
        }
    }
    for register in LVT {
        assert_eq!(apic.mmio_read(register, 0), MASKED, "{register:#x}");
    }
    assert_eq!(apic.mmio_read(DFR, 0), u32::MAX);
    assert_eq!(apic.mmio_read(SVR, 0), 0xFF);
}

/// In xAPIC mode, with something in every register.
fn used(id: u32) -> LocalApic {
    let mut apic = xapic(id);
    for (register, value) in [
        (TPR, 0x10),
        (LDR, 0x0100_0000),
        (DFR, 0x0FFF_FFFF),
        (ICR_HIGH, 0x0300_0000),
        (ICR_LOW, 0x40),
        (LVT_TIMER, 0x2_0050),
        (LVT_LINT0, 0x700),
        (LVT_ERROR, 0x51),
        (INITIAL_COUNT, 1000),
        (DIVIDE, 0b1011),
    ] {
        let _ = apic.mmio_write(register, value, 0);
    }
    let _ = apic.accept(fixed(0x80, Trigger::Level));
    apic.acknowledge(0x80);
    let _ = apic.accept(fixed(0x90, Trigger::Level));
    let _ = apic.accept(fixed(1, Trigger::Edge));
    let _ = apic.mmio_write(ESR, 0, 0);
    apic
}

#[test]
fn reset_leaves_what_the_table_says() {
    assert_registers_are_as_after_reset(&mut at_reset(7), 7);
    let mut apic = used(7);
    apic.reset();
    assert_registers_are_as_after_reset(&mut apic, 7);
    assert_eq!(apic.next_deadline(), None);
    assert_eq!(apic.base(), BASE_XAPIC);
    assert_eq!(apic.pending(), None);
}

#[test]
fn init_keeps_the_mode_and_the_id() {
    // "Local APIC State After an INIT Reset"; "x2APIC State Transitions", on INIT and RESET.
    let mut apic = used(7);
    apic.init();
    assert_registers_are_as_after_reset(&mut apic, 7);
    let mut apic = used(7);
    let _ = apic.set_base(BASE_X2APIC).unwrap();
    apic.init();
    assert_eq!(apic.mode(), Mode::X2apic);
    assert_eq!(apic.rdmsr(msr(ID), 0), Ok(7));
    assert_eq!(apic.rdmsr(msr(SVR), 0), Ok(0xFF));
    assert_eq!(apic.pending(), None);
    apic.reset();
    assert_eq!(apic.mode(), Mode::Xapic);
}

#[test]
fn disabling_forgets_the_state() {
    // "Enabling or Disabling the Local APIC"; "x2APIC State Transitions".
    for on_the_way in [BASE_XAPIC, BASE_X2APIC] {
        let mut apic = used(7);
        let _ = apic.set_base(on_the_way).unwrap();
        assert_eq!(apic.set_base(BASE_DISABLED), Ok(Effect::TimerChanged));
        assert_eq!(apic.next_deadline(), None);
        assert_eq!(apic.pending(), None);
        assert_eq!(apic.accept(fixed(0x80, Trigger::Edge)), Delivery::Ignored);
        assert_eq!(apic.set_base(BASE_XAPIC), Ok(Effect::None));
        assert_registers_are_as_after_reset(&mut apic, 7);
    }
}

#[test]
fn x2apic_mode_keeps_what_xapic_mode_left() {
    // "x2APIC State Transitions", "State Changes From xAPIC Mode to x2APIC Mode".
    let mut apic = used(7);
    let _ = apic.set_base(BASE_X2APIC).unwrap();
    assert_eq!(apic.rdmsr(msr(TPR), 0), Ok(0x10));
    assert_eq!(apic.rdmsr(msr(LVT_TIMER), 0), Ok(0x2_0050));
    assert_eq!(apic.rdmsr(msr(ICR_LOW), 0), Ok(0x40));
    assert_eq!(apic.rdmsr(msr(LDR), 0), Ok(1 << 7));
    assert_eq!(apic.pending(), Some(0x90));
}

#[test]
fn refused_base_changes_nothing() {
    let mut apic = x2apic(7);
    for value in [BASE_XAPIC, 0xFEE0_0400, 0xFEE0_0C01, 0xFEE0_1C00, 1 << 52 | BASE_X2APIC] {
        assert!(apic.set_base(value).is_err(), "{value:#x}");
        assert_eq!(apic.base(), BASE_X2APIC);
    }
}

#[test]
fn each_mode_has_one_face() {
    // "x2APIC Register Availability".
    let mut apic = xapic(7);
    assert_eq!(apic.rdmsr(msr(ID), 0), Err(GeneralProtection::NotInX2apicMode));
    assert_eq!(apic.wrmsr(msr(EOI), 0, 0), Err(GeneralProtection::NotInX2apicMode));
    let mut apic = x2apic(7);
    assert_eq!(apic.mmio_read(ID, 0), u32::MAX);
    assert_eq!(apic.mmio_write(TPR, 0x20, 0), Effect::None);
    assert_eq!(apic.cr8(), 0);
}

#[test]
fn software_disable_masks_the_local_vectors_and_stops_acceptance() {
    // "Local APIC State After It Has Been Software Disabled".
    let mut apic = used(7);
    assert_eq!(apic.mmio_write(SVR, 0xFF, 0), Effect::TimerChanged);
    assert_eq!(apic.next_deadline(), None);
    for register in LVT {
        assert_ne!(apic.mmio_read(register, 0) & MASKED, 0, "{register:#x}");
        let _ = apic.mmio_write(register, 0x50, 0);
        assert_eq!(apic.mmio_read(register, 0), MASKED | 0x50, "{register:#x}");
    }
    assert_eq!(apic.accept(fixed(0xF0, Trigger::Edge)), Delivery::Ignored);
    // What was accepted before is held.
    assert_eq!(apic.pending(), Some(0x90));
    let _ = apic.mmio_write(SVR, 0x1FF, 0);
    assert_eq!(apic.mmio_read(LVT_ERROR, 0), MASKED | 0x50);
}

#[test]
fn local_vectors_keep_their_writable_bits_only() {
    // "Local Vector Table", the figure.
    let mut apic = xapic(0);
    let kept = [0x0007_00FF, 0x0001_07FF, 0x0001_07FF, 0x0001_A7FF, 0x0001_A7FF, 0x0001_00FF];
    for (register, kept) in LVT.into_iter().zip(kept) {
        let _ = apic.mmio_write(register, u32::MAX, 0);
        assert_eq!(apic.mmio_read(register, 0), kept, "{register:#x}");
    }
}

#[test]
fn reserved_bits_fault_in_x2apic_mode() {
    // "Reserved Bit Checking", and the figures of the registers.
    let mut apic = x2apic(0);
    let reserved: [(u64, u64); 13] = [
        (TPR, !0xFF),
        (EOI, !0),
        (SVR, !0x13FF),
        (ESR, !0),
        (ICR_LOW, 0xFFF3_2000),
        (LVT_TIMER, !0x0007_10FF),
        (0x330, !0x0001_17FF),
        (LVT_PERFORMANCE, !0x0001_17FF),
        (LVT_LINT0, !0x0001_F7FF),
        (LVT_LINT1, !0x0001_F7FF),
        (LVT_ERROR, !0x0001_10FF),
        (INITIAL_COUNT, !0xFFFF_FFFF),
        (DIVIDE, !0xB),
    ];
    for (register, reserved) in reserved {
        for bit in (0..64).map(|bit| 1_u64 << bit) {
            let refused = apic.wrmsr(msr(register), bit, 0).is_err();
            assert_eq!(refused, bit & reserved != 0, "{bit:#x} in {register:#x}");
        }
    }
}

#[test]
fn x2apic_mode_has_exactly_the_registers_of_the_table() {
    // "x2APIC Register Address Space", the table; there is no CMCI entry, as the version register tells.
    let mut apic = x2apic(0);
    assert_eq!(apic.rdmsr(msr(VERSION), 0), Ok(0x0105_0014));
    let read_only = |index| matches!(index, 0x802 | 0x803 | 0x80A | 0x80D | 0x810..=0x827 | 0x839);
    let write_only = |index| matches!(index, 0x80B | 0x83F);
    let both = |index| matches!(index, 0x808 | 0x80F | 0x828 | 0x830 | 0x832..=0x838 | 0x83E);
    for index in 0x7F0..0x900 {
        let refused = Err(GeneralProtection::NoSuchRegister(index));
        assert_eq!(apic.rdmsr(index, 0).is_ok(), read_only(index) || both(index), "{index:#x}");
        let written = apic.wrmsr(index, 0, 0);
        if write_only(index) || both(index) {
            assert!(written.is_ok(), "{index:#x}");
        } else {
            assert_eq!(written, refused);
        }
    }
}
