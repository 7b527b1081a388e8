// SPDX-License-Identifier: MIT OR Apache-2.0
//! Powers the machine off, the ACPI way.

use crate::acpi::PowerOff;
use crate::cpu::hardware::PortIo;

/// SLP_EN of PM1 control (ACPI 6.5, 4.8.3.2.1).
const SLEEP_ENABLE: u16 = 1 << 13;

/// Enters S5. Comes back where that does not work.
pub fn off(ports: &impl PortIo, how: Option<PowerOff>) {
    let Some(how) = how else { return };
    let value = |sleep_type: u8| u16::from(sleep_type & 7) << 10 | SLEEP_ENABLE;
    ports.write_u16(how.pm1a_control, value(how.sleep_type.0));
    if how.pm1b_control != 0 {
        ports.write_u16(how.pm1b_control, value(how.sleep_type.1));
    }
}
