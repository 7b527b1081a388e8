// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts are held, ordered and delivered as IF, shadows and priorities say; exceptions arrive with the right data.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: what is tested is between single instructions, which only assembly can place.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::attempt;
use tests::control;
use tests::cpuid;
use tests::exceptions;
use tests::exceptions::Exception;
use tests::exceptions::code;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::paging;
use tests::physical;
use tests::serial;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

fn run() {
    let apic = LocalApic::enabled();
    interrupts_wait_for_the_window(apic);
    higher_vectors_come_first(apic);
    the_task_priority_holds_lower_classes(apic);
    sti_shadows_one_instruction(apic);
    popf_has_no_shadow(apic);
    sti_and_cli_let_nothing_through(apic);
    mov_ss_shadows_one_instruction();
    non_maskable_interrupts_ignore_the_window();
    software_interrupts_are_delivered();
    delivery_reaches_untouched_memory(apic);
    exceptions_carry_their_error_codes();
    page_faults_carry_address_and_cause();
    breakpoints_trap();
}

/// Nothing arrives with IF clear, over exits; it waits in the IRR.
fn interrupts_wait_for_the_window(apic: LocalApic) {
    for vector in [0x20, 0x30, 0x6f, 0x80, 0xfe] {
        interrupts::forget();
        apic.interrupt_self(vector);
        for _ in 0..10 {
            let _ = cpuid::leaf(0);
        }
        expect_eq("interrupts with IF clear", interrupts::count(), 0);
        expect("the vector is in the IRR", apic.has(Register::INTERRUPT_REQUEST, vector));
        interrupts::take_pending();
        expect_eq("interrupts with IF set", interrupts::vectors(), [Some(vector), None]);
        expect("the vector left the IRR", !apic.has(Register::INTERRUPT_REQUEST, vector));
        expect("the vector left the ISR", !apic.has(Register::IN_SERVICE, vector));
    }
}

fn higher_vectors_come_first(apic: LocalApic) {
    interrupts::forget();
    for vector in [0x31, 0x51, 0x41, 0x55, 0x32, 0xe0, 0x51] {
        apic.interrupt_self(vector);
    }
    interrupts::take_pending();
    let expected = [0xe0, 0x55, 0x51, 0x41, 0x32, 0x31].map(Some);
    expect_eq("vectors in order", interrupts::vectors(), expected);
    expect_eq("a vector that was sent twice counts once", interrupts::count(), expected.len());
}

fn the_task_priority_holds_lower_classes(apic: LocalApic) {
    interrupts::forget();
    expect_eq("CR8 takes 4", control::write_cr8(4), Ok(()));
    expect_eq("task priority after CR8", apic.read(Register::TASK_PRIORITY), 0x40);
    for vector in [0x31, 0x41, 0x4f, 0x50] {
        apic.interrupt_self(vector);
    }
    interrupts::take_pending();
    expect_eq("with CR8 at 4", interrupts::vectors(), [Some(0x50), None]);
    // With IF set, the write itself lets the next ones through.
    interrupts::enable();
    expect_eq("CR8 takes 3", control::write_cr8(3), Ok(()));
    interrupts::disable();
    expect_eq("with CR8 at 3", interrupts::vectors(), [0x50, 0x4f, 0x41].map(Some));
    expect_eq("with CR8 at 3, in all", interrupts::count(), 3);
    apic.write(Register::TASK_PRIORITY, 0x20);
    expect_eq("CR8 after the task priority", control::cr8(), 2);
    interrupts::take_pending();
    expect_eq("with the task priority at 0x20", interrupts::vectors(), [0x50, 0x4f, 0x41, 0x31].map(Some));
    expect_eq("CR8 takes 0", control::write_cr8(0), Ok(()));
    expect_eq("task priority after CR8", apic.read(Register::TASK_PRIORITY), 0);
}

/// Runs `$body`, which has a label 3 where the one interrupt must arrive, and checks that it does.
macro_rules! arrives_at_3 {
    ($what:literal, $apic:expr, $body:literal) => {{
        interrupts::forget();
        $apic.interrupt_self(0x40);
        let expected: u64;
        // SAFETY: changes registers and flags only.
        unsafe {
            asm!(
                "mov r9, rbx",
                $body,
                "cli",
                "mov rbx, r9",
                "lea r10, [rip + 3b]",
                out("r10") expected,
                in("edi") serial::LINE_STATUS,
                clobber_abi("sysv64"),
            );
        }
        expect_eq($what, interrupts::event(0).map(|event| event.rip), Some(expected));
        expect_eq($what, interrupts::count(), 1);
    }};
}

fn sti_shadows_one_instruction(apic: LocalApic) {
    arrives_at_3!("sti; nop", apic, "sti\n nop\n 3: nop\n nop");
    // The instruction in the shadow exits, and is emulated; the shadow must end with it.
    arrives_at_3!("sti; cpuid", apic, "xor eax, eax\n sti\n cpuid\n 3: nop\n nop");
    arrives_at_3!("sti; in", apic, "mov edx, edi\n sti\n in al, dx\n 3: nop\n nop");
    arrives_at_3!("sti; rdmsr", apic, "mov ecx, 0x1b\n sti\n rdmsr\n 3: nop\n nop");
    arrives_at_3!("sti; hlt", apic, "sti\n hlt\n 3: nop\n nop");
    // Only the first STI has a shadow: IF is set at the second.
    arrives_at_3!("sti; sti", apic, "sti\n sti\n 3: nop\n nop");
}

fn popf_has_no_shadow(apic: LocalApic) {
    arrives_at_3!("popf", apic, "push 0x202\n popfq\n 3: nop\n nop");
}

fn sti_and_cli_let_nothing_through(apic: LocalApic) {
    interrupts::forget();
    apic.interrupt_self(0x40);
    for _ in 0..10 {
        // SAFETY: changes flags only.
        unsafe { asm!("sti", "cli", "nop") };
    }
    expect_eq("interrupts between STI and CLI", interrupts::count(), 0);
    interrupts::take_pending();
    expect_eq("interrupts after that", interrupts::count(), 1);
}

/// The interrupt becomes pending by the very instruction in the shadow of MOV SS, which exits, and arrives right behind it.
fn mov_ss_shadows_one_instruction() {
    interrupts::forget();
    let expected: u64;
    let command = local_apic::BASE + u64::from(Register::INTERRUPT_COMMAND.0);
    // SAFETY: SS is loaded with what it has; the write sends an interrupt.
    unsafe {
        asm!(
            "mov ecx, ss",
            "sti",
            "nop",
            "mov ss, cx",
            "mov [{command}], {ipi:e}",
            "3: nop",
            "cli",
            "lea {expected}, [rip + 3b]",
            command = in(reg) command,
            ipi = in(reg) local_apic::SELF | 0x40,
            expected = lateout(reg) expected,
            out("ecx") _,
        );
    }
    expect_eq("interrupt after MOV SS", interrupts::event(0).map(|event| event.rip), Some(expected));
}

/// Each NMI arrives right behind the write that sends it, with IF clear. The IRET of its handler lets the next one come.
fn non_maskable_interrupts_ignore_the_window() {
    interrupts::forget();
    interrupts::disable();
    let command = local_apic::BASE + u64::from(Register::INTERRUPT_COMMAND.0);
    LocalApic::XApic.write(Register::INTERRUPT_COMMAND_HIGH, 0);
    let expected = [(); 3].map(|()| {
        let next: u64;
        // SAFETY: the handler returns.
        unsafe {
            asm!(
                "mov [{command}], {nmi:e}",
                "3: nop",
                "lea {next}, [rip + 3b]",
                command = in(reg) command,
                nmi = in(reg) local_apic::NMI,
                next = lateout(reg) next,
            );
        }
        (exceptions::NMI, next)
    });
    let events = [0, 1, 2].map(|number| interrupts::event(number).map(|event| (event.vector, event.rip)));
    expect_eq("NMIs", events, expected.map(Some));
    expect_eq("NMIs in all", interrupts::count(), 3);
}

fn software_interrupts_are_delivered() {
    interrupts::forget();
    interrupts::acknowledge(false);
    // SAFETY: all vectors have handlers.
    unsafe { asm!("int 0x21", "int 0x80", "int 0xff") };
    interrupts::acknowledge(true);
    expect_eq("vectors by INT", interrupts::vectors(), [Some(0x21), Some(0x80), Some(0xff), None]);
}

/// The stack lies in a page that nobody has touched, so that delivery itself may have to exit, and is to be done again.
fn delivery_reaches_untouched_memory(apic: LocalApic) {
    interrupts::forget();
    let fresh = physical::image().end.next_multiple_of(1 << 20) + 0x8000;
    for number in 0..16_u64 {
        let stack = fresh + number * 0x1_0000;
        apic.interrupt_self(0x40);
        // SAFETY: the stack is free RAM for as long as it is used.
        unsafe {
            asm!(
                "mov r8, rsp",
                "mov rsp, {stack}",
                "int3",
                "sub rsp, 0x2000",
                "int 0x50",
                "sub rsp, 0x2000",
                "sti",
                "nop",
                "nop",
                "cli",
                "mov rsp, r8",
                stack = in(reg) stack,
                out("r8") _,
            );
        }
    }
    for number in 0..16_u64 {
        let event = |part| interrupts::event(3 * number as usize + part).map(|event| event.vector);
        expect_eq("vectors on a fresh stack", [event(0), event(1), event(2)], [3, 0x50, 0x40].map(Some));
    }
    expect_eq("vectors on fresh stacks, in all", interrupts::count(), 48);
}

/// What `$body` raises, after an exit.
macro_rules! raised_by {
    ($($body:tt)*) => {{
        let _ = cpuid::leaf(0);
        // SAFETY: each use faults before it changes anything, or changes registers only.
        unsafe { attempt!($($body)*) }
    }};
}

/// A far pointer: offset 0 in the runtime's data segment.
static DATA_SEGMENT: [u16; 3] = [0, 0, 0x10];

fn exceptions_carry_their_error_codes() {
    let general_protection = |error_code| Err((exceptions::GENERAL_PROTECTION, error_code));
    for _ in 0..3 {
        expect_eq("UD2", code(raised_by!("ud2")), Err((exceptions::INVALID_OPCODE, 0)));
        let division = raised_by!("div {zero:e}", zero = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _);
        expect_eq("DIV by zero", code(division), Err((exceptions::DIVIDE_ERROR, 0)));
        let non_canonical = 0x8000_0000_0000_0000_u64;
        let by_ds = raised_by!("mov {x}, [{x}]", x = inout(reg) non_canonical => _);
        expect_eq("a non-canonical address by DS", code(by_ds), general_protection(0));
        let by_ss = raised_by!("mov {x}, [rsp + {x}]", x = inout(reg) non_canonical => _);
        expect_eq("a non-canonical address by SS", code(by_ss), Err((exceptions::STACK_SEGMENT, 0)));
        let selector = raised_by!("mov ds, {x:e}", x = in(reg) 0x1238);
        expect_eq("a selector beyond the GDT", code(selector), general_protection(0x1238));
        let data_as_code = raised_by!("jmp fword ptr [{x}]", x = in(reg) &raw const DATA_SEGMENT);
        expect_eq("a far jump to a data segment", code(data_as_code), general_protection(0x10));
    }
    the_fpu_is_not_available_while_ts_is_set();
}

fn the_fpu_is_not_available_while_ts_is_set() {
    let cr0 = control::cr0();
    expect_eq("CR0 takes TS", control::write_cr0(cr0 | control::CR0_TS), Ok(()));
    expect_eq("FNINIT with TS", code(raised_by!("fninit")), Err((exceptions::DEVICE_NOT_AVAILABLE, 0)));
    expect_eq("CLTS", code(raised_by!("clts")), Ok(()));
    expect_eq("CR0 after CLTS", control::cr0(), cr0);
    expect_eq("FNINIT without TS", code(raised_by!("fninit")), Ok(()));
    expect_eq("LMSW", code(raised_by!("lmsw {x:x}", x = in(reg) cr0 | control::CR0_TS)), Ok(()));
    expect_eq("CR0 after LMSW", control::cr0(), cr0 | control::CR0_TS);
    expect_eq("CR0 is as before", control::write_cr0(cr0), Ok(()));
}

/// Error codes by their bits: 1 present, 2 write, 8 reserved bit, 16 instruction fetch (SDM volume 3, 5.7).
fn page_faults_carry_address_and_cause() {
    use paging::EXECUTE_DISABLE;
    use paging::LARGE;
    use paging::PRESENT;
    use paging::WRITABLE;
    let page = physical::image().end.next_multiple_of(2 << 20);
    physical::write(page, 0xc3_u8);
    let address = paging::WINDOW + 0x1234;
    let read = || raised_by!("mov {x}, [{x}]", x = inout(reg) address => _);
    let write = || raised_by!("mov [{x}], {x}", x = in(reg) address);
    let fetch = || raised_by!("jmp {x}", x = in(reg) paging::WINDOW);
    let fault = |outcome: Result<(), Exception>| outcome.map_err(|e| (e.vector, e.error_code, e.cr2));
    let expected = |error_code, address| Err((exceptions::PAGE_FAULT, error_code, address));

    paging::map_window(0);
    expect_eq("read, not present", fault(read()), expected(0, address));
    expect_eq("write, not present", fault(write()), expected(2, address));
    paging::map_window(page | PRESENT | LARGE | EXECUTE_DISABLE);
    expect_eq("read, read-only", fault(read()), Ok(()));
    expect_eq("write, read-only", fault(write()), expected(3, address));
    expect_eq("fetch, execute disabled", fault(fetch()), expected(0x11, paging::WINDOW));
    paging::map_window(page | PRESENT | WRITABLE | LARGE);
    expect_eq("write, writable", fault(write()), Ok(()));
    expect_eq("fetch, executable", fault(raised_by!("call {x}", x = in(reg) paging::WINDOW)), Ok(()));
    // Bit 13 of an entry for 2 MiB is reserved.
    paging::map_window(page | PRESENT | WRITABLE | LARGE | 1 << 13);
    expect_eq("read, reserved bit", fault(read()), expected(9, address));
    expect_eq("write, reserved bit", fault(write()), expected(0xb, address));
    paging::map_window(0);
    expect_eq("fetch, not present", fault(fetch()), expected(0x10, paging::WINDOW));
}

/// #BP and #DB that are traps: they arrive behind their instruction.
fn breakpoints_trap() {
    interrupts::forget();
    let (after_int3, after_int1, watched): (u64, u64, u64);
    let cell = physical::image().end.next_multiple_of(4096) + 0x40;
    // SAFETY: the handlers return; DR0 watches a word of free RAM, then no more.
    unsafe {
        asm!(
            "int3",
            "2: .byte 0xf1",
            "3: mov dr0, {cell}",
            "mov eax, 0xd0701",
            "mov dr7, rax",
            "mov [{cell}], rax",
            "4: nop",
            "mov eax, 0x400",
            "mov dr7, rax",
            "lea {after_int3}, [rip + 2b]",
            "lea {after_int1}, [rip + 3b]",
            "lea {watched}, [rip + 4b]",
            cell = in(reg) cell,
            after_int3 = lateout(reg) after_int3,
            after_int1 = lateout(reg) after_int1,
            watched = lateout(reg) watched,
            out("rax") _,
        );
    }
    let event = |number| interrupts::event(number).map(|event| (event.vector, event.rip));
    expect_eq("INT3", event(0), Some((exceptions::BREAKPOINT, after_int3)));
    expect_eq("INT1", event(1), Some((exceptions::DEBUG, after_int1)));
    expect_eq("a watched write", event(2), Some((exceptions::DEBUG, watched)));
    expect_eq("DR6 at the watched write", interrupts::event(2).map(|event| event.dr6 & 0xf), Some(1));
    expect_eq("traps in all", interrupts::count(), 3);
}
