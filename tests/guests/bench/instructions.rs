// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that exit, or may, in loops.
//!
//! A round is the assembly that stands beside the name, then DEC and JNZ, which `empty` has alone; nothing is subtracted.

// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::bench::Bench;
use tests::bench::Often;
use tests::cpuid;
use tests::hyperv;
use tests::io_apic;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::pit;
use tests::ports;
use tests::serial;
use tests::verdict::expect_eq;

/// ACPI's timer.
const PM_TIMER: u16 = 0x608;
/// A call that Hyper-V does not know. KVM looks into RAX, and does not know number 0.
const UNKNOWN_CALL: u64 = 0x7fff;
/// HV_STATUS_INVALID_HYPERCALL_CODE (TLFS, "Hypercall Status Codes").
const INVALID_HYPERCALL_CODE: u64 = 2;
/// -1000 (Linux, `uapi/linux/kvm_para.h`).
const NOT_IMPLEMENTED: u64 = 1000_u64.wrapping_neg();

/// Ticks of so many rounds of `$body`. R8 counts them; the registers of operands have their values in the first round, and what the
/// body leaves in them later.
macro_rules! rounds {
    ($body:literal $(, in($register:tt) $value:expr)*) => {
        |rounds: u64| {
            let ticks: u64;
            // SAFETY: the body reads or writes a register of the machine that nothing else here uses. RBX, which CPUID
            // changes, is put back.
            unsafe {
                asm!(
                    "mov r13, rbx",
                    "mov r11, rax",
                    "mov r9, rdx",
                    "rdtsc",
                    "shl rdx, 32",
                    "or rax, rdx",
                    "mov r12, rax",
                    "mov rax, r11",
                    "mov rdx, r9",
                    "2:",
                    $body,
                    "dec r8",
                    "jnz 2b",
                    "rdtsc",
                    "shl rdx, 32",
                    "or rax, rdx",
                    "sub rax, r12",
                    "mov r12, rax",
                    "mov rbx, r13",
                    in("r8") rounds,
                    $(in($register) $value,)*
                    out("r12") ticks,
                    out("r13") _,
                    clobber_abi("sysv64"),
                );
            }
            ticks
        }
    };
}

pub fn measure(bench: &mut Bench) {
    let mut measure = |name: &str, act: &mut dyn FnMut(u64) -> u64| bench.measure(name, Often::AT_WILL, act);
    measure("empty", &mut rounds!(""));
    measure("cpuid", &mut rounds!("xor eax, eax\n cpuid"));
    if prepare_vmcall() {
        measure("vmcall", &mut rounds!("xor eax, eax\n vmcall", in("rcx") UNKNOWN_CALL, in("rdx") 0_u64));
    }
    measure("rdmsr_apic_base", &mut rounds!("rdmsr", in("ecx") msr::APIC_BASE));
    let apic = LocalApic::current();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | local_apic::MASKED);
    let mut deadline = rounds!("wrmsr", in("ecx") msr::TSC_DEADLINE, in("eax") 0, in("edx") 0);
    measure("wrmsr_tsc_deadline", &mut deadline);

    ports::out_u8(pit::CONTROL, 0b0001_0100);
    ports::out_u8(pit::CHANNEL_0, 0);
    measure("pit_count", &mut rounds!("in al, dx", in("dx") pit::CHANNEL_0));
    pit::run_out();
    measure("uart_status", &mut rounds!("in al, dx", in("dx") serial::LINE_STATUS));
    measure("pm_timer", &mut rounds!("in eax, dx", in("dx") PM_TIMER));

    let _ = io_apic::read(io_apic::ID);
    measure("mmio_read", &mut rounds!("mov eax, [rdi]", in("rdi") io_apic::WINDOW));
    measure("xapic_read", &mut rounds!("mov eax, [rdi]", in("rdi") in_xapic(Register::ID)));
    let mut eoi = rounds!("mov [rdi], esi", in("rdi") in_xapic(Register::END_OF_INTERRUPT), in("esi") 0);
    measure("xapic_eoi", &mut eoi);
}

/// Has the processor play the task priority from here on, where Satori leaves that to guests that use it.
pub fn measure_cr8(bench: &mut Bench) {
    bench.measure("cr8_read", Often::AT_WILL, &mut rounds!("mov rax, cr8"));
    bench.measure("cr8_write", Often::AT_WILL, &mut rounds!("mov cr8, rax", in("rax") 0_u64));
}

/// Changes to x2APIC mode for good.
pub fn measure_x2apic(bench: &mut Bench) {
    if LocalApic::into_x2apic().is_some() {
        let msr = Register::END_OF_INTERRUPT.msr();
        let mut eoi = rounds!("wrmsr", in("ecx") msr, in("eax") 0, in("edx") 0);
        bench.measure("x2apic_eoi", Often::AT_WILL, &mut eoi);
    }
}

/// Tells a virtio device of its first queue.
pub fn notify(port: u16) -> impl FnMut(u64) -> u64 {
    move |times| rounds!("out dx, ax", in("dx") port, in("ax") 0_u16)(times)
}

fn in_xapic(register: Register) -> u64 {
    local_apic::BASE + u64::from(register.0)
}

/// Whether somebody answers VMCALL: Hyper-V's interface, to whom the guest has to say first who it is, or KVM.
fn prepare_vmcall() -> bool {
    let refusal = match &cpuid::hypervisor() {
        b"Microsoft Hv" => {
            // That is enough. The hypercall page, an overlay, would leave memory in more pieces than it was in.
            msr::set(hyperv::GUEST_OS_ID, hyperv::SOME_SYSTEM);
            INVALID_HYPERCALL_CODE
        }
        b"KVMKVMKVM\0\0\0" => NOT_IMPLEMENTED,
        _ => return false,
    };
    expect_eq("VMCALL with an unknown number", hyperv::vmcall(UNKNOWN_CALL, 0), Ok(refusal));
    true
}
