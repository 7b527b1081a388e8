// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FADT, revision 6: what the guest's machine does not have, and the ports of its fixed registers.

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::devices::power_management;
use crate::devices::reset_control::RESET_CONTROL;
use crate::devices::reset_control::RESET_VALUE;
use crate::devices::rtc::CENTURY;
use acpi_tables::fadt::FADT;
use acpi_tables::fadt::FADTBuilder;
use acpi_tables::fadt::Flags;
use acpi_tables::fadt::PmProfile;
use acpi_tables::gas::AccessSize;
use acpi_tables::gas::AddressSpace;
use acpi_tables::gas::GAS;

/// IA-PC boot architecture flags (ACPI 6.5, 5.2.9.3). There is no 8042 with a keyboard.
const BOOT_ARCHITECTURE: u16 = LEGACY_DEVICES | VGA_NOT_PRESENT;
const LEGACY_DEVICES: u16 = 1 << 0;
const VGA_NOT_PRESENT: u16 = 1 << 2;

/// Whose machine it is, for a guest that asks its FADT.
const HYPERVISOR: [u8; 8] = *b"Satori\0\0";

/// The whole table; `dsdt` is that table's address.
pub(super) fn table(dsdt: u64) -> FADT {
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::Headless)
        .flag(Flags::ResetRegSup)
        .flag(Flags::TmrValExt)
        // These say that there is no such button, and no wake-up by RTC, in fixed registers.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc);
    table.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    table.sci_int = (power_management::GSI as u16).into();
    table.pm1a_evt_blk = u32::from(power_management::STATUS).into();
    table.pm1a_cnt_blk = u32::from(power_management::CONTROL).into();
    table.pm_tmr_blk = u32::from(power_management::TIMER).into();
    (table.pm1_evt_len, table.pm1_cnt_len, table.pm_tmr_len) = (4, 2, 4);
    table.century = CENTURY;
    table.reset_reg = port(RESET_CONTROL);
    table.reset_value = RESET_VALUE;
    table.hypervisor_vendor_identity = u64::from_le_bytes(HYPERVISOR).into();
    table.finalize()
}

/// A register of one byte at a port.
fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, number.into())
}
