// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both mechanisms show one PCI bus, BARs have sizes and move, and a virtio device works for a driver, by messages and by
//! its line, until that breaks the rules.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::effort;
use tests::interrupts;
use tests::io_apic;
use tests::local_apic::LocalApic;
use tests::pci;
use tests::pci::Function;
use tests::physical;
use tests::ports;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::fail;
use tests::virtio;
use tests::virtio::Buffer;
use tests::virtio::Device;
use tests::virtio::Notification;
use tests::virtio::Queue;

tests::program!(run);

const HOST_BRIDGE: u16 = 0x0600;
/// In the memory window, and far from where firmware begins.
const ELSEWHERE: u32 = 0xd000_0000;

/// Free RAM.
const QUEUE: u64 = 8 << 20;
const BUFFER: u64 = 9 << 20;
const BYTES: u32 = 64;

const CONFIGURATION_VECTOR: u8 = 0x50;
const QUEUE_VECTOR: u8 = 0x51;
const LINE_VECTOR: u8 = 0x52;

fn run() {
    let apic = LocalApic::enabled();
    both_mechanisms_show_the_same();
    configuration_data_has_bytes_and_words();
    what_is_absent_reads_ones();
    pci::functions().skip(1).for_each(bars_tell_their_sizes);
    let Some(device) = Device::find(virtio::ENTROPY) else { fail("there is no source of entropy") };
    a_bar_moves(device);
    features_are_agreed_on(device);
    it_works_by_messages(device);
    a_masked_message_waits(device);
    it_works_by_its_line(device, apic);
    a_broken_driver_starts_anew(device);
}

/// With the least effort still of the bridge, a device, and one that is absent.
fn both_mechanisms_show_the_same() {
    let devices = effort::of(32).max(3);
    expect_eq("class of device 0", Function(0).read::<u16>(pci::CLASS), HOST_BRIDGE);
    for device in 0..devices as u8 {
        let function = Function(device);
        for offset in (0..256).step_by(4) {
            let (by_ports, in_memory) = (function.read_by_ports(offset), function.read::<u32>(offset));
            expect_eq(format_args!("device {device} at {offset:#x}"), by_ports, in_memory);
        }
    }
}

fn configuration_data_has_bytes_and_words() {
    let double_word = Function(0).read_by_ports(0);
    for byte in 0..4_u16 {
        let seen = ports::in_u8(pci::CONFIG_DATA + byte);
        expect_eq(format_args!("CONFIG_DATA + {byte}"), seen, double_word.to_le_bytes()[usize::from(byte)]);
        expect_eq("ECAM", physical::read::<u8>(pci::ECAM + u64::from(byte)), seen);
    }
    expect_eq("CONFIG_DATA + 2", ports::in_u16(pci::CONFIG_DATA + 2), (double_word >> 16) as u16);
    expect_eq("a quad word of ECAM", physical::read::<u64>(pci::ECAM) as u32, double_word);
    Function(0).write_by_ports(0, 0);
    expect_eq("identifiers after a write", Function(0).read_by_ports(0), double_word);
    expect_eq("CONFIG_ADDRESS", ports::in_u32(pci::CONFIG_ADDRESS), 1 << 31);
    ports::out_u32(pci::CONFIG_ADDRESS, 0);
    expect_eq("CONFIG_DATA while it is off", ports::in_u32(pci::CONFIG_DATA), u32::MAX);
}

fn what_is_absent_reads_ones() {
    for (bus, device, function) in [(0, 31, 0), (0, 1, 1), (1, 0, 0), (255, 31, 7)] {
        ports::out_u32(pci::CONFIG_ADDRESS, pci::address(bus, device, function, 0));
        expect_eq("an absent function, by ports", ports::in_u32(pci::CONFIG_DATA), u32::MAX);
        ports::out_u32(pci::CONFIG_DATA, 0);
    }
    for nothing in [pci::ECAM | 31 << 15, pci::ECAM | 1 << 12, 0xe010_0000, 0xdfff_fff8, 0xfebf_fff8] {
        physical::write(nothing, 0_u64);
        expect_eq(format_args!("{nothing:#x}"), physical::read::<u64>(nothing), u64::MAX);
        expect_eq(format_args!("{nothing:#x}"), physical::read::<u8>(nothing), u8::MAX);
    }
}

fn bars_tell_their_sizes(function: Function) {
    let command: u16 = function.read(pci::COMMAND);
    function.write(pci::COMMAND, 0_u16);
    for index in 0..6 {
        let at = pci::BAR_0 + 4 * index;
        let before: u32 = function.read(at);
        function.write(at, u32::MAX);
        let ones: u32 = function.read(at);
        let flags = if before & 1 == 0 { 0xf } else { 3 };
        let size = (!(ones & !flags)).wrapping_add(1);
        expect(
            format_args!("BAR {index} of {function:?}, {ones:#x}, has a size"),
            before == 0 && ones == 0 || size.is_power_of_two() && (before & !flags).is_multiple_of(size),
        );
        function.write_by_ports(at, before);
        expect_eq("a BAR as it was", function.read(at), before);
    }
    function.write(pci::COMMAND, command);
}

fn a_bar_moves(device: Device) {
    let queues = |at: u64| physical::read::<u16>(at + virtio::NUM_QUEUES);
    let bar = (0..6)
        .find(|&bar| device.function.bar(bar) == device.common)
        .unwrap_or_else(|| fail("the common configuration does not begin a BAR"));
    let register = pci::BAR_0 + 4 * u16::from(bar);
    expect_eq("number of queues", queues(device.common), 1);
    device.function.write(register, ELSEWHERE);
    expect_eq("number of queues, moved", queues(ELSEWHERE.into()), 1);
    expect_eq("where it was", queues(device.common), u16::MAX);
    device.function.write(pci::COMMAND, 0_u16);
    expect_eq("while decoding is off", queues(ELSEWHERE.into()), u16::MAX);
    device.function.write(register, device.common as u32);
    device.function.write(pci::COMMAND, pci::MEMORY | pci::IO);
    expect_eq("number of queues, back", queues(device.common), 1);
}

fn features_are_agreed_on(device: Device) {
    expect("VERSION_1 is offered", device.features() & virtio::VERSION_1 != 0);
    expect("it works with that alone", device.agree(virtio::VERSION_1));
    expect("it does not work without it", !device.agree(0));
    let unknown = !device.features() & 1 << 63;
    expect("it does not work with what is not offered", !device.agree(virtio::VERSION_1 | unknown));
}

/// The device is ready, and its one queue has no buffers.
fn started(device: Device, vector: u16) -> Queue {
    expect("features are agreed on", device.agree(virtio::VERSION_1));
    let queue = device.queue(0, 16, QUEUE, vector);
    device.start();
    queue
}

/// Asks for random bytes; they are there when this returns, or the program ends.
fn fill(queue: &mut Queue) -> u64 {
    physical::write(BUFFER, 0_u64);
    queue.offer(3, &[Buffer::Write(BUFFER, BYTES)]);
    queue.notify();
    let deadline = time::tsc() + time::ticks(1_000_000);
    while time::tsc() < deadline {
        if let Some(used) = queue.used() {
            expect_eq("what was used", used, (3, BYTES));
            return physical::read(BUFFER);
        }
    }
    fail("no random bytes came")
}

fn take_interrupts() -> usize {
    interrupts::enable();
    time::spin(2_000);
    interrupts::disable();
    interrupts::count()
}

fn with_messages(device: Device) -> Queue {
    device.set_message(0, 0, CONFIGURATION_VECTOR);
    device.set_message(1, 0, QUEUE_VECTOR);
    device.set_messages(true, false);
    let queue = started(device, 1);
    device.set_configuration_vector(0);
    interrupts::forget();
    queue
}

fn it_works_by_messages(device: Device) {
    expect("it is notified by a port", matches!(device.notification, Notification::Port(_)));
    let mut queue = with_messages(device);
    let (first, second) = (fill(&mut queue), fill(&mut queue));
    expect("random bytes differ", first != second && first != 0 && second != 0);
    expect_eq("interrupts", take_interrupts(), 1);
    let _ = fill(&mut queue);
    expect_eq("interrupts", take_interrupts(), 2);
    expect_eq("vectors", interrupts::vectors(), [Some(QUEUE_VECTOR), Some(QUEUE_VECTOR), None]);
    expect_eq("ISR status", device.take_isr(), 0);
}

fn a_masked_message_waits(device: Device) {
    let mut queue = with_messages(device);
    device.mask_message(1, true);
    let _ = fill(&mut queue);
    expect_eq("interrupts while it is masked", take_interrupts(), 0);
    expect_eq("pending bits", physical::read::<u32>(device.pending), 1 << 1);
    device.mask_message(1, false);
    expect_eq("interrupts when it no longer is", take_interrupts(), 1);
    expect_eq("pending bits", physical::read::<u32>(device.pending), 0);
    device.set_messages(true, true);
    let _ = fill(&mut queue);
    expect_eq("interrupts while all are masked", take_interrupts(), 1);
    device.set_messages(true, false);
    expect_eq("interrupts when they no longer are", take_interrupts(), 2);
    device.set_messages(false, false);
}

fn it_works_by_its_line(device: Device, apic: LocalApic) {
    let pin = 16 + device.function.0 % 4;
    io_apic::redirect(pin, io_apic::LEVEL | u64::from(LINE_VECTOR));
    interrupts::acknowledge(false);
    let mut queue = started(device, virtio::NO_VECTOR);
    interrupts::forget();
    let _ = fill(&mut queue);
    expect_eq("interrupts by the line", take_interrupts(), 1);
    apic.end_of_interrupt();
    expect_eq("while it is asserted", take_interrupts(), 2);
    expect_eq("ISR status", device.take_isr(), 1);
    apic.end_of_interrupt();
    expect_eq("when it has fallen", take_interrupts(), 2);
    expect_eq("vectors", interrupts::vectors(), [Some(LINE_VECTOR), Some(LINE_VECTOR), None]);
    interrupts::acknowledge(true);
    io_apic::redirect(pin, io_apic::MASKED);
}

fn a_broken_driver_starts_anew(device: Device) {
    let mut queue = with_messages(device);
    // A buffer where no memory is.
    queue.offer(0, &[Buffer::Write(u64::from(ELSEWHERE), BYTES)]);
    queue.notify();
    expect_eq("status", device.status() & virtio::NEEDS_RESET, virtio::NEEDS_RESET);
    expect_eq("interrupts", take_interrupts(), 1);
    expect_eq("vectors", interrupts::vectors(), [Some(CONFIGURATION_VECTOR), None]);
    expect_eq("ISR status", device.take_isr(), 2);
    let mut queue = with_messages(device);
    expect("random bytes come again", fill(&mut queue) != 0);
}
