// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells the agent's frames from the output of the machine that it runs, in a stream that comes in pieces.

use crate::protocol::FRAME;
use crate::protocol::Frame;

/// A part of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the machine printed.
    Output(Vec<u8>),
    /// A frame.
    Frame(Frame),
}

/// Takes the stream apart.
#[derive(Debug, Default)]
pub struct Splitter {
    /// What has come of a frame whose end has not.
    frame: Option<Vec<u8>>,
}

impl Splitter {
    /// Takes the next piece, and gives the parts that are whole by now. A line that is no frame counts as output.
    pub fn split(&mut self, piece: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        for byte in piece {
            match (&mut self.frame, *byte) {
                (Some(frame), b'\n') => {
                    let line = String::from_utf8_lossy(frame).into_owned();
                    let frame = Frame::parse(line.trim_end_matches('\r')).map(Part::Frame);
                    parts.push(frame.unwrap_or_else(|| Part::Output(format!("{line}\n").into_bytes())));
                    self.frame = None;
                }
                (Some(frame), byte) => frame.push(byte),
                (None, FRAME) => self.frame = Some(Vec::new()),
                (None, byte) => match parts.last_mut() {
                    Some(Part::Output(output)) => output.push(byte),
                    _ => parts.push(Part::Output(vec![byte])),
                },
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_output_across_pieces() {
        let stream = b"before\n\x1ebegin\nout\x1ebegin\r\nput\n\x1ewhat is this\n\x1eready";
        let expected = [
            Part::Output(b"before\n".to_vec()),
            Part::Frame(Frame::Begin),
            Part::Output(b"out".to_vec()),
            Part::Frame(Frame::Begin),
            Part::Output(b"put\n".to_vec()),
            Part::Output(b"what is this\n".to_vec()),
        ];
        assert_eq!(Splitter::default().split(stream), expected);
        let frames = |parts: &[Part]| parts.iter().filter(|part| matches!(part, Part::Frame(_))).count();
        let output = |parts: &[Part]| {
            let bytes = |part: &Part| if let Part::Output(bytes) = part { bytes.clone() } else { Vec::new() };
            parts.iter().flat_map(bytes).collect::<Vec<u8>>()
        };
        for at in 0..stream.len() {
            let mut splitter = Splitter::default();
            let mut parts = splitter.split(&stream[..at]);
            parts.extend(splitter.split(&stream[at..]));
            assert_eq!(
                (frames(&parts), output(&parts)),
                (frames(&expected), output(&expected)),
                "cut at {at}"
            );
        }
    }
}
