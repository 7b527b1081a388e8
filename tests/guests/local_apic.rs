// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC, by memory through many instructions and by MSRs: registers, priorities, EOI, errors, change of mode.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the instructions that reach the registers are chosen one by one, which only assembly can do.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::exceptions::GP0;
use tests::exceptions::code;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const XAPIC: LocalApic = LocalApic::XApic;
const X2APIC: LocalApic = LocalApic::X2Apic;

fn run() {
    expect_eq("mode at the start", LocalApic::current(), XAPIC);
    let _ = LocalApic::enabled();
    identity(XAPIC);
    instructions_read();
    instructions_write();
    instructions_modify();
    destinations_of_the_xapic();
    for mode in [XAPIC, X2APIC] {
        if mode == X2APIC {
            to_x2apic_and_its_state_is_kept();
        }
        service_and_eoi(mode);
        illegal_vectors_are_errors(mode);
        software_disable_masks(mode);
    }
    identity(X2APIC);
    x2apic_msrs_check_what_is_written();
    self_ipi_is_an_interrupt();
    disabling_resets();
}

fn identity(apic: LocalApic) {
    let id = if apic == XAPIC { apic.read(Register::ID) >> 24 } else { apic.read(Register::ID) };
    expect_eq("APIC ID of the only CPU", id, 0);
    let version = apic.read(Register::VERSION);
    expect_eq("version: an integrated APIC", version >> 4 & 0xf, 1);
    expect("at least timer, LINT0, LINT1 and error are in the local vector table", version >> 16 & 0xff >= 3);
}

/// What `$instruction` leaves in EAX, where RDI points to the task priority and EAX holds ones before.
macro_rules! eax_after {
    ($instruction:literal) => {{
        let address = local_apic::BASE + u64::from(Register::TASK_PRIORITY.0);
        let rax: u64;
        // SAFETY: reads and writes the task priority only.
        unsafe { asm!($instruction, in("rdi") address, inout("rax") u64::MAX => rax, out("rcx") _, out("r13") _) };
        rax
    }};
}

fn instructions_read() {
    XAPIC.write(Register::TASK_PRIORITY, 0xa5);
    expect_eq("mov eax, [rdi]", eax_after!("mov eax, [rdi]"), 0xa5);
    expect_eq(
        "mov r13d, [rdi + rcx * 4 - 0x40]",
        eax_after!("mov ecx, 16\n mov r13d, [rdi + rcx * 4 - 0x40]\n mov rax, r13"),
        0xa5,
    );
    expect_eq("mov eax, moffs", eax_after!("movabs eax, [0xfee00080]"), 0xa5);
    expect_eq("movzx eax, byte ptr", eax_after!("movzx eax, byte ptr [rdi]"), 0xa5);
    expect_eq("movzx eax, word ptr", eax_after!("movzx eax, word ptr [rdi]"), 0xa5);
    expect_eq("test, not zero", eax_after!("test dword ptr [rdi], 0x80\n setnz al\n movzx eax, al"), 1);
    expect_eq("test, zero", eax_after!("test dword ptr [rdi], 0x5a\n setz al\n movzx eax, al"), 1);
    expect_eq("cmp, equal", eax_after!("cmp dword ptr [rdi], 0xa5\n sete al\n movzx eax, al"), 1);
    expect_eq("cmp, below", eax_after!("cmp dword ptr [rdi], 0xa6\n setb al\n movzx eax, al"), 1);
    expect_eq("cmp reg, mem", eax_after!("mov ecx, 0xa6\n cmp ecx, [rdi]\n seta al\n movzx eax, al"), 1);
    expect_eq("the task priority is unchanged", XAPIC.read(Register::TASK_PRIORITY), 0xa5);
    XAPIC.write(Register::TASK_PRIORITY, 0);
}

fn instructions_write() {
    let priority_after = |_: u64| XAPIC.read(Register::TASK_PRIORITY);
    expect_eq("mov [rdi], imm", priority_after(eax_after!("mov dword ptr [rdi], 0x31")), 0x31);
    expect_eq("mov [rdi], eax", priority_after(eax_after!("mov eax, 0x42\n mov [rdi], eax")), 0x42);
    expect_eq("mov [rdi], r13d", priority_after(eax_after!("mov r13d, 0x53\n mov [rdi], r13d")), 0x53);
    expect_eq("mov moffs, eax", priority_after(eax_after!("mov eax, 0x64\n movabs [0xfee00080], eax")), 0x64);
    XAPIC.write(Register::TASK_PRIORITY, 0);
}

/// Each reads, computes and writes back; flags are those of the computation.
fn instructions_modify() {
    XAPIC.write(Register::TASK_PRIORITY, 0xf0);
    let modified = |rax: u64| (rax & 0xff, XAPIC.read(Register::TASK_PRIORITY));
    expect_eq("and [rdi], imm", modified(eax_after!("and dword ptr [rdi], 0x3c\n setnz al")), (1, 0x30));
    expect_eq("or [rdi], imm", modified(eax_after!("or dword ptr [rdi], 0x05\n setnp al")), (0, 0x35));
    expect_eq("and [rdi], ecx", modified(eax_after!("mov ecx, 0xf1\n and [rdi], ecx\n setnp al")), (1, 0x31));
    expect_eq("or [rdi], ecx", modified(eax_after!("mov ecx, 0x0e\n or [rdi], ecx\n sets al")), (0, 0x3f));
    expect_eq("xchg [rdi], eax", modified(eax_after!("mov eax, 0x77\n xchg [rdi], eax")), (0x3f, 0x77));
    expect_eq("and to zero", modified(eax_after!("and dword ptr [rdi], 0x88\n setz al")), (1, 0));
}

/// The one CPU is reached by its physical ID, by its logical ID, and by "all"; not by others, nor by "all but self".
fn destinations_of_the_xapic() {
    const LOGICAL: u32 = 1 << 11;
    const ALL: u32 = 2 << 18;
    const ALL_BUT_SELF: u32 = 3 << 18;
    XAPIC.write(Register::DESTINATION_FORMAT, u32::MAX);
    XAPIC.write(Register::LOGICAL_DESTINATION, 0x0400_0000);
    expect_eq("logical destination", XAPIC.read(Register::LOGICAL_DESTINATION), 0x0400_0000);
    for (destination, command, arrives) in [
        (0x00, 0x60, true),
        (0xff, 0x61, true),
        (0x07, 0x62, false),
        (0x04, LOGICAL | 0x63, true),
        (0x06, LOGICAL | 0x64, true),
        (0x03, LOGICAL | 0x65, false),
        (0x07, ALL | 0x66, true),
        (0x00, ALL_BUT_SELF | 0x67, false),
    ] {
        interrupts::forget();
        XAPIC.write(Register::INTERRUPT_COMMAND_HIGH, destination << 24);
        XAPIC.write(Register::INTERRUPT_COMMAND, command);
        interrupts::take_pending();
        let expected = arrives.then_some(command as u8);
        expect_eq(format_args!("IPI {command:#x} to {destination:#x}"), interrupts::vectors(), [expected]);
    }
}

fn to_x2apic_and_its_state_is_kept() {
    XAPIC.write(Register::LVT_LINT0, local_apic::MASKED | 0x5a);
    XAPIC.write(Register::TASK_PRIORITY, 0x30);
    let base = msr::get(msr::APIC_BASE);
    msr::set(msr::APIC_BASE, base | msr::APIC_BASE_EXTD);
    expect_eq("mode after EXTD was set", LocalApic::current(), X2APIC);
    expect_eq("LINT0 after the change of mode", X2APIC.read(Register::LVT_LINT0), local_apic::MASKED | 0x5a);
    expect_eq("task priority after the change of mode", X2APIC.read(Register::TASK_PRIORITY), 0x30);
    X2APIC.write(Register::TASK_PRIORITY, 0);
}

fn service_and_eoi(apic: LocalApic) {
    let state = |vector| {
        [Register::INTERRUPT_REQUEST, Register::IN_SERVICE, Register::TRIGGER_MODE]
            .map(|r| apic.has(r, vector))
    };
    let priority = || apic.read(Register::PROCESSOR_PRIORITY);
    interrupts::forget();
    interrupts::acknowledge(false);
    expect_eq("processor priority, idle", priority(), 0);
    apic.interrupt_self(0x51);
    expect_eq("IRR, ISR, TMR of 0x51, pending", state(0x51), [true, false, false]);
    interrupts::take_pending();
    expect_eq("IRR, ISR, TMR of 0x51, in service", state(0x51), [false, true, false]);
    expect_eq("processor priority in service", priority(), 0x50);
    // The same class and lower ones wait; a higher one nests.
    [0x41, 0x5f, 0x62].into_iter().for_each(|vector| apic.interrupt_self(vector));
    interrupts::take_pending();
    expect_eq("vectors before EOI", interrupts::vectors(), [Some(0x51), Some(0x62), None]);
    expect_eq("processor priority, nested", priority(), 0x60);
    apic.end_of_interrupt();
    expect_eq("ISR of 0x62 and 0x51 after EOI", (state(0x62)[1], state(0x51)[1]), (false, true));
    expect_eq("processor priority after EOI", priority(), 0x50);
    interrupts::take_pending();
    expect_eq("interrupts after the inner EOI", interrupts::count(), 2);
    apic.end_of_interrupt();
    interrupts::take_pending();
    expect_eq("vectors after the outer EOI", interrupts::vectors(), [0x51, 0x62, 0x5f].map(Some));
    apic.end_of_interrupt();
    interrupts::take_pending();
    expect_eq("vectors after all", interrupts::vectors(), [0x51, 0x62, 0x5f, 0x41].map(Some));
    apic.end_of_interrupt();
    // One too many does nothing.
    apic.end_of_interrupt();
    expect_eq("processor priority after all", priority(), 0);
    interrupts::acknowledge(true);
}

/// Vectors below 16 cannot be sent: bit 5 of the error status, shown by the next write to it, and an error interrupt.
fn illegal_vectors_are_errors(apic: LocalApic) {
    interrupts::forget();
    apic.write(Register::LVT_ERROR, 0x71);
    apic.write(Register::ERROR_STATUS, 0);
    apic.write(Register::ERROR_STATUS, 0);
    expect_eq("error status before", apic.read(Register::ERROR_STATUS), 0);
    apic.interrupt_self(0x05);
    apic.write(Register::ERROR_STATUS, 0);
    let status = apic.read(Register::ERROR_STATUS);
    apic.write(Register::LVT_ERROR, local_apic::MASKED | 0x71);
    interrupts::take_pending();
    expect_eq("error status: send illegal vector", status & 1 << 5, 1 << 5);
    expect_eq("the error interrupt", interrupts::vectors(), [Some(0x71), None]);
    apic.write(Register::ERROR_STATUS, 0);
    expect_eq("error status after", apic.read(Register::ERROR_STATUS), 0);
}

/// SDM volume 3, 12.4.7.2: a disabled APIC masks its local vectors, and does not let them be unmasked.
fn software_disable_masks(apic: LocalApic) {
    let enabled = apic.read(Register::SPURIOUS);
    apic.write(Register::LVT_ERROR, 0x71);
    expect_eq("error vector while enabled", apic.read(Register::LVT_ERROR), 0x71);
    apic.write(Register::SPURIOUS, enabled & !local_apic::SOFTWARE_ENABLE);
    expect_eq("spurious vector while disabled", apic.read(Register::SPURIOUS), enabled & 0xff);
    expect_eq("error vector while disabled", apic.read(Register::LVT_ERROR), local_apic::MASKED | 0x71);
    apic.write(Register::LVT_ERROR, 0x72);
    expect_eq(
        "error vector, written while disabled",
        apic.read(Register::LVT_ERROR),
        local_apic::MASKED | 0x72,
    );
    apic.write(Register::SPURIOUS, enabled);
    expect_eq("error vector, enabled again", apic.read(Register::LVT_ERROR), local_apic::MASKED | 0x72);
}

/// SDM volume 3, 12.12.1: what is not there, or is read-only, write-only or reserved, raises #GP(0).
fn x2apic_msrs_check_what_is_written() {
    let own = Register::ID.msr();
    expect_eq("x2APIC logical ID of APIC 0", msr::read(Register::LOGICAL_DESTINATION.msr()), Ok(1));
    for number in [Register::DESTINATION_FORMAT.msr(), Register::INTERRUPT_COMMAND_HIGH.msr(), 0x840, 0x8ff] {
        expect_eq(format_args!("RDMSR {number:#x}, absent"), code(msr::read(number)), GP0);
        expect_eq(format_args!("WRMSR {number:#x}, absent"), code(msr::write(number, 0)), GP0);
    }
    for register in [Register::END_OF_INTERRUPT, Register::SELF_IPI] {
        expect_eq(format_args!("RDMSR of {register:x?}, write-only"), code(msr::read(register.msr())), GP0);
    }
    for number in
        [own, Register::VERSION.msr(), Register::PROCESSOR_PRIORITY.msr(), Register::CURRENT_COUNT.msr()]
    {
        expect_eq(format_args!("WRMSR {number:#x}, read-only"), code(msr::write(number, 0)), GP0);
    }
    for (register, value) in [
        (Register::TASK_PRIORITY, 0x100),
        (Register::TASK_PRIORITY, 1 << 32),
        (Register::END_OF_INTERRUPT, 1),
        (Register::ERROR_STATUS, 1),
        (Register::SELF_IPI, 0x100),
        (Register::LVT_TIMER, 1 << 32),
        (Register::DIVIDE, 0x10),
        (Register::INITIAL_COUNT, 1 << 32),
    ] {
        let outcome = code(msr::write(register.msr(), value));
        expect_eq(format_args!("WRMSR of {register:x?} with {value:#x}, reserved"), outcome, GP0);
    }
}

fn self_ipi_is_an_interrupt() {
    interrupts::forget();
    msr::set(Register::SELF_IPI.msr(), 0x66);
    // The whole command is one write: physical destination 0, fixed.
    msr::set(Register::INTERRUPT_COMMAND.msr(), 0x67);
    msr::set(Register::INTERRUPT_COMMAND.msr(), 0x7 << 32 | 0x68);
    expect_eq("interrupt command reads", msr::read(Register::INTERRUPT_COMMAND.msr()), Ok(0x7 << 32 | 0x68));
    interrupts::take_pending();
    expect_eq("vectors by x2APIC", interrupts::vectors(), [Some(0x67), Some(0x66), None]);
}

/// The way back to xAPIC leads through "disabled", and that forgets (SDM volume 3, 12.12.5.1).
fn disabling_resets() {
    let base = msr::get(msr::APIC_BASE);
    msr::set(msr::APIC_BASE, base & !(msr::APIC_BASE_EN | msr::APIC_BASE_EXTD));
    msr::set(msr::APIC_BASE, base & !msr::APIC_BASE_EXTD);
    expect_eq("mode after all", LocalApic::current(), XAPIC);
    expect_eq("spurious vector register, reset", XAPIC.read(Register::SPURIOUS), 0xff);
    expect_eq("LINT0, reset", XAPIC.read(Register::LVT_LINT0), local_apic::MASKED);
    let _ = LocalApic::enabled();
    service_and_eoi(XAPIC);
}
