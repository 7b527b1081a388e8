// SPDX-License-Identifier: MIT OR Apache-2.0
//! All general registers and RFLAGS survive each kind of exit, apart from what the instruction is defined to change.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: whole register files are loaded and stored, which only assembly can do.
#![expect(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use tests::cpuid;
use tests::effort;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::physical;
use tests::serial;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

/// Where each register stands in a [`File`]: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15, RFLAGS.
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RDI: usize = 7;
const R9: usize = 9;
const RFLAGS: usize = 16;

const NAMES: [&str; 17] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
    "R15", "RFLAGS",
];

type File = [u64; 17];

static BEFORE: [AtomicU64; 17] = [const { AtomicU64::new(0) }; 17];
static AFTER: [AtomicU64; 17] = [const { AtomicU64::new(0) }; 17];

/// CF, PF, AF, ZF, SF, OF, and the bit that is always set.
const ALL_ARITHMETIC_FLAGS: u64 = 0x8d7;
/// All of them clear.
const NO_FLAGS: u64 = 0x002;
/// DF too.
const DIRECTION_FLAG: u64 = 0x400;

/// Loads `before`, executes `$instruction`, and gives what the registers hold then.
macro_rules! execute {
    ($before:expr, $instruction:literal) => {{
        for (slot, value) in BEFORE.iter().zip($before) {
            slot.store(value, Relaxed);
        }
        // SAFETY: what the compiler keeps in RBX and RBP comes back from the stack, all others are clobbered; the
        // direction flag is cleared again.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "mov [rip + {before} + 8 * 4], rsp",
                "push [rip + {before} + 8 * 16]",
                "popfq",
                "mov rax, [rip + {before}]",
                "mov rcx, [rip + {before} + 8]",
                "mov rdx, [rip + {before} + 8 * 2]",
                "mov rbx, [rip + {before} + 8 * 3]",
                "mov rbp, [rip + {before} + 8 * 5]",
                "mov rsi, [rip + {before} + 8 * 6]",
                "mov rdi, [rip + {before} + 8 * 7]",
                "mov r8, [rip + {before} + 8 * 8]",
                "mov r9, [rip + {before} + 8 * 9]",
                "mov r10, [rip + {before} + 8 * 10]",
                "mov r11, [rip + {before} + 8 * 11]",
                "mov r12, [rip + {before} + 8 * 12]",
                "mov r13, [rip + {before} + 8 * 13]",
                "mov r14, [rip + {before} + 8 * 14]",
                "mov r15, [rip + {before} + 8 * 15]",
                $instruction,
                "mov [rip + {after}], rax",
                "mov [rip + {after} + 8], rcx",
                "mov [rip + {after} + 8 * 2], rdx",
                "mov [rip + {after} + 8 * 3], rbx",
                "mov [rip + {after} + 8 * 4], rsp",
                "mov [rip + {after} + 8 * 5], rbp",
                "mov [rip + {after} + 8 * 6], rsi",
                "mov [rip + {after} + 8 * 7], rdi",
                "mov [rip + {after} + 8 * 8], r8",
                "mov [rip + {after} + 8 * 9], r9",
                "mov [rip + {after} + 8 * 10], r10",
                "mov [rip + {after} + 8 * 11], r11",
                "mov [rip + {after} + 8 * 12], r12",
                "mov [rip + {after} + 8 * 13], r13",
                "mov [rip + {after} + 8 * 14], r14",
                "mov [rip + {after} + 8 * 15], r15",
                "pushfq",
                "pop [rip + {after} + 8 * 16]",
                "cld",
                "cli",
                "pop rbp",
                "pop rbx",
                before = sym BEFORE,
                after = sym AFTER,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("sysv64"),
            );
        }
    }};
}

/// Executes `$instruction` with each set of flags, with `$inputs` over the pattern, and expects the pattern with
/// `$outputs` over it.
macro_rules! survives {
    ($instruction:literal, $inputs:expr, $outputs:expr) => {
        for flags in [NO_FLAGS, ALL_ARITHMETIC_FLAGS, ALL_ARITHMETIC_FLAGS | DIRECTION_FLAG] {
            let before = with(pattern(flags), &$inputs);
            execute!(before, $instruction);
            compare($instruction, with(before, &$outputs));
        }
    };
}

/// A value of its own for each register, with both halves used.
fn pattern(flags: u64) -> File {
    let mut file =
        core::array::from_fn(|number| 0x8123_4567_f89a_bcd0 ^ (number as u64 * 0x1111_0000_1111_0101));
    file[RFLAGS] = flags;
    file
}

fn with(mut file: File, changes: &[(usize, u64)]) -> File {
    for (register, value) in changes {
        file[*register] = *value;
    }
    file
}

fn compare(instruction: &str, mut expected: File) {
    expected[RSP] = BEFORE[RSP].load(Relaxed);
    for (number, name) in NAMES.iter().enumerate() {
        expect_eq(
            format_args!("{name} after `{instruction}`"),
            AFTER[number].load(Relaxed),
            expected[number],
        );
    }
}

fn run() {
    let apic = LocalApic::enabled();
    for _ in 0..effort::of(20) {
        cpuid_changes_four_registers();
        ports_change_what_they_read_into();
        msrs_change_eax_and_edx();
        device_memory_changes_the_destination();
        control_registers_change_the_destination();
        fresh_memory_changes_nothing();
        a_halt_changes_nothing(apic);
    }
}

fn cpuid_changes_four_registers() {
    let leaf = cpuid::leaf(0x4000_0000);
    let outputs =
        [(RAX, leaf.eax.into()), (RBX, leaf.ebx.into()), (RCX, leaf.ecx.into()), (RDX, leaf.edx.into())];
    survives!("cpuid", [(RAX, 0x4000_0000), (RCX, 0)], outputs);
}

fn ports_change_what_they_read_into() {
    let (absent, pattern) = (0x5000, 0x1122_3344_5566_7788);
    let inputs = [(RDX, 0xffff_0000_0000_0000 | absent), (RAX, pattern)];
    survives!("in al, dx", inputs, [(RAX, 0x1122_3344_5566_77ff)]);
    survives!("in ax, dx", inputs, [(RAX, 0x1122_3344_5566_ffff)]);
    survives!("in eax, dx", inputs, [(RAX, 0xffff_ffff)]);
    survives!("out dx, al", inputs, []);
    survives!("out dx, eax", inputs, []);
    let status = [(RDX, serial::LINE_STATUS.into()), (RAX, pattern)];
    serial::wait_for_transmitter();
    survives!("in al, dx", status, [(RAX, pattern & !0xff | 0x60)]);
}

fn msrs_change_eax_and_edx() {
    let base = msr::get(msr::APIC_BASE);
    let (low, high) = (base & 0xffff_ffff, base >> 32);
    let number = u64::from(msr::APIC_BASE) | 0xffff_ffff_0000_0000;
    survives!("rdmsr", [(RCX, number)], [(RAX, low), (RDX, high)]);
    let upper = 0xabcd_ef01_0000_0000;
    survives!("wrmsr", [(RCX, number), (RAX, upper | low), (RDX, upper | high)], []);
}

fn device_memory_changes_the_destination() {
    let version = local_apic::BASE + u64::from(Register::VERSION.0);
    let value = u64::from(LocalApic::XApic.read(Register::VERSION));
    survives!("mov r9d, [rdi]", [(RDI, version)], [(R9, value)]);
    let priority = local_apic::BASE + u64::from(Register::TASK_PRIORITY.0);
    survives!("mov [rdi], r9d", [(RDI, priority), (R9, 0x1234_5678_0000_0000)], []);
}

fn control_registers_change_the_destination() {
    let cr0 = tests::control::cr0();
    let cr4 = tests::control::cr4();
    survives!("mov r9, cr0", [], [(R9, cr0)]);
    survives!("mov cr0, r9", [(R9, cr0)], []);
    survives!("mov r9, cr4", [], [(R9, cr4)]);
    survives!("mov cr4, r9", [(R9, cr4)], []);
    survives!("mov r9, cr8", [], [(R9, 0)]);
    survives!("mov cr8, r9", [(R9, 0)], []);
    survives!("wbinvd", [], []);
    survives!("pause", [], []);
}

/// Pages that nobody has touched: their translation may have to be made, by an exit in the middle of the instruction.
fn fresh_memory_changes_nothing() {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let page = (physical::image().end.next_multiple_of(0x1000)) + NEXT.fetch_add(0x1_1000, Relaxed);
    survives!("mov [rdi], r9", [(RDI, page)], []);
    survives!("mov r9, [rdi]", [(RDI, page)], [(R9, pattern(0)[R9])]);
    survives!("mov [rdi + 0x1ffc], r9", [(RDI, page)], []);
}

/// HLT ends by the timer, whose handler runs between. IF and the flags of STI's window are all that differ.
fn a_halt_changes_nothing(apic: LocalApic) {
    interrupts::forget();
    let flags = ALL_ARITHMETIC_FLAGS;
    apic.start_timer(0x40, 0, u32::try_from(time::ticks(100)).unwrap_or(u32::MAX));
    let before = pattern(flags);
    execute!(before, "sti\n hlt");
    compare("sti; hlt", with(before, &[(RFLAGS, flags | tests::control::RFLAGS_IF)]));
    apic.stop_timer();
    expect("the timer's interrupt ended HLT", interrupts::count() == 1);
}
