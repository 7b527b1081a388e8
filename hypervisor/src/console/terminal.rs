// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes through the serial port, in both directions, without anybody waiting for the line.
//!
//! What is written goes into a buffer, which the port's interrupt sends on. Only on the way up and at the end, when no interrupt
//! is let in, is the line waited for. When the buffer fills, guests are held back by their own ports; our own lines are waited for
//! as long as the line moves, and counted as lost when it is stuck.

use crate::console::line::CLEAR;
use crate::console::serial::Serial;
use crate::cpu::hardware::PortIo;
use alloc::collections::VecDeque;
use arrayvec::ArrayVec;
use core::fmt;
use core::fmt::Write;
use core::mem;

/// Bytes that may wait for the line.
const CAPACITY: usize = 32 << 10;
/// From so many on guests are held back, but for what they send before they look whether they may.
const GUESTS_WAIT: usize = CAPACITY / 2;
/// Lines of our own fill it so far; the rest is for what guests send before they look.
const OWN_END: usize = CAPACITY / 8 * 7;
/// With so few, guests are not held back any more.
const GUESTS_GO_ON: usize = CAPACITY / 8;
/// Typed bytes that wait to be read.
const TYPED: usize = 1 << 10;
/// Bytes of a line as it is shown while it is typed: prompt, text, and where the cursor is.
const SHOWN: usize = 160;

/// What an interrupt of the port was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// There is something to be read.
    pub typed: bool,
    /// Guests that were held back may go on.
    pub room: bool,
}

/// The port, what waits to go out, and what has come in.
#[derive(Debug)]
pub struct Terminal<P> {
    /// `None` until it is found, or where the machine has none.
    pub serial: Option<Serial<P>>,
    /// Whether its interrupt reaches a CPU.
    pub interrupts: bool,
    by_interrupt: bool,
    /// The interrupt that sends the next bytes will come.
    draining: bool,
    waiting: VecDeque<u8>,
    typed: VecDeque<u8>,
    /// Some guest was told to wait.
    guests_wait: bool,
    /// A guest has begun a line that it has not ended.
    mid_line: bool,
    /// What is being typed, as it is shown.
    shown: ArrayVec<u8, SHOWN>,
    /// Lines of our own for which there was no room.
    lost: u32,
}

impl<P> Terminal<P> {
    /// One that has no port yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            serial: None,
            interrupts: false,
            by_interrupt: false,
            draining: false,
            waiting: VecDeque::new(),
            typed: VecDeque::new(),
            guests_wait: false,
            mid_line: false,
            shown: ArrayVec::new_const(),
            lost: 0,
        }
    }

    /// Whether some guest was told to wait, and none was told to go on since.
    #[must_use]
    pub fn guests_wait(&self) -> bool {
        self.guests_wait
    }
}

impl<P> Default for Terminal<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: PortIo> Terminal<P> {
    /// From here on [`Self::interrupt`] is called on each of the port's interrupts, if there are any.
    pub fn use_interrupts(&mut self) {
        if !self.interrupts {
            return;
        }
        self.waiting.reserve(CAPACITY);
        self.typed.reserve(TYPED);
        self.by_interrupt = true;
        if let Some(serial) = &self.serial {
            serial.set_interrupts(true, false);
        }
    }

    /// From here on it is not called any more: what waits goes out first.
    pub fn use_no_interrupts(&mut self) {
        self.by_interrupt = false;
        if let Some(serial) = &mut self.serial {
            let (older, newer) = self.waiting.as_slices();
            serial.write(older);
            serial.write(newer);
        }
        self.waiting.clear();
    }

    /// Serves the port, and tells who else is to be served.
    pub fn interrupt(&mut self) -> News {
        let Some(serial) = &mut self.serial else { return News { typed: false, room: false } };
        for _ in self.typed.len()..TYPED {
            let Some(byte) = serial.read_byte() else { break };
            self.typed.push_back(byte);
        }
        if !self.waiting.is_empty() {
            serial.write_some(|| self.waiting.pop_front());
        }
        let room = self.guests_wait && self.waiting.len() <= GUESTS_GO_ON;
        self.guests_wait &= !room;
        self.arm();
        News { typed: !self.typed.is_empty(), room }
    }

    /// A byte that has been typed.
    pub fn read_byte(&mut self) -> Option<u8> {
        let was_full = self.typed.len() >= TYPED;
        let Some(byte) = self.typed.pop_front() else { return self.serial.as_mut()?.read_byte() };
        if was_full {
            self.arm();
        }
        Some(byte)
    }

    /// Bytes of a guest: as they are, or as a line of the guest of that name. Whether it is to wait until there is room.
    pub fn write_guest(&mut self, name: Option<&str>, bytes: &[u8]) -> bool {
        match (name, bytes.last()) {
            (None, Some(&last)) => {
                self.mid_line = last != b'\n';
                self.write(bytes, CAPACITY);
            }
            (None, None) => {}
            (Some(name), _) => self.between(|terminal| {
                for part in [name.as_bytes(), b"| ", bytes, b"\r\n"] {
                    terminal.write(part, CAPACITY);
                }
            }),
        }
        if self.by_interrupt && self.waiting.len() >= GUESTS_WAIT && !self.guests_wait {
            // A line that is stuck would hold them for ever.
            self.guests_wait = self.serial.as_mut().is_some_and(Serial::wait);
        }
        self.guests_wait
    }

    /// A line of our own.
    pub fn write_line(&mut self, line: fmt::Arguments<'_>) {
        self.between(|terminal| {
            let lost = mem::take(&mut terminal.lost);
            let complete = (lost == 0 || writeln!(Text(terminal), "({lost} lines are lost here)").is_ok())
                && writeln!(Text(terminal), "{line}").is_ok();
            if !complete {
                terminal.lost = lost.saturating_add(1);
            }
        });
        // Should its interrupt ever fail to come, it goes on here.
        self.send();
    }

    /// What is shown to who types.
    pub fn show(&mut self, bytes: &[u8], line: &[u8]) {
        self.end_guests_line();
        self.write(bytes, OWN_END);
        self.shown.clear();
        self.shown.extend(line.iter().copied().take(SHOWN));
    }

    /// Waits until everything written is on the line.
    pub fn flush(&mut self) {
        if let Some(serial) = &mut self.serial {
            let mut next = || self.waiting.pop_front();
            while !serial.write_some(&mut next) && serial.wait() {}
            serial.flush();
        }
    }

    /// Has `write` write whole lines, where none is begun.
    fn between(&mut self, write: impl FnOnce(&mut Self)) {
        self.end_guests_line();
        if !self.shown.is_empty() {
            self.write(CLEAR, OWN_END);
        }
        write(self);
        let shown = self.shown.clone();
        self.write(&shown, OWN_END);
    }

    fn end_guests_line(&mut self) {
        if mem::take(&mut self.mid_line) {
            self.write(b"\r\n", OWN_END);
        }
    }

    /// Whether all of it has room, with `most` waiting then, for which the line is waited for while it moves.
    fn write(&mut self, bytes: &[u8], most: usize) -> bool {
        let Some(serial) = &mut self.serial else { return true };
        if !self.by_interrupt {
            serial.write(bytes);
            return true;
        }
        for &byte in bytes {
            if self.waiting.len() >= most && !self.make_room() {
                return false;
            }
            self.waiting.push_back(byte);
        }
        if !self.draining {
            self.send();
        }
        true
    }

    fn make_room(&mut self) -> bool {
        let moves = self.serial.as_mut().is_some_and(Serial::wait);
        self.send();
        moves
    }

    /// Sends what the transmitter takes now. The interrupt sends the rest.
    fn send(&mut self) {
        let Some(serial) = &mut self.serial else { return };
        if !self.by_interrupt || self.waiting.is_empty() && !self.draining {
            return;
        }
        serial.write_some(|| self.waiting.pop_front());
        if self.draining == self.waiting.is_empty() {
            self.arm();
        }
    }

    fn arm(&mut self) {
        self.draining = !self.waiting.is_empty();
        if let Some(serial) = &self.serial {
            serial.set_interrupts(self.typed.len() < TYPED, self.draining);
        }
    }
}

/// Text of our own: a line feed goes out with a carriage return before it.
struct Text<'a, P>(&'a mut Terminal<P>);

impl<P: PortIo> Write for Text<'_, P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut complete = true;
        for (index, line) in text.split('\n').enumerate() {
            complete &= index == 0 || self.0.write(b"\r\n", OWN_END);
            complete &= self.0.write(line.trim_end_matches('\r').as_bytes(), OWN_END);
        }
        if complete { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests;
