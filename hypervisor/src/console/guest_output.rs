// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest prints: as it comes while the console is attached to it, else line by line and with the machine's name. While
//! the console is attached to another it is only kept.

use crate::console::attachment::Attached;
use crate::console::attachment::Attachment;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use spin::Mutex;

/// Bytes of a line; a longer one is cut there.
const LONGEST_LINE: usize = 256;
/// The last bytes that are kept, to be shown to who attaches the console.
const KEPT: usize = 2 << 10;

/// Where a machine's bytes go.
#[derive(Debug)]
pub struct GuestOutput {
    name: String,
    /// The machine's place in the manifest.
    number: usize,
    attachment: Arc<Attachment>,
    text: Mutex<Text>,
}

#[derive(Debug)]
struct Text {
    /// What of a line there is so far that is to be printed whole.
    line: Box<ArrayVec<u8, LONGEST_LINE>>,
    /// The last bytes.
    kept: VecDeque<u8>,
}

impl GuestOutput {
    /// For the machine of that name and place in the manifest.
    #[must_use]
    pub fn new(name: &str, number: usize, attachment: Arc<Attachment>) -> Self {
        let text = Text { line: Box::default(), kept: VecDeque::with_capacity(KEPT) };
        Self { name: name.into(), number, attachment, text: Mutex::new(text) }
    }

    /// Takes one byte; what is to be printed is given to `print`, as name and bytes. Tells what that says: whether the machine is to
    /// wait before it sends more.
    pub fn write(&self, byte: u8, print: impl FnOnce(Option<&str>, &[u8]) -> bool) -> bool {
        let mut text = self.text.lock();
        text.keep(byte);
        let attached = self.attachment.get();
        if attached == Attached::ToWhatRuns || attached == Attached::To(self.number) {
            text.line.clear();
            return print(None, &[byte]);
        }
        let Text { line, .. } = &mut *text;
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
        }
        let mut waits = false;
        if byte == b'\n' || line.is_full() {
            waits = attached == Attached::ToNone && print(Some(&self.name), line);
            line.clear();
        }
        waits
    }

    /// The machine has ended: a line that it has not is given to `print`.
    pub fn finish(&self, print: impl FnOnce(Option<&str>, &[u8]) -> bool) {
        let mut text = self.text.lock();
        if !text.line.is_empty() && self.attachment.get() == Attached::ToNone {
            print(Some(&self.name), &text.line);
        }
        text.line.clear();
    }

    /// The last lines.
    #[must_use]
    pub fn last_lines(&self) -> Vec<u8> {
        let text = self.text.lock();
        let bytes = text.kept.iter().copied();
        if text.kept.len() < KEPT {
            return bytes.collect();
        }
        // The first one is cut.
        let rest: Vec<u8> = bytes.clone().skip_while(|&byte| byte != b'\n').skip(1).collect();
        if rest.is_empty() { bytes.collect() } else { rest }
    }
}

impl Text {
    fn keep(&mut self, byte: u8) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(attached: Attached) -> (GuestOutput, Arc<Attachment>) {
        let attachment = Arc::new(Attachment::new(attached));
        (GuestOutput::new("a", 1, Arc::clone(&attachment)), attachment)
    }

    fn printed(output: &GuestOutput, bytes: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
        let mut printed = Vec::new();
        for &byte in bytes {
            output.write(byte, |name, bytes| {
                printed.push((name.map(Into::into), bytes.to_vec()));
                false
            });
        }
        printed
    }

    #[test]
    fn an_attached_machine_prints_byte_by_byte() {
        for attached in [Attached::ToWhatRuns, Attached::To(1)] {
            let bytes = printed(&output(attached).0, b"a\r\n");
            assert_eq!(bytes, [(None, b"a".to_vec()), (None, b"\r".to_vec()), (None, b"\n".to_vec())]);
        }
    }

    #[test]
    fn while_none_is_attached_each_prints_whole_lines_with_its_name() {
        let lines = printed(&output(Attached::ToNone).0, b"one\r\ntwo\nthr");
        let name = Some(String::from("a"));
        assert_eq!(lines, [(name.clone(), b"one".to_vec()), (name, b"two".to_vec())]);
    }

    #[test]
    fn what_is_printed_while_another_is_attached_is_kept() {
        let (output, attachment) = output(Attached::To(0));
        assert_eq!(printed(&output, b"one\ntwo\n"), []);
        assert_eq!(output.last_lines(), b"one\ntwo\n");
        attachment.set(Attached::To(1));
        assert_eq!(printed(&output, b"x"), [(None, b"x".to_vec())]);
        attachment.set(Attached::ToNone);
        assert_eq!(printed(&output, b"y\n"), [(Some("a".into()), b"y".to_vec())]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_they_are_whole() {
        let (output, _) = output(Attached::To(0));
        for number in 0..10_000 {
            printed(&output, format!("{number}\n").as_bytes());
        }
        let kept = String::from_utf8(output.last_lines()).unwrap();
        assert!(kept.len() > KEPT - 10 && kept.ends_with("9998\n9999\n"));
        assert!(kept.lines().all(|line| line.len() == 4));
        printed(&output, &[b'x'; 2 * KEPT]);
        assert_eq!(output.last_lines(), [b'x'; KEPT]);
    }

    #[test]
    fn the_beginning_of_a_line_is_printed_when_the_machine_ends() {
        let (output, _) = output(Attached::ToNone);
        assert!(printed(&output, b"one\npanic").len() == 1);
        let mut lines = Vec::new();
        for _ in 0..2 {
            output.finish(|name, bytes| {
                lines.push((name.map(String::from), bytes.to_vec()));
                false
            });
        }
        assert_eq!(lines, [(Some(String::from("a")), b"panic".to_vec())]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = printed(&output(Attached::ToNone).0, &[b'x'; 3 * LONGEST_LINE]);
        assert!(lines.len() == 3 && lines.iter().all(|(_, line)| line.len() == LONGEST_LINE));
    }

    #[test]
    fn who_prints_is_told_to_wait() {
        let (output, _) = output(Attached::ToNone);
        assert!(!output.write(b'a', |_, _| true), "nothing is printed yet");
        assert!(output.write(b'\n', |_, _| true));
    }
}
