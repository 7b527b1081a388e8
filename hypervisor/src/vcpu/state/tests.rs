// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clocks and counters, and that RESET leaves nothing of what was.

use super::*;
use crate::vcpu::model;
use core::num::NonZeroU32;
use hyperv_bindings::msr;

fn state(apic_id: u32, started_at: u64) -> State {
    let processor = ProcessorState::at_reset(&model::cpuid(false), true);
    State::new(LocalApic::new(apic_id, apic_id == 0, NonZeroU32::MIN), started_at, processor)
}

/// Something else in every field; one that is added fails to compile until it is here.
fn use_all(state: &mut State) {
    let State {
        apic,
        exception,
        nmi,
        external,
        attention,
        glance,
        timer_changed,
        flush_linear,
        activity,
        yields,
        tsc,
        tsc_adjust,
        misc_enable,
        virtual_processor,
        processor,
        // What the VMCS stands for, what was decoded, what this CPU owes, where it is to go on, what L0 was told, and statistics: no state of a processor.
        apic_mode: _,
        eoi_store: _,
        flush_guest_physical: _,
        moves_on: _,
        msr_bitmap_seen: _,
        refused: _,
        #[cfg(feature = "measure")]
            shares: _,
    } = state;
    let _ = apic.mmio_write(0xf0, 0x1ff, 0);
    let _ = apic.mmio_write(0x300, 1 << 18 | 0x40, 0);
    assert_eq!(apic.pending(), Some(0x40));
    *exception = Some(Exception::InvalidOpcode);
    *nmi = true;
    *external = External::Waits(0x40);
    *attention = false;
    *glance = false;
    *timer_changed = false;
    *flush_linear = false;
    *activity = Activity::Halted;
    *yields = true;
    tsc.shift(0x5555);
    *tsc_adjust = 0x5555;
    *misc_enable = u64::MAX;
    *virtual_processor = virtual_processor.write(msr::VP_ASSIST_PAGE, 0x5001).unwrap();
    processor.set_xcr0(7);
    processor.set_cr2(0x5555);
    processor.set_dr6(0x5555);
}

#[test]
fn after_reset_everything_is_as_when_it_was_made() {
    for apic_id in [0, 1] {
        let mut state = state(apic_id, 7);
        let made = format!("{state:?}");
        use_all(&mut state);
        assert_ne!(format!("{state:?}"), made);
        state.reset(7);
        assert_eq!(format!("{state:?}"), made);
    }
}

#[test]
fn the_bootstrap_processor_runs_after_reset_and_the_others_wait() {
    assert_eq!(state(0, 0).activity, Activity::Running);
    assert_eq!(state(1, 0).activity, Activity::WaitForSipi);
}

#[test]
fn the_timer_of_the_local_apic_is_due_when_the_processors_clock_says_so() {
    let mut state = state(0, 5_000);
    assert_eq!(state.timer_deadline(100), None);
    // Enabled by software; TSC-deadline mode, vector 0x40.
    for (register, value) in [(0xf0, 0x1ff), (0x320, 0x4_0040)] {
        let _ = state.apic.mmio_write(register, value, 100);
    }
    let _ = state.apic.set_tsc_deadline(250, 100);
    assert_eq!(state.timer_deadline(100), Some(5_250));
    state.apic.expire(249);
    assert_eq!(state.apic.pending(), None);
    state.apic.expire(250);
    assert_eq!((state.apic.pending(), state.timer_deadline(250)), (Some(0x40), None));
}
