// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways in which a PC's software resets it: the reset control register, the keyboard controller, and system control port A.
//!
//! There is no keyboard behind the controller.

/// The reset control register (Intel, 82371AB data sheet, "RC - Reset Control Register"), one byte.
pub const RESET_CONTROL: u16 = 0xCF9;
/// What written there resets the machine, as the FADT tells.
pub const RESET_VALUE: u8 = SYSTEM_RESET | RESET_CPU;
/// Data of the keyboard controller.
pub const KEYBOARD_DATA: u16 = 0x60;
/// Its status when read, its command when written.
pub const KEYBOARD: u16 = 0x64;
/// System control port A.
pub const PORT_A: u16 = 0x92;

/// RC: reset, when this bit is set.
const RESET_CPU: u8 = 1 << 2;
/// RC: of the whole machine, not of the processor alone. Here both are one.
const SYSTEM_RESET: u8 = 1 << 1;
/// The keyboard controller pulses the lowest of its output lines, which is the processor's reset.
const PULSE_RESET: u8 = 0xFE;
/// Port A: a reset, when this bit is set.
const FAST_RESET: u8 = 1 << 0;
/// Port A: A20 is not held down, ever.
const A20: u8 = 1 << 1;

/// Whether a port is one of these.
#[must_use]
pub const fn has(port: u16) -> bool {
    matches!(port, RESET_CONTROL | KEYBOARD_DATA | KEYBOARD | PORT_A)
}

/// The registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetControl {
    /// What of RC was written that stays.
    kind: u8,
}

impl ResetControl {
    /// Reads a port; none of its own reads as all ones.
    #[must_use]
    pub fn read(self, port: u16) -> u8 {
        match port {
            RESET_CONTROL => self.kind,
            // No key, and room for a command.
            KEYBOARD_DATA | KEYBOARD => 0,
            PORT_A => A20,
            _ => u8::MAX,
        }
    }

    /// Writes to a port; tells whether that resets the machine.
    #[must_use]
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        match port {
            RESET_CONTROL => {
                self.kind = value & SYSTEM_RESET;
                value & RESET_CPU != 0
            }
            KEYBOARD => value == PULSE_RESET,
            PORT_A => value & FAST_RESET != 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that reset by that port.
    fn resetting(port: u16) -> Vec<u8> {
        (0..=0xFF).filter(|&value| ResetControl::default().write(port, value)).collect()
    }

    #[test]
    fn each_way_resets_by_its_values_alone() {
        assert_eq!(resetting(0x64), [0xFE]);
        assert!(resetting(0xCF9).contains(&0x06) && resetting(0xCF9).contains(&0x0E));
        assert!(resetting(0xCF9).iter().all(|value| value & 4 != 0));
        assert!(!resetting(0x92).contains(&0x02) && resetting(0x92).contains(&0x03));
        assert_eq!(resetting(0x60), []);
    }

    #[test]
    fn a_kind_of_reset_is_kept_until_it_is_asked_for() {
        let mut control = ResetControl::default();
        assert!(!control.write(0xCF9, 0x02));
        assert_eq!(control.read(0xCF9), 0x02);
        assert!(control.write(0xCF9, 0x06));
    }

    #[test]
    fn there_is_no_keyboard_and_no_a20_gate() {
        assert_eq!([0x60, 0x64, 0x92].map(|port| ResetControl::default().read(port)), [0, 0, 2]);
    }
}
