// SPDX-License-Identifier: MIT OR Apache-2.0
//! RDTSC and RDTSCP that exit read what RDMSR reads.

use crate::cpu::hardware;
use crate::cpu::timeline::Multiplier;
use crate::cpu::timeline::Timeline;
use crate::vcpu::model::Model;
use crate::vmx::exit::ExitReason;
use core::arch::x86_64::__cpuid;

/// A guest whose TSC ticks once in `slower` ticks of this processor's.
fn slowed(slower: u64) -> Model {
    let mut model = Model::long_64();
    let multiplier = Multiplier::of(1, slower).unwrap();
    let guest = model.guest();
    let mut vmcs = guest.vmcs;
    guest.state.tsc.follow(Timeline::AT_START.resumed(0, 0, 0, multiplier), &mut vmcs, false);
    model.frame.registers.rax = u64::MAX;
    model.frame.registers.rdx = u64::MAX;
    model.frame.registers.rcx = u64::MAX;
    model
}

fn reads(model: &mut Model, reason: ExitReason) -> u64 {
    model.executes(reason);
    let registers = &model.frame.registers;
    assert!(registers.rax >> 32 == 0 && registers.rdx >> 32 == 0, "the upper halves are cleared");
    registers.rdx << 32 | registers.rax
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn a_read_is_the_guests_tsc() {
    for slower in [1, 2, 1_000] {
        let mut model = slowed(slower);
        model.state.tsc.shift(1 << 33);
        let before = hardware::tsc();
        let read = reads(&mut model, ExitReason::RDTSC);
        let range = (1 << 33) + before / slower..=(1 << 33) + hardware::tsc() / slower;
        assert!(range.contains(&read), "{read} in {range:?}");
        assert_eq!(model.frame.registers.rcx, u64::MAX, "RDTSC leaves RCX alone");
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn rdtscp_also_reads_the_processors_number() {
    const RDTSCP: u32 = 1 << 27;
    if __cpuid(0x8000_0001).edx & RDTSCP == 0 {
        return;
    }
    let mut model = slowed(2);
    let before = hardware::tsc();
    let read = reads(&mut model, ExitReason::RDTSCP);
    assert!((before / 2..=hardware::tsc() / 2).contains(&read));
    // The host's, which keeps a small number in it.
    assert_eq!(model.frame.registers.rcx >> 32, 0);
}
