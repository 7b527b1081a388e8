// SPDX-License-Identifier: MIT OR Apache-2.0
//! At which place of a switch which address was seen last.

use crate::devices::ethernet::Mac;
use alloc::vec;
use alloc::vec::Vec;

/// Addresses that are known at each place. Beyond that the one goes that has not sent for the longest time: a machine that
/// makes up addresses pushes out its own only.
pub(super) const PER_PLACE: usize = 16;

/// One address; each place has [`PER_PLACE`] entries, which lie together.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: Mac,
    /// The next entry in the same bucket.
    next: Option<u16>,
    /// When it was seen last; 0: the entry is free, and in no bucket.
    seen: u64,
}

impl Entry {
    const FREE: Self = Self { mac: Mac([0; 6]), next: None, seen: 0 };
}

/// A hash table with a chain through each bucket. Learning takes no memory, and a bounded time.
#[derive(Debug)]
pub(super) struct Addresses {
    entries: Vec<Entry>,
    /// The first entry of each; as many as a power of two.
    buckets: Vec<Option<u16>>,
    /// Goes on with each address that is seen.
    clock: u64,
}

const _: () = assert!(super::MOST_PORTS * PER_PLACE <= u16::MAX as usize);

impl Default for Addresses {
    fn default() -> Self {
        Self { entries: Vec::new(), buckets: vec![None], clock: 0 }
    }
}

impl Addresses {
    /// There are that many places from here on: never fewer than before.
    pub(super) fn make_room(&mut self, places: usize) {
        self.entries.resize(places * PER_PLACE, Entry::FREE);
        if self.buckets.len() < self.entries.len() {
            self.buckets = vec![None; self.entries.len().next_power_of_two()];
            for entry in 0..self.entries.len() {
                if self.entries[entry].seen != 0 {
                    self.link(entry);
                }
            }
        }
    }

    /// Where `mac` was seen last.
    pub(super) fn place(&self, mac: Mac) -> Option<usize> {
        self.find(mac).map(|entry| entry / PER_PLACE)
    }

    /// `mac` is seen at `place`.
    pub(super) fn learn(&mut self, mac: Mac, place: usize) {
        self.clock += 1;
        let known = self.find(mac);
        if let Some(entry) = known.filter(|entry| entry / PER_PLACE == place) {
            self.entries[entry].seen = self.clock;
            return;
        }
        if let Some(entry) = known {
            self.forget(entry);
        }
        let oldest = entries_of(place).min_by_key(|&entry| self.entries[entry].seen);
        let entry = oldest.expect("a place has entries");
        self.forget(entry);
        self.entries[entry] = Entry { mac, next: None, seen: self.clock };
        self.link(entry);
    }

    /// Nothing is at `place` any more.
    pub(super) fn forget_all(&mut self, place: usize) {
        for entry in entries_of(place) {
            self.forget(entry);
        }
    }

    fn find(&self, mac: Mac) -> Option<usize> {
        let mut next = self.buckets[self.bucket(mac)];
        while let Some(entry) = next.map(usize::from) {
            if self.entries[entry].mac == mac {
                return Some(entry);
            }
            next = self.entries[entry].next;
        }
        None
    }

    fn link(&mut self, entry: usize) {
        let bucket = self.bucket(self.entries[entry].mac);
        self.entries[entry].next = self.buckets[bucket].replace(entry as u16);
    }

    /// Frees an entry, if it is not.
    fn forget(&mut self, entry: usize) {
        if self.entries[entry].seen == 0 {
            return;
        }
        let after = self.entries[entry].next;
        let bucket = self.bucket(self.entries[entry].mac);
        let mut link = &mut self.buckets[bucket];
        while let Some(at) = link.map(usize::from).filter(|&at| at != entry) {
            link = &mut self.entries[at].next;
        }
        *link = after;
        self.entries[entry] = Entry::FREE;
    }

    /// Multiplication spreads a change in any bit of the address to the upper bits of the product.
    fn bucket(&self, mac: Mac) -> usize {
        let [a, b, c, d, e, f] = mac.0;
        let product = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (product >> 40) as usize & (self.buckets.len() - 1)
    }
}

fn entries_of(place: usize) -> core::ops::Range<usize> {
    place * PER_PLACE..(place + 1) * PER_PLACE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mac(number: u16) -> Mac {
        let [high, low] = number.to_be_bytes();
        Mac([0x52, 0x54, 0, 0, high, low])
    }

    /// The addresses of each place, the one seen last at the end.
    #[derive(Default)]
    struct Model(Vec<Vec<Mac>>);

    impl Model {
        fn learn(&mut self, mac: Mac, place: usize) {
            self.0.iter_mut().for_each(|addresses| addresses.retain(|&known| known != mac));
            self.0[place].push(mac);
            if self.0[place].len() > PER_PLACE {
                self.0[place].remove(0);
            }
        }

        fn place(&self, mac: Mac) -> Option<usize> {
            self.0.iter().position(|addresses| addresses.contains(&mac))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        MakeRoom,
        Learn { mac: u16, place: usize },
        Forget { place: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::MakeRoom),
            40 => (0..120_u16, any::<usize>()).prop_map(|(mac, place)| Step::Learn { mac, place }),
            1 => any::<usize>().prop_map(|place| Step::Forget { place }),
        ]
    }

    proptest! {
        #[test]
        fn an_address_is_where_it_was_seen_last_unless_its_place_has_seen_too_many(
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let (mut addresses, mut model) = (Addresses::default(), Model::default());
            addresses.make_room(1);
            model.0.push(Vec::new());
            for step in steps {
                let places = model.0.len();
                match step {
                    Step::MakeRoom => {
                        addresses.make_room(places + 1);
                        model.0.push(Vec::new());
                    }
                    Step::Learn { mac: number, place } => {
                        addresses.learn(mac(number), place % places);
                        model.learn(mac(number), place % places);
                    }
                    Step::Forget { place } => {
                        addresses.forget_all(place % places);
                        model.0[place % places].clear();
                    }
                }
                for number in 0..120 {
                    prop_assert_eq!(addresses.place(mac(number)), model.place(mac(number)));
                }
            }
        }
    }

    #[test]
    fn a_place_that_makes_up_addresses_pushes_out_only_its_own() {
        let mut addresses = Addresses::default();
        addresses.make_room(2);
        addresses.learn(mac(0), 0);
        for number in 1..10_000 {
            addresses.learn(mac(number), 1);
        }
        assert_eq!(addresses.place(mac(0)), Some(0));
        let known = (1..10_000).filter(|&number| addresses.place(mac(number)).is_some());
        assert!(known.eq(10_000 - PER_PLACE as u16..10_000), "the last ones are known");
    }
}
