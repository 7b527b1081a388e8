// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enlightened VMCS against the published offsets, sizes, encodings and clean groups, all 158 rows of them.

#[cfg(test)]
mod tests {
    use core::mem::offset_of;
    use core::mem::size_of;
    use hyperv_bindings::enlightened_vmcs::CleanFields;
    use hyperv_bindings::enlightened_vmcs::EnlightenedVmcs;
    use hyperv_bindings::enlightened_vmcs::FIELDS;

    /// One row of the published table.
    struct Row<'a> {
        offset: usize,
        size: usize,
        name: &'a str,
        encoding: Option<u16>,
        group: &'a str,
        clean_bit: Option<u32>,
    }

    fn published() -> Vec<Row<'static>> {
        let rows: Vec<_> = include_str!("evmcs_v1_fields.csv").lines().skip(1).map(parse).collect();
        assert_eq!(rows.len(), 158);
        rows
    }

    fn parse(line: &'static str) -> Row<'static> {
        let columns: Vec<_> = line.splitn(9, ',').collect();
        let offset = columns[0].parse().unwrap();
        assert_eq!(usize::from_str_radix(&columns[1][2..], 16).unwrap(), offset, "{line}");
        Row {
            offset,
            size: columns[2].parse().unwrap(),
            name: columns[3],
            encoding: columns[5].strip_prefix("0x").map(|hex| u16::from_str_radix(hex, 16).unwrap()),
            group: columns[6],
            clean_bit: (!columns[7].is_empty()).then(|| columns[7].parse().unwrap()),
        }
    }

    fn size_of_member<T>(_: fn(&EnlightenedVmcs) -> &T) -> usize {
        size_of::<T>()
    }

    macro_rules! members {
        ($($published:literal => $name:ident,)*) => {
            vec![$((
                $published,
                offset_of!(EnlightenedVmcs, $name),
                size_of_member(|page| &page.$name),
            ),)*]
        };
    }

    #[test]
    fn the_structure_is_the_published_one_row_by_row() {
        let members = members();
        let rows = published();
        assert_eq!(members.len(), rows.len());
        for (row, (name, offset, size)) in rows.iter().zip(members) {
            assert_eq!((row.name, row.offset, row.size), (name, offset, size));
        }
    }

    #[test]
    fn every_byte_belongs_to_exactly_one_row() {
        let mut end = 0;
        for row in published() {
            assert_eq!(row.offset, end, "{}", row.name);
            end += row.size;
        }
        assert_eq!(end, size_of::<EnlightenedVmcs>());
    }

    #[test]
    fn every_vmcs_field_has_its_published_encoding_and_clean_group() {
        let rows: Vec<_> = published().into_iter().filter(|row| row.encoding.is_some()).collect();
        assert_eq!(rows.len(), FIELDS.len());
        for (row, field) in rows.iter().zip(FIELDS) {
            let group = match (row.group, row.clean_bit) {
                (_, Some(bit)) => CleanFields::from_bits(1 << bit),
                ("NONE", None) => CleanFields::NONE,
                (unpublished, None) if unpublished.starts_with("(none in TLFS") => CleanFields::ALL,
                (other, None) => panic!("{}: unknown clean group {other}", row.name),
            };
            assert_eq!(
                (row.encoding.unwrap(), row.offset, row.size, group),
                (field.encoding, field.offset.into(), field.size.into(), field.group),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn clean_groups_have_their_published_bits() {
        for row in published() {
            let Some(bit) = row.clean_bit else { continue };
            let group = match row.group {
                "IO_BITMAP" => CleanFields::IO_BITMAP,
                "MSR_BITMAP" => CleanFields::MSR_BITMAP,
                "CONTROL_GRP2" => CleanFields::CONTROL_GRP2,
                "CONTROL_GRP1" => CleanFields::CONTROL_GRP1,
                "CONTROL_PROC" => CleanFields::CONTROL_PROC,
                "CONTROL_EVENT" => CleanFields::CONTROL_EVENT,
                "CONTROL_ENTRY" => CleanFields::CONTROL_ENTRY,
                "CONTROL_EXCPN" => CleanFields::CONTROL_EXCPN,
                "CRDR" => CleanFields::CRDR,
                "CONTROL_XLAT" => CleanFields::CONTROL_XLAT,
                "GUEST_BASIC" => CleanFields::GUEST_BASIC,
                "GUEST_GRP1" => CleanFields::GUEST_GRP1,
                "GUEST_GRP2" => CleanFields::GUEST_GRP2,
                "HOST_POINTER" => CleanFields::HOST_POINTER,
                "HOST_GRP1" => CleanFields::HOST_GRP1,
                "ENLIGHTENMENTSCONTROL" => CleanFields::ENLIGHTENMENTSCONTROL,
                other => panic!("unknown clean group {other}"),
            };
            assert_eq!(group.into_bits(), 1 << bit, "{}", row.name);
        }
    }

    /// Published name, offset and size of each member, in the order of the page.
    fn members() -> Vec<(&'static str, usize, usize)> {
        members! {
                "VersionNumber" => version_number,
                "AbortIndicator" => abort_indicator,
                "HostEsSelector" => host_es_selector,
                "HostCsSelector" => host_cs_selector,
                "HostSsSelector" => host_ss_selector,
                "HostDsSelector" => host_ds_selector,
                "HostFsSelector" => host_fs_selector,
                "HostGsSelector" => host_gs_selector,
                "HostTrSelector" => host_tr_selector,
                "(align pad)" => alignment_padding,
                "HostPat" => host_pat,
                "HostEfer" => host_efer,
                "HostCr0" => host_cr0,
                "HostCr3" => host_cr3,
                "HostCr4" => host_cr4,
                "HostSysenterEspMsr" => host_sysenter_esp_msr,
                "HostSysenterEipMsr" => host_sysenter_eip_msr,
                "HostRip" => host_rip,
                "HostSysenterCsMsr" => host_sysenter_cs_msr,
                "PinControls" => pin_controls,
                "ExitControls" => exit_controls,
                "SecondaryProcessorControls" => secondary_processor_controls,
                "IoBitmapA" => io_bitmap_a,
                "IoBitmapB" => io_bitmap_b,
                "MsrBitmap" => msr_bitmap,
                "GuestEsSelector" => guest_es_selector,
                "GuestCsSelector" => guest_cs_selector,
                "GuestSsSelector" => guest_ss_selector,
                "GuestDsSelector" => guest_ds_selector,
                "GuestFsSelector" => guest_fs_selector,
                "GuestGsSelector" => guest_gs_selector,
                "GuestLdtrSelector" => guest_ldtr_selector,
                "GuestTrSelector" => guest_tr_selector,
                "GuestEsLimit" => guest_es_limit,
                "GuestCsLimit" => guest_cs_limit,
                "GuestSsLimit" => guest_ss_limit,
                "GuestDsLimit" => guest_ds_limit,
                "GuestFsLimit" => guest_fs_limit,
                "GuestGsLimit" => guest_gs_limit,
                "GuestLdtrLimit" => guest_ldtr_limit,
                "GuestTrLimit" => guest_tr_limit,
                "GuestGdtrLimit" => guest_gdtr_limit,
                "GuestIdtrLimit" => guest_idtr_limit,
                "GuestEsAttributes" => guest_es_attributes,
                "GuestCsAttributes" => guest_cs_attributes,
                "GuestSsAttributes" => guest_ss_attributes,
                "GuestDsAttributes" => guest_ds_attributes,
                "GuestFsAttributes" => guest_fs_attributes,
                "GuestGsAttributes" => guest_gs_attributes,
                "GuestLdtrAttributes" => guest_ldtr_attributes,
                "GuestTrAttributes" => guest_tr_attributes,
                "GuestEsBase" => guest_es_base,
                "GuestCsBase" => guest_cs_base,
                "GuestSsBase" => guest_ss_base,
                "GuestDsBase" => guest_ds_base,
                "GuestFsBase" => guest_fs_base,
                "GuestGsBase" => guest_gs_base,
                "GuestLdtrBase" => guest_ldtr_base,
                "GuestTrBase" => guest_tr_base,
                "GuestGdtrBase" => guest_gdtr_base,
                "GuestIdtrBase" => guest_idtr_base,
                "Rsvd1[3]" => rsvd1,
                "ExitMsrStoreAddress" => exit_msr_store_address,
                "ExitMsrLoadAddress" => exit_msr_load_address,
                "EntryMsrLoadAddress" => entry_msr_load_address,
                "Cr3Target0" => cr3_target0,
                "Cr3Target1" => cr3_target1,
                "Cr3Target2" => cr3_target2,
                "Cr3Target3" => cr3_target3,
                "PfecMask" => pfec_mask,
                "PfecMatch" => pfec_match,
                "Cr3TargetCount" => cr3_target_count,
                "ExitMsrStoreCount" => exit_msr_store_count,
                "ExitMsrLoadCount" => exit_msr_load_count,
                "EntryMsrLoadCount" => entry_msr_load_count,
                "TscOffset" => tsc_offset,
                "VirtualApicPage" => virtual_apic_page,
                "GuestWorkingVmcsPtr" => guest_working_vmcs_ptr,
                "GuestIa32DebugCtl" => guest_ia32_debug_ctl,
                "GuestPat" => guest_pat,
                "GuestEfer" => guest_efer,
                "GuestPdpte0" => guest_pdpte0,
                "GuestPdpte1" => guest_pdpte1,
                "GuestPdpte2" => guest_pdpte2,
                "GuestPdpte3" => guest_pdpte3,
                "GuestPendingDebugExceptions" => guest_pending_debug_exceptions,
                "GuestSysenterEspMsr" => guest_sysenter_esp_msr,
                "GuestSysenterEipMsr" => guest_sysenter_eip_msr,
                "GuestSleepState" => guest_sleep_state,
                "GuestSysenterCsMsr" => guest_sysenter_cs_msr,
                "Cr0GuestHostMask" => cr0_guest_host_mask,
                "Cr4GuestHostMask" => cr4_guest_host_mask,
                "Cr0ReadShadow" => cr0_read_shadow,
                "Cr4ReadShadow" => cr4_read_shadow,
                "GuestCr0" => guest_cr0,
                "GuestCr3" => guest_cr3,
                "GuestCr4" => guest_cr4,
                "GuestDr7" => guest_dr7,
                "HostFsBase" => host_fs_base,
                "HostGsBase" => host_gs_base,
                "HostTrBase" => host_tr_base,
                "HostGdtrBase" => host_gdtr_base,
                "HostIdtrBase" => host_idtr_base,
                "HostRsp" => host_rsp,
                "EptRoot" => ept_root,
                "Vpid" => vpid,
                "Rsvd2[3]" => rsvd2,
                "Rsvd3[5]" => rsvd3,
                "ExitEptFaultGpa" => exit_ept_fault_gpa,
                "ExitInstructionError" => exit_instruction_error,
                "ExitReason" => exit_reason,
                "ExitInterruptionInfo" => exit_interruption_info,
                "ExitExceptionErrorCode" => exit_exception_error_code,
                "ExitIdtVectoringInfo" => exit_idt_vectoring_info,
                "ExitIdtVectoringErrorCode" => exit_idt_vectoring_error_code,
                "ExitInstructionLength" => exit_instruction_length,
                "ExitInstructionInfo" => exit_instruction_info,
                "ExitQualification" => exit_qualification,
                "ExitIoInstructionEcx" => exit_io_instruction_ecx,
                "ExitIoInstructionEsi" => exit_io_instruction_esi,
                "ExitIoInstructionEdi" => exit_io_instruction_edi,
                "ExitIoInstructionEip" => exit_io_instruction_eip,
                "GuestLinearAddress" => guest_linear_address,
                "GuestRsp" => guest_rsp,
                "GuestRflags" => guest_rflags,
                "GuestInterruptibility" => guest_interruptibility,
                "ProcessorControls" => processor_controls,
                "ExceptionBitmap" => exception_bitmap,
                "EntryControls" => entry_controls,
                "EntryInterruptInfo" => entry_interrupt_info,
                "EntryExceptionErrorCode" => entry_exception_error_code,
                "EntryInstructionLength" => entry_instruction_length,
                "TprThreshold" => tpr_threshold,
                "GuestRip" => guest_rip,
                "CleanFields" => clean_fields,
                "Rsvd4" => rsvd4,
                "SyntheticControls" => synthetic_controls,
                "EnlightenmentsControl" => enlightenments_control,
                "VpId" => vp_id,
                "Rsvd5" => rsvd5,
                "VmId" => vm_id,
                "PartitionAssistPage" => partition_assist_page,
                "Rsvd5[4]" => rsvd5_list,
                "GuestBndcfgs" => guest_bndcfgs,
                "GuestPerfGlobalCtrl" => guest_perf_global_ctrl,
                "GuestSCet" => guest_s_cet,
                "GuestSsp" => guest_ssp,
                "GuestInterruptSspTableAddr" => guest_interrupt_ssp_table_addr,
                "GuestLbrCtl" => guest_lbr_ctl,
                "Rsvd6[2]" => rsvd6,
                "XssExitingBitmap" => xss_exiting_bitmap,
                "EnclsExitingBitmap" => encls_exiting_bitmap,
                "HostPerfGlobalCtrl" => host_perf_global_ctrl,
                "TscMultiplier" => tsc_multiplier,
                "HostSCet" => host_s_cet,
                "HostSsp" => host_ssp,
                "HostInterruptSspTableAddr" => host_interrupt_ssp_table_addr,
                "TertiaryProcessorControls" => tertiary_processor_controls,
        }
    }
}
