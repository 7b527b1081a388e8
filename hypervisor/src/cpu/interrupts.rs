// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts and exceptions of our own: the former are acknowledged and only wake us, the latter end in a report, unless
//! an MSR was [refused](crate::cpu::refusable).
//!
//! Interrupts are let in at two places of the run loop alone, so a handler never meets a lock that its CPU holds; the console's is
//! the only one that is taken.

// UNSAFETY: entry points in assembly, and the table that leads to them.
#![expect(unsafe_code)]

use crate::console;
use crate::console::terminal::News;
use crate::cpu::CpuNumber;
use crate::cpu::attention::Attention;
use crate::cpu::cpus;
use crate::cpu::descriptors::interrupt_stack;
use crate::cpu::local_apic;
use crate::cpu::refusable;
use crate::cpu::stop;
use crate::cpu::vector;
use crate::vm::post::Neighbours;
use core::fmt;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::Entry;
use x86_64::structures::idt::InterruptDescriptorTable;

/// Registers at the time of an interrupt, in the order in which the entry code pushes them.
#[derive(Debug)]
#[repr(C)]
struct Frame {
    /// R15, R14, … R8, RBP, RDI, RSI, RDX, RCX, RBX, RAX.
    registers: [u64; 15],
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NMI: u64 = 2;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;

// 256 entries of 16 bytes. The CPU pushes an error code for some vectors (SDM vol. 3, "Error Code"); for the others we push a zero.
core::arch::global_asm!(
    r#"
    .section .text.interrupt_entries, "ax"
    .balign 16
    .global satori_interrupt_entries
satori_interrupt_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push 0
    .endif
    push vector
    jmp satori_interrupt_common
    .set vector, vector + 1
    .endr

satori_interrupt_common:
    cld
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    call {interrupt}
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
    .text
"#,
    interrupt = sym interrupt,
);

unsafe extern "C" {
    static satori_interrupt_entries: u8;
}

/// The tables are the same for every CPU.
static TABLE: Once<InterruptDescriptorTable> = Once::new();
static EARLY_TABLE: Once<InterruptDescriptorTable> = Once::new();

/// Loads the interrupt table on this CPU, whose segments are those of [`descriptors`](crate::cpu::descriptors).
pub fn load() {
    TABLE.call_once(|| new_table(true)).load();
}

/// Loads one for the time before there is a TSS with stacks.
pub fn load_early() {
    EARLY_TABLE.call_once(|| new_table(false)).load();
}

fn new_table(stacks: bool) -> InterruptDescriptorTable {
    let on = |stack| stacks.then_some(stack);
    let mut table = InterruptDescriptorTable::new();
    set(&mut table.divide_error, 0, None);
    set(&mut table.debug, 1, None);
    set(&mut table.non_maskable_interrupt, 2, on(interrupt_stack::NMI));
    set(&mut table.breakpoint, 3, None);
    set(&mut table.overflow, 4, None);
    set(&mut table.bound_range_exceeded, 5, None);
    // An L0 that cannot reach an enlightened VMCS raises it at VMLAUNCH or VMRESUME, and what is the stack there has room for the
    // guest's registers alone. It always ends in a report, so it may share a stack with a double fault.
    set(&mut table.invalid_opcode, 6, on(interrupt_stack::DOUBLE_FAULT));
    set(&mut table.device_not_available, 7, None);
    set(&mut table.double_fault, 8, on(interrupt_stack::DOUBLE_FAULT));
    set(&mut table.invalid_tss, 10, None);
    set(&mut table.segment_not_present, 11, None);
    set(&mut table.stack_segment_fault, 12, None);
    set(&mut table.general_protection_fault, 13, None);
    set(&mut table.page_fault, 14, None);
    set(&mut table.x87_floating_point, 16, None);
    set(&mut table.alignment_check, 17, None);
    set(&mut table.machine_check, 18, on(interrupt_stack::MACHINE_CHECK));
    set(&mut table.simd_floating_point, 19, None);
    for vector in 32..=255 {
        set(&mut table[vector], vector, None);
    }
    table
}

fn set<F>(entry: &mut Entry<F>, vector: u8, stack: Option<u16>) {
    let address = (&raw const satori_interrupt_entries).addr() as u64 + u64::from(vector) * 16;
    // SAFETY: an entry of the table above, which handles vectors with and without error code each in its way.
    let options = unsafe { entry.set_handler_addr(VirtAddr::new(address)) };
    if let Some(stack) = stack {
        // SAFETY: the TSS of every CPU has a stack in that place.
        unsafe { options.set_stack_index(stack) };
    }
}

extern "sysv64" fn interrupt(frame: &mut Frame) {
    match frame.vector {
        // It may strike anywhere, so there is no lock that could be taken here. One that is not ours means nothing to us.
        NMI => stop::obey(),
        GENERAL_PROTECTION if let Some(rip) = refusable::after_fault(frame.rip) => frame.rip = rip,
        0..32 => panic!("{frame}"),
        vector if vector == u64::from(vector::SPURIOUS) => {}
        vector if vector == u64::from(vector::SERIAL) => {
            local_apic::end_of_interrupt();
            let News { typed, room } = console::interrupt();
            if let Some(cpus) = cpus::known().filter(|_| typed || room) {
                cpus.ask_for_input();
            }
        }
        vector if vector == u64::from(vector::REENLIGHTENMENT) => {
            local_apic::end_of_interrupt();
            if let Some(cpus) = cpus::known() {
                cpus.notify(CpuNumber::BOOT, Attention::TIME);
            }
        }
        _ => local_apic::end_of_interrupt(),
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax] = self.registers;
        writeln!(f, "exception {} with error code {:#x} in Satori itself", self.vector, self.error_code)?;
        writeln!(
            f,
            "  rip {:016x}  cs {:04x}  rflags {:08x}  rsp {:016x}",
            self.rip, self.cs, self.rflags, self.rsp
        )?;
        writeln!(f, "  rax {rax:016x}  rbx {rbx:016x}  rcx {rcx:016x}  rdx {rdx:016x}")?;
        writeln!(f, "  rsi {rsi:016x}  rdi {rdi:016x}  rbp {rbp:016x}  r8  {r8:016x}")?;
        writeln!(f, "  r9  {r9:016x}  r10 {r10:016x}  r11 {r11:016x}  r12 {r12:016x}")?;
        write!(f, "  r13 {r13:016x}  r14 {r14:016x}  r15 {r15:016x}")?;
        if self.vector == PAGE_FAULT {
            write!(f, "  cr2 {:016x}", Cr2::read_raw())?;
        }
        Ok(())
    }
}
