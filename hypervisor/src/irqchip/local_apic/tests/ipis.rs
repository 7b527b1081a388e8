// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending interrupts between processors, and who is addressed.

use super::*;

const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const ITSELF: u32 = 1 << 18;

fn sent(destination: Destination, delivery: DeliveryMode, vector: u8) -> Effect {
    Effect::Send(Message { destination, delivery, vector, trigger: Trigger::Edge })
}

#[test]
fn write_to_the_low_half_sends() {
    // "Interrupt Command Register (ICR)".
    let mut apic = xapic(0);
    assert_eq!(apic.mmio_write(ICR_HIGH, 5 << 24, 0), Effect::None);
    let expected = sent(Destination::Physical(5), DeliveryMode::Fixed, 0x40);
    assert_eq!(apic.mmio_write(ICR_LOW, ASSERT | 0x40, 0), expected);
    let expected = sent(Destination::Logical(5), DeliveryMode::LowestPriority, 0x40);
    assert_eq!(apic.mmio_write(ICR_LOW, ASSERT | LOGICAL | 1 << 8 | 0x40, 0), expected);
    assert_eq!(apic.mmio_read(ICR_HIGH, 0), 5 << 24);
}

#[test]
fn delivery_status_reads_idle() {
    // "Interrupt Command Register (ICR)": software waits for bit 12 to clear.
    let mut apic = xapic(0);
    let _ = apic.mmio_write(ICR_LOW, u32::MAX, 0);
    assert_eq!(apic.mmio_read(ICR_LOW, 0), 0x000C_CFFF);
    let mut apic = x2apic(0);
    let _ = apic.wrmsr(msr(ICR_LOW), 7 << 32 | 1 << 12 | 0x50, 0).unwrap();
    assert_eq!(apic.rdmsr(msr(ICR_LOW), 0), Ok(7 << 32 | 0x50));
}

#[test]
fn processors_are_started_by_init_and_start_up() {
    // "MP Initialization Protocol", "Typical BSP Initialization Sequence".
    let mut apic = x2apic(0);
    let to_one = 1_u64 << 32;
    let write = |apic: &mut LocalApic, value| apic.wrmsr(msr(ICR_LOW), value, 0);
    assert_eq!(write(&mut apic, to_one | 0xC500), Ok(sent(Destination::Physical(1), DeliveryMode::Init, 0)));
    assert_eq!(write(&mut apic, to_one | 0x8500), Ok(Effect::None));
    assert_eq!(
        write(&mut apic, to_one | 0x0699),
        Ok(sent(Destination::Physical(1), DeliveryMode::StartUp, 0x99))
    );
}

#[test]
fn interrupt_to_itself_stays_here() {
    let mut apic = xapic(0);
    assert_eq!(apic.mmio_write(ICR_LOW, ITSELF | 0x40, 0), Effect::None);
    assert_eq!(apic.pending(), Some(0x40));
    // "SELF IPI Register".
    let mut apic = x2apic(0);
    assert_eq!(apic.wrmsr(0x83F, 0x41, 0), Ok(Effect::None));
    assert_eq!(apic.pending(), Some(0x41));
}

#[test]
fn illegal_vector_is_not_sent() {
    // "Error Handling", "Send Illegal Vector".
    let mut apic = xapic(0);
    for command in [0x0F, ITSELF | 0x0F, LOGICAL | 1 << 8] {
        assert_eq!(apic.mmio_write(ICR_LOW, command, 0), Effect::None);
        assert_eq!(errors(&mut apic), 1 << 5, "{command:#x}");
    }
    let mut apic = x2apic(0);
    assert_eq!(apic.wrmsr(0x83F, 0x0F, 0), Ok(Effect::None));
    let _ = apic.wrmsr(msr(ESR), 0, 0).unwrap();
    assert_eq!(apic.rdmsr(msr(ESR), 0), Ok(1 << 5));
    // A vector means nothing to an NMI.
    assert_ne!(xapic(0).mmio_write(ICR_LOW, 4 << 8, 0), Effect::None);
}

#[test]
fn physical_destination_is_the_id() {
    // "Physical Destination Mode".
    let apic = xapic(3);
    assert!(apic.is_addressed_by(Destination::Physical(3)));
    assert!(!apic.is_addressed_by(Destination::Physical(2)));
    let apic = x2apic(0x0001_0003);
    assert!(apic.is_addressed_by(Destination::Physical(0x0001_0003)));
    assert!(!apic.is_addressed_by(Destination::Physical(3)));
}

#[test]
fn flat_logical_destination_is_a_bit_of_eight() {
    // "Logical Destination Mode", flat model.
    let mut apic = xapic(0);
    assert!(!apic.is_addressed_by(Destination::Logical(0xFF)));
    let _ = apic.mmio_write(LDR, 0x0400_0000, 0);
    for bit in 0..8 {
        assert_eq!(apic.is_addressed_by(Destination::Logical(1 << bit)), bit == 2);
    }
    assert!(apic.is_addressed_by(Destination::Logical(0xFF)));
    assert!(!apic.is_addressed_by(Destination::Logical(0x400)));
}

#[test]
fn clustered_logical_destination_is_a_cluster_and_a_bit_of_four() {
    // "Logical Destination Mode", cluster model.
    let mut apic = xapic(0);
    let _ = apic.mmio_write(DFR, 0x0FFF_FFFF, 0);
    let _ = apic.mmio_write(LDR, 0x2400_0000, 0);
    assert!(apic.is_addressed_by(Destination::Logical(0x24)));
    assert!(apic.is_addressed_by(Destination::Logical(0x2F)));
    assert!(!apic.is_addressed_by(Destination::Logical(0x2B)));
    assert!(!apic.is_addressed_by(Destination::Logical(0x34)));
    assert!(apic.is_addressed_by(Destination::Logical(0xFF)));
}

#[test]
fn x2apic_logical_destination_follows_from_the_id() {
    // "Deriving Logical x2APIC ID from the Local x2APIC ID"; "Logical Destination Mode in x2APIC Mode".
    let apic = x2apic(0x123);
    assert_eq!(apic.rdmsr(msr(LDR), 0), Ok(0x0012_0008));
    assert!(apic.is_addressed_by(Destination::Logical(0x0012_FFFF)));
    assert!(!apic.is_addressed_by(Destination::Logical(0x0012_FFF7)));
    assert!(!apic.is_addressed_by(Destination::Logical(0x0013_0008)));
}

#[test]
fn disabled_apic_is_addressed_by_nothing() {
    // "Enabling or Disabling the Local APIC".
    let mut apic = xapic(3);
    assert_eq!(apic.set_base(BASE_DISABLED), Ok(Effect::TimerChanged));
    assert!(!apic.is_addressed_by(Destination::Physical(3)));
    assert!(!apic.is_addressed_by(Destination::Everyone));
    assert!(!apic.is_addressed_by(Destination::EveryoneElse));
}
