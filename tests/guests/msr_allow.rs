// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MSRs that a guest may use keep what is written to them across exits, and the CPU acts by them.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: SYSCALL, SYSENTER and SWAPGS are assembly.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::cpuid;
use tests::msr;
use tests::physical;
use tests::ports;
use tests::serial;
use tests::time;
use tests::verdict::expect_eq;

tests::program!(run);

/// MSRs with two values each that the architecture allows.
const ALLOWED: [(u32, [u64; 2]); 14] = [
    (msr::FS_BASE, [0x0000_7fff_ffff_f000, 0xffff_8000_0000_0000]),
    (msr::GS_BASE, [0xffff_ffff_ffff_fff8, 0x0000_1234_5678_9abc]),
    (msr::KERNEL_GS_BASE, [0xffff_9876_5432_1000, 0x0000_0000_0000_1000]),
    (msr::STAR, [0xfedc_ba98_7654_3210, 0x0123_4567_89ab_cdef]),
    (msr::LSTAR, [0xffff_ffff_8123_4567, 0x0000_7654_3210_fedc]),
    (msr::CSTAR, [0xffff_ffff_8765_4321, 0x0000_0000_dead_beef]),
    (msr::FMASK, [0x0004_7700, 0x0000_0200]),
    (msr::SYSENTER_CS, [0x1234, 0x10]),
    (msr::SYSENTER_ESP, [0xffff_ffff_9000_0000, 0x0000_0001_0000_0000]),
    (msr::SYSENTER_EIP, [0xffff_ffff_a000_0000, 0x0000_0002_0000_0000]),
    (msr::PAT, [0x0007_0406_0007_0406, 0x0001_0405_0607_0006]),
    (msr::EFER, [0xd01, 0x500]),
    (msr::TSC_AUX, [0xffff_ffff, 0x8000_0001]),
    (msr::TSC_ADJUST, [0x1_0000_0000, 0]),
];

fn run() {
    for side in [0, 1, 0, 1] {
        all_keep_their_values(side);
    }
    msr::set(msr::EFER, 0xd00);
    bases_move_segments();
    swapgs_exchanges_the_bases();
    tsc_aux_is_what_rdtscp_reads();
    syscall_goes_where_lstar_says();
    sysenter_goes_where_sysenter_eip_says();
}

/// All are written first, so that none can stand in for another; then the guest exits in several ways; then all are read.
fn all_keep_their_values(side: usize) {
    for (number, values) in ALLOWED {
        msr::set(number, values[side]);
    }
    for _ in 0..10 {
        let _ = (cpuid::leaf(0), ports::in_u8(serial::LINE_STATUS), msr::get(msr::APIC_BASE));
    }
    for (number, values) in ALLOWED {
        expect_eq(format_args!("MSR {number:#x} after exits"), msr::get(number), values[side]);
    }
}

fn bases_move_segments() {
    let ram = physical::image().end;
    for (number, base) in [(msr::FS_BASE, ram), (msr::GS_BASE, ram + 0x100)] {
        physical::write(base + 8, base ^ 0x5555);
        msr::set(number, base);
    }
    let _ = cpuid::leaf(0);
    let (fs, gs): (u64, u64);
    // SAFETY: both bases point to free RAM.
    unsafe { asm!("mov {}, fs:[8]", "mov {}, gs:[8]", out(reg) fs, out(reg) gs) };
    expect_eq("what FS and GS reach", (fs, gs), (ram ^ 0x5555, (ram + 0x100) ^ 0x5555));
}

fn swapgs_exchanges_the_bases() {
    msr::set(msr::GS_BASE, 0x1111);
    msr::set(msr::KERNEL_GS_BASE, 0x2222);
    // SAFETY: nothing uses GS.
    unsafe { asm!("swapgs") };
    expect_eq("GS_BASE, KERNEL_GS_BASE after SWAPGS", bases(), (0x2222, 0x1111));
    // SAFETY: as above.
    unsafe { asm!("swapgs") };
    expect_eq("GS_BASE, KERNEL_GS_BASE after two SWAPGS", bases(), (0x1111, 0x2222));
}

fn bases() -> (u64, u64) {
    (msr::get(msr::GS_BASE), msr::get(msr::KERNEL_GS_BASE))
}

fn tsc_aux_is_what_rdtscp_reads() {
    for aux in [0, 0x1234_5678, u32::MAX] {
        msr::set(msr::TSC_AUX, aux.into());
        let _ = cpuid::leaf(0);
        expect_eq("ECX of RDTSCP", time::tsc_and_aux().1, aux);
    }
}

/// STAR names the runtime's own segments, so that SYSCALL in ring 0 comes back to them.
fn syscall_goes_where_lstar_says() {
    msr::set(msr::STAR, 0x08 << 32);
    msr::set(msr::FMASK, 0x0000_0001);
    msr::set(msr::EFER, msr::get(msr::EFER) | msr::EFER_SCE);
    let (missed, return_offset, flags): (u64, u64, u64);
    // SAFETY: LSTAR is the label behind; SYSCALL does not use the stack.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "mov rdx, rax",
            "shr rdx, 32",
            "mov ecx, {lstar}",
            "wrmsr",
            "mov eax, 0x40000000",
            "push rbx",
            "cpuid",
            "pop rbx",
            "xor r8d, r8d",
            "stc",
            "syscall",
            "3: mov r8d, 1",
            "2: pushfq",
            "pop rax",
            "lea rdx, [rip + 3b]",
            "sub rcx, rdx",
            lstar = const msr::LSTAR,
            out("rax") flags, out("rcx") return_offset, out("rdx") _, out("r8") missed, out("r11") _,
        );
    }
    expect_eq("SYSCALL went to LSTAR", missed, 0);
    expect_eq("SYSCALL leaves the next address in RCX", return_offset, 0);
    expect_eq("SYSCALL clears what FMASK has (CF)", flags & 1, 0);
}

fn sysenter_goes_where_sysenter_eip_says() {
    msr::set(msr::SYSENTER_CS, 0x08);
    let (missed, stack_moved): (u64, u64);
    // SAFETY: SYSENTER_EIP is the label behind, SYSENTER_ESP the stack as it is.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "mov rdx, rax",
            "shr rdx, 32",
            "mov ecx, {eip}",
            "wrmsr",
            "lea rax, [rsp - 64]",
            "mov rdx, rax",
            "shr rdx, 32",
            "mov ecx, {esp}",
            "wrmsr",
            "mov eax, 0x40000000",
            "push rbx",
            "cpuid",
            "pop rbx",
            "xor r8d, r8d",
            "mov r9, rsp",
            "sysenter",
            "mov r8d, 1",
            "2: mov rax, r9",
            "sub rax, rsp",
            "mov rsp, r9",
            eip = const msr::SYSENTER_EIP,
            esp = const msr::SYSENTER_ESP,
            out("rax") stack_moved, out("rcx") _, out("rdx") _, out("r8") missed, out("r9") _,
        );
    }
    expect_eq("SYSENTER went to SYSENTER_EIP", missed, 0);
    expect_eq("SYSENTER took SYSENTER_ESP", stack_moved, 64);
}
