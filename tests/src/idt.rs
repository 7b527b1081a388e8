// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt descriptor table, and the assembly between the CPU's delivery of a vector and Rust.
//!
//! SDM volume 3, 7.14 (exception and interrupt handling in 64-bit mode).

// UNSAFETY: the CPU jumps here by a table of addresses, with a frame on the stack that only assembly can describe.
#![expect(unsafe_code)]

use crate::exceptions;
use crate::interrupts;
use core::arch::asm;
use core::arch::global_asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes between the stubs of one vector and the next.
const STUB_SIZE: u64 = 16;

// One stub for each vector. It makes all frames alike: where the CPU pushes no error code the stub pushes 0, then the
// vector. AT&T syntax, since only there a symbol's value is written as an immediate without doubt.
global_asm!(
    r#"
    .section .text.interrupt_stubs, "ax"
    .balign 16
interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .else
    pushq $0
    .endif
    pushq $vector
    jmp interrupt_entry
    .set vector, vector + 1
    .endr

interrupt_entry:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $-16, %rsp
    call {deliver}
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq
    .text
"#,
    deliver = sym deliver,
    options(att_syntax),
);

unsafe extern "C" {
    #[link_name = "interrupt_stubs"]
    static STUBS: [u8; 0];
}

/// What lies on the stack when [`deliver`] is called: general registers, vector, and what the CPU pushed.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Frame {
    general: [u64; 15],
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// The table, which only [`load`] writes.
#[repr(C, align(16))]
struct Table([[AtomicU64; 2]; 256]);

static TABLE: Table = Table([const { [const { AtomicU64::new(0) }; 2] }; 256]);

/// Fills the table with the stubs and tells the CPU of it.
pub fn load() {
    let stubs = (&raw const STUBS).addr() as u64;
    for (vector, gate) in TABLE.0.iter().enumerate() {
        let [low, high] = interrupt_gate(stubs + vector as u64 * STUB_SIZE);
        gate[0].store(low, Relaxed);
        gate[1].store(high, Relaxed);
    }
    let pointer = TablePointer { limit: 256 * 16 - 1, base: (&raw const TABLE).addr() as u64 };
    // SAFETY: the table is static and complete.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Has this vector go straight to `handler`, which is assembly and returns by IRETQ, until the next [`load`].
pub fn set_gate(vector: u8, handler: u64) {
    let gate = &TABLE.0[usize::from(vector)];
    let [low, high] = interrupt_gate(handler);
    gate[1].store(high, Relaxed);
    gate[0].store(low, Relaxed);
}

/// Limit and address of the global descriptor table in use.
#[must_use]
pub(crate) fn descriptors() -> (u16, u64) {
    let mut pointer = TablePointer { limit: 0, base: 0 };
    // SAFETY: SGDT writes the pointer.
    unsafe { asm!("sgdt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) };
    (pointer.limit, pointer.base)
}

/// A present 64-bit interrupt gate (IF is cleared on delivery) to `handler` in the code segment 0x08.
fn interrupt_gate(handler: u64) -> [u64; 2] {
    let low = (handler & 0xffff) | 0x08 << 16 | 0x8e00 << 32 | (handler & 0xffff_0000) << 32;
    [low, handler >> 32]
}

/// The operand of LIDT.
#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Where every vector arrives in Rust. The frame is what will be returned to.
extern "C" fn deliver(frame: &mut Frame) {
    match u8::try_from(frame.vector) {
        Ok(vector) if vector >= 32 => interrupts::arrived(vector, frame.rip),
        _ => exceptions::raised(frame),
    }
}
