// SPDX-License-Identifier: MIT OR Apache-2.0
//! Host-state fields of the VMCS (SDM Vol. 3D, appendix B).

super::vmcs_fields! {
    ReadWrite u16 {
        HOST_ES_SELECTOR = 0x0C00,
        HOST_CS_SELECTOR = 0x0C02,
        HOST_SS_SELECTOR = 0x0C04,
        HOST_DS_SELECTOR = 0x0C06,
        HOST_FS_SELECTOR = 0x0C08,
        HOST_GS_SELECTOR = 0x0C0A,
        HOST_TR_SELECTOR = 0x0C0C,
    }
    ReadWrite u64 {
        HOST_IA32_PAT = 0x2C00,
        HOST_IA32_EFER = 0x2C02,
        HOST_IA32_PERF_GLOBAL_CTRL = 0x2C04,
        HOST_IA32_PKRS = 0x2C06,
    }
    ReadWrite u32 {
        HOST_IA32_SYSENTER_CS = 0x4C00,
    }
    ReadWrite u64 {
        HOST_CR0 = 0x6C00,
        HOST_CR3 = 0x6C02,
        HOST_CR4 = 0x6C04,
        HOST_FS_BASE = 0x6C06,
        HOST_GS_BASE = 0x6C08,
        HOST_TR_BASE = 0x6C0A,
        HOST_GDTR_BASE = 0x6C0C,
        HOST_IDTR_BASE = 0x6C0E,
        HOST_IA32_SYSENTER_ESP = 0x6C10,
        HOST_IA32_SYSENTER_EIP = 0x6C12,
        HOST_RSP = 0x6C14,
        HOST_RIP = 0x6C16,
        HOST_IA32_S_CET = 0x6C18,
        HOST_SSP = 0x6C1A,
        HOST_IA32_INTERRUPT_SSP_TABLE_ADDR = 0x6C1C,
    }
}
