// SPDX-License-Identifier: MIT OR Apache-2.0
//! What L0 tells of time is taken where it can be true, and what was turned on is turned off.

use super::model::ModelMsrs;
use super::model::l0_writes;
use super::model::page;
use super::*;
use crate::consume::SharedPage;
use proptest::prelude::*;
use std::cell::Cell;

const TIME_REF_COUNT: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const REENLIGHTENMENT_CONTROL: u32 = 0x4000_0106;
const TSC_EMULATION_CONTROL: u32 = 0x4000_0107;
const TSC_EMULATION_STATUS: u32 = 0x4000_0108;
const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

const PAGE: u64 = 0x12_3000;

fn all() -> ModelMsrs {
    ModelMsrs::default()
        .read_only(TIME_REF_COUNT, 777)
        .with(REFERENCE_TSC, 0)
        .read_only(TSC_FREQUENCY, 3_000_000_000)
        .read_only(APIC_FREQUENCY, 200_000_000)
        .with(REENLIGHTENMENT_CONTROL, 0)
        .with(TSC_EMULATION_CONTROL, 0)
        .with(TSC_EMULATION_STATUS, 0)
        .with(TSC_INVARIANT_CONTROL, 0)
}

fn refused<T>(msr: u32) -> Result<T, TimeError> {
    Err(TimeError::Refused(MsrRefused { msr }))
}

#[test]
fn frequencies_are_told_by_their_msrs() {
    assert_eq!(tsc_hz(&all()), Ok(3_000_000_000));
    assert_eq!(apic_timer_hz(&all()), Ok(200_000_000));
    assert_eq!(tsc_hz(&ModelMsrs::default()), refused(TSC_FREQUENCY));
    assert_eq!(apic_timer_hz(&ModelMsrs::default()), refused(APIC_FREQUENCY));
}

#[test]
fn a_frequency_that_no_machine_has_is_refused() {
    for value in [0, 1, 999_999, 100_000_000_001, 1 << 40, u64::MAX] {
        let msrs = all().read_only(TSC_FREQUENCY, value);
        assert_eq!(tsc_hz(&msrs), Err(TimeError::Absurd { msr: TSC_FREQUENCY, value }));
        assert!(L0Clock::new(msrs).use_frequencies().is_err());
    }
    for value in [1_000_000, 100_000_000_000] {
        assert_eq!(tsc_hz(&all().read_only(TSC_FREQUENCY, value)), Ok(value));
    }
    let said = TimeError::Absurd { msr: TSC_FREQUENCY, value: 0 }.to_string();
    assert_eq!(said, "L0 tells 0 in MSR 0x40000022, which cannot be");
}

/// 10 MHz from a TSC of 2.5 GHz.
const SCALE: u64 = u64::MAX / 250;

#[test]
fn the_page_turns_the_tsc_into_time() {
    let msrs = all();
    let (shared, at) = page(PAGE);
    let reference = ReferenceTsc::enable(&msrs, shared).unwrap();
    assert_eq!(msrs.get(REFERENCE_TSC), PAGE | 1);
    assert_eq!(reference.now(|| 5_000_000_000), None, "L0 has not filled it");
    l0_writes(at, 1, SCALE, 1_000);
    assert_eq!(reference.now(|| 5_000_000_000), Some(19_999_999 + 1_000));
    l0_writes(at, 0, SCALE, 1_000);
    assert_eq!(reference.now(|| 5_000_000_000), None, "L0 has taken it back");
    assert_eq!(reference.disable(&msrs).unwrap().address(), PAGE);
    assert_eq!(msrs.get(REFERENCE_TSC), 0);
}

#[test]
fn time_is_never_made_of_two_states_of_the_page() {
    let (shared, at) = page(PAGE);
    let reference = ReferenceTsc::enable(&all(), shared).unwrap();
    l0_writes(at, 7, SCALE, 0);
    let reads = Cell::new(0);
    let migrates_once = || {
        if reads.replace(reads.get() + 1) == 0 {
            l0_writes(at, 8, 2 * SCALE, -5);
        }
        2_500_000_000
    };
    assert_eq!(reference.now(migrates_once), Some(19_999_999 - 5));
    assert_eq!(reads.get(), 2);
}

#[test]
fn a_page_that_changes_all_the_time_is_given_up() {
    let (shared, at) = page(PAGE);
    let reference = ReferenceTsc::enable(&all(), shared).unwrap();
    let reads = Cell::new(1);
    l0_writes(at, 1, SCALE, 0);
    let changes = || {
        reads.set(reads.get() + 1);
        l0_writes(at, reads.get(), SCALE, 0);
        0
    };
    assert_eq!(reference.now(changes), None);
    assert!(reads.get() < 100);
}

#[test]
fn reserved_bits_of_the_page_msr_are_kept() {
    let msrs = all().with(REFERENCE_TSC, 0xabc);
    let reference = ReferenceTsc::enable(&msrs, page(PAGE).0).unwrap();
    assert_eq!(msrs.get(REFERENCE_TSC), PAGE | 0xabd);
    reference.disable(&msrs).unwrap();
    assert_eq!(msrs.get(REFERENCE_TSC), 0xabc);
}

#[test]
fn a_page_that_l0_does_not_take_is_not_used() {
    let enable = |msrs: &ModelMsrs| ReferenceTsc::enable(msrs, page(PAGE).0).map(drop);
    assert_eq!(enable(&ModelMsrs::default()), refused(REFERENCE_TSC));
    assert_eq!(enable(&ModelMsrs::default().read_only(REFERENCE_TSC, 0)), refused(REFERENCE_TSC));
    // It takes the address and does not enable it, or enables another.
    for mask in [!1, 1, 0] {
        let msrs = ModelMsrs::default().taking(REFERENCE_TSC, 0, mask);
        assert_eq!(enable(&msrs), Err(TimeError::NotTaken { msr: REFERENCE_TSC }));
        assert_eq!(msrs.get(REFERENCE_TSC) & 1, 0, "it is off again");
    }
}

#[test]
fn a_page_that_l0_does_not_let_go_of_is_not_given_back() {
    let msrs = all();
    let reference = ReferenceTsc::enable(&msrs, page(PAGE).0).unwrap();
    let msrs = msrs.taking(REFERENCE_TSC, PAGE | 1, 0);
    assert_eq!(reference.disable(&msrs).map(drop), Err(TimeError::NotTaken { msr: REFERENCE_TSC }));
}

#[test]
fn an_invariant_tsc_is_asked_for_once() {
    let msrs = all();
    assert_eq!(expose_invariant_tsc(&msrs), Ok(()));
    assert_eq!(msrs.writes(), [(TSC_INVARIANT_CONTROL, 1)]);
    assert_eq!(expose_invariant_tsc(&msrs), Ok(()));
    assert_eq!(msrs.writes(), []);
    let keeps = ModelMsrs::default().taking(TSC_INVARIANT_CONTROL, 0, 0);
    assert_eq!(expose_invariant_tsc(&keeps), Err(TimeError::NotTaken { msr: TSC_INVARIANT_CONTROL }));
    assert_eq!(expose_invariant_tsc(&ModelMsrs::default()), refused(TSC_INVARIANT_CONTROL));
}

#[test]
fn migrations_are_told_of_on_the_vector_and_processor_that_were_asked_for() {
    let msrs = all();
    let told = Reenlightenment::enable(&msrs, 0x23, 5).unwrap();
    let control = 5 << 32 | 1 << 16 | 0x23;
    assert_eq!(msrs.writes(), [(TSC_EMULATION_CONTROL, 1), (REENLIGHTENMENT_CONTROL, control)]);
    told.disable(&msrs);
    let off = [REENLIGHTENMENT_CONTROL, TSC_EMULATION_CONTROL, TSC_EMULATION_STATUS];
    assert_eq!(msrs.writes(), off.map(|msr| (msr, 0)));
}

#[test]
fn emulation_of_the_tsc_ends_by_its_status_and_is_wanted_again_next_time() {
    let msrs = all();
    let told = Reenlightenment::enable(&msrs, 0x23, 0).unwrap();
    msrs.writes();
    assert_eq!(told.is_emulating(&msrs), Ok(false));
    assert_eq!(told.end_emulation(&msrs), Ok(()));
    assert_eq!(msrs.writes(), [], "there is nothing to end");
    // Reserved bits are to be kept.
    msrs.set(TSC_EMULATION_STATUS, 0x8001);
    assert_eq!(told.is_emulating(&msrs), Ok(true));
    assert_eq!(told.end_emulation(&msrs), Ok(()));
    assert_eq!(msrs.writes(), [(TSC_EMULATION_STATUS, 0x8000)]);
    assert_eq!(msrs.get(TSC_EMULATION_CONTROL), 1);
    let goes_on = msrs.taking(TSC_EMULATION_STATUS, 1, 0);
    assert_eq!(told.end_emulation(&goes_on), Err(TimeError::NotTaken { msr: TSC_EMULATION_STATUS }));
}

#[test]
fn who_is_not_told_of_migrations_has_the_tsc_emulated_for_nothing_and_so_not_at_all() {
    let without = ModelMsrs::default().with(TSC_EMULATION_CONTROL, 0).with(TSC_EMULATION_STATUS, 0);
    let enable = |msrs: &ModelMsrs| Reenlightenment::enable(msrs, 0x23, 0).map(drop);
    assert_eq!(enable(&without), refused(REENLIGHTENMENT_CONTROL));
    assert_eq!(without.get(TSC_EMULATION_CONTROL), 0);
    // L0 has another vector than we asked for, or another target.
    for mask in [!0xff, !(0xff << 32), !(1 << 16)] {
        let msrs = all().taking(REENLIGHTENMENT_CONTROL, 0, mask);
        let enabled = Reenlightenment::enable(&msrs, 0x23, 3).map(drop);
        assert_eq!(enabled, Err(TimeError::NotTaken { msr: REENLIGHTENMENT_CONTROL }));
        assert_eq!((msrs.get(REENLIGHTENMENT_CONTROL), msrs.get(TSC_EMULATION_CONTROL)), (0, 0));
    }
    assert_eq!(enable(&ModelMsrs::default()), refused(TSC_EMULATION_CONTROL));
}

#[test]
fn what_is_not_in_use_tells_nothing_and_touches_nothing() {
    let clock = L0Clock::new(all());
    assert_eq!((clock.tsc_hz(), clock.apic_timer_hz()), (None, None));
    assert_eq!((clock.reference_time(|| 0), clock.counted_time()), (None, None));
    assert_eq!(clock.end_emulation(), Ok(()));
    assert!(clock.leave().is_none());
}

#[test]
fn all_that_is_in_use_is_turned_off() {
    let msrs = all();
    let mut clock = L0Clock::new(&msrs);
    let (shared, at) = page(PAGE);
    assert_eq!(clock.use_frequencies(), Ok(()));
    assert_eq!(clock.use_counter(), Ok(()));
    assert_eq!(clock.use_page(shared), Ok(()));
    assert_eq!(clock.use_reenlightenment(0x23, 1), Ok(()));
    assert_eq!((clock.tsc_hz(), clock.apic_timer_hz()), (Some(3_000_000_000), Some(200_000_000)));
    assert_eq!(clock.reference_time(|| 0), Some(777), "the counter, as long as the page means nothing");
    l0_writes(at, 1, SCALE, 12_345);
    assert_eq!((clock.reference_time(|| 0), clock.counted_time()), (Some(12_345), Some(777)));
    assert_eq!(clock.leave().as_ref().map(SharedPage::address), Some(PAGE));
    for msr in [REFERENCE_TSC, REENLIGHTENMENT_CONTROL, TSC_EMULATION_CONTROL] {
        assert_eq!(msrs.get(msr), 0, "{msr:#x}");
    }
}

proptest! {
    /// Whatever L0 writes into the page, it is read without a panic, and by the published formula.
    #[test]
    fn any_page_tells_what_the_formula_says(sequence: u32, scale: u64, offset: i64, tsc: u64) {
        let (shared, at) = page(PAGE);
        let reference = ReferenceTsc::enable(&all(), shared).unwrap();
        l0_writes(at, sequence, scale, offset);
        let product = u128::from(tsc) * u128::from(scale);
        let expected = ((product >> 64) as u64).wrapping_add(offset as u64);
        prop_assert_eq!(reference.now(|| tsc), (sequence != 0).then_some(expected));
    }

    /// Whatever L0 takes of it, what is not told of cannot stay on.
    #[test]
    fn reenlightenment_is_on_as_asked_or_off(mask: u64, vector: u8, vp_index: u32) {
        let msrs = all().taking(REENLIGHTENMENT_CONTROL, 0, mask);
        match Reenlightenment::enable(&msrs, vector, vp_index) {
            Ok(_) => {
                let asked = u64::from(vp_index) << 32 | 1 << 16 | u64::from(vector);
                prop_assert_eq!(msrs.get(REENLIGHTENMENT_CONTROL), asked);
            }
            Err(_) => prop_assert_eq!(msrs.get(REENLIGHTENMENT_CONTROL), 0),
        }
    }
}
