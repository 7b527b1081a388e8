// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever the processor's TSC does, the guest's goes on, by the processor or by us.

use super::*;
use crate::vcpu::model::Model;
use proptest::prelude::*;

/// The guest's TSC as the processor makes it (SDM vol. 3, "Time-Stamp Counter Offsetting and Scaling"), or `None` if RDTSC exits.
fn by_processor(model: &mut Model, tsc: u64) -> Option<u64> {
    let primary = PrimaryControls::from_bits(model.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
    let secondary = SecondaryControls::from_bits(model.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS));
    assert!(primary.use_tsc_offsetting());
    if primary.rdtsc_exiting() {
        return None;
    }
    let multiplier = if secondary.use_tsc_scaling() { model.read(field::TSC_MULTIPLIER) } else { 1 << 48 };
    let scaled = (u128::from(tsc) * u128::from(multiplier)) >> 48;
    Some((scaled as u64).wrapping_add(model.read(field::TSC_OFFSET)))
}

fn follow(model: &mut Model, timeline: Timeline, scales: bool) {
    let guest = model.guest();
    let mut vmcs = guest.vmcs;
    guest.state.tsc.follow(timeline, &mut vmcs, scales);
}

fn timeline(hz: u64, tsc_hz: u64, first: u64) -> Timeline {
    let multiplier = Multiplier::of(hz, tsc_hz).expect("within the range");
    Timeline::AT_START.resumed(7_000_000, 0, first, multiplier)
}

#[test]
fn reads_exit_only_where_the_rate_is_another_and_the_processor_cannot_scale() {
    let mut model = Model::long_64();
    for (tsc_hz, scales, exits) in [
        (2_000_000_000, false, true),
        (1_000_000_000, false, false),
        (500_000_000, true, false),
        (1_000_000_000, true, false),
        (3_000_000_000, false, true),
    ] {
        follow(&mut model, timeline(1_000_000_000, tsc_hz, 99), scales);
        assert_eq!(by_processor(&mut model, 99).is_none(), exits, "{tsc_hz}, {scales}");
        let secondary = SecondaryControls::from_bits(model.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS));
        assert_eq!(secondary.use_tsc_scaling(), scales && tsc_hz != 1_000_000_000);
    }
}

#[test]
fn other_controls_stay_as_they_are() {
    let mut model = Model::long_64();
    let controls = |model: &mut Model| {
        (
            model.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS),
            model.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS),
        )
    };
    model.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, 0xaa);
    let before = controls(&mut model);
    for scales in [false, true] {
        follow(&mut model, timeline(1_000_000_000, 2_000_000_000, 0), scales);
        follow(&mut model, timeline(1_000_000_000, 1_000_000_000, 0), scales);
        assert_eq!(controls(&mut model), before);
    }
}

#[test]
fn reset_starts_the_guests_clock_anew_and_not_the_machines() {
    let mut model = Model::long_64();
    follow(&mut model, timeline(1_000_000_000, 2_000_000_000, 50_000), true);
    model.guest().reset(6_999_000);
    assert_eq!(model.state.guest_tsc(50_000), 1_000);
    assert_eq!(by_processor(&mut model, 50_200), Some(1_100));
}

#[test]
fn a_deadline_is_as_far_off_for_guest_and_machine() {
    let tsc = GuestTsc::new(5_000);
    assert_eq!(tsc.at(5_100), 100);
    assert_eq!([150, 99, u64::MAX].map(|deadline| tsc.time_at(deadline, 100)), [5_150, 5_100, u64::MAX]);
    let mut ahead = tsc;
    ahead.shift(u64::MAX / 2);
    assert_eq!(ahead.time_at(u64::MAX / 2 + 130, ahead.at(5_100)), 5_130);
}

proptest! {
    #[test]
    fn processor_and_satori_read_the_same(
        hz in 1_000_000..10_000_000_000_u64,
        tsc_hz in 1_000_000..10_000_000_000_u64,
        first: u64,
        shift: u64,
        tsc: u64,
        scales: bool,
    ) {
        let mut model = Model::long_64();
        model.state.tsc.shift(shift);
        follow(&mut model, timeline(hz, tsc_hz, first), scales);
        let expected = model.state.guest_tsc(tsc);
        if let Some(read) = by_processor(&mut model, tsc) {
            prop_assert_eq!(read, expected);
        }
    }
}
