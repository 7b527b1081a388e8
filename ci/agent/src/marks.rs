// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks: lines `mark N` by which a guest asks for KVM's counters at this point, and waits until they were read.

use agent::protocol::Counters;
use agent::protocol::FRAME;
use agent::protocol::OF_L1;

/// No line that is longer is a mark.
const LONGEST: usize = 32;

/// Which host's agent answers marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarksFor {
    /// This agent's: its counters come behind the mark, and then the answer.
    ThisHost,
    /// That of the host whose guest this one is. What this one has to say comes before the mark, while all is quiet.
    HostBelow,
}

/// What a machine prints, on its way out.
#[derive(Debug)]
pub struct Output {
    marks: Marks,
    marks_for: MarksFor,
    /// The beginning of a line, held back as it may be that of a mark.
    held: Vec<u8>,
}

impl Output {
    /// Nothing yet.
    pub fn new(marks_for: MarksFor) -> Self {
        Self { marks: Marks::default(), marks_for, held: Vec::new() }
    }

    /// Takes the next piece, an empty one in the end, and gives what is to go out, and how many marks this agent is to answer.
    pub fn pass(&mut self, piece: &[u8], counters: impl Fn() -> Counters) -> (Vec<u8>, usize) {
        let mut passed = std::mem::take(&mut self.held);
        let (mut line, mut answered) = (0, 0);
        for byte in piece {
            passed.push(if *byte == FRAME { b'?' } else { *byte });
            if let Some(number) = self.marks.look(*byte) {
                let told = format!("counters at mark {number}: {}\n", counters());
                match self.marks_for {
                    MarksFor::ThisHost => {
                        passed.extend_from_slice(told.as_bytes());
                        answered += 1;
                    }
                    MarksFor::HostBelow => {
                        passed.splice(line..line, format!("{OF_L1}{told}").into_bytes());
                    }
                }
            }
            if *byte == b'\n' {
                line = passed.len();
            }
        }
        if self.marks_for == MarksFor::HostBelow && !piece.is_empty() {
            self.held = passed.split_off(line);
        }
        (passed, answered)
    }
}

/// Looks for marks in output that comes in pieces.
#[derive(Debug, Default)]
struct Marks {
    line: Vec<u8>,
}

impl Marks {
    /// Takes the next byte, and gives the number of the mark that it completes.
    fn look(&mut self, byte: u8) -> Option<u64> {
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

    /// What comes out of `text` in pieces cut at these places, and how many marks are to be answered.
    fn passed(marks_for: MarksFor, text: &str, cuts: [usize; 2]) -> (String, usize) {
        let counters = || Counters([("exits".to_owned(), 5)].into());
        let mut output = Output::new(marks_for);
        let (mut all, mut answers) = (Vec::new(), 0);
        let [from, to] = cuts;
        let pieces = [&text[..from], &text[from..to], &text[to..]];
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()).chain([""]) {
            let (passed, answered) = output.pass(piece.as_bytes(), counters);
            all.extend(passed);
            answers += answered;
        }
        (String::from_utf8(all).unwrap(), answers)
    }

    #[test]
    fn counters_come_behind_marks_of_this_host_and_before_those_of_the_host_below() {
        let text = "before\nmark 1\r\nbe\x1etween\nmark 2\nthe end";
        let here = "before\nmark 1\r\ncounters at mark 1: exits 5\nbe?tween\nmark 2\ncounters at mark 2: exits 5\nthe end";
        let below = "before\nL1 counters at mark 1: exits 5\nmark 1\r\nbe?tween\nL1 counters at mark 2: exits 5\nmark 2\nthe end";
        for from in 0..text.len() {
            for to in from..text.len() {
                assert_eq!(passed(MarksFor::ThisHost, text, [from, to]), (here.to_owned(), 2));
                assert_eq!(passed(MarksFor::HostBelow, text, [from, to]), (below.to_owned(), 0));
            }
        }
    }
}
