// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every guest-state field after RESET and after INIT. The boxes of the checklist each have a test.

mod start_up;

use super::*;
use crate::vcpu::model::Model;
use crate::vcpu::msr_policy::MISC_ENABLE_AT_RESET;
use hyperv_bindings::enlightened_vmcs::FIELDS as PLACES;
use std::collections::BTreeMap;

/// What VMCSs hold before: bits that are to be set are clear in one of them, and those to be clear are set in the other.
const POISONS: [u8; 2] = [0xaa, 0x55];

/// Guest-state fields that count only with a VM-entry control that is not used: PERF_GLOBAL_CTRL, BNDCFGS, LBR_CTL,
/// S_CET, SSP and INTERRUPT_SSP_TABLE_ADDR.
const UNUSED: [u16; 6] = [0x2808, 0x2812, 0x2816, 0x6828, 0x682a, 0x682c];

/// Guest-state fields that INIT leaves alone: DEBUGCTL, PAT, SYSENTER_CS, _ESP and _EIP.
const KEPT_BY_INIT: [u16; 5] = [0x2802, 0x2804, 0x482a, 0x6824, 0x6826];

/// Encodings and values, spelled out: ES, CS, SS, DS, FS, GS, LDTR, TR of each property of segments.
fn segments() -> impl Iterator<Item = (u16, u64)> {
    let selectors = [0, 0xf000, 0, 0, 0, 0, 0, 0];
    let limits = [0xffff; 8];
    let rights = [0x93, 0x9b, 0x93, 0x93, 0x93, 0x93, 0x82, 0x8b];
    let bases = [0, 0xffff_0000, 0, 0, 0, 0, 0, 0];
    let rows = [(0x800, selectors), (0x4800, limits), (0x4814, rights), (0x6806, bases)];
    rows.into_iter().flat_map(|(first, values)| (first..).step_by(2).zip(values))
}

/// SDM vol. 3, "Processor States Following Power-up, Reset, or INIT", by encoding.
fn after_reset() -> BTreeMap<u16, u64> {
    let others = [
        // VMCS link pointer, DEBUGCTL, PAT, EFER, PDPTEs.
        (0x2800, u64::MAX),
        (0x2802, 0),
        (0x2804, 0x0007_0406_0007_0406),
        (0x2806, 0),
        (0x280a, 0),
        (0x280c, 0),
        (0x280e, 0),
        (0x2810, 0),
        // GDTR, IDTR.
        (0x4810, 0xffff),
        (0x6816, 0),
        (0x4812, 0xffff),
        (0x6818, 0),
        // Interruptibility, activity, pending debug exceptions.
        (0x4824, 0),
        (0x4826, 0),
        (0x6822, 0),
        // SYSENTER_CS, _ESP, _EIP.
        (0x482a, 0),
        (0x6824, 0),
        (0x6826, 0),
        // DR7, RSP, RIP, RFLAGS.
        (0x681a, 0x400),
        (0x681c, 0),
        (0x681e, 0xfff0),
        (0x6820, 2),
        // CR0 and CR4: NE and VMXE because VMX demands them, MCE because it is ours. What the guest sees of them. CR3.
        (0x6800, 0x30),
        (0x6004, 0x6000_0010),
        (0x6804, 0x2040),
        (0x6006, 0),
        (0x6802, 0),
        // What is injected, which is no guest state but must not be left over.
        (0x4016, 0),
    ];
    others.into_iter().chain(segments()).collect()
}

fn is_guest_state(encoding: u16) -> bool {
    encoding >> 10 & 3 == 2
}

/// Compares each field of the VMCS with what is `expected`; guest state that is not expected has to be unused.
#[track_caller]
fn assert_fields(model: &Model, expected: &BTreeMap<u16, u64>) {
    for place in PLACES {
        let value = model.raw(place.offset, place.size);
        match expected.get(&place.encoding) {
            Some(&expected) => assert_eq!(value, expected, "{:#x}: {value:#x}", place.encoding),
            None => {
                let unused = !is_guest_state(place.encoding) || UNUSED.contains(&place.encoding);
                assert!(unused, "{:#x} is forgotten", place.encoding);
            }
        }
    }
}

fn filled(value: u8, size: u16) -> u64 {
    u64::from_le_bytes([value; 8]) & u64::MAX >> (64 - 8 * size)
}

fn poisoned_and_reset(apic_id: u32, poison: u8) -> Model {
    let mut model = Model::poisoned(apic_id, poison);
    for number in 0..16 {
        model.guest().set_register(number, filled(poison, 8));
    }
    model.guest().reset(0);
    model
}

/// Another guest's VMCS in every field and register, then RESET.
#[test]
fn a3_poison_every_guest_field_is_written_by_reset() {
    for poison in POISONS {
        for apic_id in [0, 1] {
            assert_fields(&poisoned_and_reset(apic_id, poison), &after_reset());
        }
    }
}

#[test]
fn the_expected_values_name_every_guest_state_field_that_the_model_has() {
    let guest_state = PLACES.iter().filter(|place| is_guest_state(place.encoding)).count();
    // Beyond guest state: the two read shadows and what is injected.
    assert_eq!(after_reset().len() - 3, guest_state - UNUSED.len());
}

/// The model's VMCS has no place for these. An entry loads each of them only with a control that is never asked for, or,
/// SMBASE, only on the way out of system-management mode; the interrupt status where the processor plays the local APIC, which
/// needs a VMCS that has a place for it, and is written whenever that begins.
#[test]
fn guest_state_that_the_model_lacks_is_never_loaded() {
    let lacking = [
        (field::PML_INDEX.place(), "PML"),
        (field::GUEST_UINV.place(), "load UINV"),
        (field::GUEST_IA32_RTIT_CTL.place(), "load IA32_RTIT_CTL"),
        (field::GUEST_IA32_PKRS.place(), "load PKRS"),
        (field::GUEST_SMBASE.place(), "none"),
        (field::VMX_PREEMPTION_TIMER_VALUE.place(), "preemption timer"),
    ];
    assert!(lacking.iter().all(|(place, _)| place.is_none()));
    let asked = crate::vcpu::controls::required().union(crate::vcpu::controls::wanted());
    let loads = asked.secondary.enable_pml()
        || asked.entry.load_uinv()
        || asked.entry.load_ia32_rtit_ctl()
        || asked.entry.load_pkrs()
        || asked.pin_based.activate_vmx_preemption_timer();
    assert!(!loads);
}

/// SDM vol. 3, "Checks on Guest Control Registers, Debug Registers, and MSRs": an entry with the control and LMA in
/// disagreement fails.
#[test]
fn the_entry_control_for_64_bit_guests_is_cleared_and_the_others_are_kept() {
    for poison in POISONS {
        let mut model = poisoned_and_reset(0, poison);
        let before = u32::from_le_bytes([poison; 4]);
        assert_eq!(model.read(field::VM_ENTRY_CONTROLS), before & !(1 << 9));
    }
}

#[test]
fn what_is_ours_of_cr0_and_cr4_exits() {
    let mut model = poisoned_and_reset(0, 0xaa);
    // NE, NW and CD; of CR4 also bits that nobody has yet.
    assert_eq!(model.read(field::CR0_GUEST_HOST_MASK), 0x6000_0020);
    let cr4 = model.read(field::CR4_GUEST_HOST_MASK);
    let owned = [("VMXE", 13), ("SMXE", 14), ("LA57", 12), ("PKE", 22), ("CET", 23), ("PKS", 24), ("63", 63)];
    assert!(owned.iter().all(|(_, bit)| cr4 >> bit & 1 == 1), "{cr4:#x}");
    let free = [
        ("PAE", 5),
        ("PGE", 7),
        ("UMIP", 11),
        ("FSGSBASE", 16),
        ("PCIDE", 17),
        ("OSXSAVE", 18),
        ("SMAP", 21),
    ];
    assert!(free.iter().all(|(_, bit)| cr4 >> bit & 1 == 0), "{cr4:#x}");
}

/// General registers, of which only EDX is not zero: the processor's signature, here that of the model's CPUID leaf 1.
const REGISTERS: Registers = Registers {
    rax: 0,
    rcx: 0,
    rdx: 0x0003_06c3,
    rbx: 0,
    rbp: 0,
    rsi: 0,
    rdi: 0,
    r8: 0,
    r9: 0,
    r10: 0,
    r11: 0,
    r12: 0,
    r13: 0,
    r14: 0,
    r15: 0,
};

#[test]
fn a3_reset_produces_the_table() {
    let mut model = used(1);
    model.guest().reset(1_000);
    assert_fields(&model, &after_reset());
    assert_eq!(model.frame.registers, REGISTERS);
    assert_eq!(model.state.processor.xcr0(), 1);
    assert_eq!(model.state.misc_enable, MISC_ENABLE_AT_RESET);
    assert_eq!((model.state.tsc_adjust, model.state.guest_tsc(1_500)), (0, 500));
    assert_eq!(model.read(field::TSC_OFFSET), 1_000_u64.wrapping_neg());
    assert_eq!(model.state.apic.base(), 0xfee0_0800, "xAPIC mode");
    assert_nothing_waits(&model);
    assert_eq!(model.state.activity, Activity::WaitForSipi);
}

/// A vCPU in 64-bit mode with another value wherever RESET or INIT sets one.
fn used(apic_id: u32) -> Model {
    let mut model = Model::poisoned(apic_id, 0xaa);
    for number in 0..16 {
        model.guest().set_register(number, 0x5555);
    }
    model.write(field::GUEST_CR0, 0x8000_0031);
    model.write(field::CR0_READ_SHADOW, 0x8000_0011);
    let state = &mut model.state;
    // Enabled by software, x2APIC mode, an interrupt that waits.
    let _ = state.apic.mmio_write(0xf0, 0x1ff, 0);
    let _ = state.apic.set_base(0xfee0_0c00 | u64::from(apic_id == 0) << 8).expect("a legal step");
    let _ = state.apic.wrmsr(0x83f, 0x40, 0).expect("SELF IPI");
    assert_eq!(state.apic.pending(), Some(0x40));
    state.exception = Some(crate::vcpu::exception::Exception::GeneralProtection);
    state.nmi = true;
    state.yields = true;
    state.activity = Activity::Running;
    state.tsc.shift(123);
    state.tsc_adjust = 456;
    state.misc_enable = 0x1800;
    state.processor.set_xcr0(7);
    state.processor.set_dr6(0xffff_4ff1);
    state.attention = false;
    state.flush_linear = false;
    state.timer_changed = false;
    model
}

#[track_caller]
fn assert_nothing_waits(model: &Model) {
    let state = &model.state;
    assert_eq!((state.exception, state.nmi, state.yields, state.apic.pending()), (None, false, false, None));
    assert_eq!(state.apic.next_deadline(), None);
    assert!(state.attention && state.timer_changed, "windows and timer are to be set anew");
}

/// After INIT: as after RESET, but for what the poison shows to be untouched, and CR0.
fn after_init(shown_cr0: u64) -> BTreeMap<u16, u64> {
    let mut expected = after_reset();
    for encoding in KEPT_BY_INIT {
        expected.insert(encoding, filled(0xaa, evmcs_size(encoding)));
    }
    expected.insert(0x6004, shown_cr0);
    expected
}

/// SDM vol. 3, appendix B: bits 14:13 of the encoding.
fn evmcs_size(encoding: u16) -> u16 {
    [2, 8, 4, 8][usize::from(encoding >> 13 & 3)]
}

#[test]
fn a3_init_produces_the_table() {
    for apic_id in [0, 1] {
        let mut model = used(apic_id);
        model.guest().init();
        assert_fields(&model, &after_init(0x10));
        assert_eq!(model.frame.registers, REGISTERS);
        assert_eq!(model.state.processor.dr6(), 0xffff_0ff0);
        assert_nothing_waits(&model);
    }
}

#[test]
fn a3_cr3_is_zero_after_reset_and_init() {
    for act in [|guest: &mut Guest<'_>| guest.reset(0), |guest: &mut Guest<'_>| guest.init()] {
        let mut model = used(1);
        act(&mut model.guest());
        assert_eq!(model.read(field::GUEST_CR3), 0);
    }
}

#[test]
fn a3_cd_and_nw_are_preserved_on_init() {
    for kept in [0, 0x4000_0000, 0x6000_0000] {
        let mut model = used(1);
        model.write(field::CR0_READ_SHADOW, 0x8005_003b | kept);
        model.guest().init();
        assert_eq!(model.read(field::CR0_READ_SHADOW), 0x10 | kept);
        // The processor itself runs cached.
        assert_eq!(model.read(field::GUEST_CR0), 0x30);
    }
}

#[test]
fn a3_linear_mappings_are_dropped_on_reset_and_on_init() {
    let mut model = used(1);
    model.guest().init();
    assert!(model.state.flush_linear && model.state.attention);
    // Always: also where paging was off.
    model.state.flush_linear = false;
    model.guest().init();
    assert!(model.state.flush_linear);
    model.state.flush_linear = false;
    model.guest().reset(0);
    assert!(model.state.flush_linear);
}

#[test]
fn a3_xcr0_pat_and_msrs_are_kept_on_init() {
    let mut model = used(1);
    model.guest().init();
    assert_eq!(model.state.processor.xcr0(), 7);
    assert_eq!(model.read(field::GUEST_IA32_PAT), 0xaaaa_aaaa_aaaa_aaaa);
    assert_eq!(model.read(field::GUEST_IA32_SYSENTER_EIP), 0xaaaa_aaaa_aaaa_aaaa);
    let state = &model.state;
    assert_eq!((state.tsc.at(0), state.tsc_adjust, state.misc_enable), (123, 456, 0x1800));
    assert_eq!(state.apic.base(), 0xfee0_0c00, "x2APIC mode");
}

#[test]
fn reset_and_init_put_the_bootstrap_processor_at_the_reset_vector_and_let_others_wait() {
    for (apic_id, activity) in [(0, Activity::Running), (1, Activity::WaitForSipi)] {
        for act in [|guest: &mut Guest<'_>| guest.reset(0), |guest: &mut Guest<'_>| guest.init()] {
            let mut model = used(apic_id);
            model.state.activity = Activity::Halted;
            act(&mut model.guest());
            assert_eq!(model.state.activity, activity);
            let start = model.read(field::GUEST_CS_BASE) + model.read(field::GUEST_RIP);
            assert_eq!(start, 0xffff_fff0);
        }
    }
}
