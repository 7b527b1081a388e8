// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest may do to CR0, CR4 and CR8, and what the processor then has.

use super::*;
use crate::vcpu::model::DATA;
use crate::vcpu::model::Model;
use crate::vcpu::model::PHYSICAL_BITS;
use crate::vcpu::model::RAM;

// Spelled out once more, so that the tests do not lean on the code.
const EXTENSION_TYPE: u64 = 0x10;
const NUMERIC_ERROR: u64 = 0x20;
const NOT_WRITE_THROUGH: u64 = 0x2000_0000;
const CACHE_DISABLE: u64 = 0x4000_0000;
const PAGING: u64 = 0x8000_0000;
const PAE: u64 = 0x20;
const VMXE: u64 = 0x2000;
const PCIDE: u64 = 0x2_0000;
const EFER_LME: u64 = 0x100;
const EFER_LMA: u64 = 0x400;

/// PE and ET: CR0 as the guest sees it at first in protected mode.
const PROTECTED: u64 = 0x11;
const LONG: u64 = PAGING | PROTECTED;
const LONG_CODE: u32 = 1 << 13;
const MOV_TO: u8 = 0;
const MOV_FROM: u8 = 1;
const RBX: u8 = 3;
const RSP: u8 = 4;

fn qualify(model: &mut Model, register: u8, access: u8, general_register: u8) {
    let qualification = ControlRegisterQualification::new()
        .with_register(register)
        .with_access(access)
        .with_general_register(general_register);
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
}

fn prepare(model: &mut Model, register: u8, value: u64) {
    qualify(model, register, MOV_TO, RBX);
    model.guest().set_register(RBX, value);
}

#[track_caller]
fn sets_cr0(model: &mut Model, value: u64) {
    prepare(model, 0, value);
    model.executes(ExitReason::CONTROL_REGISTER);
}

#[track_caller]
fn refuses_cr0(model: &mut Model, value: u64) {
    prepare(model, 0, value);
    model.raises(ExitReason::CONTROL_REGISTER, Exception::GeneralProtection);
}

/// With long mode active, in a segment that is not of 64-bit code.
fn compatibility() -> Model {
    let mut model = Model::long_64();
    let rights = model.read(field::GUEST_CS_ACCESS_RIGHTS);
    model.write(field::GUEST_CS_ACCESS_RIGHTS, rights & !LONG_CODE);
    model
}

/// Without paging, LME set: what a kernel does before it goes to 64-bit mode.
fn before_long_mode(cr4: u64) -> Model {
    let mut model = Model::protected_32();
    model.write(field::GUEST_IA32_EFER, EFER_LME);
    model.write(field::GUEST_CR4, cr4 | VMXE);
    model
}

/// Without paging, about to use PAE paging with these directory pointers.
fn before_pae(pointers: [u64; 4]) -> Model {
    let mut model = Model::protected_32();
    model.write(field::GUEST_CR4, PAE | VMXE);
    // Its low five bits do not count.
    model.write(field::GUEST_CR3, DATA | 0x18);
    model.store(DATA, &pointers.map(u64::to_le_bytes).concat());
    model
}

fn directory_pointers(model: &mut Model) -> [u64; 4] {
    [field::GUEST_PDPTE0, field::GUEST_PDPTE1, field::GUEST_PDPTE2, field::GUEST_PDPTE3]
        .map(|field| model.read(field))
}

fn ia32e_mode_guest(model: &mut Model) -> bool {
    EntryControls::from_bits(model.read(field::VM_ENTRY_CONTROLS)).ia32e_mode_guest()
}

/// SDM vol. 2B, MOV—Move to/from Control Registers: protected-mode and 64-bit mode exceptions.
#[test]
fn each_rule_for_cr0_is_kept() {
    type Rule = (&'static str, fn() -> Model, u64);
    let rules: [Rule; 8] = [
        ("bit 32 and up", Model::long_64, LONG | 1 << 32),
        ("bit 63", Model::long_64, LONG | 1 << 63),
        ("PG without PE", Model::protected_32, PAGING | 0x10),
        ("NW without CD", Model::protected_32, PROTECTED | NOT_WRITE_THROUGH),
        ("paging off in 64-bit mode", Model::long_64, PROTECTED),
        (
            "paging off with PCIDE",
            || {
                let mut model = compatibility();
                model.write(field::GUEST_CR4, PCIDE | PAE | VMXE);
                model
            },
            PROTECTED,
        ),
        ("long mode without PAE", || before_long_mode(0), LONG),
        (
            "long mode with CS.L",
            || {
                let mut model = before_long_mode(PAE);
                let rights = model.read(field::GUEST_CS_ACCESS_RIGHTS);
                model.write(field::GUEST_CS_ACCESS_RIGHTS, rights | LONG_CODE);
                model
            },
            LONG,
        ),
    ];
    for (rule, model, value) in rules {
        println!("{rule}");
        refuses_cr0(&mut model(), value);
    }
}

#[test]
fn outside_of_64_bit_mode_the_upper_half_of_the_register_does_not_count() {
    for mut model in [Model::protected_32(), compatibility()] {
        let value = model.read(field::CR0_READ_SHADOW) | NUMERIC_ERROR;
        sets_cr0(&mut model, 0xdead_beef << 32 | value);
        assert_eq!(model.read(field::CR0_READ_SHADOW), value);
    }
}

/// SDM vol. 3, "Initializing IA-32e Mode".
#[test]
fn paging_with_lme_activates_long_mode() {
    let mut model = before_long_mode(PAE);
    assert!(!ia32e_mode_guest(&mut model));
    sets_cr0(&mut model, LONG);
    assert_eq!(model.read(field::GUEST_IA32_EFER), EFER_LME | EFER_LMA);
    assert!(ia32e_mode_guest(&mut model));
    assert_eq!(model.read(field::GUEST_CR0), LONG | NUMERIC_ERROR);
    assert_eq!(directory_pointers(&mut model), [0; 4], "those are of PAE paging");
}

/// SDM vol. 3, "Switching Out of IA-32e Mode Operation".
#[test]
fn paging_off_deactivates_long_mode() {
    let mut model = compatibility();
    assert!(ia32e_mode_guest(&mut model));
    sets_cr0(&mut model, PROTECTED);
    assert_eq!(model.read(field::GUEST_IA32_EFER), EFER_LME);
    assert!(!ia32e_mode_guest(&mut model));
    assert_eq!(model.read(field::GUEST_CR0), PROTECTED | NUMERIC_ERROR);
}

#[test]
fn with_paging_unchanged_long_mode_stays_as_it_is() {
    let mut model = Model::long_64();
    sets_cr0(&mut model, LONG | NUMERIC_ERROR);
    assert_eq!(model.read(field::GUEST_IA32_EFER), EFER_LME | EFER_LMA);
    assert!(ia32e_mode_guest(&mut model));
    let mut model = Model::protected_32();
    model.write(field::GUEST_IA32_EFER, EFER_LME);
    sets_cr0(&mut model, PROTECTED | CACHE_DISABLE);
    assert_eq!(model.read(field::GUEST_IA32_EFER), EFER_LME);
    assert!(!ia32e_mode_guest(&mut model));
}

/// SDM vol. 3, "PDPTE Registers": of a pointer that is not present only bit 0 counts.
#[test]
fn pae_paging_takes_its_directory_pointers_from_memory() {
    let pointers = [0x1001, 0xffff_ffff_ffff_fffe, 0x7f_ffff_f019, 0xe01];
    let mut model = before_pae(pointers);
    sets_cr0(&mut model, LONG);
    assert_eq!(directory_pointers(&mut model), pointers);
    assert_eq!(model.read(field::GUEST_IA32_EFER), 0);
}

#[test]
fn bad_directory_pointers_are_refused() {
    let reserved = [1, 2, 5, 6, 7, 8, PHYSICAL_BITS.into(), 51, 52, 63];
    for bit in reserved {
        for position in 0..4 {
            let mut pointers = [0x1001; 4];
            pointers[position] |= 1_u64 << bit;
            refuses_cr0(&mut before_pae(pointers), LONG);
        }
    }
    for nowhere in [RAM - 0x1000 + 0xff0, RAM, 0xfee0_0000, 0xffff_ffe0] {
        let mut model = before_pae([0; 4]);
        model.write(field::GUEST_CR3, nowhere);
        if nowhere < RAM {
            // Whole tables are aligned, and so in RAM as a whole.
            sets_cr0(&mut model, LONG);
        } else {
            refuses_cr0(&mut model, LONG);
        }
    }
}

/// SDM vol. 3, "PDPTE Registers": a change of CD or NW loads them too; one of other bits does not.
#[test]
fn with_pae_paging_on_a_change_of_the_cache_bits_loads_directory_pointers() {
    let mut model = before_pae([0x1001; 4]);
    sets_cr0(&mut model, LONG);
    model.store(DATA, &0x2001_u64.to_le_bytes());
    sets_cr0(&mut model, LONG | NUMERIC_ERROR);
    assert_eq!(directory_pointers(&mut model)[0], 0x1001);
    sets_cr0(&mut model, LONG | CACHE_DISABLE);
    assert_eq!(directory_pointers(&mut model)[0], 0x2001);
    model.store(DATA, &0x2003_u64.to_le_bytes());
    refuses_cr0(&mut model, LONG);
    sets_cr0(&mut model, PROTECTED | CACHE_DISABLE);
}

#[test]
fn ne_and_the_cache_bits_are_shown_to_the_guest_and_kept_from_the_processor() {
    let owned = [
        0,
        NUMERIC_ERROR,
        CACHE_DISABLE,
        CACHE_DISABLE | NOT_WRITE_THROUGH,
        CACHE_DISABLE | NOT_WRITE_THROUGH | NUMERIC_ERROR,
    ];
    for bits in owned {
        let mut model = Model::long_64();
        sets_cr0(&mut model, LONG | bits);
        assert_eq!(model.read(field::CR0_READ_SHADOW) & CR0_OWNED, bits);
        assert_eq!(model.read(field::GUEST_CR0), LONG | NUMERIC_ERROR);
    }
}

/// SDM vol. 3, "Control Registers": ET is hardwired, and what is reserved below bit 32 stays clear.
#[test]
fn et_stays_set_and_reserved_bits_stay_clear() {
    let mut model = Model::protected_32();
    sets_cr0(&mut model, 0x1ffa_ffc0 | CACHE_DISABLE | 1);
    assert_eq!(model.read(field::CR0_READ_SHADOW), CACHE_DISABLE | PROTECTED);
    assert_eq!(model.read(field::GUEST_CR0), PROTECTED | NUMERIC_ERROR);
}

#[test]
fn all_that_is_the_guests_goes_with_what_is_ours() {
    const MP_EM_TS_WP_AM: u64 = 0b1110 | 1 << 16 | 1 << 18;
    let mut model = Model::protected_32();
    sets_cr0(&mut model, PROTECTED | MP_EM_TS_WP_AM | CACHE_DISABLE);
    assert_eq!(model.read(field::GUEST_CR0), PROTECTED | MP_EM_TS_WP_AM | NUMERIC_ERROR);
    // Back to real mode.
    sets_cr0(&mut model, NUMERIC_ERROR);
    assert_eq!(model.read(field::GUEST_CR0), EXTENSION_TYPE | NUMERIC_ERROR);
}

#[test]
fn what_exits_of_cr4_is_refused() {
    let mut model = Model::long_64();
    prepare(&mut model, 4, PAE | VMXE);
    model.raises(ExitReason::CONTROL_REGISTER, Exception::GeneralProtection);
}

/// SDM vol. 3, "Task Priority in IA-32e Mode".
#[test]
fn cr8_is_the_class_of_the_task_priority() {
    let mut model = Model::long_64();
    for class in 0..16 {
        model.state.attention = false;
        prepare(&mut model, 8, class);
        model.executes(ExitReason::CONTROL_REGISTER);
        assert_eq!(u64::from(model.state.apic.processor_priority()), class << 4);
        assert!(model.state.attention, "an interrupt may be above it now");
        for register in [RBX, RSP, 15] {
            qualify(&mut model, 8, MOV_FROM, register);
            model.guest().set_register(register, u64::MAX);
            model.executes(ExitReason::CONTROL_REGISTER);
            assert_eq!(model.guest().register(register), class);
        }
    }
}

#[test]
fn cr8_has_no_more_than_four_bits() {
    let mut model = Model::long_64();
    for bit in 4..64 {
        prepare(&mut model, 8, 1 << bit | 3);
        model.raises(ExitReason::CONTROL_REGISTER, Exception::GeneralProtection);
    }
}

#[test]
fn an_access_that_does_not_exit_with_our_controls_ends_the_vm_with_a_report() {
    const CLTS: u8 = 2;
    const LMSW: u8 = 3;
    for (register, access) in [(0, CLTS), (0, LMSW), (0, MOV_FROM), (3, MOV_TO), (3, MOV_FROM), (15, MOV_TO)]
    {
        let mut model = Model::long_64();
        qualify(&mut model, register, access, RBX);
        let (qualification, rip) = (model.read(field::EXIT_QUALIFICATION), model.read(field::GUEST_RIP));
        let end = End::Unhandled { reason: ExitReason::CONTROL_REGISTER, qualification, rip };
        assert_eq!(model.exit(ExitReason::CONTROL_REGISTER), Err(end));
    }
}

#[test]
fn turning_paging_off_drops_linear_mappings() {
    let mut model = compatibility();
    model.state.flush_linear = false;
    sets_cr0(&mut model, PROTECTED);
    assert!(model.state.flush_linear);
}

/// MCE is ours: the guest sees what it wrote, and the processor always has it.
#[test]
fn machine_checks_stay_on_whatever_the_guest_writes() {
    let mut model = Model::long_64();
    let wanted = PAE | cr4::MCE | cr4::OSXSAVE;
    for value in [wanted, wanted & !cr4::MCE] {
        prepare(&mut model, 4, value);
        model.executes(ExitReason::CONTROL_REGISTER);
        assert_eq!(model.read(field::CR4_READ_SHADOW), value);
        assert_eq!(model.read(field::GUEST_CR4), value | cr4::MCE | VMXE);
    }
}

#[test]
fn cr4_refuses_what_is_not_offered_what_the_processor_lacks_and_what_cannot_be() {
    // VMXE is not offered, the model's processor has no UMIP, and long mode needs PAE.
    for value in [PAE | VMXE, PAE | cr4::UMIP, cr4::MCE, PAE | 1 << 63] {
        let mut model = Model::long_64();
        prepare(&mut model, 4, value);
        model.raises(ExitReason::CONTROL_REGISTER, Exception::GeneralProtection);
        assert_eq!(model.read(field::GUEST_CR4), PAE | cr4::MCE | VMXE);
    }
}

/// SDM vol. 2B, "MOV—Move to/from Control Registers".
#[test]
fn there_is_no_long_mode_with_a_16_bit_task() {
    let mut model = before_long_mode(1 << 5);
    model.write(field::GUEST_TR_ACCESS_RIGHTS, 0x83);
    refuses_cr0(&mut model, LONG);
}
