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

/// What Satori's lines have told of the run so far.
#[derive(Debug)]
pub struct Signs {
    failure: Watch<'static, 2>,
    halted: Watch<'static, 1>,
    good_end: Watch<'static, 2>,
}

impl Default for Signs {
    fn default() -> Self {
        Self { failure: Watch::new(FAILURES), halted: Watch::new(HALTED), good_end: Watch::new(GOOD_ENDS) }
    }
}

impl Signs {
    /// Takes the next piece of what the machine prints.
    pub fn look(&mut self, bytes: &[u8]) {
        self.failure.sees(bytes);
        self.halted.sees(bytes);
        self.good_end.sees(bytes);
    }

    /// Whether nothing more is to come although the emulator runs on.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.failure.found || self.halted.found
    }

    /// Whether all went well, once nothing more comes.
    ///
    /// # Errors
    /// When Satori halted or the guest did not end by its own wish.
    pub fn verdict(&self) -> Result<()> {
        ensure!(!self.failure.found, "Satori has halted; its last lines say why");
        ensure!(self.good_end.found, "the guest did not power off; its last lines say why");
        Ok(())
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
            (signs.stopped(), signs.verdict().is_ok())
        };
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: powered off\n"), (false, true));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: reset\n[ 1.0] INFO  halted\n"), (true, true));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: triple fault at 0x0\n"), (false, false));
        assert_eq!(after("[ 1.0] ERROR vm linux: not started: no\n[ 1.0] INFO  halted\n"), (true, false));
        assert_eq!(after("[ 1.0] INFO  vm linux: ended: reset\nPANIC in Satori: x\n"), (true, false));
    }
}
