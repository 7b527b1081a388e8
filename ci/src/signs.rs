// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori's lines tell of a run: whether it goes on, and whether it ended well.

use anyhow::Result;
use anyhow::ensure;

/// What Satori says where it cannot go on. The emulator would run for ever after.
const FAILURES: [&[u8]; 2] = [b"] ERROR halted", b"PANIC in Satori"];
/// What it says when it is done and does not power off.
const HALTED: [&[u8]; 1] = [b"] INFO  halted"];
/// What it says of a guest that ended by its own wish.
const GOOD_ENDS: [&[u8]; 2] = [b"vm linux: ended: powered off", b"vm linux: ended: reset"];

/// What it says of a guest that ended with a status, which follows.
const STATUS: &[u8] = b"vm linux: ended: debug exit, status ";

/// What Satori's lines have told of the run so far.
#[derive(Debug)]
pub struct Signs {
    failure: Watch<'static, 2>,
    halted: Watch<'static, 1>,
    good_end: Watch<'static, 2>,
    status: StatusWatch,
}

impl Default for Signs {
    fn default() -> Self {
        Self {
            failure: Watch::new(FAILURES),
            halted: Watch::new(HALTED),
            good_end: Watch::new(GOOD_ENDS),
            status: StatusWatch::default(),
        }
    }
}

impl Signs {
    /// Takes the next piece of what the machine prints.
    pub fn look(&mut self, bytes: &[u8]) {
        self.failure.sees(bytes);
        self.halted.sees(bytes);
        self.good_end.sees(bytes);
        self.status.look(bytes);
    }

    /// Whether nothing more is to come although the emulator runs on.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.failure.found || self.halted.found
    }

    /// The exit status that the guest asked for, once nothing more comes: its own, or 0 where it powered off or reset.
    ///
    /// # Errors
    /// When Satori halted or the guest did not end by its own wish.
    pub fn verdict(&self) -> Result<u8> {
        ensure!(!self.failure.found, "Satori has halted; its last lines say why");
        if let Some(status) = self.status.found {
            return Ok(status);
        }
        ensure!(self.good_end.found, "the guest did not power off; its last lines say why");
        Ok(0)
    }
}

/// Looks for a guest's exit status in a stream that comes in pieces.
#[derive(Debug, Default)]
struct StatusWatch {
    /// The end of what has come, in which the line may have begun.
    tail: Vec<u8>,
    found: Option<u8>,
}

impl StatusWatch {
    /// The line up to its status, the status' digits, and what ends them.
    const LONGEST: usize = STATUS.len() + 4;

    fn look(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if let Some(at) = self.tail.windows(STATUS.len()).position(|window| window == STATUS) {
            let digits = &self.tail[at + STATUS.len()..];
            let end = digits.iter().position(|byte| !byte.is_ascii_digit());
            let digits = end.and_then(|end| str::from_utf8(&digits[..end]).ok());
            self.found = self.found.or(digits.and_then(|digits| digits.parse().ok()));
        }
        self.tail.drain(..self.tail.len().saturating_sub(Self::LONGEST));
    }
}

/// Looks for any of some texts in a stream that comes in pieces.
#[derive(Debug)]
pub struct Watch<'a, const N: usize> {
    texts: [&'a [u8]; N],
    /// The end of what has come, in which a text may have begun.
    tail: Vec<u8>,
    found: bool,
}

impl<'a, const N: usize> Watch<'a, N> {
    /// Looks for `texts`, none of them seen yet.
    #[must_use]
    pub fn new(texts: [&'a [u8]; N]) -> Self {
        Self { texts, tail: Vec::new(), found: false }
    }

    /// Takes the next piece, and tells whether a text has been found by now.
    pub fn sees(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let contains = |text: &&[u8]| self.tail.windows(text.len()).any(|window| window == *text);
        self.found |= self.texts.iter().any(contains);
        let longest = self.texts.iter().map(|text| text.len()).max().unwrap_or_default();
        let kept = self.tail.len().min(longest);
        self.tail.drain(..self.tail.len() - kept);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_seen_across_pieces() {
        let mut watch = Watch::new([b"ready".as_slice(), b"go"]);
        assert!(!watch.sees(b"not rea"));
        assert!(!watch.sees(b"d"));
        assert!(watch.sees(b"y to"));
        assert!(watch.sees(b" stay"));
        let mut watch = Watch::new([b"ready".as_slice(), b"go"]);
        assert!(!watch.sees(b"rea"));
        assert!(watch.sees(b" go"));
    }

    #[test]
    fn only_an_end_by_the_guests_own_wish_is_a_good_one() {
        let after = |text: &str| {
            let mut signs = Signs::default();
            text.bytes().for_each(|byte| signs.look(&[byte]));
            (signs.stopped(), signs.verdict().is_ok_and(|status| status == 0))
        };
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: powered off\n"), (false, true));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: reset\n[ 1.0] INFO  halted\n"), (true, true));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: triple fault at 0x0\n"), (false, false));
        assert_eq!(after("[ 1.0] ERROR vm linux: not started: no\n[ 1.0] INFO  halted\n"), (true, false));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: reset\nPANIC in Satori: x\n"), (true, false));
    }

    #[test]
    fn the_status_is_the_guests_own() {
        let line = "[ 1.0] INFO  vm linux: ended: debug exit, status 85\r\nmore, and status 7\r\n";
        for piece in 1..line.len() {
            let mut signs = Signs::default();
            line.as_bytes().chunks(piece).for_each(|bytes| signs.look(bytes));
            assert_eq!(signs.verdict().unwrap(), 85, "in pieces of {piece}");
        }
        let status = |text: &str| {
            let mut signs = Signs::default();
            signs.look(text.as_bytes());
            signs.verdict().ok()
        };
        assert_eq!(status("vm linux: ended: debug exit, status 256\n"), None);
        assert_eq!(status("vm linux: ended: debug exit, status 3\nPANIC in Satori: x\n"), None);
        assert_eq!(status("vm other: ended: debug exit, status 3\n"), None);
    }
}
