// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a line's interrupt arrives.

use super::*;
use crate::irqchip::local_apic::LocalApic;
use crate::vm::model;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::cpu;
use core::num::NonZeroU32;

const FIRST_MASK: u16 = 0x21;
const EXT_INT: u32 = 7 << 8;
const MASKED: u32 = 1 << 16;

fn lines(vcpus: u32) -> (InterruptLines, &'static ModelNeighbours) {
    let neighbours = ModelNeighbours::new();
    let addresses = (0..vcpus).map(|id| apic(id).address());
    let lines = InterruptLines::new(model::posts(addresses, neighbours));
    (lines, neighbours)
}

fn apic(id: u32) -> LocalApic {
    LocalApic::new(id, id == 0, NonZeroU32::MIN)
}

/// As firmware leaves it.
fn wired(id: u32) -> LocalApic {
    let mut apic = apic(id);
    apic.enter_virtual_wire_mode();
    apic
}

fn redirect(lines: &InterruptLines, pin: u32, destination: u32, low: u32) {
    for (select, value) in [(0x11 + 2 * pin, destination << 24), (0x10 + 2 * pin, low)] {
        assert!(lines.write_io_apic(0, select).is_empty());
        assert!(lines.write_io_apic(0x10, value).is_empty());
    }
}

#[test]
fn a_line_interrupts_by_the_8259as_and_wakes_the_first_vcpu() {
    let (lines, neighbours) = lines(2);
    lines.write_pic(FIRST_MASK, 0);
    lines.set_line(4, true);
    assert_eq!(neighbours.take().notified, [cpu(0)]);
    assert!(lines.external_reaches(0, &wired(0)));
    assert!(!lines.external_reaches(1, &wired(1)), "LINT0 of the others is not wired");
    assert_eq!(lines.acknowledge_external(), Some(0x08 + 4));
    assert_eq!(lines.acknowledge_external(), None);
    assert!(!lines.external_reaches(0, &wired(0)));
}

#[test]
fn the_timer_is_irq_0_and_gsi_2() {
    let (lines, _) = lines(1);
    lines.write_pic(FIRST_MASK, 0);
    lines.set_line(0, true);
    assert_eq!(lines.acknowledge_external(), None);
    lines.set_line(2, true);
    assert_eq!(lines.acknowledge_external(), Some(0x08));
    // Beyond ISA's, and beyond all.
    [16, 23, 24, usize::MAX].into_iter().for_each(|gsi| lines.set_line(gsi, true));
    lines.write_pic(0x20, 0x20);
    assert_eq!(lines.acknowledge_external(), None);
}

/// SDM vol. 3, "Local Vector Table" and "Local APIC Status and Location".
#[test]
fn lint0_passes_the_8259as_on_if_it_is_in_extint_mode_or_the_apic_is_off() {
    let (lines, _) = lines(1);
    lines.write_pic(FIRST_MASK, 0);
    lines.set_line(1, true);
    let mut apic = apic(0);
    assert!(!lines.external_reaches(0, &apic), "masked, as after RESET");
    let _ = apic.mmio_write(0xf0, 0x1ff, 0);
    for (entry, passes) in [(EXT_INT, true), (EXT_INT | MASKED, false), (0x40, false), (4 << 8, false)] {
        let _ = apic.mmio_write(0x350, entry, 0);
        assert_eq!(lines.external_reaches(0, &apic), passes, "{entry:#x}");
    }
    let _ = apic.set_base(0xfee0_0100).unwrap();
    assert!(lines.external_reaches(0, &apic));
}

#[test]
fn pin_0_of_the_io_apic_in_extint_mode_passes_them_to_whom_it_names() {
    let (lines, neighbours) = lines(4);
    lines.write_pic(FIRST_MASK, 0);
    redirect(&lines, 0, 2, EXT_INT);
    assert_eq!(neighbours.take().notified, []);
    lines.set_line(1, true);
    assert_eq!(neighbours.take().notified.len(), 4, "all look");
    let reached = |lines: &InterruptLines| {
        (0..4).filter(|&id| lines.external_reaches(id, &apic(id as u32))).collect::<Vec<_>>()
    };
    assert_eq!(reached(&lines), [2]);
    redirect(&lines, 0, 2, EXT_INT | MASKED);
    assert_eq!(reached(&lines), []);
    let _ = neighbours.take();
    // One that is unmasked when INTR is asserted already.
    lines.set_line(3, true);
    let _ = neighbours.take();
    redirect(&lines, 0, 3, EXT_INT);
    assert_eq!(
        (reached(&lines), neighbours.take().notified.len()),
        (vec![3], 0),
        "they have not yet looked at the first"
    );
}

#[test]
fn intr_that_rises_is_told_once() {
    let (lines, _) = lines(1);
    lines.write_pic(FIRST_MASK, 0);
    assert!(!lines.take_risen());
    lines.set_line(1, true);
    lines.set_line(3, true);
    assert!(lines.take_risen() && !lines.take_risen());
    // The second is still requested: INTR falls with the acknowledgement only where nothing is.
    assert_eq!(lines.acknowledge_external(), Some(0x09));
    assert!(!lines.take_risen());
    lines.write_pic(0x20, 0x20);
    assert!(lines.take_risen());
}
