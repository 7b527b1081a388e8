// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM-exit information fields of the VMCS, which only the processor writes (SDM Vol. 3D, appendix B).

super::vmcs_fields! {
    ReadOnly u64 {
        GUEST_PHYSICAL_ADDRESS = 0x2400,
    }
    ReadOnly u32 {
        VM_INSTRUCTION_ERROR = 0x4400,
        VM_EXIT_REASON = 0x4402,
        VM_EXIT_INTERRUPTION_INFORMATION = 0x4404,
        VM_EXIT_INTERRUPTION_ERROR_CODE = 0x4406,
        IDT_VECTORING_INFORMATION = 0x4408,
        IDT_VECTORING_ERROR_CODE = 0x440A,
        VM_EXIT_INSTRUCTION_LENGTH = 0x440C,
        VM_EXIT_INSTRUCTION_INFORMATION = 0x440E,
    }
    ReadOnly u64 {
        EXIT_QUALIFICATION = 0x6400,
        IO_RCX = 0x6402,
        IO_RSI = 0x6404,
        IO_RDI = 0x6406,
        IO_RIP = 0x6408,
        GUEST_LINEAR_ADDRESS = 0x640A,
    }
}
