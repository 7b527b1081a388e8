// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done with a machine's devices: its disk is read, another is written and read, and a peer on the network is
//! pinged and sent a stream.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Content;
use crate::Hash;

/// The first part of each argument, and what stands behind it.
const KEYS: &str = "disk=FILE scratch=FILE address=IPV4 peer=IPV4 pings=N";

/// 64-bit words that each of two peers sends the other in one stream.
pub const STREAM_WORDS: usize = 64 << 10;

/// The port where they are taken.
pub const STREAM_PORT: u16 = 7;

/// The most pings that are under way at one time.
pub const PINGS_AT_ONCE: u16 = 8;

/// How many bytes each ping carries, in turn: nothing but its number, a common one, and the most for one packet.
pub const PING_BYTES: [usize; 4] = [0, 56, 1000, 1472];

/// Everything in it is optional; what is left out is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The disk that is read from its beginning to its end, and overwritten at its beginning if it can be.
    pub disk: Option<PathBuf>,
    /// A disk of zeros that is written and read.
    pub scratch: Option<PathBuf>,
    /// The machine's own address; its network is the 256 addresses that differ in the last byte.
    pub address: Option<Ipv4Addr>,
    /// Who is pinged.
    pub peer: Option<Ipv4Addr>,
    /// How often.
    pub pings: u16,
}

impl Plan {
    /// Takes arguments apart like `disk=/dev/vda`.
    ///
    /// # Errors
    /// When one is not as it must be.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut plan = Self::default();
        for argument in arguments {
            let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
            match key {
                "disk" => plan.disk = Some(parse(argument, value)?),
                "scratch" => plan.scratch = Some(parse(argument, value)?),
                "address" => plan.address = Some(parse(argument, value)?),
                "peer" => plan.peer = Some(parse(argument, value)?),
                "pings" => plan.pings = parse(argument, value)?,
                _ => return Err(format!("{argument:?} is none of {KEYS}")),
            }
        }
        if plan.peer.is_some() && plan.address.is_none() {
            return Err("to ping a peer takes an address of one's own: address=IPV4".into());
        }
        Ok(plan)
    }
}

fn parse<T: FromStr>(argument: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{argument:?} is none of {KEYS}"))
}

/// The content of a disk, from its seed, which is so many words long; and the checksum that reading it must come to.
#[must_use]
pub fn disk(seed: u64, words: usize) -> (Vec<u8>, u64) {
    let words = Content::of(seed).words(words);
    (crate::bytes(&words), Hash::of(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Plan, String> {
        Plan::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_taken_or_named_in_the_complaint() {
        let plan = parsed("disk=/dev/vda address=10.0.0.1 peer=10.0.0.2 pings=50").unwrap();
        assert_eq!(plan.disk, Some("/dev/vda".into()));
        assert_eq!((plan.peer, plan.pings), (Some([10, 0, 0, 2].into()), 50));
        assert_eq!(plan.scratch, None);
        for wrong in ["dish=/dev/vda", "pings", "pings=65536", "address=10.0.0", ""] {
            assert!(parsed(wrong).unwrap_err().contains(&format!("{wrong:?}")), "{wrong}");
        }
        assert!(parsed("peer=10.0.0.2").unwrap_err().contains("address="));
    }

    #[test]
    fn a_disk_has_the_checksum_of_its_bytes() {
        let (bytes, checksum) = disk(3, 100);
        let mut hash = Hash::default();
        hash.take(&bytes);
        assert_eq!((bytes.len(), hash.value()), (800, checksum));
    }
}
