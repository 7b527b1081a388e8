// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an entry says, and what may follow what.

use super::*;
use proptest::prelude::*;

fn all_cpus_markers() -> impl Iterator<Item = Entry> {
    CpuNumber::all().flat_map(|cpu| [false, true].map(|dirty| Entry::removed_marker(cpu, dirty)))
}

const READ_ONLY: Rights = Rights { write: false, dirty: false };
const WRITABLE: Rights = Rights { write: true, dirty: false };

/// Checklist A2: an explicit present bit; the marker and zero are not present. Devices have no entries of their own: theirs
/// are zero, and the slots tell them from nothing.
#[test]
fn a2_present_is_a_bit_of_its_own_that_the_marker_and_zero_lack() {
    assert_eq!(Entry::from_bits(0).kind(1), Kind::Absent);
    for marker in all_cpus_markers() {
        for level in 1..=4 {
            assert_eq!(marker.kind(level), Kind::Removed);
        }
        assert!(!marker.present());
        assert!(leads_nowhere(marker), "{marker:?}");
    }
    assert_eq!(
        Entry::new().with_present(true).kind(1),
        Kind::Page,
        "without any permission it is still present"
    );
}

#[test]
fn a_marker_names_its_cpu_and_whether_the_page_was_written_to() {
    for cpu in CpuNumber::all() {
        for dirty in [false, true] {
            let marker = Entry::removed_marker(cpu, dirty);
            assert_eq!(marker.is_dirty(), dirty);
            let named = CpuNumber::all().filter(|&other| marker.is_removed_by(other));
            assert!(named.eq([cpu]));
        }
    }
}

#[test]
fn entries_have_the_processors_format() {
    assert_eq!(Entry::table(0x12_3000).into_bits(), 0x12_3907);
    assert_eq!(Entry::page(0x12_3000, 1, WRITABLE).into_bits(), 0x12_3937);
    assert_eq!(Entry::page(0x20_0000, 2, READ_ONLY).into_bits(), 0x20_09b5);
    assert_eq!(Entry::page(0x20_0000, 2, Rights { write: true, dirty: true }).into_bits(), 0x20_0bb7);
}

/// Checklist A2: nothing that is not present may become something else that is not, unless one of the two is the marker.
#[test]
fn a2_nonpresent_to_nonpresent_is_refused_but_for_the_marker() {
    for level in 1..=4 {
        assert!(!Entry::ABSENT.may_become(Entry::ABSENT, level));
        for marker in all_cpus_markers() {
            assert!(Entry::ABSENT.may_become(marker, level));
            assert!(marker.may_become(Entry::ABSENT, level));
            assert!(marker.may_become(Entry::removed_marker(CpuNumber::BOOT, false), level));
        }
    }
}

#[test]
fn a_page_leads_to_another_only_after_it_was_removed() {
    let page = |address| Entry::page(address, 2, READ_ONLY);
    let marker = Entry::removed_marker(CpuNumber::BOOT, true);
    assert!(!page(PAGE).may_become(page(2 * PAGE), 2));
    assert!(page(PAGE).may_become(page(PAGE).with_write(true), 2));
    assert!(page(PAGE).may_become(marker, 2));
    assert!(
        !page(PAGE).may_become(Entry::ABSENT, 2),
        "unmarked, somebody could put another page there at once"
    );
    assert!(page(PAGE).may_become(Entry::table(FRAME), 2), "a split");
    assert!(!marker.may_become(page(PAGE), 2));
    assert!(!marker.may_become(Entry::table(FRAME), 2));
    assert!(!Entry::table(FRAME).may_become(page(PAGE), 2));
    assert!(!Entry::table(FRAME).may_become(Entry::table(2 * FRAME), 2));
    assert!(!Entry::table(FRAME).may_become(Entry::ABSENT, 2));
    assert!(Entry::table(FRAME).may_become(marker, 2));
}

const PAGE: u64 = 2 << 20;

proptest! {
    /// Whatever a CPU sets in an entry (accessed, dirty), it stays what it was, and leads where it led.
    #[test]
    fn accessed_and_dirty_change_nothing_else(address in 1_u64..1 << 39, level in 1_u32..4, write: bool) {
        let entry = Entry::page(address * FRAME, level, Rights { write, dirty: false });
        let touched = entry.with_accessed(true).with_dirty(true);
        prop_assert_eq!((touched.kind(level), touched.address()), (Kind::Page, address * FRAME));
        prop_assert!(entry.may_become(touched, level) && touched.may_become(entry, level));
        prop_assert!(touched.is_dirty() && !entry.is_dirty());
    }

    #[test]
    fn an_access_is_permitted_where_every_part_of_it_is(bits in 0_u64..8, read: bool, write: bool, execute: bool) {
        let entry = Entry::from_bits(bits).with_present(true);
        let expected = (!read || bits & 1 != 0) && (!write || bits & 2 != 0) && (!execute || bits & 4 != 0);
        prop_assert_eq!(entry.permits(Access { read, write, execute }), expected);
    }
}
