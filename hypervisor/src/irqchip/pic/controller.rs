// SPDX-License-Identifier: MIT OR Apache-2.0
//! One 8259A (Intel, 8259A data sheet, December 1988): eight lines, of which the one with the highest priority interrupts.

/// The lowest priority, which IR7 has at first, and what answers to an acknowledgement that nobody asked for.
const LAST: u8 = 7;

/// Bits of the first initialization command word.
mod icw1 {
    /// A fourth one follows.
    pub(super) const IC4: u8 = 1 << 0;
    /// It is alone: no third one follows.
    pub(super) const SINGLE: u8 = 1 << 1;
    /// What tells it from the operation command words at the same address.
    pub(super) const MARK: u8 = 1 << 4;
}

/// Bits of the fourth.
mod icw4 {
    pub(super) const AUTO_EOI: u8 = 1 << 1;
    pub(super) const SPECIAL_FULLY_NESTED: u8 = 1 << 4;
}

/// Bits of the second operation command word; 2:0 name a line where SPECIFIC is set.
mod ocw2 {
    pub(super) const EOI: u8 = 1 << 5;
    pub(super) const SPECIFIC: u8 = 1 << 6;
    pub(super) const ROTATE: u8 = 1 << 7;
}

/// Bits of the third.
mod ocw3 {
    pub(super) const READ_ISR: u8 = 1 << 0;
    pub(super) const READ_REGISTER: u8 = 1 << 1;
    pub(super) const POLL: u8 = 1 << 2;
    /// What tells it from the second.
    pub(super) const MARK: u8 = 1 << 3;
    pub(super) const SPECIAL_MASK: u8 = 1 << 5;
    pub(super) const CHANGE_SPECIAL_MASK: u8 = 1 << 6;
}

/// Which initialization command word a write to the second port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// None: it is the mask.
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    /// The lines that are asserted.
    lines: u8,
    /// IRR: interrupts that are requested.
    requested: u8,
    /// ISR: interrupts whose end is awaited.
    in_service: u8,
    /// IMR: interrupts that are held back.
    mask: u8,
    /// The lines that are level triggered, as ELCR says.
    level: u8,
    /// The vector of IR0.
    base: u8,
    /// The line with the lowest priority; the next one has the highest.
    lowest: u8,
    auto_eoi: bool,
    rotates_on_auto_eoi: bool,
    special_mask: bool,
    special_fully_nested: bool,
    /// The first port shows ISR rather than IRR.
    shows_in_service: bool,
    /// The next read is an acknowledgement.
    polled: bool,
    awaits: Awaits,
    /// ICW1.
    first: u8,
}

impl Controller {
    /// One that firmware has initialized: with these vectors, and this mask.
    pub(super) fn new(base: u8, mask: u8) -> Self {
        Self {
            lines: 0,
            requested: 0,
            in_service: 0,
            mask,
            level: 0,
            base,
            lowest: LAST,
            auto_eoi: false,
            rotates_on_auto_eoi: false,
            special_mask: false,
            special_fully_nested: false,
            shows_in_service: false,
            polled: false,
            awaits: Awaits::Mask,
            first: 0,
        }
    }

    /// A device asserts line `ir` (below 8), or stops doing so. A request by edge lasts no longer than its line is asserted.
    pub(super) fn set_line(&mut self, ir: u8, asserted: bool) {
        let line = 1 << ir;
        let rises = asserted && self.lines & line == 0;
        if !asserted {
            self.lines &= !line;
            self.requested &= !line;
            return;
        }
        self.lines |= line;
        if rises || self.level & line != 0 {
            self.requested |= line;
        }
    }

    /// Which lines are level triggered.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    pub(super) fn set_level(&mut self, level: u8) {
        self.level = level;
        self.requested |= self.lines & level;
    }

    /// Whether INT is asserted.
    pub(super) fn interrupts(&self) -> bool {
        self.pending().is_some()
    }

    /// INTA: the line that interrupts is in service from here on; gives it, and IR7 if there is none any more.
    pub(super) fn acknowledge(&mut self) -> u8 {
        let Some(ir) = self.pending() else { return LAST };
        let line = 1 << ir;
        if self.level & line == 0 {
            self.requested &= !line;
        }
        if !self.auto_eoi {
            self.in_service |= line;
        } else if self.rotates_on_auto_eoi {
            self.lowest = ir;
        }
        ir
    }

    /// The vector of a line.
    pub(super) fn vector(&self, ir: u8) -> u8 {
        self.base | ir
    }

    /// A read of the first port (A0 = 0) or the second.
    pub(super) fn read(&mut self, second: bool) -> u8 {
        match () {
            () if core::mem::take(&mut self.polled) => match self.interrupts() {
                true => 1 << 7 | self.acknowledge(),
                false => 0,
            },
            () if second => self.mask,
            () if self.shows_in_service => self.in_service,
            () => self.requested,
        }
    }

    /// A write to the first port (A0 = 0) or the second.
    pub(super) fn write(&mut self, second: bool, value: u8) {
        match () {
            () if second => self.write_second(value),
            () if value & icw1::MARK != 0 => self.initialize(value),
            () if value & ocw3::MARK != 0 => self.write_ocw3(value),
            () => self.write_ocw2(value),
        }
    }

    /// The line that interrupts: it is requested, not masked, and has a higher priority than all that are in service.
    fn pending(&self) -> Option<u8> {
        // What is masked in special mask mode holds back nothing.
        let holding_back = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        // In special fully nested mode what cascades interrupts again.
        let holding_back =
            if self.special_fully_nested { holding_back & !super::CASCADE } else { holding_back };
        let first = self.by_priority(self.requested & !self.mask)?;
        (first < self.by_priority(holding_back).unwrap_or(8)).then(|| self.at_priority(first))
    }

    /// The priority of the first of these lines, 0 the highest.
    fn by_priority(&self, lines: u8) -> Option<u8> {
        let first = lines.rotate_right(u32::from(self.lowest) + 1).trailing_zeros() as u8;
        (first < 8).then_some(first)
    }

    /// The line with that priority.
    fn at_priority(&self, priority: u8) -> u8 {
        (self.lowest + 1 + priority) & 7
    }

    /// ICW1: forgets all but the lines, of which each edge counts from here on.
    fn initialize(&mut self, value: u8) {
        let (lines, level, base) = (self.lines, self.level, self.base);
        *self = Self { lines, level, first: value, awaits: Awaits::Icw2, ..Self::new(base, 0) };
        self.requested = lines & level;
    }

    fn write_second(&mut self, value: u8) {
        let fourth = if self.first & icw1::IC4 != 0 { Awaits::Icw4 } else { Awaits::Mask };
        match self.awaits {
            Awaits::Mask => self.mask = value,
            Awaits::Icw2 => {
                self.base = value & 0xF8;
                self.awaits = if self.first & icw1::SINGLE != 0 { fourth } else { Awaits::Icw3 };
            }
            // Who cascades is wired.
            Awaits::Icw3 => self.awaits = fourth,
            Awaits::Icw4 => {
                self.auto_eoi = value & icw4::AUTO_EOI != 0;
                self.special_fully_nested = value & icw4::SPECIAL_FULLY_NESTED != 0;
                self.awaits = Awaits::Mask;
            }
        }
    }

    /// EOI, and priorities ("Operation Command Word 2").
    fn write_ocw2(&mut self, value: u8) {
        let rotates = value & ocw2::ROTATE != 0;
        let named = (value & ocw2::SPECIFIC != 0).then_some(value & 7);
        if value & ocw2::EOI == 0 {
            match named {
                Some(ir) if rotates => self.lowest = ir,
                Some(_) => {}
                None => self.rotates_on_auto_eoi = rotates,
            }
            return;
        }
        let Some(ir) = named.or_else(|| self.first_in_service()) else { return };
        self.in_service &= !(1 << ir);
        if rotates {
            self.lowest = ir;
        }
    }

    /// What ends with an EOI that names no line. In special mask mode what is masked is left out.
    fn first_in_service(&self) -> Option<u8> {
        let ends = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        self.by_priority(ends).map(|priority| self.at_priority(priority))
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & ocw3::CHANGE_SPECIAL_MASK != 0 {
            self.special_mask = value & ocw3::SPECIAL_MASK != 0;
        }
        if value & ocw3::READ_REGISTER != 0 {
            self.shows_in_service = value & ocw3::READ_ISR != 0;
        }
        self.polled = value & ocw3::POLL != 0;
    }
}
