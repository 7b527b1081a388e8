// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line as it is typed on a terminal: editing, and the lines typed before.
//!
//! Bytes go in one by one, and what the terminal is to show comes out. Nothing that is typed is trusted: escape sequences and
//! lines are of bounded length.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use arrayvec::ArrayString;
use core::mem;
use core::ops::Range;

/// What stands before the line.
pub const PROMPT: &str = "satori> ";
/// Characters of a line; more are refused.
pub const LONGEST: usize = 120;
/// Lines that are kept.
const KEPT: usize = 32;
/// Bytes of an escape sequence, after which it is none.
const LONGEST_ESCAPE: u8 = 16;

/// Goes to the left, and clears what is right of there.
pub const CLEAR: &[u8] = b"\r\x1b[K";
const BELL: u8 = 7;

type Text = ArrayString<LONGEST>;

/// Keys with a meaning, as terminals send them.
mod key {
    pub(super) const CTRL_A: u8 = 0x01;
    pub(super) const CTRL_C: u8 = 0x03;
    pub(super) const CTRL_E: u8 = 0x05;
    pub(super) const BACKSPACE: u8 = 0x08;
    pub(super) const CTRL_U: u8 = 0x15;
    pub(super) const CTRL_W: u8 = 0x17;
    pub(super) const ESCAPE: u8 = 0x1b;
    pub(super) const DELETE: u8 = 0x7f;
}

/// What of an escape sequence has come (ECMA-48, 5.4: a control sequence has parameters and a final byte).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// ESC.
    Begun,
    /// ESC O: one byte more.
    Single,
    /// ESC \[, so many bytes ago, and the number in it.
    Sequence {
        length: u8,
        number: u8,
    },
}

/// A line was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// This is it.
    Line(String),
    /// It had more characters than a line has.
    TooLong,
}

/// The line, and those before it.
#[derive(Debug)]
pub struct Line {
    text: Text,
    /// Characters left of the cursor. All are of one byte.
    cursor: usize,
    /// Something was typed that has no room.
    too_long: bool,
    escape: Escape,
    after_carriage_return: bool,
    /// The last one first.
    history: VecDeque<Text>,
    /// Which of them is shown, and what was typed before that.
    browsing: Option<(usize, Text)>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            text: Text::new(),
            cursor: 0,
            too_long: false,
            escape: Escape::None,
            after_carriage_return: false,
            history: VecDeque::with_capacity(KEPT),
            browsing: None,
        }
    }
}

impl Line {
    /// A byte was typed. What the terminal is to do goes to `echo`; gives the line that it ended, if it did.
    pub fn typed(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Entered> {
        let second_half = mem::take(&mut self.after_carriage_return) && byte == b'\n';
        if second_half || self.escapes(byte, echo) {
            return None;
        }
        match byte {
            b'\r' | b'\n' => {
                self.after_carriage_return = byte == b'\r';
                echo.extend(b"\r\n");
                return Some(self.enter());
            }
            b' '..=b'~' => self.insert(char::from(byte), echo),
            key::ESCAPE => self.escape = Escape::Begun,
            key::CTRL_A => self.move_to(0, echo),
            key::CTRL_E => self.move_to(self.text.len(), echo),
            key::BACKSPACE | key::DELETE => self.delete(self.cursor.saturating_sub(1)..self.cursor, echo),
            key::CTRL_U => self.delete(0..self.cursor, echo),
            key::CTRL_W => self.delete(self.word()..self.cursor, echo),
            key::CTRL_C => {
                echo.extend(b"^C\r\n");
                self.clear();
                self.show(echo);
            }
            _ => {}
        }
        None
    }

    /// The line as it is to be shown, from the left on, with its prompt.
    pub fn show(&self, echo: &mut Vec<u8>) {
        echo.extend(PROMPT.bytes().chain(self.text.bytes()));
        match self.text.len() - self.cursor {
            0 => {}
            // CUB (ECMA-48, 8.3.18).
            left => echo.extend(alloc::format!("\x1b[{left}D").bytes()),
        }
    }

    /// Whether the byte belongs to an escape sequence. A control character ends one that is not complete, and counts by itself.
    fn escapes(&mut self, byte: u8, echo: &mut Vec<u8>) -> bool {
        let escape = mem::replace(&mut self.escape, Escape::None);
        if byte < b' ' {
            return false;
        }
        match (escape, byte) {
            (Escape::None, _) => return false,
            (Escape::Begun, b'[') => self.escape = Escape::Sequence { length: 0, number: 0 },
            (Escape::Begun, b'O') => self.escape = Escape::Single,
            (Escape::Sequence { length, number }, b' '..=b'?') if length < LONGEST_ESCAPE => {
                let digit = (byte as char).to_digit(10).unwrap_or(0) as u8;
                let number = number.wrapping_mul(10).wrapping_add(digit);
                self.escape = Escape::Sequence { length: length + 1, number };
            }
            (Escape::Sequence { number, .. }, b'~') => self.key_of_number(number, echo),
            (Escape::Single | Escape::Sequence { .. }, last) => self.key(last, echo),
            // Alt, and a key.
            (Escape::Begun, _) => {}
        }
        true
    }

    /// What terminals send as a sequence with that last byte.
    fn key(&mut self, last: u8, echo: &mut Vec<u8>) {
        match last {
            b'A' => self.browse(1, echo),
            b'B' => self.browse(-1, echo),
            b'C' => self.move_to(self.text.len().min(self.cursor + 1), echo),
            b'D' => self.move_to(self.cursor.saturating_sub(1), echo),
            b'F' => self.move_to(self.text.len(), echo),
            b'H' => self.move_to(0, echo),
            _ => {}
        }
    }

    /// What terminals send as a sequence with that number and a tilde.
    fn key_of_number(&mut self, number: u8, echo: &mut Vec<u8>) {
        match number {
            1 | 7 => self.move_to(0, echo),
            3 => self.delete(self.cursor..self.text.len().min(self.cursor + 1), echo),
            4 | 8 => self.move_to(self.text.len(), echo),
            _ => {}
        }
    }

    fn enter(&mut self) -> Entered {
        let text = self.text;
        let entered = if self.too_long { Entered::TooLong } else { Entered::Line(text.as_str().into()) };
        if !text.trim().is_empty() && self.history.front() != Some(&text) {
            self.history.truncate(KEPT - 1);
            self.history.push_front(text);
        }
        self.clear();
        entered
    }

    fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.too_long = false;
        self.browsing = None;
    }

    fn insert(&mut self, character: char, echo: &mut Vec<u8>) {
        if self.text.is_full() {
            self.too_long = true;
            echo.push(BELL);
            return;
        }
        let (left, right) = self.text.split_at(self.cursor);
        let (mut text, right) = (Text::from(left).unwrap_or_default(), Text::from(right).unwrap_or_default());
        text.push(character);
        text.push_str(&right);
        self.text = text;
        self.cursor += 1;
        if right.is_empty() {
            echo.push(character as u8);
        } else {
            self.show_anew(echo);
        }
    }

    fn delete(&mut self, range: Range<usize>, echo: &mut Vec<u8>) {
        if range.is_empty() {
            return;
        }
        let mut text = Text::new();
        text.push_str(&self.text[..range.start]);
        text.push_str(&self.text[range.end..]);
        self.text = text;
        self.cursor = range.start;
        // Nothing is left of what was too long.
        self.too_long &= !self.text.is_empty();
        self.show_anew(echo);
    }

    fn move_to(&mut self, cursor: usize, echo: &mut Vec<u8>) {
        if cursor != self.cursor {
            self.cursor = cursor;
            self.show_anew(echo);
        }
    }

    /// Where the word begins that the cursor is behind.
    fn word(&self) -> usize {
        let left = self.text[..self.cursor].trim_end();
        left.rfind(' ').map_or(0, |space| space + 1)
    }

    /// Shows one that was typed before, or what was being typed.
    fn browse(&mut self, step: isize, echo: &mut Vec<u8>) {
        let (place, typed) = match self.browsing {
            Some((place, typed)) => (place.checked_add_signed(step), typed),
            None => (usize::try_from(step - 1).ok(), self.text),
        };
        self.text = match place {
            Some(place) => match self.history.get(place) {
                Some(&text) => {
                    self.browsing = Some((place, typed));
                    text
                }
                None => return,
            },
            None if self.browsing.is_none() => return,
            None => {
                self.browsing = None;
                typed
            }
        };
        self.cursor = self.text.len();
        self.show_anew(echo);
    }

    fn show_anew(&self, echo: &mut Vec<u8>) {
        echo.extend(CLEAR);
        self.show(echo);
    }
}

#[cfg(test)]
mod tests;
