// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FADT, revision 6: where the fixed registers are, and what of a PC is there and what is not.

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::devices::power_management;
use crate::devices::power_management::CONTROL;
use crate::devices::power_management::STATUS;
use crate::devices::power_management::TIMER;
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

/// IA-PC boot architecture flags (ACPI 6.5, 5.2.9.3). What is not set here says the same of the rest: no 8042, but a CMOS RTC.
const BOOT_ARCHITECTURE: u16 = LEGACY_DEVICES | VGA_NOT_PRESENT;
const LEGACY_DEVICES: u16 = 1 << 0;
const VGA_NOT_PRESENT: u16 = 1 << 2;

/// From these latencies on, in microseconds, there is no C2 and no C3.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;

/// Whose machine it is, for a guest that asks its FADT.
const HYPERVISOR: [u8; 8] = *b"Satori\0\0";

/// The whole table, with the addresses of those that it names.
pub(super) fn table(facs: u32, dsdt: u32) -> FADT {
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .firmware_ctrl_32(facs)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        // These say that there is no such button, and no wake-up by RTC, in fixed registers. The power button is one.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc);
    // Systems of any age find the DSDT, and both addresses agree.
    table.dsdt = dsdt.into();
    table.x_dsdt = u64::from(dsdt).into();
    table.sci_int = (power_management::GSI as u16).into();
    set_power_management(&mut table);
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.century = CENTURY;
    table.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    table.reset_reg = port(RESET_CONTROL, 1);
    table.reset_value = RESET_VALUE;
    table.hypervisor_vendor_identity = u64::from_le_bytes(HYPERVISOR).into();
    table.finalize()
}

/// There is no SMI_CMD: the machine is in ACPI mode from the start.
fn set_power_management(table: &mut FADTBuilder) {
    table.pm1a_evt_blk = u32::from(STATUS).into();
    table.pm1a_cnt_blk = u32::from(CONTROL).into();
    table.pm_tmr_blk = u32::from(TIMER).into();
    table.pm1_evt_len = 4;
    table.pm1_cnt_len = 2;
    table.pm_tmr_len = 4;
    table.x_pm1a_evt_blk = port(STATUS, 4);
    table.x_pm1a_cnt_blk = port(CONTROL, 2);
    table.x_pm_tmr_blk = port(TIMER, 4);
}

/// A block of so many bytes at a port. That of events is the two registers of two bytes, status and enable.
fn port(number: u16, bytes: u8) -> GAS {
    let access = match bytes {
        1 => AccessSize::ByteAccess,
        2 => AccessSize::WordAccess,
        _ if number == STATUS => AccessSize::WordAccess,
        _ => AccessSize::DwordAccess,
    };
    GAS::new(AddressSpace::SystemIo, 8 * bytes, 0, access, number.into())
}
