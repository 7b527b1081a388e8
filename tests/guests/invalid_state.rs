// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a guest does to make its own state invalid for the next VM entry, it gets what the architecture says, and lives.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: single steps are over single instructions, which only assembly can place.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::attempt;
use tests::control;
use tests::cpuid;
use tests::exceptions;
use tests::exceptions::Exception;
use tests::exceptions::GP0;
use tests::exceptions::code;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::serial;
use tests::start_info;
use tests::verdict::expect_eq;

tests::program!(run);

fn run() {
    single_steps_end_emulated_instructions();
    mov_ss_holds_the_single_step();
    sti_does_not_hold_the_single_step();
    each_element_of_a_string_is_a_step();
    the_single_step_comes_before_an_interrupt();
    non_canonical_msrs_are_refused();
    invalid_cr0_is_refused();
    invalid_cr3_is_refused();
    invalid_cr4_is_refused();
    invalid_cr8_is_refused();
    invalid_debug_registers_are_refused();
    invalid_xcr0_is_refused();
    long_mode_cannot_be_left_by_efer();
    there_is_no_vmx();
    // After all of that the machine is whole.
    single_steps_end_emulated_instructions();
}

/// Steps through `$body` with TF set, and expects a #DB with DR6.BS at each of the labels 5, 6 and 7 and nowhere else
/// but around them: label 5 is behind the first instruction of the body that traps.
///
/// TF is set by POPF, and traps from the next instruction on; the last trap is behind the POPF that clears it.
macro_rules! single_step {
    ($what:literal, $body:literal) => {{
        interrupts::forget();
        let (first, second): (u64, u64);
        // SAFETY: changes registers and flags only; RBX is kept.
        unsafe {
            asm!(
                "mov r9, rbx",
                "mov r11d, ss",
                "pushfq",
                "or qword ptr [rsp], {tf}",
                "popfq",
                $body,
                "6: pushfq",
                "and qword ptr [rsp], {not_tf}",
                "popfq",
                "mov rbx, r9",
                "lea rax, [rip + 5b]",
                "lea rdx, [rip + 6b]",
                tf = const control::RFLAGS_TF,
                not_tf = const !control::RFLAGS_TF as i32,
                out("rax") first,
                out("rdx") second,
                in("rdi") local_apic::BASE + 0x30,
                in("rsi") u64::from(serial::LINE_STATUS),
                out("r9") _, out("r10") _, out("r11") _, out("rcx") _,
            );
        }
        let step = |number| interrupts::event(number).map(|event| (event.vector, event.rip, event.dr6));
        let db = |rip| Some((exceptions::DEBUG, rip, control::DR6_INIT | control::DR6_BS));
        expect_eq(concat!($what, ", first step"), step(0), db(first));
        expect_eq(concat!($what, ", second step"), step(1), db(second));
        // Then PUSHF, AND and POPF.
        expect_eq(concat!($what, ", steps in all"), interrupts::count(), 5);
    }};
}

/// Each of these exits and is done by the hypervisor; the #DB is due behind it as if the CPU had done it.
fn single_steps_end_emulated_instructions() {
    for _ in 0..3 {
        single_step!("NOP", "nop\n 5: nop");
        single_step!("CPUID", "cpuid\n 5: nop");
        single_step!("RDMSR", "mov ecx, 0x1b\n 5: rdmsr");
        single_step!("IN", "mov edx, esi\n 5: in al, dx");
        single_step!("a device's memory", "mov eax, [rdi]\n 5: nop");
        single_step!("MOV to CR8", "xor eax, eax\n 5: mov cr8, rax");
        single_step!("MOV to CR0", "mov rax, cr0\n 5: mov cr0, rax");
        single_step!("MOV to CR4", "mov rax, cr4\n 5: mov cr4, rax");
        single_step!("WBINVD", "wbinvd\n 5: cpuid");
    }
}

/// The shadow of MOV SS holds the #DB back for one instruction. Here that one exits: "blocking by MOV SS" must be gone
/// at the next entry, and the #DB pending (SDM volume 3, 27.3.1.5 would fail the entry otherwise).
fn mov_ss_holds_the_single_step() {
    single_step!("MOV SS; NOP", "mov ss, r11w\n nop\n 5: nop");
    single_step!("MOV SS; CPUID", "mov ss, r11w\n cpuid\n 5: nop");
    single_step!("MOV SS; RDTSC", "mov ss, r11w\n rdtsc\n 5: nop");
    single_step!("MOV SS; a device's memory", "mov ss, r11w\n mov eax, [rdi]\n 5: cpuid");
}

fn sti_does_not_hold_the_single_step() {
    single_step!("STI; CPUID", "sti\n 5: cpuid");
    interrupts::disable();
}

/// With TF, #DB comes after each iteration of a repeated instruction, at that instruction while there is more to do.
fn each_element_of_a_string_is_a_step() {
    interrupts::forget();
    let (instruction, behind): (u64, u64);
    let mut buffer = [0_u8; 4];
    // SAFETY: writes three bytes of the buffer.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], {tf}",
            "popfq",
            "5: rep insb",
            "6: pushfq",
            "and qword ptr [rsp], {not_tf}",
            "popfq",
            "lea rax, [rip + 5b]",
            "lea rdx, [rip + 6b]",
            tf = const control::RFLAGS_TF,
            not_tf = const !control::RFLAGS_TF as i32,
            out("rax") instruction,
            inout("rdx") 0x5000_u64 => behind,
            inout("rdi") &raw mut buffer => _,
            inout("ecx") 3 => _,
        );
    }
    let steps = [0, 1, 2].map(|number| interrupts::event(number).map(|event| event.rip));
    expect_eq("steps of REP INSB", steps, [instruction, instruction, behind].map(Some));
    expect_eq("steps of REP INSB, in all", interrupts::count(), 6);
    expect_eq("what REP INSB wrote", buffer, [0xff, 0xff, 0xff, 0]);
}

/// The instruction that is stepped over makes an interrupt pending: #DB is a trap and comes first (SDM volume 3, 7.9).
fn the_single_step_comes_before_an_interrupt() {
    let _ = LocalApic::enabled();
    interrupts::forget();
    let behind: u64;
    // SAFETY: the handlers return.
    unsafe {
        asm!(
            "sti",
            "pushfq",
            "or qword ptr [rsp], {tf}",
            "popfq",
            "mov [rdi], esi",
            "5: pushfq",
            "and qword ptr [rsp], {not_tf}",
            "popfq",
            "cli",
            "lea rax, [rip + 5b]",
            tf = const control::RFLAGS_TF,
            not_tf = const !control::RFLAGS_TF as i32,
            out("rax") behind,
            in("rdi") local_apic::BASE + u64::from(Register::INTERRUPT_COMMAND.0),
            in("esi") local_apic::SELF | 0x40,
        );
    }
    let events = [0, 1].map(|number| interrupts::event(number).map(|event| (event.vector, event.rip)));
    expect_eq("single step, then interrupt", events, [(exceptions::DEBUG, behind), (0x40, behind)].map(Some));
    expect_eq("single steps and an interrupt, in all", interrupts::count(), 5);
}

fn non_canonical_msrs_are_refused() {
    const EVERYWHERE: [u32; 5] = [msr::FS_BASE, msr::GS_BASE, msr::KERNEL_GS_BASE, msr::LSTAR, msr::CSTAR];
    const SYSENTER: [u32; 2] = [msr::SYSENTER_EIP, msr::SYSENTER_ESP];
    // Where KVM is below Satori, it makes these two canonical instead of refusing them.
    let below_kvm = start_info::number("kvm-below").is_some();
    for number in EVERYWHERE.into_iter().chain(SYSENTER.into_iter().filter(|_| !below_kvm)) {
        let before = msr::get(number);
        for value in [0x0000_8000_0000_0000, 0x8000_0000_0000_0000, 0xfffe_ffff_ffff_ffff] {
            expect_eq(
                format_args!("WRMSR {number:#x} with {value:#x}"),
                code(msr::write(number, value)),
                GP0,
            );
        }
        expect_eq(format_args!("MSR {number:#x} after that"), msr::get(number), before);
    }
}

/// Each value is refused, and the register is as before.
fn refused(name: &str, read: fn() -> u64, write: fn(u64) -> Result<(), Exception>, values: &[u64]) {
    let before = read();
    for value in values {
        expect_eq(format_args!("{name} with {value:#x}"), code(write(*value)), GP0);
        let _ = cpuid::leaf(0);
        expect_eq(format_args!("{name} after refused {value:#x}"), read(), before);
    }
}

fn invalid_cr0_is_refused() {
    let cr0 = control::cr0();
    refused(
        "CR0",
        control::cr0,
        control::write_cr0,
        &[
            cr0 & !control::CR0_PE,
            // Paging may not end in 64-bit mode.
            cr0 & !control::CR0_PG,
            (cr0 | control::CR0_NW) & !control::CR0_CD,
            cr0 | 1 << 32,
            cr0 | 1 << 63,
        ],
    );
    // CD is allowed, with NW and without.
    for bits in [control::CR0_CD, control::CR0_CD | control::CR0_NW, 0] {
        expect_eq("CR0 takes CD and NW", control::write_cr0(cr0 & !control::CR0_CD | bits), Ok(()));
        expect_eq("CR0 has CD and NW", control::cr0() & (control::CR0_CD | control::CR0_NW), bits);
    }
}

fn invalid_cr3_is_refused() {
    let cr3 = control::cr3();
    refused("CR3", control::cr3, control::write_cr3, &[cr3 | 1 << 52, cr3 | 1 << 62]);
}

fn invalid_cr4_is_refused() {
    let cr4 = control::cr4();
    let values = [
        cr4 | control::CR4_VMXE,
        cr4 & !control::CR4_PAE,
        cr4 | 1 << 15,
        cr4 | 1 << 31,
        cr4 | 1 << 32,
        cr4 | 1 << 63,
    ];
    refused("CR4", control::cr4, control::write_cr4, &values);
    // What is allowed is taken.
    for bits in [control::CR4_PGE, control::CR4_DE, control::CR4_OSFXSR, 0] {
        expect_eq("CR4 takes", control::write_cr4(cr4 | bits), Ok(()));
        expect_eq("CR4 reads", control::cr4(), cr4 | bits);
    }
    expect_eq("CR4 is as before", control::write_cr4(cr4), Ok(()));
}

fn invalid_cr8_is_refused() {
    refused("CR8", control::cr8, control::write_cr8, &[16, 0xff, 1 << 32, u64::MAX]);
}

fn invalid_debug_registers_are_refused() {
    refused("DR7", control::dr7, control::write_dr7, &[1 << 32, 1 << 63]);
    refused("DR6", control::dr6, control::write_dr6, &[1 << 32, 1 << 63]);
}

/// SDM volume 1, 13.3: x87 is always on, AVX needs SSE, and what CPUID does not offer is reserved.
fn invalid_xcr0_is_refused() {
    let cr4 = control::cr4();
    let undefined = Err((exceptions::INVALID_OPCODE, 0));
    expect_eq("XSETBV without CR4.OSXSAVE", code(control::write_xcr(0, 1)), undefined);
    expect_eq("CR4 takes OSXSAVE", control::write_cr4(cr4 | control::CR4_OSXSAVE), Ok(()));
    for good in [1, 3, 7, 1] {
        expect_eq(format_args!("XCR0 takes {good}"), control::write_xcr(0, good), Ok(()));
        for bad in [0, 2, 4, 5, 6, 1 << 63 | 1, 1 << 62 | 1, 1 << 32 | 1, u64::MAX] {
            expect_eq(format_args!("XSETBV with {bad:#x}"), code(control::write_xcr(0, bad)), GP0);
        }
        expect_eq("XSETBV of XCR1", code(control::write_xcr(1, 1)), GP0);
        expect_eq("XSETBV of XCR 0xffffffff", code(control::write_xcr(u32::MAX, 1)), GP0);
        expect_eq("XCR0 after that", control::xcr0(), Ok(good));
    }
    expect_eq("CR4 is as before", control::write_cr4(cr4), Ok(()));
}

fn long_mode_cannot_be_left_by_efer() {
    let efer = msr::get(msr::EFER);
    expect_eq("EFER.LMA and LME", efer & 0x500, msr::EFER_LMA | msr::EFER_LME);
    for value in [efer & !msr::EFER_LME, efer & !(msr::EFER_LME | msr::EFER_LMA)] {
        expect_eq(format_args!("EFER with {value:#x}"), code(msr::write(msr::EFER, value)), GP0);
        expect_eq("EFER after that", msr::get(msr::EFER), efer);
    }
}

/// VMX is not offered, so its instructions are undefined. Some of them exit whatever the guest's CR4 says.
fn there_is_no_vmx() {
    let undefined = Err((exceptions::INVALID_OPCODE, 0));
    let operand = [0_u64; 2];
    let pointer = &raw const operand;
    // SAFETY: they must fault; the operand is there if they do not.
    let outcomes = unsafe {
        [
            ("VMXON", attempt!("vmxon [{x}]", x = in(reg) pointer)),
            ("VMPTRLD", attempt!("vmptrld [{x}]", x = in(reg) pointer)),
            ("VMCLEAR", attempt!("vmclear [{x}]", x = in(reg) pointer)),
            ("VMREAD", attempt!("vmread {x}, {x}", x = inout(reg) 0_u64 => _)),
            ("VMWRITE", attempt!("vmwrite {x}, {x}", x = in(reg) 0_u64)),
            ("VMLAUNCH", attempt!("vmlaunch")),
            ("VMRESUME", attempt!("vmresume")),
            ("VMXOFF", attempt!("vmxoff")),
            ("INVEPT", attempt!("invept {t}, [{x}]", t = in(reg) 2_u64, x = in(reg) pointer)),
            ("INVVPID", attempt!("invvpid {t}, [{x}]", t = in(reg) 2_u64, x = in(reg) pointer)),
        ]
    };
    for (name, outcome) in outcomes {
        expect_eq(name, code(outcome), undefined);
    }
}
