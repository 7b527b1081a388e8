// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three ports by which a guest switches itself off or starts anew (ACPI 6.5, 4.8.3.7 and 4.8.3.6).

/// SLEEP_CONTROL_REG, one byte.
pub const SLEEP_CONTROL: u16 = 0x600;

/// SLEEP_STATUS_REG, one byte.
pub const SLEEP_STATUS: u16 = 0x601;

/// RESET_REG, one byte.
pub const RESET: u16 = 0x602;

/// What makes a write to [`RESET`] a reset.
pub const RESET_VALUE: u8 = 1;

/// The SLP_TYP of S5, "soft off", as the DSDT's \_S5 says.
pub const SLEEP_TYPE_S5: u8 = 5;

/// SLP_EN in SLEEP_CONTROL_REG: enter the state that SLP_TYP names.
const SLEEP_ENABLE: u8 = 1 << 5;

/// Lowest bit and width of SLP_TYP in SLEEP_CONTROL_REG.
const SLEEP_TYPE: (u32, u32) = (2, 3);

/// What a guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// To be off.
    PowerOff,
    /// To start anew.
    Reset,
}

/// What a guest's write of `value` to `port` asks for, if anything. There is no state to sleep in but S5.
#[must_use]
pub fn write(port: u16, value: u8) -> Option<PowerEvent> {
    let sleep_type = value >> SLEEP_TYPE.0 & ((1 << SLEEP_TYPE.1) - 1);
    match port {
        SLEEP_CONTROL if value & SLEEP_ENABLE != 0 && sleep_type == SLEEP_TYPE_S5 => {
            Some(PowerEvent::PowerOff)
        }
        RESET if value == RESET_VALUE => Some(PowerEvent::Reset),
        _ => None,
    }
}

/// What a guest reads from any of the ports. SLP_EN reads as 0, and WAK_STS is 0 where nothing ever slept.
#[must_use]
pub fn read() -> u8 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_type_5_with_enable_is_power_off() {
        assert_eq!(write(0x600, 0x34), Some(PowerEvent::PowerOff));
        // Reserved bits count for nothing.
        assert_eq!(write(0x600, 0xF7), Some(PowerEvent::PowerOff));
    }

    #[test]
    fn other_writes_to_sleep_control_are_nothing() {
        let off = |value: &u8| write(0x600, *value).is_some();
        let values: Vec<u8> = (0..=0xFF).filter(off).collect();
        assert_eq!(values.len(), 16);
        assert!(values.iter().all(|value| value & 0x3C == 0x34));
    }

    #[test]
    fn only_the_reset_value_resets() {
        assert_eq!(write(0x602, 1), Some(PowerEvent::Reset));
        assert!((0..=0xFF).filter(|&value| value != 1).all(|value| write(0x602, value).is_none()));
    }

    #[test]
    fn the_status_register_and_other_ports_are_nothing() {
        for port in [0x601, 0x5FF, 0x603] {
            assert!((0..=0xFF).all(|value| write(port, value).is_none()));
        }
    }
}
