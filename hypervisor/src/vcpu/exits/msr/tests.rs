// SPDX-License-Identifier: MIT OR Apache-2.0
//! What RDMSR and WRMSR do to the VMCS and the vCPU, and that a refused one does nothing.

use super::*;
use crate::irqchip::local_apic::Mode;
use crate::vcpu::end::End;
use crate::vcpu::model::Model;
use crate::vcpu::msr_policy::MISC_ENABLE_AT_RESET;
use crate::vcpu::msr_policy::PAT_AT_RESET;
use crate::vmx::exit::ExitReason;

const X2APIC_MODE: u64 = 0xfee0_0d00;
const X2APIC_TPR: u32 = 0x808;
const X2APIC_SVR: u32 = 0x80f;
const X2APIC_ICR: u32 = 0x830;
const X2APIC_LVT_TIMER: u32 = 0x832;
const X2APIC_INITIAL_COUNT: u32 = 0x838;

/// Upper halves hold rubbish, which does not count.
fn prepare(model: &mut Model, msr: u32, value: u64) {
    let registers = &mut model.frame.registers;
    registers.rcx = 0xbad << 32 | u64::from(msr);
    registers.rax = 0xbad << 32 | value & 0xffff_ffff;
    registers.rdx = 0xbad << 32 | value >> 32;
}

#[track_caller]
fn wrmsr(model: &mut Model, msr: u32, value: u64) {
    prepare(model, msr, value);
    model.executes(ExitReason::WRMSR);
}

#[track_caller]
fn rdmsr(model: &mut Model, msr: u32) -> u64 {
    prepare(model, msr, u64::MAX);
    model.executes(ExitReason::RDMSR);
    let registers = &model.frame.registers;
    assert!(registers.rax >> 32 == 0 && registers.rdx >> 32 == 0, "upper halves are cleared");
    registers.rdx << 32 | registers.rax
}

#[track_caller]
fn refuses_write(model: &mut Model, msr: u32, value: u64) {
    prepare(model, msr, value);
    model.raises(ExitReason::WRMSR, Exception::GeneralProtection);
}

#[track_caller]
fn refuses_read(model: &mut Model, msr: u32) {
    prepare(model, msr, 0);
    model.raises(ExitReason::RDMSR, Exception::GeneralProtection);
}

fn x2apic() -> Model {
    let mut model = Model::long_64();
    wrmsr(&mut model, MsrIndex::APIC_BASE.0, X2APIC_MODE);
    model
}

#[test]
fn what_is_hidden_is_refused_and_changes_nothing() {
    let mut model = Model::long_64();
    let hidden = [0x3a, 0x48, 0xce, 0xfe, 0x10a, 0x2ff, 0x38f, 0x480, 0x4000_0000, 0xc001_0015, u32::MAX];
    let without_xsaves = 0xda0;
    for msr in hidden.into_iter().chain([without_xsaves]) {
        refuses_read(&mut model, msr);
        refuses_write(&mut model, msr, 0);
    }
}

/// Each from where the guest's own WRMSR has put it, without an exit.
#[test]
fn what_is_passed_through_is_read_all_the_same_where_the_bitmap_has_it_exit() {
    let mut model = Model::long_64();
    model.write(field::GUEST_IA32_SYSENTER_CS, 0x1111);
    let in_vmcs = [
        (MsrIndex::SYSENTER_ESP, field::GUEST_IA32_SYSENTER_ESP),
        (MsrIndex::SYSENTER_EIP, field::GUEST_IA32_SYSENTER_EIP),
        (MsrIndex::FS_BASE, field::GUEST_FS_BASE),
        (MsrIndex::GS_BASE, field::GUEST_GS_BASE),
    ];
    for (msr, field) in in_vmcs {
        model.write(field, 0xffff_8000_0000_0000 | u64::from(msr.0));
    }
    assert_eq!(rdmsr(&mut model, MsrIndex::SYSENTER_CS.0), 0x1111);
    for (msr, _) in in_vmcs {
        assert_eq!(rdmsr(&mut model, msr.0), 0xffff_8000_0000_0000 | u64::from(msr.0));
    }
    for msr in msr_policy::held_by_processor() {
        assert_eq!(rdmsr(&mut model, msr.0), 0, "as RESET leaves it");
    }
}

#[test]
fn no_msr_that_is_passed_through_is_forgotten_where_it_exits() {
    let mut model = Model::long_64();
    let all = (0..0x2000).chain(0xc000_0000..0xc000_2000);
    let passed_through = all.filter(|&msr| matches!(policy_of(MsrIndex(msr)), Policy::PassThrough(_)));
    assert_eq!(passed_through.map(|msr| _ = rdmsr(&mut model, msr)).count(), 11);
}

/// Nobody has writes of them exit.
#[test]
fn writes_of_what_is_passed_through_are_refused_where_they_exit() {
    let mut model = Model::long_64();
    for msr in [MsrIndex::LSTAR, MsrIndex::FS_BASE, MsrIndex::SYSENTER_EIP, MsrIndex::TSC_AUX] {
        refuses_write(&mut model, msr.0, 0);
    }
}

#[test]
fn constants_are_read_and_take_writes_as_the_table_says() {
    let mut model = Model::long_64();
    for msr in [MsrIndex::PLATFORM_ID, MsrIndex::BIOS_SIGN_ID, MsrIndex::MCG_CAP] {
        assert_eq!(rdmsr(&mut model, msr.0), 0);
    }
    wrmsr(&mut model, MsrIndex::BIOS_SIGN_ID.0, 5);
    assert_eq!(rdmsr(&mut model, MsrIndex::BIOS_SIGN_ID.0), 0);
    refuses_write(&mut model, MsrIndex::PLATFORM_ID.0, 0);
    refuses_write(&mut model, MsrIndex::MCG_CAP.0, 0);
}

/// SDM vol. 3, "Extended Feature Enable Register".
#[test]
fn efer_is_written_to_the_vmcs_with_lma_kept() {
    const SCE_NXE: u64 = 1 | 1 << 11;
    const LME: u64 = 1 << 8;
    const LMA: u64 = 1 << 10;
    let mut model = Model::long_64();
    wrmsr(&mut model, MsrIndex::EFER.0, LME | SCE_NXE);
    assert_eq!(model.read(field::GUEST_IA32_EFER), LME | LMA | SCE_NXE);
    assert_eq!(rdmsr(&mut model, MsrIndex::EFER.0), LME | LMA | SCE_NXE);
    refuses_write(&mut model, MsrIndex::EFER.0, SCE_NXE);
    refuses_write(&mut model, MsrIndex::EFER.0, LME | 1 << 12);

    let mut model = Model::protected_32();
    wrmsr(&mut model, MsrIndex::EFER.0, LME | LMA);
    assert_eq!(model.read(field::GUEST_IA32_EFER), LME);
}

#[test]
fn pat_and_debugctl_are_written_to_the_vmcs() {
    let mut model = Model::long_64();
    assert_eq!(rdmsr(&mut model, MsrIndex::PAT.0), PAT_AT_RESET);
    wrmsr(&mut model, MsrIndex::PAT.0, 0x0007_0106_0007_0106);
    assert_eq!(model.read(field::GUEST_IA32_PAT), 0x0007_0106_0007_0106);
    assert_eq!(rdmsr(&mut model, MsrIndex::PAT.0), 0x0007_0106_0007_0106);
    refuses_write(&mut model, MsrIndex::PAT.0, 2);

    wrmsr(&mut model, MsrIndex::DEBUGCTL.0, 2);
    assert_eq!(model.read(field::GUEST_IA32_DEBUGCTL), 2);
    assert_eq!(rdmsr(&mut model, MsrIndex::DEBUGCTL.0), 2);
    refuses_write(&mut model, MsrIndex::DEBUGCTL.0, 1);
}

#[test]
fn misc_enable_keeps_what_it_takes() {
    let mut model = Model::long_64();
    assert_eq!(rdmsr(&mut model, MsrIndex::MISC_ENABLE.0), MISC_ENABLE_AT_RESET);
    wrmsr(&mut model, MsrIndex::MISC_ENABLE.0, MISC_ENABLE_AT_RESET & !1);
    assert_eq!(rdmsr(&mut model, MsrIndex::MISC_ENABLE.0), MISC_ENABLE_AT_RESET & !1);
    refuses_write(&mut model, MsrIndex::MISC_ENABLE.0, 0);
}

/// SDM vol. 3, "Time-Stamp Counter Adjustment": a write to the TSC also adds its change to IA32_TSC_ADJUST.
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn a_write_to_the_tsc_moves_it_and_its_adjustment() {
    let mut model = Model::long_64();
    let offset_before = model.state.tsc.at(0);
    wrmsr(&mut model, MsrIndex::TIME_STAMP_COUNTER.0, 1 << 50);
    let first = rdmsr(&mut model, MsrIndex::TIME_STAMP_COUNTER.0);
    let second = rdmsr(&mut model, MsrIndex::TIME_STAMP_COUNTER.0);
    assert!((1 << 50..1 << 51).contains(&first) && second >= first, "{first:#x}, {second:#x}");
    assert_eq!(model.read(field::TSC_OFFSET), model.state.tsc.at(0));
    let change = model.state.tsc.at(0).wrapping_sub(offset_before);
    assert_eq!(rdmsr(&mut model, MsrIndex::TSC_ADJUST.0), change);
    assert!(model.state.timer_changed && model.state.attention, "the deadline is at another time now");
}

#[test]
fn a_write_to_the_adjustment_moves_the_tsc_by_the_difference() {
    let mut model = Model::long_64();
    let offset_before = model.state.tsc.at(0);
    for adjustment in [1000, 1000, u64::MAX, 0] {
        model.state.timer_changed = false;
        model.state.attention = false;
        wrmsr(&mut model, MsrIndex::TSC_ADJUST.0, adjustment);
        assert_eq!(rdmsr(&mut model, MsrIndex::TSC_ADJUST.0), adjustment);
        assert_eq!(model.state.tsc.at(0), offset_before.wrapping_add(adjustment));
        assert_eq!(model.read(field::TSC_OFFSET), model.state.tsc.at(0));
        assert!(model.state.timer_changed && model.state.attention);
    }
}

/// What only the timer of this CPU follows is no reason to look at all else.
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn a_deadline_asks_for_more_than_a_timer_only_if_the_one_before_was_due() {
    let mut model = x2apic();
    wrmsr(&mut model, X2APIC_SVR, 0x1ff);
    wrmsr(&mut model, X2APIC_LVT_TIMER, 2 << 17 | 0x40);
    for (deadline, asks_for_more) in [(u64::MAX - 1, false), (1, false), (u64::MAX - 1, true), (0, false)] {
        (model.state.attention, model.state.glance, model.state.timer_changed) = (false, false, false);
        wrmsr(&mut model, MsrIndex::TSC_DEADLINE.0, deadline);
        assert_eq!(model.state.attention, asks_for_more, "{deadline:#x}");
        assert!(model.state.glance && model.state.timer_changed);
    }
    assert_eq!(model.state.apic.pending(), Some(0x40), "the one that was due");
}

/// SDM vol. 3, "TSC-Deadline Mode".
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn a_deadline_counts_in_its_mode_only() {
    const DEADLINE_MODE: u64 = 2 << 17;
    const NEVER: u64 = u64::MAX - 1;
    let mut model = x2apic();
    wrmsr(&mut model, X2APIC_SVR, 0x1ff);
    model.state.timer_changed = false;
    wrmsr(&mut model, MsrIndex::TSC_DEADLINE.0, NEVER);
    assert_eq!(rdmsr(&mut model, MsrIndex::TSC_DEADLINE.0), 0);
    assert!(!model.state.timer_changed);
    wrmsr(&mut model, X2APIC_LVT_TIMER, DEADLINE_MODE | 0x40);
    model.state.timer_changed = false;
    wrmsr(&mut model, MsrIndex::TSC_DEADLINE.0, NEVER);
    assert_eq!(rdmsr(&mut model, MsrIndex::TSC_DEADLINE.0), NEVER);
    assert_eq!(model.state.apic.next_deadline(), Some(NEVER));
    assert!(core::mem::take(&mut model.state.timer_changed));
    wrmsr(&mut model, MsrIndex::TSC_DEADLINE.0, 0);
    assert_eq!(model.state.apic.next_deadline(), None);
    assert!(model.state.timer_changed);
}

#[test]
fn the_apic_base_changes_its_mode_by_the_legal_steps_only() {
    let mut model = Model::long_64();
    assert_eq!(rdmsr(&mut model, MsrIndex::APIC_BASE.0), 0xfee0_0900);
    for illegal in [0xfee0_0500, 0xfed0_0900, 0xfee0_0901, 1 << 39 | 0xfee0_0900] {
        refuses_write(&mut model, MsrIndex::APIC_BASE.0, illegal);
    }
    wrmsr(&mut model, MsrIndex::APIC_BASE.0, X2APIC_MODE);
    assert_eq!(model.state.apic.mode(), Mode::X2apic);
    refuses_write(&mut model, MsrIndex::APIC_BASE.0, 0xfee0_0900);
    model.state.timer_changed = false;
    wrmsr(&mut model, MsrIndex::APIC_BASE.0, 0xfee0_0100);
    assert_eq!(model.state.apic.mode(), Mode::Disabled);
    assert!(model.state.timer_changed, "its timer is gone");
}

/// SDM vol. 3, "x2APIC Register Address Space".
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn x2apic_registers_are_there_in_their_mode_only() {
    let mut model = Model::long_64();
    for msr in [0x800, 0x802, X2APIC_TPR, X2APIC_ICR, 0x83f, 0x8ff] {
        refuses_read(&mut model, msr);
        refuses_write(&mut model, msr, 0);
    }
    let mut model = x2apic();
    wrmsr(&mut model, X2APIC_TPR, 0x50);
    assert_eq!(rdmsr(&mut model, X2APIC_TPR), 0x50);
    assert_eq!(model.state.apic.cr8(), 5);
    refuses_write(&mut model, X2APIC_TPR, 0x100);
    refuses_write(&mut model, 0x803, 0);
    refuses_read(&mut model, 0x80b);
    refuses_read(&mut model, 0x840);
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn what_a_write_to_the_apic_asks_for_is_carried_out() {
    const FIXED_ALL: u64 = 2 << 18 | 0x41;
    const INIT_EVERYONE: u64 = 0xffff_ffff << 32 | 5 << 8 | 1 << 14;
    let mut model = x2apic();
    wrmsr(&mut model, X2APIC_SVR, 0x1ff);
    model.state.attention = false;
    wrmsr(&mut model, X2APIC_ICR, FIXED_ALL);
    assert_eq!(model.takes_mail(), Ok(()));
    assert_eq!(model.state.apic.pending(), Some(0x41));
    assert!(model.state.attention);
    wrmsr(&mut model, X2APIC_LVT_TIMER, 0x42);
    model.state.timer_changed = false;
    wrmsr(&mut model, X2APIC_INITIAL_COUNT, 1000);
    assert!(model.state.timer_changed && model.state.apic.next_deadline().is_some());
    wrmsr(&mut model, X2APIC_ICR, INIT_EVERYONE);
    assert_eq!(model.takes_mail(), Err(End::Init));
}
