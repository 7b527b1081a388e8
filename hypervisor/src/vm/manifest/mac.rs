// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ethernet addresses, as a manifest gives them or as they follow from a VM's name.

use crate::devices::ethernet::Mac;
use alloc::format;
use alloc::string::String;

/// What those begin with that nobody chose, as on QEMU: locally administered, for one card.
const PREFIX: [u8; 3] = [0x52, 0x54, 0x00];

/// The address of net number `index` of the VM of that name, where the manifest gives none: the same in every run.
#[must_use]
pub fn of_vm(vm: &str, index: usize) -> Mac {
    /// FNV-1a's (draft-eastlake-fnv).
    const BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let bytes = vm.bytes().chain([b'/', index as u8]);
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    // All of the hash's bits count for those that are kept.
    let [_, a, b, c] = (hash ^ hash >> 24).to_be_bytes();
    let [x, y, z] = PREFIX;
    Mac([x, y, z, a, b, c])
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = |why| format!("{text:?} cannot be a card's address: {why}");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| refused("it has six bytes, as 52:54:00:00:00:01"))?;
        }
        if parts.next().is_some() {
            return Err(refused("it has six bytes, as 52:54:00:00:00:01"));
        }
        let mac = Mac(mac);
        if mac.is_group() {
            return Err(refused("it is one of a group; make the first byte even"));
        }
        if mac == Mac([0; 6]) {
            return Err(refused("it is zero; leave it out for one that follows from the VM's name"));
        }
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_six_bytes_of_one_card() {
        let read = |text: &str| Mac::try_from(String::from(text));
        assert_eq!(read("52:54:00:00:00:aF").unwrap().to_string(), "52:54:00:00:00:af");
        for bad in [
            "",
            "52:54:00:00:00",
            "52:54:00:00:00:01:02",
            "52:54:00:00:00:+1",
            "52-54-00-00-00-01",
            "5:4:0:0:0:1",
        ] {
            assert!(read(bad).unwrap_err().contains("six bytes"), "{bad}");
        }
        assert!(read("53:54:00:00:00:01").unwrap_err().contains("group"));
        assert!(read("00:00:00:00:00:00").unwrap_err().contains("zero"));
    }

    #[test]
    fn cards_without_an_address_get_different_ones_which_are_the_same_in_every_run() {
        let mut all: Vec<_> = ["a", "b", "linux-1", "linux-2"]
            .iter()
            .flat_map(|vm| (0..8).map(|index| of_vm(vm, index)))
            .collect();
        assert!(all.iter().all(|mac| Mac::try_from(mac.to_string()) == Ok(*mac)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 32);
        assert_eq!(of_vm("a", 0), of_vm("a", 0));
    }
}
