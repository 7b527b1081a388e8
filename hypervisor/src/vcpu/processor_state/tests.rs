// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is kept here and not in the processor; and the XSAVE area, with which programs can work too.

use super::*;
use crate::vcpu::model;

fn at_reset() -> ProcessorState {
    ProcessorState::at_reset(&model::cpuid(false), true)
}

#[test]
fn reset_leaves_what_the_table_says() {
    let state = at_reset();
    assert_eq!((state.xcr0, state.cr2, state.dr, state.dr6), (1, 0, [0; 4], 0xffff_0ff0));
    // STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE and TSC_AUX.
    assert_eq!(state.msrs.len(), 6);
    assert!(state.msrs.iter().all(|&(_, value)| value == 0));
    assert!(!state.loaded);
}

#[test]
fn tsc_aux_is_not_touched_where_the_processor_has_none() {
    let state = ProcessorState::at_reset(&model::cpuid(false), false);
    assert!(state.msrs.iter().all(|&(msr, _)| msr != MsrIndex::TSC_AUX));
    assert_eq!(state.msrs.len(), 5);
}

#[test]
fn the_area_has_room_for_all_that_the_guest_may_switch_on_whatever_it_has_on() {
    let state = at_reset();
    assert_eq!((state.components, state.xcr0()), (model::XCR0, 1));
    // x87, SSE and AVX take 832 bytes.
    assert_eq!(size_of_val(&*state.area), 832);
    assert!(state.area.as_ptr().addr().is_multiple_of(64));
}

fn used() -> ProcessorState {
    let mut state = at_reset();
    state.set_xcr0(7);
    state.set_cr2(0x1234);
    state.set_dr6(0x4001);
    state.dr = [1, 2, 3, 4];
    for (_, value) in &mut state.msrs {
        *value = 0x5555;
    }
    registers::set_legacy(&mut state.area, 0x37f, 0, 0x1f80);
    state
}

#[test]
fn init_clears_cr2_and_debug_registers_and_keeps_the_rest() {
    let (mut state, before) = (used(), used());
    state.init();
    assert_eq!((state.cr2, state.dr, state.dr6), (0, [0; 4], 0xffff_0ff0));
    assert_eq!(state.xcr0, 7);
    assert_eq!(state.msrs, before.msrs);
    assert_eq!(state.area, before.area);
}

#[test]
fn reset_leaves_nothing_of_what_was() {
    let mut state = used();
    state.reset();
    assert_eq!(format!("{state:?}"), format!("{:?}", at_reset()));
}

#[test]
fn what_is_set_here_is_read_back() {
    let mut state = at_reset();
    state.set_dr6(0xffff_ffff_ffff_4ff1);
    assert_eq!(state.dr6(), 0xffff_4ff1);
    state.set_xcr0(3);
    assert_eq!(state.xcr0(), 3);
}

/// x87 and SSE, which every program has.
const LEGACY: u64 = 3;

/// Runs `act` and puts back what a program may expect to find.
fn with_own_state_kept<R>(act: impl FnOnce() -> R) -> R {
    let mut own = at_reset().area;
    registers::save_extended(&mut own, LEGACY);
    let result = act();
    registers::load_extended(&own, LEGACY);
    result
}

/// The words of the legacy region that hold control, status and tags, and MXCSR without its mask.
fn control_words(area: &[Block]) -> (u64, u64) {
    let words = registers::words(area);
    (words[0] & 0xff_ffff_ffff, words[3] & 0xffff_ffff)
}

/// SDM vol. 3, "Processor States Following Power-up, Reset, or INIT": the x87 control word is 40H.
#[test]
#[cfg_attr(miri, ignore = "executes XSAVE")]
fn the_area_after_reset_is_one_that_the_processor_takes_and_gives_back() {
    let reset = at_reset().area;
    let mut taken = at_reset().area;
    with_own_state_kept(|| {
        registers::load_extended(&reset, LEGACY);
        registers::save_extended(&mut taken, LEGACY);
    });
    assert_eq!(control_words(&taken), (0xff_0000_0040, 0x1f80));
}

/// What one vCPU has in its registers is not there for the next, and is again when it comes back.
#[test]
#[cfg_attr(miri, ignore = "executes XSAVE")]
fn extended_state_of_two_vcpus_is_kept_apart() {
    let (mut first, mut second) = (at_reset().area, at_reset().area);
    registers::set_legacy(&mut first, 0x37f, 0, 0x1fa0);
    registers::set_legacy(&mut second, 0x27f, 0, 0x1f80);
    let (mut first_back, mut second_back) = (at_reset().area, at_reset().area);
    with_own_state_kept(|| {
        registers::load_extended(&first, LEGACY);
        registers::save_extended(&mut first_back, LEGACY);
        registers::load_extended(&second, LEGACY);
        registers::save_extended(&mut second_back, LEGACY);
    });
    assert_eq!(control_words(&first_back), (0x37f, 0x1fa0));
    assert_eq!(control_words(&second_back), (0x27f, 0x1f80));
}
