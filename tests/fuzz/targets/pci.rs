// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PCI bus with two disks: accesses of all sizes to configuration space, by both of its ways, to BARs and ports, in any
//! order, by a guest whose memory changes at any time.
#![no_main]

use std::cell::Cell;
use std::iter;
use std::num::NonZeroU32;
use std::sync::Arc;

use fuzz::Input;
use fuzz::Restless;
use hypervisor::cpu::CpuNumber;
use hypervisor::devices::pci::CONFIG_ADDRESS;
use hypervisor::devices::pci::CONFIG_DATA;
use hypervisor::devices::pci::ECAM;
use hypervisor::devices::pci::Upstream;
use hypervisor::devices::pci::bus::PciBus;
use hypervisor::devices::virtio::block::Block;
use hypervisor::devices::virtio::block::disk::Disk;
use hypervisor::devices::virtio::doorbell::Doorbell;
use hypervisor::irqchip::Message;
use hypervisor::irqchip::local_apic::LocalApic;
use hypervisor::mmu::GuestMemory;
use hypervisor::vm::post::Neighbours;
use hypervisor::vm::post::Posts;
use libfuzzer_sys::fuzz_target;

const RAM: usize = 0x4000;

/// Devices on the bus, the host bridge included.
const DEVICES: u32 = 3;

/// What one access may make a device do with memory: a batch of requests, each of many buffers.
const MOST_ACCESSES: usize = 100_000;

static CONTENT: [u8; 4096] = [0xd5; 4096];

#[derive(Debug)]
struct Nobody;

impl Neighbours for Nobody {
    fn notify(&self, _: CpuNumber) {}

    fn is_away(&self, _: CpuNumber) -> bool {
        false
    }

    fn ask_for_input(&self) {}

    fn pretend_rate(&self, _: u32, _: u32) {}

    fn is_rate_pending(&self) -> bool {
        false
    }

    fn count(&self) -> usize {
        1
    }
}

struct Machine {
    memory: Restless,
    /// The level of each interrupt line.
    lines: [Cell<bool>; 24],
}

impl Upstream for Machine {
    fn memory(&self) -> &dyn GuestMemory {
        &self.memory
    }

    fn send(&self, _: Message) {}

    fn set_line(&self, gsi: usize, asserted: bool) {
        self.lines[gsi].set(asserted);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let changes = (0..input.byte()).map(|_| input.take()).collect();
    let machine = Machine { memory: Restless::new(RAM, &[], changes), lines: Default::default() };
    let address = LocalApic::new(0, true, NonZeroU32::MIN).address();
    let posts = Arc::new(Posts::new(iter::once(address), &Nobody));
    let mut bus = PciBus::default();
    let disks =
        [Disk::read_only(&CONTENT), Disk::copy_on_write(&CONTENT).expect("frames are the host's memory")];
    for disk in disks {
        let block = Box::new(Block::new(disk, "fuzzed"));
        bus.plug(block, Doorbell::new(Arc::clone(&posts))).expect("the bus has room for two");
    }
    while !input.is_over() {
        access(&bus, &machine, input.take());
        assert!(machine.memory.take_accesses() <= MOST_ACCESSES, "an access takes for ever");
    }
    for device in 0..DEVICES {
        assert_eq!(
            configuration(&bus, &machine, device, 0),
            [0x0D57_8086, 0x1042_1AF4, 0x1042_1AF4][device as usize]
        );
    }
});

/// Eight bytes of input: what is done, how, where, and what is written.
fn access(bus: &PciBus, machine: &Machine, [what, how, low, high, value @ ..]: [u8; 8]) {
    let place = u16::from_le_bytes([low, high]);
    let word = u32::from_le_bytes(value);
    let device = u32::from(how >> 4) % DEVICES;
    let size = 1_u8 << (how & 3).min(2);
    let bytes = &value[..size.into()];
    let bar = |number: u32| u64::from(configuration(bus, machine, device, 0x10 + 4 * number) & !0xf);
    let ecam = ECAM.start + (u64::from(device) << 15) + u64::from(place % 0x1000);
    match what % 10 {
        0 => bus.write_configuration_port(CONFIG_ADDRESS, 4, word, machine),
        1 => bus.write_configuration_port(CONFIG_DATA + place % 4, size, word, machine),
        2 => drop(bus.read_configuration_port(CONFIG_DATA + place % 4, size, machine)),
        3 => bus.write_memory(ecam, bytes, machine),
        4 => bus.read_memory(ecam, &mut [0; 8][..size.into()], machine),
        5 => bus.write_memory(bar(0) + u64::from(place % 0x4000), bytes, machine),
        6 => bus.read_memory(
            bar(4 * u32::from(how >> 3 & 1)) + u64::from(place),
            &mut [0; 8][..size.into()],
            machine,
        ),
        7 => bus.write_memory(bar(4) + u64::from(place % 0x1000), bytes, machine),
        8 => {
            bus.write_io((bar(2) as u16).wrapping_add(place % 8), size, word, machine);
            bus.work(machine);
        }
        _ => machine.memory.put(place.into(), &value),
    }
}

fn configuration(bus: &PciBus, machine: &Machine, device: u32, offset: u32) -> u32 {
    let mut bytes = [0; 4];
    bus.read_memory(ECAM.start + u64::from(device << 15 | offset), &mut bytes, machine);
    u32::from_le_bytes(bytes)
}
