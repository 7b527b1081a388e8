// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which exits do what, where that takes no handler of its own.

mod never_panics;

use super::*;
use crate::vcpu::model::CODE;
use crate::vcpu::model::Model;
use crate::vcpu::state::Activity;

#[test]
fn halt_moves_on_behind_the_instruction_and_waits() {
    let mut model = Model::long_64();
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, 1);
    model.executes(ExitReason::HLT);
    assert!(model.state.activity == Activity::Halted && model.state.attention);
    // STI; HLT is how a kernel waits without losing a wake-up.
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), 0);
}

/// SDM vol. 3, "PAUSE-loop exiting": the exit comes before the instruction.
#[test]
fn pause_moves_on_behind_the_instruction_and_offers_the_cpu_to_others() {
    let mut model = Model::long_64();
    assert!(!model.state.yields);
    model.executes(ExitReason::PAUSE);
    assert!(model.state.yields && model.state.attention);
    assert_eq!(model.state.activity, Activity::Running);
}

#[test]
fn an_open_window_has_events_looked_at_and_moves_nothing() {
    for window in [ExitReason::INTERRUPT_WINDOW, ExitReason::NMI_WINDOW] {
        let mut model = Model::long_64();
        assert_eq!(model.exit(window), Ok(()));
        assert!(model.state.attention);
        assert_eq!(model.read(field::GUEST_RIP), CODE);
    }
}

#[test]
fn cache_instructions_do_nothing() {
    let mut model = Model::long_64();
    model.executes(ExitReason::INVD);
    model.executes(ExitReason::WBINVD);
}

/// TLFS, "Direct Virtual Flush": the call has been made, whatever else L0 tells.
#[test]
fn a_trap_after_a_flush_goes_back_in_and_moves_nothing() {
    let mut model = Model::long_64();
    model.state.attention = false;
    assert_eq!(model.exit(ExitReason::TRAP_AFTER_FLUSH), Ok(()));
    assert_eq!(model.read(field::GUEST_RIP), CODE);
    assert!(!model.state.attention && model.state.exception.is_none());
    assert_eq!(model.clean_fields(), 0xffff, "no field was written");
}

#[test]
fn instructions_that_cpuid_does_not_offer_are_invalid() {
    let vmx = 18..=27;
    let others = [11, 17, 36, 39, 50, 53, 59];
    for number in vmx.chain(others) {
        Model::long_64().raises(ExitReason::from_field(number), Exception::InvalidOpcode);
    }
}

#[test]
fn there_are_no_counters_to_read() {
    Model::long_64().raises(ExitReason::RDPMC, Exception::GeneralProtection);
}

#[test]
fn what_cannot_be_handled_ends_the_vm_and_says_where() {
    let end = |reason| {
        let mut model = Model::long_64();
        model.tell(field::EXIT_QUALIFICATION, 0x1234);
        model.exit(reason)
    };
    assert_eq!(end(ExitReason::TRIPLE_FAULT), Err(End::TripleFault { rip: CODE }));
    let invalid = End::InvalidGuestState { qualification: 0x1234, rip: CODE };
    assert_eq!(end(ExitReason::INVALID_GUEST_STATE), Err(invalid));
    for number in [3, 9, 14, 34, 41, 49, 60, 5000, 0x1000_0030] {
        let reason = ExitReason::from_field(number);
        let unhandled = End::Unhandled { reason, qualification: 0x1234, rip: CODE };
        assert_eq!(end(reason), Err(unhandled));
    }
}
