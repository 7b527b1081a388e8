// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ethernet switches between virtual machines: each learns who is where from the frames that pass (IEEE 802.1D, 7.8), and
//! gives a frame whose destination it does not know to everybody but the sender.
//!
//! It is a switch as on a bench. A machine may send from any address, since one that runs machines of its own must, and an
//! address is where it was seen last. Who is not to hear or to take over another's frames belongs on another switch.
//!
//! Who sends does all the work: it copies the frame into the inbox of each receiver, whose own CPU takes it from there. The
//! locks of a switch are innermost and taken one at a time, each for the copy of one frame at most.

mod addresses;
pub mod counters;
pub mod frames;
mod inbox;
pub mod port;
#[cfg(test)]
mod tests;

use crate::devices::ethernet::Header;
use addresses::Addresses;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use counters::Counters;
use inbox::Inbox;
use port::Port;
use spin::Mutex;

/// The most ports that a switch has.
pub const MOST_PORTS: usize = 1024;

/// All ports of a switch are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPort;

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all {MOST_PORTS} ports of its switch are taken: give it another switch, or end some virtual machines"
        )
    }
}

impl core::error::Error for NoPort {}

/// A port and what has passed it, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// The name of its switch.
    pub switch: String,
    /// What is plugged in.
    pub owner: String,
    /// What has passed it since then.
    pub counters: Counters,
}

/// All switches, by their names. Who makes virtual machines has them.
#[derive(Debug, Default)]
pub struct Switches(Mutex<Vec<Arc<Switch>>>);

impl Switches {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// A free port of the switch of that name, which is made if there is none. `owner` tells operators what is plugged in.
    pub fn port(&self, switch: &str, owner: &str) -> Result<Port, NoPort> {
        Port::plug(&self.named(switch), owner)
    }

    /// All ports in use, with what has passed them.
    #[must_use]
    pub fn report(&self) -> Vec<PortReport> {
        let switches = self.0.lock().clone();
        switches
            .iter()
            .flat_map(|switch| switch.inboxes().map(|(_, inbox)| inbox.report(&switch.name)))
            .collect()
    }

    fn named(&self, name: &str) -> Arc<Switch> {
        let mut switches = self.0.lock();
        if let Some(switch) = switches.iter().find(|switch| switch.name == name) {
            return Arc::clone(switch);
        }
        let switch = Arc::new(Switch { name: name.into(), table: Mutex::default() });
        switches.push(Arc::clone(&switch));
        switch
    }
}

/// One segment.
#[derive(Debug)]
struct Switch {
    name: String,
    table: Mutex<Table>,
}

/// Who is where.
#[derive(Debug, Default)]
struct Table {
    /// By place; `None`: nothing is plugged in.
    inboxes: Vec<Option<Arc<Inbox>>>,
    addresses: Addresses,
}

/// Where a frame goes.
enum Route {
    To(Arc<Inbox>),
    Everybody,
    /// Its destination hears what its sender says anyhow.
    Nowhere,
}

impl Switch {
    fn plug(&self, inbox: &Arc<Inbox>) -> Result<usize, NoPort> {
        let mut table = self.table.lock();
        let free = table.inboxes.iter().position(Option::is_none);
        let place = free.unwrap_or(table.inboxes.len());
        if place == MOST_PORTS {
            return Err(NoPort);
        }
        if free.is_none() {
            table.inboxes.push(None);
            table.addresses.make_room(place + 1);
        }
        table.inboxes[place] = Some(Arc::clone(inbox));
        Ok(place)
    }

    fn unplug(&self, place: usize) {
        let mut table = self.table.lock();
        table.addresses.forget_all(place);
        let inbox = table.inboxes[place].take();
        // It may be the last that holds it, and it is large.
        drop(table);
        drop(inbox);
    }

    /// Gives a frame that has come in at `from` to whom it is for. Tells to how many inboxes that was.
    fn forward(&self, from: usize, header: Header, frame: &[u8]) -> usize {
        match self.route(from, header) {
            Route::To(inbox) => {
                inbox.put(frame);
                1
            }
            Route::Everybody => {
                self.inboxes().filter(|&(place, _)| place != from).map(|(_, inbox)| inbox.put(frame)).count()
            }
            Route::Nowhere => 0,
        }
    }

    fn route(&self, from: usize, header: Header) -> Route {
        let mut table = self.table.lock();
        if !header.source.is_group() {
            table.addresses.learn(header.source, from);
        }
        // Nobody sends from the address of a group, so that none is found.
        match table.addresses.place(header.destination) {
            Some(place) if place == from => Route::Nowhere,
            Some(place) => table.inboxes[place].clone().map_or(Route::Everybody, Route::To),
            None => Route::Everybody,
        }
    }

    /// Those of all places, one after the other; nothing is locked in between.
    fn inboxes(&self) -> impl Iterator<Item = (usize, Arc<Inbox>)> {
        (0..)
            .map_while(|place| self.table.lock().inboxes.get(place).cloned().map(|inbox| (place, inbox)))
            .filter_map(|(place, inbox)| Some((place, inbox?)))
    }
}
