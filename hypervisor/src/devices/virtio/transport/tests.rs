// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver finds a device on the bus, sets it up, notifies it and hears of it; or does it all wrong.

use super::model::Event;
use super::model::ModelDevice;
use super::model::RAM;
use super::model::Rig;
use super::model::ecam;
use super::*;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;

mod any_access;

const COMMAND: u64 = 4;
const STATUS_REGISTER: u64 = 6;
const IO: u8 = 1;
const MEMORY: u8 = 2;
const BUS_MASTER: u8 = 4;
const INTERRUPT_DISABLE: u8 = 4;

const DEVICE_STATUS: u64 = 0x14;
const GENERATION: u64 = 0x15;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_VECTOR: u64 = 0x1A;
const ISR_STATUS: u64 = 0x1000;
const DEVICE_CONFIGURATION: u64 = 0x2000;
const NOTIFICATION: u64 = 0x3000;

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;

/// A driver of the device 1 of a bus.
struct Guest {
    rig: Rig,
    structures: u64,
    port: u16,
    vectors: u64,
}

impl Guest {
    fn new() -> Self {
        let rig = Rig::new(1);
        let bar = |index: u64| rig.configuration(1, 0x10 + 4 * index) & !0xF;
        let (structures, port, vectors) = (bar(0).into(), bar(2) as u16, bar(4).into());
        Self { rig, structures, port, vectors }
    }

    /// The device is ready; its queue 0 has one buffer.
    fn ready() -> Self {
        let guest = Self::new();
        guest.command(IO | MEMORY | BUS_MASTER);
        guest.agree();
        guest.enable_queue(0);
        guest.offer_buffer(1);
        guest.write(DEVICE_STATUS, &[15]);
        assert_eq!(guest.events(), [Event::Started(VERSION_1)]);
        guest.rig.bus.work(&guest.rig.upstream);
        assert_eq!(guest.events(), [Event::Served(Occasion::Rung)]);
        assert_eq!(guest.used(), 1);
        assert_eq!(guest.rig.upstream.take_vectors(), []);
        guest
    }

    /// As [`Guest::ready`], with messages: vector 0x40 for the configuration, 0x41 for queue 0.
    fn ready_with_messages() -> Self {
        let guest = Self::new();
        guest.command(IO | MEMORY | BUS_MASTER);
        for (entry, vector) in [(0, 0x40_u32), (1, 0x41)] {
            guest.rig.store(guest.vectors + 16 * entry, &0xFEE0_0000_u32.to_le_bytes());
            guest.rig.store(guest.vectors + 16 * entry + 8, &u64::from(vector).to_le_bytes());
        }
        guest.rig.configure(1, guest.message_control(), &0x8000_u16.to_le_bytes());
        guest.agree();
        guest.write(0x10, &0_u16.to_le_bytes());
        guest.enable_queue(0);
        guest.write(QUEUE_VECTOR, &1_u16.to_le_bytes());
        guest.write(DEVICE_STATUS, &[15]);
        guest.rig.bus.work(&guest.rig.upstream);
        guest.events();
        guest
    }

    fn events(&self) -> Vec<Event> {
        self.rig.devices[0].take()
    }

    fn command(&self, bits: u8) {
        self.rig.configure(1, COMMAND, &[bits]);
    }

    fn read<const SIZE: usize>(&self, offset: u64) -> [u8; SIZE] {
        self.rig.load(self.structures + offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.rig.store(self.structures + offset, bytes);
    }

    fn status(&self) -> u8 {
        self.read::<1>(DEVICE_STATUS)[0]
    }

    fn agree(&self) {
        self.write(DEVICE_STATUS, &[3]);
        self.write(0x08, &1_u32.to_le_bytes());
        self.write(0x0C, &1_u32.to_le_bytes());
        self.write(DEVICE_STATUS, &[11]);
        assert_eq!(self.status(), 11);
    }

    fn enable_queue(&self, index: u16) {
        self.write(QUEUE_SELECT, &index.to_le_bytes());
        for (offset, address) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)] {
            self.write(offset, &address.to_le_bytes());
        }
        self.write(0x1C, &1_u16.to_le_bytes());
    }

    /// The driver's index is `index`; all entries lead to one descriptor, of a buffer to read.
    fn offer_buffer(&self, index: u16) {
        let memory = &self.rig.upstream.memory;
        memory.write(GuestPhysical(DESCRIPTORS), &0x4000_u64.to_le_bytes()).unwrap();
        memory.write(GuestPhysical(DESCRIPTORS + 8), &16_u64.to_le_bytes()).unwrap();
        memory.write(GuestPhysical(AVAILABLE + 2), &index.to_le_bytes()).unwrap();
    }

    fn used(&self) -> u16 {
        let mut index = [0; 2];
        self.rig.upstream.memory.read(GuestPhysical(USED + 2), &mut index).unwrap();
        u16::from_le_bytes(index)
    }

    fn notify(&self, queue: u16) {
        self.rig.bus.write_io(self.port, 2, queue.into(), &self.rig.upstream);
    }

    /// The place of the capability that `is_it` finds by its first four bytes.
    fn capability(&self, is_it: impl Fn([u8; 4]) -> bool) -> u64 {
        let mut at = u64::from(self.rig.configuration(1, 0x34));
        while !is_it(self.rig.configuration(1, at).to_le_bytes()) {
            at = u64::from(self.rig.configuration(1, at).to_le_bytes()[1]);
            assert!(at != 0, "it is in the list");
        }
        at
    }

    fn message_control(&self) -> u64 {
        self.capability(|[id, ..]| id == 0x11) + 2
    }

    fn access(&self) -> u64 {
        self.capability(|[id, _, _, kind]| id == 9 && kind == 5)
    }
}

/// Virtio 1.2, 4.1.4: each structure has a capability, and the one to notify by a port comes first.
#[test]
fn capabilities_lead_to_all_structures() {
    let guest = Guest::new();
    let mut found = Vec::new();
    let mut at = u64::from(guest.rig.configuration(1, 0x34));
    while at != 0 {
        let word = |index: u64| guest.rig.configuration(1, at + 4 * index);
        let [id, next, length, kind] = word(0).to_le_bytes();
        if id == 9 {
            found.push((kind, word(1), word(2), word(3), length));
        }
        at = next.into();
    }
    let expected = [
        (2, 2, 0, 4, 20),
        (2, 0, 0x3000, 4, 20),
        (1, 0, 0, 0x38, 16),
        (3, 0, 0x1000, 1, 16),
        (4, 0, 0x2000, 0x1000, 16),
        (5, 0, 0, 0, 20),
    ];
    assert_eq!(found, expected);
    let msix = guest.message_control() - 2;
    let words = [0, 4, 8].map(|offset| guest.rig.configuration(1, msix + offset));
    assert_eq!((words[0] >> 16, words[1], words[2]), (2, 4, 0x804));
}

#[test]
fn a_driver_that_keeps_to_the_rules_is_served_and_hears_by_messages() {
    let guest = Guest::ready_with_messages();
    guest.offer_buffer(1);
    guest.notify(0);
    assert_eq!(guest.events(), [Event::Served(Occasion::Notified(0))]);
    assert_eq!(guest.used(), 1);
    assert_eq!(guest.rig.upstream.take_vectors(), [0x41]);
    // By memory, too.
    guest.offer_buffer(2);
    guest.write(NOTIFICATION, &0_u16.to_le_bytes());
    assert_eq!(guest.rig.upstream.take_vectors(), [0x41]);
    assert_eq!(guest.rig.upstream.take_lines(), []);
    assert_eq!(guest.read(ISR_STATUS), [0]);
}

#[test]
fn without_messages_the_line_is_asserted_until_isr_status_is_read() {
    let guest = Guest::ready();
    assert_eq!(guest.rig.upstream.take_lines(), [(17, true)]);
    assert_eq!(guest.rig.load::<1>(ecam(1, STATUS_REGISTER))[0] & 8, 8);
    assert_eq!(guest.read(ISR_STATUS), [1]);
    assert_eq!(guest.rig.upstream.take_lines(), [(17, false)]);
    assert_eq!(guest.read(ISR_STATUS), [0]);
    assert_eq!(guest.rig.load::<1>(ecam(1, STATUS_REGISTER))[0] & 8, 0);
}

#[test]
fn the_line_falls_while_it_is_disabled_or_messages_take_its_place() {
    let guest = Guest::ready();
    assert_eq!(guest.rig.upstream.take_lines(), [(17, true)]);
    guest.rig.configure(1, COMMAND + 1, &[INTERRUPT_DISABLE]);
    assert_eq!(guest.rig.upstream.take_lines(), [(17, false)]);
    guest.rig.configure(1, COMMAND + 1, &[0]);
    assert_eq!(guest.rig.upstream.take_lines(), [(17, true)]);
    guest.rig.configure(1, guest.message_control() + 1, &[0x80]);
    assert_eq!(guest.rig.upstream.take_lines(), [(17, false)]);
}

#[test]
fn a_message_waits_for_its_mask_to_go() {
    let guest = Guest::ready_with_messages();
    let control = guest.vectors + 16 + 12;
    guest.rig.store(control, &1_u32.to_le_bytes());
    guest.offer_buffer(1);
    guest.notify(0);
    assert_eq!(guest.rig.upstream.take_vectors(), []);
    assert_eq!(guest.rig.load(guest.vectors + 0x800), [2_u8, 0, 0, 0, 0, 0, 0, 0]);
    guest.rig.store(control, &0_u32.to_le_bytes());
    assert_eq!(guest.rig.upstream.take_vectors(), [0x41]);
    guest.rig.configure(1, guest.message_control() + 1, &[0xC0]);
    guest.offer_buffer(2);
    guest.notify(0);
    assert_eq!(guest.rig.upstream.take_vectors(), []);
    guest.rig.configure(1, guest.message_control() + 1, &[0x80]);
    assert_eq!(guest.rig.upstream.take_vectors(), [0x41]);
}

#[test]
fn a_vector_that_the_table_has_not_is_none() {
    let guest = Guest::ready_with_messages();
    assert_eq!(guest.read(QUEUE_VECTOR), [1, 0]);
    for vector in [3, 64, 0xFFFE, 0xFFFF_u16] {
        guest.write(QUEUE_VECTOR, &vector.to_le_bytes());
        assert_eq!(guest.read(QUEUE_VECTOR), [0xFF; 2]);
        guest.write(0x10, &vector.to_le_bytes());
        assert_eq!(guest.read(0x10), [0xFF; 2]);
    }
    guest.offer_buffer(1);
    guest.notify(0);
    assert_eq!((guest.used(), guest.rig.upstream.take_vectors()), (1, vec![]));
    guest.write(QUEUE_SELECT, &[2, 0]);
    guest.write(QUEUE_VECTOR, &[0, 0]);
    assert_eq!(guest.read(QUEUE_VECTOR), [0xFF; 2], "of a queue that is not there");
    assert_eq!(guest.read(0x10), [0xFF; 2], "nor is it the configuration's");
}

#[test]
fn a_driver_that_breaks_the_rules_hears_of_it_and_is_not_served_until_it_resets() {
    let guest = Guest::ready_with_messages();
    guest.offer_buffer(100);
    guest.notify(0);
    assert_eq!(guest.events(), [Event::Served(Occasion::Notified(0))]);
    assert_eq!(guest.status(), 15 | 64);
    assert_eq!(guest.rig.upstream.take_vectors(), [0x40]);
    assert_eq!(guest.read(GENERATION), [1]);
    assert_eq!(guest.read(ISR_STATUS), [2]);
    guest.notify(0);
    guest.write(DEVICE_STATUS, &[15]);
    guest.rig.bus.work(&guest.rig.upstream);
    assert_eq!((guest.events(), guest.status()), (vec![], 15 | 64));
    guest.write(DEVICE_STATUS, &[0]);
    assert_eq!((guest.events(), guest.status()), (vec![Event::Reset], 0));
}

#[test]
fn a_queue_that_cannot_be_set_up_is_a_breach_of_which_a_driver_that_is_not_ready_does_not_hear() {
    for (offset, bytes) in
        [(0x18, 5_u16.to_le_bytes()), (0x18, 16_u16.to_le_bytes()), (0x1C, 1_u16.to_le_bytes())]
    {
        let guest = Guest::new();
        guest.agree();
        guest.write(0x20, &1_u64.to_le_bytes());
        guest.write(offset, &bytes);
        assert_eq!(guest.status(), 11 | 64);
        assert_eq!((guest.read(0x18), guest.read(0x1C)), ([8, 0], [0, 0]));
        assert_eq!((guest.rig.upstream.take_lines(), guest.rig.upstream.take_vectors()), (vec![], vec![]));
    }
}

#[test]
fn enabling_a_queue_twice_changes_nothing() {
    let guest = Guest::ready();
    guest.write(QUEUE_SELECT, &0_u16.to_le_bytes());
    let before = guest.read::<56>(0);
    for (offset, bytes) in [(0x1C, &[1, 0][..]), (0x1C, &[0, 0]), (0x20, &[1; 8]), (0x18, &[4, 0])] {
        guest.write(offset, bytes);
        assert_eq!(guest.read::<56>(0), before, "{offset:#x}");
    }
}

#[test]
fn nothing_is_served_before_the_driver_is_ready_or_while_the_bus_is_not_the_functions() {
    let guest = Guest::new();
    guest.notify(0);
    guest.agree();
    guest.enable_queue(0);
    guest.notify(0);
    guest.write(DEVICE_STATUS, &[15]);
    guest.notify(0);
    guest.rig.bus.work(&guest.rig.upstream);
    assert_eq!(guest.events(), [Event::Started(VERSION_1)]);
    guest.command(IO | MEMORY | BUS_MASTER);
    guest.rig.bus.work(&guest.rig.upstream);
    assert_eq!(guest.events(), [Event::Served(Occasion::Rung)], "what was missed meanwhile");
    guest.notify(1);
    assert_eq!(guest.events(), [Event::Served(Occasion::Notified(1))]);
    guest.notify(2);
    guest.rig.bus.write_io(guest.port, 1, 0, &guest.rig.upstream);
    guest.rig.bus.write_io(guest.port + 2, 2, 0, &guest.rig.upstream);
    assert_eq!(guest.events(), [], "no queue, or no notification");
    guest.command(MEMORY | BUS_MASTER);
    guest.notify(0);
    assert_eq!(guest.events(), [], "ports are off");
}

#[test]
fn a_device_that_has_more_to_do_is_asked_again() {
    let guest = Guest::ready();
    guest.rig.devices[0].say_more(2);
    guest.notify(0);
    let mut rounds = 0;
    while guest.rig.upstream.posts.take_work() {
        guest.rig.bus.work(&guest.rig.upstream);
        rounds += 1;
    }
    assert_eq!(rounds, 2);
    let rung = Event::Served(Occasion::Rung);
    assert_eq!(guest.events(), [Event::Served(Occasion::Notified(0)), rung, rung]);
}

#[test]
fn reset_leaves_nothing_of_what_was_set_up() {
    let guest = Guest::ready_with_messages();
    let fresh = Guest::new();
    let mask_of_queue = guest.vectors + 16 + 12;
    guest.rig.store(mask_of_queue, &1_u32.to_le_bytes());
    guest.offer_buffer(1);
    guest.notify(0);
    guest.events();
    guest.write(DEVICE_STATUS, &[0]);
    assert_eq!(guest.events(), [Event::Reset]);
    guest.rig.store(mask_of_queue, &0_u32.to_le_bytes());
    assert_eq!(guest.rig.upstream.take_vectors(), [], "what was pending");
    for queue in [0, 1_u16] {
        guest.write(QUEUE_SELECT, &queue.to_le_bytes());
        fresh.write(QUEUE_SELECT, &queue.to_le_bytes());
        assert_eq!(guest.read::<56>(0), fresh.read::<56>(0));
    }
    guest.notify(0);
    assert_eq!(guest.events(), []);
}

#[test]
fn the_devices_own_configuration_is_read_and_written_as_it_is() {
    let guest = Guest::new();
    guest.write(DEVICE_CONFIGURATION + 1, &[1, 2]);
    guest.write(DEVICE_CONFIGURATION + 4, &[3; 8]);
    assert_eq!(guest.read(DEVICE_CONFIGURATION), [0, 1, 2, 0, 3, 3, 0, 0]);
    assert_eq!(guest.read(DEVICE_CONFIGURATION + 0xFF8), [0; 8]);
}

/// Virtio 1.2, 4.1.4.9.
#[test]
fn structures_are_reached_from_configuration_space() {
    let guest = Guest::new();
    let at = guest.access();
    let through = |bar: u8, offset: u32, length: u32| {
        guest.rig.configure(1, at + 4, &[bar]);
        guest.rig.configure(1, at + 8, &offset.to_le_bytes());
        guest.rig.configure(1, at + 12, &length.to_le_bytes());
    };
    // Decoding may be off.
    guest.command(0);
    through(0, 0x12, 2);
    assert_eq!(guest.rig.configuration(1, at + 16), 2, "num_queues");
    through(0, 0x14, 1);
    guest.rig.configure(1, at + 16, &[3, 0, 0, 0]);
    assert_eq!(guest.rig.configuration(1, at + 16), 3, "device_status");
    through(4, 12, 4);
    assert_eq!(guest.rig.configuration(1, at + 16), 1, "the first vector is masked");
    assert_eq!(guest.rig.load(ecam(1, at + 17)), [0], "a part");
    for (bar, offset, length) in [
        (0, 0x13, 2),
        (0, 0x10, 3),
        (0, 0x10, 0),
        (0, 0x10, u32::MAX),
        (0, 0x4000, 4),
        (0, u32::MAX, 1),
        (1, 0, 4),
        (7, 0, 4),
    ] {
        through(bar, offset, length);
        guest.rig.configure(1, at + 16, &[0xFF; 4]);
        assert_eq!(guest.rig.configuration(1, at + 16), 0, "BAR {bar}, {length} at {offset:#x}");
    }
}
