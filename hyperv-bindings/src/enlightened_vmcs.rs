// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enlightened VMCS, version 1: a VMCS as a page of memory that L0 reads (TLFS, HV_VMX_ENLIGHTENED_VMCS).
//!
//! One table below gives each field's offset, name, type and, where the field stands for one of the VMCS, its
//! encoding (SDM Vol. 3D, appendix B) and clean group. The structure, its assertions and [`FIELDS`] come from it.
//!
//! Where the table differs from the published one, the published one is wrong or silent:
//! * `host_sysenter_cs_msr` is 0x4C00. The TLFS prints 0x6C16 for it, which is `host_rip`, and has no row for that.
//! * MSR lists, page-fault error-code mask and match, and the CR3-target fields have a place but no published clean
//!   group. A write to one of them clears [every](CleanFields::ALL) bit, as it is not known with which group L0 keeps it.

#![expect(
    missing_debug_implementations,
    reason = "the types that zerocopy derives for each field, seen through our macro"
)]

use bitfield_struct::bitfield;
use core::mem::offset_of;
use core::mem::size_of;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// The version of this layout: `version_number`, and a version that CPUID leaf 0x4000000A EAX can offer.
pub const VERSION: u32 = 1;

/// Which groups of fields L1 has left untouched since the last entry (TLFS, *Clean Fields*).
///
/// A set bit lets L0 use its cached copy of the group, a clear bit makes it read the page again.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CleanFields {
    /// I/O bitmap addresses.
    pub io_bitmap: bool,
    /// MSR bitmap address, and with the enlightened MSR bitmap the content of that page.
    pub msr_bitmap: bool,
    /// TSC offset and multiplier, virtual-APIC page, XSS and ENCLS exiting bitmaps.
    pub control_grp2: bool,
    /// Pin-based, secondary, tertiary and VM-exit controls.
    pub control_grp1: bool,
    /// Primary processor-based controls.
    pub control_proc: bool,
    /// Event injection.
    pub control_event: bool,
    /// VM-entry controls.
    pub control_entry: bool,
    /// Exception bitmap.
    pub control_excpn: bool,
    /// Guest control registers and DR7, and their masks and shadows.
    pub crdr: bool,
    /// EPT pointer and VPID.
    pub control_xlat: bool,
    /// Guest RSP, RFLAGS, interruptibility and SSP.
    pub guest_basic: bool,
    /// Guest MSRs, PDPTEs, activity state, pending debug exceptions.
    pub guest_grp1: bool,
    /// Guest segments and descriptor tables.
    pub guest_grp2: bool,
    /// Host bases and RSP.
    pub host_pointer: bool,
    /// The other host fields.
    pub host_grp1: bool,
    /// What has no counterpart in the VMCS: `enlightenments_control`, `vp_id`, `vm_id`, `partition_assist_page`.
    pub enlightenments_control: bool,
    #[bits(16)]
    __: u16,
}

macro_rules! clean_groups {
    ($($name:ident = $with:ident),* $(,)?) => {
        /// The clean groups under their TLFS names. As a field's group, this is what a write to it clears.
        impl CleanFields {
            /// No group: L0 always reads the field.
            pub const NONE: Self = Self::new();
            /// Every group.
            pub const ALL: Self = Self::from_bits(0xFFFF);
            $(
                #[doc = concat!("The group ", stringify!($name), ".")]
                pub const $name: Self = Self::new().$with(true);
            )*
        }
    };
}

clean_groups! {
    IO_BITMAP = with_io_bitmap,
    MSR_BITMAP = with_msr_bitmap,
    CONTROL_GRP2 = with_control_grp2,
    CONTROL_GRP1 = with_control_grp1,
    CONTROL_PROC = with_control_proc,
    CONTROL_EVENT = with_control_event,
    CONTROL_ENTRY = with_control_entry,
    CONTROL_EXCPN = with_control_excpn,
    CRDR = with_crdr,
    CONTROL_XLAT = with_control_xlat,
    GUEST_BASIC = with_guest_basic,
    GUEST_GRP1 = with_guest_grp1,
    GUEST_GRP2 = with_guest_grp2,
    HOST_POINTER = with_host_pointer,
    HOST_GRP1 = with_host_grp1,
    ENLIGHTENMENTSCONTROL = with_enlightenments_control,
}

/// What L0 shall do by itself for the guest of this VMCS (TLFS, *EnlightenmentsControl*).
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EnlightenmentsControl {
    /// L0 handles the guest's flush hypercalls without an exit to L1 (direct virtual flush).
    pub nested_flush_virtual_hypercall: bool,
    /// L0 learns of changes in the MSR bitmap from [`CleanFields::msr_bitmap`] alone.
    pub msr_bitmap: bool,
    #[bits(30)]
    __: u32,
}

/// Where a VMCS field has its place in [`EnlightenedVmcs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnlightenedField {
    /// The field's VMCS encoding.
    pub encoding: u16,
    /// Offset in the page, in bytes.
    pub offset: u16,
    /// Size in bytes: 2, 4 or 8.
    pub size: u16,
    /// The clean bits that a write to the field clears.
    pub group: CleanFields,
}

macro_rules! enlightened_vmcs {
    ($($offset:literal $name:ident: $type:ty $(= $encoding:literal $group:ident)?,)*) => {
        /// The enlightened VMCS, version 1: the first 1024 bytes of a page. Fields bear their TLFS names.
        #[repr(C)]
        #[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct EnlightenedVmcs {
            $(
                #[doc = concat!("Offset ", stringify!($offset) $(
                    , ": VMCS field ", stringify!($encoding), ", clean group ", stringify!($group)
                )?, ".")]
                pub $name: $type,
            )*
        }

        const _: () = assert!(size_of::<EnlightenedVmcs>() == 1024);
        $(const _: () = assert!(offset_of!(EnlightenedVmcs, $name) == $offset);)*

        /// Every VMCS field that has a place in [`EnlightenedVmcs`], in the order of the page.
        pub const FIELDS: &[EnlightenedField] = &[$($(
            EnlightenedField {
                encoding: $encoding,
                offset: $offset,
                size: size_of::<$type>() as u16,
                group: CleanFields::$group,
            },
        )?)*];
    };
}

enlightened_vmcs! {
    0x000 version_number: u32,
    0x004 abort_indicator: u32,
    0x008 host_es_selector: u16 = 0x0C00 HOST_GRP1,
    0x00A host_cs_selector: u16 = 0x0C02 HOST_GRP1,
    0x00C host_ss_selector: u16 = 0x0C04 HOST_GRP1,
    0x00E host_ds_selector: u16 = 0x0C06 HOST_GRP1,
    0x010 host_fs_selector: u16 = 0x0C08 HOST_GRP1,
    0x012 host_gs_selector: u16 = 0x0C0A HOST_GRP1,
    0x014 host_tr_selector: u16 = 0x0C0C HOST_GRP1,
    0x016 alignment_padding: u16,
    0x018 host_pat: u64 = 0x2C00 HOST_GRP1,
    0x020 host_efer: u64 = 0x2C02 HOST_GRP1,
    0x028 host_cr0: u64 = 0x6C00 HOST_GRP1,
    0x030 host_cr3: u64 = 0x6C02 HOST_GRP1,
    0x038 host_cr4: u64 = 0x6C04 HOST_GRP1,
    0x040 host_sysenter_esp_msr: u64 = 0x6C10 HOST_GRP1,
    0x048 host_sysenter_eip_msr: u64 = 0x6C12 HOST_GRP1,
    0x050 host_rip: u64 = 0x6C16 HOST_GRP1,
    0x058 host_sysenter_cs_msr: u32 = 0x4C00 HOST_GRP1,
    0x05C pin_controls: u32 = 0x4000 CONTROL_GRP1,
    0x060 exit_controls: u32 = 0x400C CONTROL_GRP1,
    0x064 secondary_processor_controls: u32 = 0x401E CONTROL_GRP1,
    0x068 io_bitmap_a: u64 = 0x2000 IO_BITMAP,
    0x070 io_bitmap_b: u64 = 0x2002 IO_BITMAP,
    0x078 msr_bitmap: u64 = 0x2004 MSR_BITMAP,
    0x080 guest_es_selector: u16 = 0x0800 GUEST_GRP2,
    0x082 guest_cs_selector: u16 = 0x0802 GUEST_GRP2,
    0x084 guest_ss_selector: u16 = 0x0804 GUEST_GRP2,
    0x086 guest_ds_selector: u16 = 0x0806 GUEST_GRP2,
    0x088 guest_fs_selector: u16 = 0x0808 GUEST_GRP2,
    0x08A guest_gs_selector: u16 = 0x080A GUEST_GRP2,
    0x08C guest_ldtr_selector: u16 = 0x080C GUEST_GRP2,
    0x08E guest_tr_selector: u16 = 0x080E GUEST_GRP2,
    0x090 guest_es_limit: u32 = 0x4800 GUEST_GRP2,
    0x094 guest_cs_limit: u32 = 0x4802 GUEST_GRP2,
    0x098 guest_ss_limit: u32 = 0x4804 GUEST_GRP2,
    0x09C guest_ds_limit: u32 = 0x4806 GUEST_GRP2,
    0x0A0 guest_fs_limit: u32 = 0x4808 GUEST_GRP2,
    0x0A4 guest_gs_limit: u32 = 0x480A GUEST_GRP2,
    0x0A8 guest_ldtr_limit: u32 = 0x480C GUEST_GRP2,
    0x0AC guest_tr_limit: u32 = 0x480E GUEST_GRP2,
    0x0B0 guest_gdtr_limit: u32 = 0x4810 GUEST_GRP2,
    0x0B4 guest_idtr_limit: u32 = 0x4812 GUEST_GRP2,
    0x0B8 guest_es_attributes: u32 = 0x4814 GUEST_GRP2,
    0x0BC guest_cs_attributes: u32 = 0x4816 GUEST_GRP2,
    0x0C0 guest_ss_attributes: u32 = 0x4818 GUEST_GRP2,
    0x0C4 guest_ds_attributes: u32 = 0x481A GUEST_GRP2,
    0x0C8 guest_fs_attributes: u32 = 0x481C GUEST_GRP2,
    0x0CC guest_gs_attributes: u32 = 0x481E GUEST_GRP2,
    0x0D0 guest_ldtr_attributes: u32 = 0x4820 GUEST_GRP2,
    0x0D4 guest_tr_attributes: u32 = 0x4822 GUEST_GRP2,
    0x0D8 guest_es_base: u64 = 0x6806 GUEST_GRP2,
    0x0E0 guest_cs_base: u64 = 0x6808 GUEST_GRP2,
    0x0E8 guest_ss_base: u64 = 0x680A GUEST_GRP2,
    0x0F0 guest_ds_base: u64 = 0x680C GUEST_GRP2,
    0x0F8 guest_fs_base: u64 = 0x680E GUEST_GRP2,
    0x100 guest_gs_base: u64 = 0x6810 GUEST_GRP2,
    0x108 guest_ldtr_base: u64 = 0x6812 GUEST_GRP2,
    0x110 guest_tr_base: u64 = 0x6814 GUEST_GRP2,
    0x118 guest_gdtr_base: u64 = 0x6816 GUEST_GRP2,
    0x120 guest_idtr_base: u64 = 0x6818 GUEST_GRP2,
    0x128 rsvd1: [u64; 3],
    0x140 exit_msr_store_address: u64 = 0x2006 ALL,
    0x148 exit_msr_load_address: u64 = 0x2008 ALL,
    0x150 entry_msr_load_address: u64 = 0x200A ALL,
    0x158 cr3_target0: u64 = 0x6008 ALL,
    0x160 cr3_target1: u64 = 0x600A ALL,
    0x168 cr3_target2: u64 = 0x600C ALL,
    0x170 cr3_target3: u64 = 0x600E ALL,
    0x178 pfec_mask: u32 = 0x4006 ALL,
    0x17C pfec_match: u32 = 0x4008 ALL,
    0x180 cr3_target_count: u32 = 0x400A ALL,
    0x184 exit_msr_store_count: u32 = 0x400E ALL,
    0x188 exit_msr_load_count: u32 = 0x4010 ALL,
    0x18C entry_msr_load_count: u32 = 0x4014 ALL,
    0x190 tsc_offset: u64 = 0x2010 CONTROL_GRP2,
    0x198 virtual_apic_page: u64 = 0x2012 CONTROL_GRP2,
    0x1A0 guest_working_vmcs_ptr: u64 = 0x2800 GUEST_GRP1,
    0x1A8 guest_ia32_debug_ctl: u64 = 0x2802 GUEST_GRP1,
    0x1B0 guest_pat: u64 = 0x2804 GUEST_GRP1,
    0x1B8 guest_efer: u64 = 0x2806 GUEST_GRP1,
    0x1C0 guest_pdpte0: u64 = 0x280A GUEST_GRP1,
    0x1C8 guest_pdpte1: u64 = 0x280C GUEST_GRP1,
    0x1D0 guest_pdpte2: u64 = 0x280E GUEST_GRP1,
    0x1D8 guest_pdpte3: u64 = 0x2810 GUEST_GRP1,
    0x1E0 guest_pending_debug_exceptions: u64 = 0x6822 GUEST_GRP1,
    0x1E8 guest_sysenter_esp_msr: u64 = 0x6824 GUEST_GRP1,
    0x1F0 guest_sysenter_eip_msr: u64 = 0x6826 GUEST_GRP1,
    0x1F8 guest_sleep_state: u32 = 0x4826 GUEST_GRP1,
    0x1FC guest_sysenter_cs_msr: u32 = 0x482A GUEST_GRP1,
    0x200 cr0_guest_host_mask: u64 = 0x6000 CRDR,
    0x208 cr4_guest_host_mask: u64 = 0x6002 CRDR,
    0x210 cr0_read_shadow: u64 = 0x6004 CRDR,
    0x218 cr4_read_shadow: u64 = 0x6006 CRDR,
    0x220 guest_cr0: u64 = 0x6800 CRDR,
    0x228 guest_cr3: u64 = 0x6802 CRDR,
    0x230 guest_cr4: u64 = 0x6804 CRDR,
    0x238 guest_dr7: u64 = 0x681A CRDR,
    0x240 host_fs_base: u64 = 0x6C06 HOST_POINTER,
    0x248 host_gs_base: u64 = 0x6C08 HOST_POINTER,
    0x250 host_tr_base: u64 = 0x6C0A HOST_POINTER,
    0x258 host_gdtr_base: u64 = 0x6C0C HOST_POINTER,
    0x260 host_idtr_base: u64 = 0x6C0E HOST_POINTER,
    0x268 host_rsp: u64 = 0x6C14 HOST_POINTER,
    0x270 ept_root: u64 = 0x201A CONTROL_XLAT,
    0x278 vpid: u16 = 0x0000 CONTROL_XLAT,
    0x27A rsvd2: [u16; 3],
    0x280 rsvd3: [u64; 5],
    0x2A8 exit_ept_fault_gpa: u64 = 0x2400 NONE,
    0x2B0 exit_instruction_error: u32 = 0x4400 NONE,
    0x2B4 exit_reason: u32 = 0x4402 NONE,
    0x2B8 exit_interruption_info: u32 = 0x4404 NONE,
    0x2BC exit_exception_error_code: u32 = 0x4406 NONE,
    0x2C0 exit_idt_vectoring_info: u32 = 0x4408 NONE,
    0x2C4 exit_idt_vectoring_error_code: u32 = 0x440A NONE,
    0x2C8 exit_instruction_length: u32 = 0x440C NONE,
    0x2CC exit_instruction_info: u32 = 0x440E NONE,
    0x2D0 exit_qualification: u64 = 0x6400 NONE,
    0x2D8 exit_io_instruction_ecx: u64 = 0x6402 NONE,
    0x2E0 exit_io_instruction_esi: u64 = 0x6404 NONE,
    0x2E8 exit_io_instruction_edi: u64 = 0x6406 NONE,
    0x2F0 exit_io_instruction_eip: u64 = 0x6408 NONE,
    0x2F8 guest_linear_address: u64 = 0x640A NONE,
    0x300 guest_rsp: u64 = 0x681C GUEST_BASIC,
    0x308 guest_rflags: u64 = 0x6820 GUEST_BASIC,
    0x310 guest_interruptibility: u32 = 0x4824 GUEST_BASIC,
    0x314 processor_controls: u32 = 0x4002 CONTROL_PROC,
    0x318 exception_bitmap: u32 = 0x4004 CONTROL_EXCPN,
    0x31C entry_controls: u32 = 0x4012 CONTROL_ENTRY,
    0x320 entry_interrupt_info: u32 = 0x4016 CONTROL_EVENT,
    0x324 entry_exception_error_code: u32 = 0x4018 CONTROL_EVENT,
    0x328 entry_instruction_length: u32 = 0x401A CONTROL_EVENT,
    0x32C tpr_threshold: u32 = 0x401C NONE,
    0x330 guest_rip: u64 = 0x681E NONE,
    0x338 clean_fields: CleanFields,
    0x33C rsvd4: u32,
    0x340 synthetic_controls: u32,
    0x344 enlightenments_control: EnlightenmentsControl,
    0x348 vp_id: u32,
    0x34C rsvd5: u32,
    0x350 vm_id: u64,
    0x358 partition_assist_page: u64,
    0x360 rsvd5_list: [u64; 4],
    0x380 guest_bndcfgs: u64 = 0x2812 GUEST_GRP1,
    0x388 guest_perf_global_ctrl: u64 = 0x2808 GUEST_GRP1,
    0x390 guest_s_cet: u64 = 0x6828 GUEST_GRP1,
    0x398 guest_ssp: u64 = 0x682A GUEST_BASIC,
    0x3A0 guest_interrupt_ssp_table_addr: u64 = 0x682C GUEST_GRP1,
    0x3A8 guest_lbr_ctl: u64 = 0x2816 GUEST_GRP1,
    0x3B0 rsvd6: [u64; 2],
    0x3C0 xss_exiting_bitmap: u64 = 0x202C CONTROL_GRP2,
    0x3C8 encls_exiting_bitmap: u64 = 0x202E CONTROL_GRP2,
    0x3D0 host_perf_global_ctrl: u64 = 0x2C04 HOST_GRP1,
    0x3D8 tsc_multiplier: u64 = 0x2032 CONTROL_GRP2,
    0x3E0 host_s_cet: u64 = 0x6C18 HOST_GRP1,
    0x3E8 host_ssp: u64 = 0x6C1A HOST_GRP1,
    0x3F0 host_interrupt_ssp_table_addr: u64 = 0x6C1C HOST_GRP1,
    0x3F8 tertiary_processor_controls: u64 = 0x2034 CONTROL_GRP1,
}
