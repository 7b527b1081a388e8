// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks: lines `mark N` by which a guest asks for KVM's counters at this point, and waits until they were read.

/// No line that is longer is a mark.
const LONGEST: usize = 32;

/// Looks for marks in output that comes in pieces.
#[derive(Debug, Default)]
pub struct Marks {
    line: Vec<u8>,
}

impl Marks {
    /// Takes the next byte, and gives the number of the mark that it completes.
    pub fn look(&mut self, byte: u8) -> Option<u64> {
        if byte != b'\n' {
            if self.line.len() <= LONGEST {
                self.line.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let number = line.trim_ascii_end().strip_prefix(b"mark ")?;
        str::from_utf8(number).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_marks() {
        let seen = |text: &str| {
            let mut marks = Marks::default();
            text.bytes().filter_map(|byte| marks.look(byte)).collect::<Vec<u64>>()
        };
        assert_eq!(seen("mark 1\nbetween\r\nmark 20\r\n"), [1, 20]);
        assert_eq!(seen("mark\nmark x\n a mark 1\nmark 1 and more\nmark 3"), []);
        assert_eq!(seen(&format!("{}\nmark 4\n", "mark 1".repeat(1000))), [4]);
    }
}
