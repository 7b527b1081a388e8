// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments of one CPU: flat code, its TSS, and stacks of their own for what may strike at any time.

// UNSAFETY: loads the segment registers and the task register.
#![expect(unsafe_code)]

use crate::memory::OutOfFrames;
use crate::memory::address_space;
use alloc::boxed::Box;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::CS;
use x86_64::instructions::segmentation::SS;
use x86_64::instructions::segmentation::Segment;
use x86_64::instructions::tables;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::Descriptor;
use x86_64::structures::gdt::GlobalDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

/// Places in the interrupt stack table (SDM vol. 3, "Interrupt Stack Table").
pub mod interrupt_stack {
    /// Double fault: the stack in use may be what is broken.
    pub const DOUBLE_FAULT: u16 = 0;
    /// Non-maskable interrupt: may hit between VM exit and the switch back to our stack.
    pub const NMI: u16 = 1;
    /// Machine check: likewise.
    pub const MACHINE_CHECK: u16 = 2;
}

/// Bytes of each of these stacks: enough to print a report.
const INTERRUPT_STACK: u64 = 16 << 10;

/// What VM exits load again, as the VMCS's host-state area wants it.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    /// Code segment.
    pub code: SegmentSelector,
    /// Task register.
    pub task: SegmentSelector,
    /// Linear address of the TSS.
    pub task_base: VirtAddr,
    /// Linear address of the GDT.
    pub gdt_base: VirtAddr,
}

/// Loads a GDT and a TSS of this CPU's own; they stay for ever.
pub fn load() -> Result<Descriptors, OutOfFrames> {
    let mut tss = TaskStateSegment::new();
    for index in [interrupt_stack::DOUBLE_FAULT, interrupt_stack::NMI, interrupt_stack::MACHINE_CHECK] {
        tss.interrupt_stack_table[usize::from(index)] = address_space::new_stack(INTERRUPT_STACK)?.top;
    }
    let tss: &'static TaskStateSegment = Box::leak(Box::new(tss));
    let gdt: &'static mut GlobalDescriptorTable = Box::leak(Box::default());
    let code = gdt.append(Descriptor::kernel_code_segment());
    let task = gdt.append(Descriptor::tss_segment(tss));
    gdt.load();
    // SAFETY: both selectors are of the table that was just loaded, and of the right kind; in long mode SS may be null.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(SegmentSelector::NULL);
        tables::load_tss(task);
    }
    Ok(Descriptors { code, task, task_base: VirtAddr::from_ptr(tss), gdt_base: tables::sgdt().base })
}
