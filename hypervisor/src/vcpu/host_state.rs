// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host-state area: what the processor loads on a VM exit. It is that of the CPU on which the VMCS is active.

use crate::cpu::descriptors::Descriptors;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::vmx::entry;
use crate::vmx::entry::EntryFrame;
use evmcs::Active;
use evmcs::field;
use x86_64::instructions::tables;
use x86_64::registers::control::Cr0;
use x86_64::registers::control::Cr3;
use x86_64::registers::control::Cr4;
use x86_64::registers::model_specific::GsBase;

const IA32_PAT: u32 = 0x277;
const IA32_EFER: u32 = 0xc000_0080;

/// Writes all of it.
pub fn write(vmcs: &mut Active<'_>, descriptors: &Descriptors, frame: &EntryFrame) {
    vmcs.write(field::HOST_CR0, Cr0::read_raw());
    vmcs.write(field::HOST_CR3, Cr3::read_raw().0.start_address().as_u64());
    vmcs.write(field::HOST_CR4, Cr4::read_raw());
    vmcs.write(field::HOST_IA32_PAT, NativeMsrs.read(IA32_PAT));
    vmcs.write(field::HOST_IA32_EFER, NativeMsrs.read(IA32_EFER));
    vmcs.write(field::HOST_CS_SELECTOR, descriptors.code.0);
    vmcs.write(field::HOST_TR_SELECTOR, descriptors.task.0);
    for selector in [
        field::HOST_ES_SELECTOR,
        field::HOST_SS_SELECTOR,
        field::HOST_DS_SELECTOR,
        field::HOST_FS_SELECTOR,
        field::HOST_GS_SELECTOR,
    ] {
        vmcs.write(selector, 0);
    }
    vmcs.write(field::HOST_FS_BASE, 0);
    vmcs.write(field::HOST_GS_BASE, GsBase::read().as_u64());
    vmcs.write(field::HOST_TR_BASE, descriptors.task_base.as_u64());
    vmcs.write(field::HOST_GDTR_BASE, descriptors.gdt_base.as_u64());
    vmcs.write(field::HOST_IDTR_BASE, tables::sidt().base.as_u64());
    // We use none of SYSENTER.
    vmcs.write(field::HOST_IA32_SYSENTER_CS, 0);
    vmcs.write(field::HOST_IA32_SYSENTER_ESP, 0);
    vmcs.write(field::HOST_IA32_SYSENTER_EIP, 0);
    vmcs.write(field::HOST_RSP, frame.host_rsp());
    vmcs.write(field::HOST_RIP, entry::host_rip());
}
