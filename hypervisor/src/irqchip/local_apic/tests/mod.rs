// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the SDM promises of a local APIC, section by section.

mod interrupts;
mod ipis;
mod never_panics;
mod played;
mod state;
mod timer;

use super::Effect;
use super::LocalApic;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use core::num::NonZeroU32;

// Offsets in the page, spelled out once more so that the tests do not lean on the code's own table.
const ID: u64 = 0x20;
const VERSION: u64 = 0x30;
const TPR: u64 = 0x80;
const PPR: u64 = 0xA0;
const EOI: u64 = 0xB0;
const LDR: u64 = 0xD0;
const DFR: u64 = 0xE0;
const SVR: u64 = 0xF0;
const ISR: u64 = 0x100;
const TMR: u64 = 0x180;
const IRR: u64 = 0x200;
const ESR: u64 = 0x280;
const SELF_IPI: u64 = 0x3F0;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_PERFORMANCE: u64 = 0x340;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3E0;

/// All of the local vector table's registers.
const LVT: [u64; 6] = [LVT_TIMER, 0x330, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR];

const MASKED: u32 = 1 << 16;

/// IA32_APIC_BASE of an application processor in each mode.
const BASE_DISABLED: u64 = 0xFEE0_0000;
const BASE_XAPIC: u64 = 0xFEE0_0800;
const BASE_X2APIC: u64 = 0xFEE0_0C00;

/// The MSR of the register at `offset` in the page.
fn msr(offset: u64) -> u32 {
    0x800 + (offset / 16) as u32
}

/// After RESET.
fn at_reset(id: u32) -> LocalApic {
    LocalApic::new(id, false, NonZeroU32::MIN)
}

/// In xAPIC mode, enabled by software.
fn xapic(id: u32) -> LocalApic {
    let mut apic = at_reset(id);
    assert_eq!(apic.mmio_write(SVR, 0x1FF, 0), Effect::None);
    apic
}

/// In x2APIC mode, enabled by software.
fn x2apic(id: u32) -> LocalApic {
    let mut apic = xapic(id);
    assert_eq!(apic.set_base(BASE_X2APIC), Ok(Effect::None));
    apic
}

/// A fixed interrupt to everyone.
fn fixed(vector: u8, trigger: Trigger) -> Message {
    Message { destination: Destination::Everyone, delivery: DeliveryMode::Fixed, vector, trigger }
}

/// Whether a 256-bit register of an APIC in xAPIC mode shows `vector`.
fn shows(apic: &mut LocalApic, register: u64, vector: u8) -> bool {
    let word = apic.mmio_read(register + u64::from(vector / 32) * 16, 0);
    word & 1 << (vector % 32) != 0
}

/// Latches the error status and reads it.
fn errors(apic: &mut LocalApic) -> u32 {
    assert_eq!(apic.mmio_write(ESR, 0, 0), Effect::None);
    apic.mmio_read(ESR, 0)
}
