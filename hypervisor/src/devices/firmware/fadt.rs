// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FADT, revision 6: what the guest's machine does not have, and the ports of its power registers.

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use super::power::RESET;
use super::power::RESET_VALUE;
use super::power::SLEEP_CONTROL;
use super::power::SLEEP_STATUS;
use acpi_tables::fadt::FADT;
use acpi_tables::fadt::FADTBuilder;
use acpi_tables::fadt::Flags;
use acpi_tables::fadt::PmProfile;
use acpi_tables::gas::AccessSize;
use acpi_tables::gas::AddressSpace;
use acpi_tables::gas::GAS;

/// IA-PC boot architecture flags (ACPI 6.5, 5.2.9.3). What is not set here says the same of the rest: no legacy
/// devices on an ISA bus, no 8042.
const BOOT_ARCHITECTURE: u16 = VGA_NOT_PRESENT | CMOS_RTC_NOT_PRESENT;
const VGA_NOT_PRESENT: u16 = 1 << 2;
const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;

/// Whose machine it is, for a guest that asks its FADT.
const HYPERVISOR: [u8; 8] = *b"Satori\0\0";

/// The whole table; `dsdt` is that table's address.
pub(super) fn table(dsdt: u64) -> FADT {
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::Wbinvd)
        .flag(Flags::Headless)
        .flag(Flags::ResetRegSup)
        // These say that there are no such buttons, and no wake-up by RTC, in fixed registers.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc);
    table.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    table.reset_reg = port(RESET);
    table.reset_value = RESET_VALUE;
    table.sleep_control_reg = port(SLEEP_CONTROL);
    table.sleep_status_reg = port(SLEEP_STATUS);
    table.hypervisor_vendor_identity = u64::from_le_bytes(HYPERVISOR).into();
    table.finalize()
}

/// A register of one byte at a port.
fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, number.into())
}
