// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI's fixed hardware: PM1a events and control, the PM timer, and the power button (ACPI 6.5, 4.8.2 and 4.8.3).
//!
//! There is no system-management mode, so the machine is in ACPI mode from the start: SCI_EN is always set.

use super::rate::Rate;

/// PM1a_STS, two bytes.
pub const STATUS: u16 = 0x600;
/// PM1a_EN, two bytes.
pub const ENABLE: u16 = 0x602;
/// PM1a_CNT, two bytes.
pub const CONTROL: u16 = 0x604;
/// PM_TMR, four bytes.
pub const TIMER: u16 = 0x608;
/// The last port.
pub const LAST: u16 = TIMER + 3;
/// The system-control interrupt's global system interrupt; it is level triggered.
pub const GSI: usize = 9;
/// Ticks of the timer in a second.
pub const TIMER_HZ: u32 = 3_579_545;
/// The SLP_TYP of S5, "soft off", which QEMU has, too.
pub const SLEEP_TYPE_S5: u8 = 0;

/// Bits of PM1a_STS and PM1a_EN.
mod event {
    /// The highest bit of the timer has changed.
    pub(super) const TIMER: u16 = 1 << 0;
    pub(super) const GLOBAL: u16 = 1 << 5;
    pub(super) const POWER_BUTTON: u16 = 1 << 8;
    /// The clock's alarm has woken the machine. That never happens, as the FADT says, but Linux enables it and reads it back.
    pub(super) const RTC: u16 = 1 << 10;
    /// Those that there are.
    pub(super) const ALL: u16 = TIMER | GLOBAL | POWER_BUTTON | RTC;
}

/// SCI_EN.
const SCI_ENABLE: u16 = 1 << 0;
/// SLP_TYP and SLP_EN in the high byte of PM1a_CNT.
const SLEEP_TYPE: (u32, u8) = (2, 7);
const SLEEP_ENABLE: u8 = 1 << 5;
/// The bits of PM1a_CNT that can be read back: BM_RLD and SLP_TYP.
const CONTROL_KEPT: u16 = 1 << 1 | 7 << 10;
/// With each so many ticks, as a power of two, the highest bit of the timer changes.
const HALF_SHIFT: u32 = 31;

/// The registers. Times are ticks of the machine's.
#[derive(Clone, Debug)]
pub struct PowerManagement {
    rate: Rate,
    status: u16,
    enable: u16,
    control: u16,
    /// The half of the timer's range in which it was seen last, counted from the start.
    half: u64,
}

impl PowerManagement {
    /// Nothing has happened, and nothing is enabled. The machine's time is `now`, and has so many ticks in a second.
    #[must_use]
    pub fn new(machine_hz: u64, now: u64) -> Self {
        let rate = Rate::new(TIMER_HZ, machine_hz);
        Self { rate, status: 0, enable: 0, control: SCI_ENABLE, half: rate.ticks(now) >> HALF_SHIFT }
    }

    /// How the PM timer ticks.
    #[must_use]
    pub fn timer_rate(&self) -> Rate {
        self.rate
    }

    /// Reads one of the ports from [`STATUS`] to [`LAST`].
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        self.see_timer(now);
        let of = |register: u16| register.to_le_bytes()[usize::from(port & 1)];
        match port & !1 {
            STATUS => of(self.status),
            ENABLE => of(self.enable),
            CONTROL => of(self.control),
            _ => match port.checked_sub(TIMER) {
                Some(byte @ 0..4) => (self.rate.ticks(now) >> (8 * byte)) as u8,
                _ => 0,
            },
        }
    }

    /// Writes to one of the ports; tells whether that powers the machine off.
    #[must_use]
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        self.see_timer(now);
        let shift = 8 * u32::from(port & 1);
        let wide = u16::from(value) << shift;
        let replaced = |old: u16| old & !(0xFF << shift) | wide;
        match port & !1 {
            STATUS => self.status &= !wide,
            ENABLE => self.enable = replaced(self.enable) & event::ALL,
            CONTROL => {
                self.control = replaced(self.control) & CONTROL_KEPT | SCI_ENABLE;
                let sleep_type = value >> SLEEP_TYPE.0 & SLEEP_TYPE.1;
                return port == CONTROL + 1 && value & SLEEP_ENABLE != 0 && sleep_type == SLEEP_TYPE_S5;
            }
            _ => {}
        }
        false
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self) {
        self.status |= event::POWER_BUTTON;
    }

    /// The line of the system-control interrupt.
    #[must_use]
    pub fn interrupt_line(&self) -> bool {
        self.status & self.enable != 0
    }

    /// When [`Self::see_timer`] will raise the line by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let awaited = self.enable & !self.status & event::TIMER != 0;
        awaited.then(|| self.rate.time((self.half + 1) << HALF_SHIFT))
    }

    /// Notes whether the timer's highest bit has changed.
    pub fn see_timer(&mut self, now: u64) {
        let half = self.rate.ticks(now) >> HALF_SHIFT;
        if half > self.half {
            self.half = half;
            self.status |= event::TIMER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;
    const POWER_BUTTON_HIGH: u8 = 1;

    fn registers() -> PowerManagement {
        PowerManagement::new(HZ, 0)
    }

    fn word(registers: &mut PowerManagement, port: u16) -> u16 {
        u16::from_le_bytes([port, port + 1].map(|port| registers.read(port, 0)))
    }

    #[test]
    fn the_timer_has_all_its_ticks_after_a_second() {
        let mut registers = registers();
        let bytes = [0x608, 0x609, 0x60A, 0x60B].map(|port| registers.read(port, HZ));
        assert!(u32::from_le_bytes(bytes).abs_diff(3_579_545) <= 1);
    }

    #[test]
    fn the_power_button_interrupts_if_enabled_until_its_status_is_cleared() {
        let mut registers = registers();
        registers.press_power_button();
        assert!(!registers.interrupt_line());
        assert_eq!(word(&mut registers, 0x600), 0x100);
        assert!(!registers.write(0x603, POWER_BUTTON_HIGH, 0));
        assert!(registers.interrupt_line());
        assert!(!registers.write(0x601, 0, 0));
        assert!(registers.interrupt_line(), "writing zeros clears nothing");
        assert!(!registers.write(0x600, 0xFF, 0));
        assert!(registers.interrupt_line(), "the other byte clears nothing");
        assert!(!registers.write(0x601, POWER_BUTTON_HIGH, 0));
        assert!(!registers.interrupt_line());
    }

    #[test]
    fn sleep_type_0_with_enable_is_power_off() {
        let offs: Vec<u8> = (0..=0xFF).filter(|&value| registers().write(0x605, value, 0)).collect();
        assert_eq!(offs.len(), 16);
        assert!(offs.iter().all(|value| value & 0x3C == 0x20));
        assert!((0..=0xFF).all(|value| {
            [0x600, 0x601, 0x602, 0x603, 0x604, 0x606, 0x607, 0x608]
                .into_iter()
                .all(|port| !registers().write(port, value, 0))
        }));
    }

    #[test]
    fn control_is_in_acpi_mode_and_keeps_the_sleep_type() {
        let mut registers = registers();
        assert_eq!(word(&mut registers, 0x604), 1);
        assert!(!registers.write(0x604, 0, 0));
        assert!(!registers.write(0x605, 0x3C, 0));
        assert_eq!(word(&mut registers, 0x604), 0x1C01, "SLP_EN reads as 0");
    }

    #[test]
    fn only_what_there_is_can_be_enabled() {
        let mut registers = registers();
        assert!(!registers.write(0x602, 0xFF, 0) && !registers.write(0x603, 0xFF, 0));
        assert_eq!(word(&mut registers, 0x602), 0x521);
    }

    #[test]
    fn the_timers_highest_bit_interrupts_with_each_change_once() {
        let mut registers = registers();
        assert_eq!(registers.next_deadline(), None);
        assert!(!registers.write(0x602, 1, 0));
        let first = registers.next_deadline().expect("it is enabled");
        assert!(first.abs_diff((1 << 31) * HZ / 3_579_545) < HZ);
        registers.see_timer(first - 1);
        assert!(!registers.interrupt_line());
        registers.see_timer(first);
        assert!(registers.interrupt_line());
        assert_eq!(registers.next_deadline(), None, "until it is cleared nothing new can be told");
        assert!(!registers.write(0x600, 1, first));
        assert!(!registers.interrupt_line());
        assert!(registers.next_deadline().expect("it goes on") > first);
    }
}
