// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-A, by which an operator gets away from a machine that gets all that is typed.

const CTRL_A: u8 = 1;

/// What a byte that was typed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Itself.
    Byte(u8),
    /// The console is to go to the prompt.
    Detach,
    /// Nothing, or not yet.
    Nothing,
}

/// Whether the last byte was Ctrl-A.
#[derive(Debug, Default)]
pub struct Keys {
    after_ctrl_a: bool,
}

impl Keys {
    /// A byte was typed.
    pub fn typed(&mut self, byte: u8) -> Key {
        match (core::mem::take(&mut self.after_ctrl_a), byte) {
            (false, CTRL_A) => {
                self.after_ctrl_a = true;
                Key::Nothing
            }
            (false, byte) | (true, byte @ CTRL_A) => Key::Byte(byte),
            (true, b'd' | b'D') => Key::Detach,
            (true, _) => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_ctrl_a_is_not_the_machines() {
        let mut keys = Keys::default();
        let mut meaning = |bytes: &[u8]| -> Vec<Key> {
            let keys = bytes.iter().map(|&byte| keys.typed(byte));
            keys.filter(|&key| key != Key::Nothing).collect()
        };
        assert_eq!(meaning(b"ad\x03"), [Key::Byte(b'a'), Key::Byte(b'd'), Key::Byte(3)]);
        assert_eq!(meaning(b"\x01"), []);
        assert_eq!(meaning(b"dd"), [Key::Detach, Key::Byte(b'd')]);
        assert_eq!(meaning(b"\x01\x01d\x01xD"), [Key::Byte(CTRL_A), Key::Byte(b'd'), Key::Byte(b'D')]);
    }
}
