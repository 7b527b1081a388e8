// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who answers where, and what follows from it.

use super::*;
use crate::cpu::CpuNumber;
use crate::vcpu::model::Model;
use crate::vm::model;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::Told;
use core::cell::Cell;
use core::num::NonZeroU32;

const MODEM_CONTROL: u16 = UART + 4;
const INTERRUPT_ENABLE: u16 = UART + 1;
const LINE_STATUS: u16 = UART + 5;
const SCRATCH: u16 = UART_LAST;

/// OUT2, which connects the UART's interrupt.
const CONNECTED: u32 = 8;
const RECEIVED_DATA: u32 = 1;

fn machine() -> Machine {
    model::machine(1, ModelNeighbours::new())
}

/// With the UART's interrupt connected, and its pin leading to vector 0x44 of local APIC 0, edge triggered. Another local
/// APIC would take it, too.
fn with_interrupt(neighbours: &'static ModelNeighbours) -> Machine {
    let machine = model::machine(2, neighbours);
    for id in [0, 1] {
        let mut apic = LocalApic::new(id, id == 0, NonZeroU32::MIN);
        let _ = apic.mmio_write(0xf0, 0x1ff, 0);
        machine.posts.of(id as usize).set_address(apic.address());
    }
    assert!(machine.write_io_apic(0, 0x10 + 2 * uart::GSI).is_empty());
    assert!(machine.write_io_apic(0x10, 0x44).is_empty());
    assert_eq!(machine.write_port(MODEM_CONTROL, 1, CONNECTED, zero), PortEffect::default());
    machine
}

/// The machine's time at the start.
fn zero() -> u64 {
    0
}

#[test]
fn only_the_ports_of_devices_answer() {
    let machine = machine();
    let answers = |port: &u16| machine.read_port(*port, 1, zero) != 0xff;
    let ports: Vec<u16> = (0..=u16::MAX).filter(answers).collect();
    let uart = UART..=UART_LAST;
    let power_management = 0x600..=0x60b;
    // 8259As, PIT, keyboard controller and port B, port A, isa-debug-exit.
    let low = [0x20, 0x40, 0x41, 0x42, 0x60, 0x61, 0x64, 0x71, 0x92, 0xa0, 0xf4, 0xf5, 0xf6, 0xf7];
    // Of PCI's configuration space nothing is selected.
    let configuration = [0xcf9];
    // Masks of the 8259As read as ones but for the cascade.
    let low = low.into_iter().chain([0x21]);
    let mut expected: Vec<u16> =
        low.chain(uart).chain([0x4d0, 0x4d1]).chain(power_management).chain(configuration).collect();
    expected.sort_unstable();
    assert_eq!(ports, expected);
}

#[test]
fn a_wide_access_is_one_of_each_port() {
    let machine = machine();
    machine.write_port(SCRATCH, 1, 0x5a, zero);
    assert_eq!(machine.read_port(LINE_STATUS, 4, zero), 0xff5a_b060);
    assert_eq!(machine.read_port(0x5fe, 4, zero), 0x0000_ffff);
    // The high byte of a word at the last port before the UART is what is sent.
    assert_eq!(machine.write_port(UART - 1, 2, 0x4100, zero).output, Some(b'A'));
    assert_eq!(machine.write_port(0x604, 2, 0x2000, zero).power, Some(PowerEvent::PowerOff));
    assert_eq!(machine.write_port(0x604, 4, 0x2000, zero).power, Some(PowerEvent::PowerOff));
    assert_eq!(machine.write_port(0xf4, 4, 5, zero).power, Some(PowerEvent::DebugExit { status: 11 }));
}

/// To what a wide access at PCI's configuration address writes, the reset control register does not listen.
#[test]
fn only_a_byte_resets() {
    let machine = machine();
    assert_eq!(machine.write_port(0xcf8, 4, 0x8000_0600, zero), PortEffect::default());
    assert_eq!(machine.write_port(0xcf9, 1, 6, zero).power, Some(PowerEvent::Reset));
}

#[test]
fn the_power_timer_is_one_whole_and_follows_the_machines_time() {
    let machine = machine();
    let at = |now: u64| machine.read_port(0x608, 4, || now);
    assert_eq!(at(0), 0);
    assert!(at(model::HZ).abs_diff(3_579_545) <= 1);
    assert!(at(1_200 * model::HZ).abs_diff((1_200 * 3_579_545_u64) as u32) <= 1_200, "it wraps");
    // Bytes of different times would be no whole.
    let looks = Cell::new(0);
    machine.read_port(0x608, 4, || looks.replace(looks.get() + 1));
    assert_eq!(looks.get(), 1);
}

#[test]
fn the_line_is_told_to_the_io_apic_when_it_changes() {
    let neighbours = ModelNeighbours::new();
    let machine = with_interrupt(neighbours);
    assert_eq!(machine.write_port(INTERRUPT_ENABLE, 1, RECEIVED_DATA, zero), PortEffect::default());
    assert_eq!(neighbours.take(), Told::default());
    let mut vcpu = Model::after_reset(0);
    let _ = vcpu.state.apic.mmio_write(0xf0, 0x1ff, 0);
    let mut arrives = |vector| {
        assert_eq!(neighbours.take(), Told { notified: vec![CpuNumber::BOOT], ..Told::default() });
        assert_eq!(machine.posts.of(0).mailbox.drain(&mut vcpu.guest()), Ok(()));
        assert_eq!(vcpu.state.apic.pending(), Some(vector));
        vcpu.state.apic.acknowledge(vector);
        let _ = vcpu.state.apic.mmio_write(0xb0, 0, 0);
    };
    let mut typed = b"ab".iter().copied();
    machine.receive(|| typed.next());
    arrives(0x44);
    assert!(machine.input_waits(), "without its FIFO the UART has room for one byte");
    machine.receive(|| typed.next());
    assert!(machine.input_waits() && machine.posts.are_empty());
    assert_eq!(machine.read_port(UART, 1, zero), b'a'.into());
    machine.receive(|| typed.next());
    arrives(0x44);
    assert!(machine.input_waits());
    assert_eq!(machine.read_port(UART, 1, zero), b'b'.into());
    machine.receive(|| typed.next());
    assert!(!machine.input_waits() && machine.posts.are_empty());
}

/// A guest with both reads where it is: at the UART once that interrupts it, else at the console whose driver is ready.
#[test]
fn what_is_typed_goes_to_the_virtio_console_while_the_guest_reads_there() {
    let mut machine = machine();
    assert_eq!(machine.plug_console(Console::new(Box::new(|_| false))), Ok(()));
    let console = machine.virtio_console.clone().expect("it was plugged in");
    let taken = |machine: &Machine| {
        let (room, mut typed) = (console.room(), b"a".iter().copied());
        machine.receive(|| typed.next());
        let by_uart = machine.read_port(UART + 5, 1, zero) & 1 != 0;
        machine.read_port(UART, 1, zero);
        (room - console.room(), by_uart)
    };
    let (by_console, by_uart) = ((1, false), (0, true));
    assert_eq!(taken(&machine), by_uart, "it has no driver");
    console.start(0);
    assert_eq!(taken(&machine), by_console);
    assert!(!machine.posts.are_empty(), "its doorbell was rung");
    machine.write_port(INTERRUPT_ENABLE, 1, RECEIVED_DATA, zero);
    assert_eq!(taken(&machine), by_uart);
    machine.write_port(INTERRUPT_ENABLE, 1, 0, zero);
    assert_eq!(taken(&machine), by_console);
    machine.receive(|| Some(b'a'));
    assert!(machine.input_waits() && !machine.takes_input(), "it has no room for all of that");
    console.reset();
    assert!(machine.takes_input());
    assert_eq!(taken(&machine), by_uart);
}

#[test]
fn no_byte_is_taken_that_there_is_no_room_for() {
    let machine = machine();
    let mut asked = 0;
    let mut endless = || {
        asked += 1;
        Some(0)
    };
    machine.receive(&mut endless);
    assert!(machine.input_waits() && machine.posts.are_empty());
    const FIFO: u16 = UART + 2;
    machine.write_port(FIFO, 1, 1, zero);
    machine.receive(&mut endless);
    assert!(machine.input_waits() && machine.posts.are_empty());
    const LOOPBACK: u32 = 16;
    machine.write_port(MODEM_CONTROL, 1, LOOPBACK, zero);
    machine.receive(&mut endless);
    assert!(machine.input_waits() && machine.posts.are_empty());
    assert_eq!(asked, 1 + 16);
}

#[test]
fn pci_configuration_is_reached_by_its_ports_and_its_address_by_32_bits_alone() {
    const ADDRESS: u16 = 0xcf8;
    const DATA: u16 = 0xcfc;
    let machine = machine();
    let read = |port, size| machine.read_port(port, size, zero);
    assert_eq!((read(ADDRESS, 4), read(DATA, 4)), (0, u32::MAX));
    machine.write_port(ADDRESS, 4, 0x8000_0000, zero);
    assert_eq!((read(ADDRESS, 4), read(DATA, 4)), (0x8000_0000, 0x0d57_8086));
    assert_eq!((read(DATA + 2, 2), read(DATA + 2, 1), read(DATA + 3, 1)), (0x0d57, 0x57, 0x0d));
    assert_eq!((read(ADDRESS, 1), read(ADDRESS + 2, 2)), (0xff, 0xffff));
    machine.write_port(ADDRESS, 1, 8, zero);
    machine.write_port(ADDRESS + 2, 2, 0, zero);
    assert_eq!(read(ADDRESS, 4), 0x8000_0000);
    assert_eq!((read(0xc000, 4), read(0xffff, 4)), (u32::MAX, u32::MAX));
}

#[test]
fn device_pages_are_one_page_each_and_the_local_apics_follows_its_mode() {
    let machine = machine();
    let mut apic = LocalApic::new(0, true, NonZeroU32::MIN);
    let page = |address, apic: &LocalApic| machine.device_page(GuestPhysical(address), apic);
    let around = |base: u64| [base - 1, base, base + 0xfff, base + 0x1000, base | 1 << 32, base | 1 << 63];
    let io_apic = Some(DevicePage::IoApic);
    let local_apic = Some(DevicePage::LocalApic);
    assert_eq!(around(IO_APIC_BASE).map(|at| page(at, &apic)), [None, io_apic, io_apic, None, None, None]);
    assert_eq!(
        around(LOCAL_APIC_BASE).map(|at| page(at, &apic)),
        [None, local_apic, local_apic, None, None, None]
    );
    assert_eq!(apic.set_base(0xfee0_0d00).err(), None);
    assert_eq!(page(LOCAL_APIC_BASE, &apic), None);
    assert_eq!(page(IO_APIC_BASE, &apic), io_apic);
}
