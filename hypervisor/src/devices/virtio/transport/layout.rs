// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where in a virtio function: its BARs, and the capabilities that say so (virtio 1.2, 4.1.4).

use crate::devices::pci::configuration::Bar;
use crate::devices::pci::configuration::Command;
use crate::devices::pci::configuration::ConfigurationSpace;
use crate::devices::pci::configuration::Identity;
use crate::devices::pci::intx;
use crate::devices::pci::msix::MessageControl;
use crate::devices::virtio::DeviceId;
use core::ops::Range;

/// The BAR of memory in which the structures are.
pub(super) const STRUCTURES: usize = 0;
/// The BAR of ports by which a driver notifies: an OUT takes a fraction of the time of a write to a device's memory.
pub(super) const NOTIFY_PORT: usize = 2;
/// The BAR of memory with MSI-X's table and pending bits.
pub(super) const MSIX: usize = 4;

/// In [`STRUCTURES`]: common configuration, without the fields of features that are not offered.
pub(super) const COMMON: Range<usize> = 0..0x38;
/// In [`STRUCTURES`]: ISR status.
pub(super) const ISR: Range<usize> = 0x1000..0x1001;
/// In [`STRUCTURES`]: the device's own configuration.
pub(super) const DEVICE: Range<usize> = 0x2000..0x3000;
/// In [`STRUCTURES`]: notification, by writing a queue's index.
pub(super) const NOTIFY: Range<usize> = 0x3000..0x3004;
/// In [`MSIX`]: where the pending bits begin, behind the table.
pub(super) const PENDING: usize = 0x800;

/// BARs, and where firmware looks for room for them.
pub const STRUCTURES_BAR: Bar = Bar::Memory { size: 0x4000 };
/// As [`STRUCTURES_BAR`].
pub const NOTIFY_PORT_BAR: Bar = Bar::Io { size: 16 };
/// As [`STRUCTURES_BAR`].
pub const MSIX_BAR: Bar = Bar::Memory { size: 0x1000 };

/// Where BARs are at first.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The function's device number.
    pub device: u8,
    /// Where [`STRUCTURES_BAR`] is.
    pub structures: u32,
    /// Where [`NOTIFY_PORT_BAR`] is.
    pub notify_port: u32,
    /// Where [`MSIX_BAR`] is.
    pub msix: u32,
}

/// The vendor of virtio devices, and of their subsystems (4.1.2).
const VENDOR: u16 = 0x1AF4;
/// Added to a device's number for a function without legacy interface.
const MODERN: u16 = 0x1040;

/// Identifiers of capabilities (PCI 3.0, appendix H).
const VENDOR_SPECIFIC: u8 = 0x09;
const MSIX_CAPABILITY: u8 = 0x11;

/// What a vendor-specific capability says of (4.1.4).
#[derive(Clone, Copy)]
enum ConfigurationType {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    PciAccess = 5,
}

/// Where in configuration space things are that change when they are written, or read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landmarks {
    /// MSI-X's message control.
    pub(super) message_control: usize,
    /// The capability by which BARs are accessed from configuration space: BAR, offset, length and data.
    pub(super) access: Access,
}

/// The capability of PCI configuration access (4.1.4.9).
#[derive(Clone, Copy, Debug)]
pub(super) struct Access(usize);

impl Access {
    /// Its BAR.
    pub(super) fn bar(self) -> usize {
        self.0 + 4
    }

    /// Its offset in the BAR.
    pub(super) fn offset(self) -> usize {
        self.0 + 8
    }

    /// How many bytes an access is of.
    pub(super) fn length(self) -> usize {
        self.0 + 12
    }

    /// Where what is there is read and written.
    pub(super) fn data(self) -> Range<usize> {
        self.0 + 16..self.0 + 20
    }
}

/// The configuration space of a virtio function, as firmware leaves it: decoding is on, bus mastering is not.
pub(super) fn configuration_space(
    id: DeviceId,
    control: MessageControl,
    place: Place,
) -> (ConfigurationSpace, Landmarks) {
    let mut space = ConfigurationSpace::new(Identity {
        vendor: VENDOR,
        device: MODERN + id.0,
        revision: 1,
        class: class(id),
    });
    space.set_subsystem(VENDOR, MODERN + id.0);
    space.set_interrupt(intx::gsi(place.device));
    space.set_command(Command::new().with_io(true).with_memory(true));
    space.set_bar(STRUCTURES, STRUCTURES_BAR, place.structures);
    space.set_bar(NOTIFY_PORT, NOTIFY_PORT_BAR, place.notify_port);
    space.set_bar(MSIX, MSIX_BAR, place.msix);
    let landmarks = add_capabilities(&mut space, control);
    (space, landmarks)
}

fn add_capabilities(space: &mut ConfigurationSpace, control: MessageControl) -> Landmarks {
    // A driver takes the first of a type that it can use.
    let notify_by_port = 0..NOTIFY.len();
    add(space, ConfigurationType::Notify, NOTIFY_PORT, notify_by_port);
    add(space, ConfigurationType::Notify, STRUCTURES, NOTIFY);
    add(space, ConfigurationType::Common, STRUCTURES, COMMON);
    add(space, ConfigurationType::Isr, STRUCTURES, ISR);
    add(space, ConfigurationType::Device, STRUCTURES, DEVICE);
    let access = Access(add(space, ConfigurationType::PciAccess, 0, 0..0));
    space.let_write(access.bar(), &[0xFF]);
    space.let_write(access.offset(), &[0xFF; 12]);
    let message_control = add_msix(space, control) + 2;
    space.let_write(message_control, &0xC000_u16.to_le_bytes());
    Landmarks { message_control, access }
}

/// A capability of virtio. Its last word is that of those that have one: the multiplier of a queue's notification offset, which is
/// zero since all queues are notified at one address, or data.
fn add(
    space: &mut ConfigurationSpace,
    kind: ConfigurationType,
    bar: usize,
    structure: Range<usize>,
) -> usize {
    let with_word = matches!(kind, ConfigurationType::Notify | ConfigurationType::PciAccess);
    let length: u8 = if with_word { 20 } else { 16 };
    let mut body = [0; 18];
    body[..3].copy_from_slice(&[length, kind as u8, bar as u8]);
    body[6..10].copy_from_slice(&(structure.start as u32).to_le_bytes());
    body[10..14].copy_from_slice(&(structure.len() as u32).to_le_bytes());
    space.add_capability(VENDOR_SPECIFIC, &body[..usize::from(length) - 2])
}

fn add_msix(space: &mut ConfigurationSpace, control: MessageControl) -> usize {
    let bar = MSIX as u32;
    let mut body = [0; 10];
    body[..2].copy_from_slice(&control.into_bits().to_le_bytes());
    body[2..6].copy_from_slice(&bar.to_le_bytes());
    body[6..].copy_from_slice(&(bar | PENDING as u32).to_le_bytes());
    space.add_capability(MSIX_CAPABILITY, &body)
}

/// Base class, subclass, interface (PCI Code and ID Assignment).
fn class(id: DeviceId) -> [u8; 3] {
    match id {
        DeviceId::NETWORK => [0x02, 0x00, 0x00],
        DeviceId::BLOCK => [0x01, 0x80, 0x00],
        DeviceId::CONSOLE => [0x07, 0x80, 0x00],
        _ => [0xFF, 0x00, 0x00],
    }
}
