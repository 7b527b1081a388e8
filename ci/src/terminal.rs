// SPDX-License-Identifier: MIT OR Apache-2.0
//! This terminal as the machine's console: every key goes there, but for two that follow Ctrl-A. Others that do mean something to
//! Satori's own console.

use std::io::IsTerminal;
use std::io::stdin;

use anyhow::Result;
use rustix::termios;
use rustix::termios::OptionalActions;
use rustix::termios::OutputModes;
use rustix::termios::Termios;

/// What Ctrl-A is for, in one line.
pub const HELP: &str = "Ctrl-A x quits, Ctrl-A d goes to Satori's prompt, Ctrl-A h helps, Ctrl-A Ctrl-A sends Ctrl-A; all else goes to the guest";

const CTRL_A: u8 = 1;

/// Raw mode, until it is dropped.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Enters raw mode; `None` where standard input is no terminal.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // Our own lines, and those of a guest that sends no carriage return, are to start on the left.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        termios::tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = termios::tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// What the operator asked for with Ctrl-A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the run.
    Quit,
    /// Say what Ctrl-A is for.
    Help,
}

/// Tells requests from what the guest is to get.
#[derive(Debug, Default)]
pub struct Keys {
    after_ctrl_a: bool,
}

impl Keys {
    /// Takes what was typed, and gives what goes to the guest and the last request in it.
    pub fn typed(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Request>) {
        let mut to_guest = Vec::with_capacity(bytes.len());
        let mut request = None;
        for byte in bytes {
            if !std::mem::take(&mut self.after_ctrl_a) {
                if *byte == CTRL_A {
                    self.after_ctrl_a = true;
                } else {
                    to_guest.push(*byte);
                }
                continue;
            }
            match byte {
                b'x' | b'X' => request = Some(Request::Quit),
                b'h' | b'H' | b'?' => request = request.or(Some(Request::Help)),
                // Satori has its own use for it.
                byte => to_guest.extend([CTRL_A, *byte]),
            }
        }
        (to_guest, request)
    }
}

/// Where the guest's shell asks a terminal for its cursor. A terminal that nobody types on must not be asked: its answer
/// would reach whatever reads from it next.
const CURSOR_QUERY: &[u8] = b"\x1b[6n";

/// Takes questions to the terminal out of a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Unasked {
    held_back: Vec<u8>,
}

impl Unasked {
    /// Takes the next piece, and gives what is to be shown now.
    pub fn shown(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        for byte in piece {
            self.held_back.push(*byte);
            if self.held_back == CURSOR_QUERY {
                self.held_back.clear();
            } else if !CURSOR_QUERY.starts_with(&self.held_back) {
                shown.append(&mut self.held_back);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_to_the_terminal_are_taken_out_across_pieces() {
        let mut unasked = Unasked::default();
        assert_eq!(unasked.shown(b"# \x1b[6nls\x1b"), b"# ls");
        assert_eq!(unasked.shown(b"[6"), b"");
        assert_eq!(unasked.shown(b"n\x1b[31mred\x1b\n"), b"\x1b[31mred\x1b\n");
    }

    #[test]
    fn everything_but_ctrl_a_goes_to_the_guest() {
        let mut keys = Keys::default();
        assert_eq!(keys.typed(b"ls\r\x03\x04xh"), (b"ls\r\x03\x04xh".to_vec(), None));
    }

    #[test]
    fn ctrl_a_asks_also_when_its_key_comes_later() {
        let mut keys = Keys::default();
        assert_eq!(keys.typed(b"a\x01"), (b"a".to_vec(), None));
        assert_eq!(keys.typed(b"xb"), (b"b".to_vec(), Some(Request::Quit)));
        assert_eq!(keys.typed(b"\x01\x01x"), (b"\x01\x01x".to_vec(), None));
        assert_eq!(keys.typed(b"\x01dx"), (b"\x01dx".to_vec(), None));
        assert_eq!(keys.typed(b"\x01h"), (vec![], Some(Request::Help)));
        assert_eq!(keys.typed(b"\x01?\x01x"), (vec![], Some(Request::Quit)));
    }
}
