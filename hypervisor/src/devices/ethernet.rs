// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ethernet frames as machines send them to each other (IEEE 802.3, clause 3; IEEE 802.1Q, clause 9): addresses and lengths.

use core::fmt;

/// The most bytes of a frame behind its header, its tag for a VLAN not counted.
pub const MTU: u16 = 1500;
/// Bytes of a header: destination, source, and type or length.
pub const HEADER: usize = 14;
/// Bytes of a tag for a VLAN, behind the source.
const TAG: usize = 4;
/// Bytes of the longest frame, which has a tag. There is no check sequence at its end: nothing on its way changes it.
pub const LONGEST: usize = HEADER + TAG + MTU as usize;

/// The types of frames with a tag: C-VLAN and S-VLAN.
const TAGGED: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xA8]];

/// The address of a network card, or of a group of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is that of a group, as everybody's is.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a switch looks at in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom it is for.
    pub destination: Mac,
    /// Whom it says that it comes from.
    pub source: Mac,
}

impl Header {
    /// That of `frame`, if it is as long as a frame may be.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let longest = if TAGGED.contains(kind) { LONGEST } else { LONGEST - TAG };
        (frame.len() <= longest).then_some(Self { destination: Mac(*destination), source: Mac(*source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: [u8; 2], bytes: usize) -> Vec<u8> {
        let mut frame = vec![0; bytes];
        let beginning = [[1; 6], [2; 6]].concat().into_iter().chain(kind);
        frame.iter_mut().zip(beginning).for_each(|(byte, value)| *byte = value);
        frame
    }

    #[test]
    fn a_header_is_read_from_frames_of_every_length_that_one_may_have_and_from_no_other() {
        for (kind, longest) in [([0x08, 0x00], 1514), ([0x81, 0x00], 1518), ([0x88, 0xA8], 1518)] {
            for bytes in 0..1600 {
                let header = Header { destination: Mac([1; 6]), source: Mac([2; 6]) };
                let expected = (14..=longest).contains(&bytes).then_some(header);
                assert_eq!(Header::of(&frame(kind, bytes)), expected, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn an_address_is_printed_as_it_is_written_in_a_manifest() {
        assert_eq!(Mac([0x52, 0x54, 0, 0xAB, 0, 1]).to_string(), "52:54:00:ab:00:01");
    }

    #[test]
    fn the_first_byte_tells_groups_from_cards() {
        assert!(Mac([0xFF; 6]).is_group() && Mac([0x01, 0, 0x5E, 0, 0, 1]).is_group());
        assert!(!Mac([0x52, 0x55, 1, 1, 1, 1]).is_group());
    }
}
