// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest prints: as it comes while one machine runs, line by line and with the machine's name while several do.

use alloc::boxed::Box;
use alloc::string::String;
use arrayvec::ArrayVec;
use spin::Mutex;

/// Bytes of a line; a longer one is cut there.
const LONGEST_LINE: usize = 256;

/// Where a machine's bytes go.
#[derive(Debug)]
pub enum GuestOutput {
    /// To the console as they come.
    Bytes,
    /// To the console in whole lines, each with a name before it.
    Lines {
        /// The machine's name.
        name: String,
        /// What of the line there is so far.
        line: Box<Mutex<ArrayVec<u8, LONGEST_LINE>>>,
    },
}

impl GuestOutput {
    /// For a machine of several, of that name.
    #[must_use]
    pub fn lines(name: &str) -> Self {
        Self::Lines { name: name.into(), line: Box::default() }
    }

    /// Takes one byte; what is to be printed is given to `print`, as name and bytes.
    pub fn write(&self, byte: u8, print: impl FnOnce(Option<&str>, &[u8])) {
        match self {
            Self::Bytes => print(None, &[byte]),
            Self::Lines { name, line } => {
                let mut line = line.lock();
                if byte != b'\n' && byte != b'\r' {
                    line.push(byte);
                }
                if byte == b'\n' || line.is_full() {
                    print(Some(name), &line);
                    line.clear();
                }
            }
        }
    }

    /// The machine has ended: a line that it has not is given to `print`.
    pub fn finish(&self, print: impl FnOnce(Option<&str>, &[u8])) {
        let Self::Lines { name, line } = self else { return };
        let mut line = line.lock();
        if !line.is_empty() {
            print(Some(name), &line);
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: &GuestOutput, bytes: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
        let mut printed = Vec::new();
        for &byte in bytes {
            output.write(byte, |name, bytes| printed.push((name.map(Into::into), bytes.to_vec())));
        }
        printed
    }

    #[test]
    fn one_machine_prints_byte_by_byte() {
        let bytes = printed(&GuestOutput::Bytes, b"a\r\n");
        assert_eq!(bytes, [(None, b"a".to_vec()), (None, b"\r".to_vec()), (None, b"\n".to_vec())]);
    }

    #[test]
    fn several_print_whole_lines_with_their_names() {
        let lines = printed(&GuestOutput::lines("a"), b"one\r\ntwo\nthr");
        let name = Some(String::from("a"));
        assert_eq!(lines, [(name.clone(), b"one".to_vec()), (name, b"two".to_vec())]);
    }

    #[test]
    fn the_beginning_of_a_line_is_printed_when_the_machine_ends() {
        let output = GuestOutput::lines("a");
        assert!(printed(&output, b"one\npanic").len() == 1);
        let mut lines = Vec::new();
        for _ in 0..2 {
            output.finish(|name, bytes| lines.push((name.map(String::from), bytes.to_vec())));
        }
        assert_eq!(lines, [(Some(String::from("a")), b"panic".to_vec())]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = printed(&GuestOutput::lines("a"), &[b'x'; 3 * LONGEST_LINE]);
        assert!(lines.len() == 3 && lines.iter().all(|(_, line)| line.len() == LONGEST_LINE));
    }
}
