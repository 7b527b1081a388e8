// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest goes down from long mode through each mode to real mode and comes back, and exits are served alike in all.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: there is no Rust in other modes than long mode; the way down and up is assembly.
#![cfg_attr(target_os = "none", expect(unsafe_code))]

use tests::control;
use tests::cpuid;
use tests::idt;
use tests::interrupts;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::physical;
use tests::start_info;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

/// Where the parts lie in low memory: 16-bit code, what the modes saw, and tables for 32-bit and PAE paging.
const CODE: u64 = 0x8000;
const RESULTS: u64 = 0x9000;
const DIRECTORY: u64 = 0xa000;
const PAE_POINTERS: u64 = 0xb000;
const PAE_DIRECTORIES: u64 = 0xc000;
const END: u64 = 0x1_0000;
/// The stack of real mode lies below the code.
const STACK_SIZE: u64 = 0x400;

/// Bytes of what one mode saw; it is written by the macro `probe` below.
const RESULT_SIZE: u64 = 64;

/// What real mode saw beside the rest: one word for each handler that ran there.
const HANDLED: u64 = RESULTS + 8 * RESULT_SIZE;

/// Bits of CR0 that are set and cleared together with PG.
const BESIDE_PAGING: u64 = HANDLED + 16;

/// The interrupt that is pending on the way down and arrives in real mode.
const PENDING: u8 = 0x40;

/// The modes in the order of the way down, and what EFER and CR0 have in them.
const MODES: [(&str, u64, u64); 7] = [
    ("compatibility mode", msr::EFER_LMA | msr::EFER_LME, control::CR0_PE | control::CR0_PG),
    ("protected mode", 0, control::CR0_PE),
    ("protected mode with PAE paging", 0, control::CR0_PE | control::CR0_PG),
    ("protected mode with 32-bit paging", 0, control::CR0_PE | control::CR0_PG),
    ("16-bit protected mode", 0, control::CR0_PE),
    ("real mode", 0, 0),
    ("real mode with an odd code segment", 0, 0),
];

fn run() {
    let apic = LocalApic::enabled();
    prepare_low_memory();
    // Alone, PG often changes without an exit; together with CD, hypervisors like to see it.
    for beside_paging in [control::CR0_CD, 0, control::CR0_CD] {
        physical::write(BESIDE_PAGING, beside_paging as u32);
        for number in 0..RESULT_SIZE {
            physical::write(RESULTS + 8 * number, 0_u64);
        }
        interrupts::forget();
        apic.interrupt_self(PENDING);
        descend_and_return();
        idt::load();
        for (number, mode) in MODES.iter().enumerate() {
            compare(number as u64, mode);
        }
        expect_eq("INT 0x21, #UD and an interrupt in real mode", handled(), [0x21, 0x06, PENDING.into()]);
        expect_eq("interrupts in long mode", interrupts::count(), 0);
        expect("the interrupt that real mode took is in service", apic.has(Register::IN_SERVICE, PENDING));
        apic.end_of_interrupt();
        // Long mode works as before.
        apic.interrupt_self(0x41);
        interrupts::take_pending();
        expect_eq("interrupts in long mode, back again", interrupts::vectors(), [Some(0x41), None]);
    }
}

fn handled() -> [u16; 3] {
    [0, 2, 4].map(|offset| physical::read(HANDLED + offset))
}

fn compare(number: u64, (name, efer, cr0): &(&str, u64, u64)) {
    let word = |index: u64| physical::read::<u32>(RESULTS + number * RESULT_SIZE + 4 * index);
    let leaf = cpuid::leaf(0x4000_0000);
    expect_eq(
        format_args!("CPUID in {name}"),
        [word(0), word(1), word(2), word(3)],
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx],
    );
    expect_eq(format_args!("EAX after IN AL in {name}"), word(4), 0x1122_33ff);
    expect_eq(format_args!("EAX after IN EAX in {name}"), word(5), u32::MAX);
    expect_eq(format_args!("UART scratch register in {name}"), word(6), 0x1122_3350 + number as u32);
    let base = msr::get(msr::APIC_BASE);
    expect_eq(format_args!("APIC_BASE in {name}"), [word(7), word(8)], [base as u32, (base >> 32) as u32]);
    let version = LocalApic::XApic.read(Register::VERSION);
    expect_eq(format_args!("the local APIC's version in {name}"), word(9), version);
    let long = msr::EFER_LMA | msr::EFER_LME;
    expect_eq(format_args!("EFER.LMA and LME in {name}"), u64::from(word(10)) & long, *efer);
    let mode = control::CR0_PE | control::CR0_PG;
    expect_eq(format_args!("CR0.PE and PG in {name}"), u64::from(word(11)) & mode, *cr0);
}

fn prepare_low_memory() {
    let low = CODE - STACK_SIZE..END;
    let free = start_info::occupied().iter().all(|taken| taken.end <= low.start || low.end <= taken.start);
    expect("the loader has left the low memory that this program uses", free);
    // 32-bit paging: 1024 entries of 4 MiB. PAE: four pointers, 2048 entries of 2 MiB. All present and writable.
    for number in 0..1024 {
        physical::write(DIRECTORY + 4 * number, (number << 22) as u32 | 0x83);
    }
    for number in 0..4 {
        physical::write(PAE_POINTERS + 8 * number, (PAE_DIRECTORIES + 0x1000 * number) | 1);
    }
    for number in 0..2048 {
        physical::write(PAE_DIRECTORIES + 8 * number, number << 21 | 0x83);
    }
    let code = low_code();
    for (address, byte) in (CODE..).zip(code.bytes) {
        physical::write(address, *byte);
    }
    // The interrupt vector table of real mode: offset, then segment.
    for (vector, handler) in [(0x21, code.int_21), (0x06, code.undefined), (u64::from(PENDING), code.pending)]
    {
        physical::write(4 * vector, (CODE + handler) as u32);
    }
}

/// The 16-bit code, and where in it the handlers of real mode are.
struct LowCode {
    bytes: &'static [u8],
    int_21: u64,
    undefined: u64,
    pending: u64,
}

#[cfg(target_os = "none")]
fn low_code() -> LowCode {
    unsafe extern "C" {
        static low_start: u8;
        static low_int_21: u8;
        static low_undefined: u8;
        static low_pending: u8;
        static low_end: u8;
    }
    let start = &raw const low_start;
    let offset = |label: *const u8| (label.addr() - start.addr()) as u64;
    let length = offset(&raw const low_end) as usize;
    LowCode {
        // SAFETY: the assembly below defines these bytes, and nobody writes them.
        bytes: unsafe { core::slice::from_raw_parts(start, length) },
        int_21: offset(&raw const low_int_21),
        undefined: offset(&raw const low_undefined),
        pending: offset(&raw const low_pending),
    }
}

#[cfg(target_os = "none")]
fn descend_and_return() {
    unsafe extern "C" {
        fn descend();
    }
    // SAFETY: it comes back with the registers that the calling convention keeps; low memory is prepared.
    unsafe { descend() };
}

#[cfg(not(target_os = "none"))]
fn low_code() -> LowCode {
    LowCode { bytes: &[], int_21: 0, undefined: 0, pending: 0 }
}

#[cfg(not(target_os = "none"))]
fn descend_and_return() {}

#[cfg(target_os = "none")]
core::arch::global_asm!(
    r#"
    # Exits of several kinds; what they gave goes to the result with this number. \segment reaches all memory.
    # It assembles for 32-bit and for 16-bit code. Changes EAX, EBX, ECX, EDX, ESI.
    .macro probe number, segment
    mov eax, 0x40000000
    xor ecx, ecx
    cpuid
    mov [{results} + \number * {size}], eax
    mov [{results} + \number * {size} + 4], ebx
    mov [{results} + \number * {size} + 8], ecx
    mov [{results} + \number * {size} + 12], edx
    mov eax, 0x11223344
    mov edx, 0x5000
    in al, dx
    mov [{results} + \number * {size} + 16], eax
    in eax, dx
    mov [{results} + \number * {size} + 20], eax
    mov edx, 0x3ff
    mov eax, 0x11223350 + \number
    out dx, al
    mov al, 0
    in al, dx
    mov [{results} + \number * {size} + 24], eax
    mov ecx, 0x1b
    rdmsr
    mov [{results} + \number * {size} + 28], eax
    mov [{results} + \number * {size} + 32], edx
    mov esi, 0xfee00030
    mov eax, \segment:[esi]
    mov [{results} + \number * {size} + 36], eax
    mov ecx, 0xc0000080
    rdmsr
    mov [{results} + \number * {size} + 40], eax
    mov eax, cr0
    mov [{results} + \number * {size} + 44], eax
    .endm

    .macro paging_on
    mov eax, cr0
    or eax, 0x80000000
    or eax, [{beside_paging}]
    mov cr0, eax
    .endm

    .macro paging_off
    mov eax, cr0
    and eax, 0x3fffffff                     # PG and CD
    mov cr0, eax
    .endm

    .section .data.descend, "aw"
    .balign 8
saved_stack: .quad 0
saved_tables: .quad 0
    # The real-mode interrupt vector table, as LIDT wants it.
vector_table:
    .short 0x3ff
    .long 0

    .section .text.descend, "ax"
    .code64
    .global descend
descend:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + saved_stack], rsp
    mov rax, cr3
    mov [rip + saved_tables], rax
    push 0x18
    lea rax, [rip + compatibility_mode]
    push rax
    retfq

    .code32
compatibility_mode:
    probe 0, ds
    paging_on                               # It is; this is for the bits beside it.
    paging_off                              # Long mode ends.
    mov ecx, 0xc0000080
    rdmsr
    and eax, 0xfffffeff                     # LME
    wrmsr
    probe 1, ds

    mov eax, {pae_pointers}
    mov cr3, eax
    paging_on
    probe 2, ds
    paging_off

    mov eax, {directory}
    mov cr3, eax
    mov eax, 0x10                           # CR4: PSE, and PAE no more
    mov cr4, eax
    paging_on
    probe 3, ds
    paging_off
    lidt [vector_table]
    ljmp 0x20, offset low_protected_at

    .code16
low_start:
low_protected:
    # FS keeps its flat 4 GiB through all of this.
    mov ax, 0x10
    mov fs, ax
    mov ax, 0x28
    mov ds, ax
    mov es, ax
    mov ss, ax
    probe 4, fs
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    ljmp 0, offset low_real_at
low_real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, {code}
    probe 5, fs
    int 0x21
    ud2
    sti
    nop
    nop
    cli
    ljmp 0x803, offset low_odd_at
low_odd:
    probe 6, fs
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                        # far jump with a 32-bit offset
    .long protected_again
    .short 0x18

low_int_21:
    mov word ptr [{handled}], 0x21
    iret
low_undefined:
    mov word ptr [{handled} + 2], 0x06
    push bp
    mov bp, sp
    add word ptr [bp + 2], 2                # UD2 is two bytes long
    pop bp
    iret
low_pending:
    mov word ptr [{handled} + 4], {pending}
    iret
low_end:
    # Where labels of the low code are once it has been copied; the last one in a segment of its own.
    .set low_protected_at, {code} + low_protected - low_start
    .set low_real_at, {code} + low_real - low_start
    .set low_odd_at, {code} - 0x8030 + low_odd - low_start

    .code32
protected_again:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 0x20                           # CR4: PAE
    mov cr4, eax
    mov eax, [saved_tables]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100                           # LME
    wrmsr
    paging_on
    ljmp 0x08, offset long_mode_again

    .code64
long_mode_again:
    mov rsp, [rip + saved_stack]
    mov rax, cr0
    btr rax, 30                             # CD
    mov cr0, rax
    xor eax, eax
    mov fs, eax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .global low_start
    .global low_int_21
    .global low_undefined
    .global low_pending
    .global low_end
    .text
"#,
    results = const RESULTS,
    size = const RESULT_SIZE,
    handled = const HANDLED,
    beside_paging = const BESIDE_PAGING,
    directory = const DIRECTORY,
    pae_pointers = const PAE_POINTERS,
    code = const CODE,
    pending = const PENDING,
);
