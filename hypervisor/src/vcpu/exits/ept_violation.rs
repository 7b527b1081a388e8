// SPDX-License-Identifier: MIT OR Apache-2.0
//! An access that the extended page tables do not allow: a device's registers, or nothing at all.

use crate::cpu::number::current;
use crate::irqchip::local_apic::END_OF_INTERRUPT;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::irqchip::local_apic::Mode;
use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::guest_walk::MAX_INSTRUCTION;
use crate::mmu::space::Access;
use crate::mmu::space::Fault;
use crate::vcpu::emulate::CodeSize;
use crate::vcpu::emulate::DeviceAccess;
use crate::vcpu::emulate::Instruction;
use crate::vcpu::emulate::Operation;
use crate::vcpu::emulate::Place;
use crate::vcpu::emulate::Segment;
use crate::vcpu::emulate::Size;
use crate::vcpu::emulate::decode;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::exits::exception;
use crate::vcpu::guest::Guest;
use crate::vcpu::linear;
use crate::vm::machine::DevicePage;
use crate::vm::machine::Machine;
use crate::vmx::exit::ApicAccessQualification;
use crate::vmx::exit::EptQualification;
use crate::vmx::exit::EventInformation;
use evmcs::field;

/// How often in a row an access may be refused that the tables permit.
const MOST_REFUSED: u32 = 100;

/// The instruction does not go on: an exception is raised in its place, or the VM ends.
enum Stop {
    Raise(Exception),
    End(End),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Raise(exception)
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// A device's page, and the address in it that was touched.
#[derive(Clone, Copy)]
struct Device {
    page: DevicePage,
    address: GuestPhysical,
}

impl Device {
    fn offset(self) -> u64 {
        self.address.0 % FRAME
    }

    fn is_end_of_interrupt(self) -> bool {
        self.page == DevicePage::LocalApic && self.offset() == END_OF_INTERRUPT
    }
}

/// EPT violation (SDM vol. 3, "EPT Violations").
#[inline]
pub fn handle(guest: &mut Guest<'_>) -> Result<(), End> {
    let qualification = EptQualification::from(guest.vmcs.read(field::EXIT_QUALIFICATION));
    let address = GuestPhysical(guest.vmcs.read(field::GUEST_PHYSICAL_ADDRESS));
    if let Some(page) = guest.machine.device_page(address, &guest.state.apic) {
        return on_device(guest, page, address, qualification);
    }
    match guest.machine.memory.fault(current(), address, access(qualification)) {
        Fault::Resolved | Fault::Again => {
            exception::deliver_again(guest, qualification.nmi_unblocking());
            Ok(())
        }
        Fault::Spurious => {
            exception::deliver_again(guest, qualification.nmi_unblocking());
            stale(guest, address, qualification)
        }
        Fault::Device => on_device(guest, Machine::device_memory(address), address, qualification),
        Fault::Protected => on_device(guest, DevicePage::ReadOnly, address, qualification),
        Fault::Nothing => {
            let rip = guest.vmcs.read(field::GUEST_RIP);
            Err(End::Nothing { address, access: Guest::access_name(qualification), rip })
        }
        Fault::OutOfMemory => Err(End::OutOfMemory { address }),
    }
}

fn access(qualification: EptQualification) -> Access {
    Access { read: qualification.read(), write: qualification.write(), execute: qualification.fetch() }
}

/// The entry permits what the guest did. Mostly another vCPU has touched the page at the same time, and mapped it; but this CPU
/// may use an older entry, which L0 need not have dropped by itself. What is refused for ever is an end, not a loop.
#[cold]
fn stale(guest: &mut Guest<'_>, address: GuestPhysical, qualification: EptQualification) -> Result<(), End> {
    let generation = guest.machine.memory.root().generation();
    match guest.state.note_refused(address, generation) {
        1 => Ok(()),
        2..MOST_REFUSED => {
            guest.state.flush_guest_physical = true;
            guest.state.attention = true;
            Ok(())
        }
        _ => {
            let rip = guest.vmcs.read(field::GUEST_RIP);
            Err(End::Refused { address, access: Guest::access_name(qualification), rip })
        }
    }
}

/// The guest touched a device's registers.
fn on_device(
    guest: &mut Guest<'_>,
    page: DevicePage,
    address: GuestPhysical,
    qualification: EptQualification,
) -> Result<(), End> {
    // Else a page walk or a fetch: no instruction that could be played.
    let by_data_access =
        qualification.linear_valid() && qualification.final_access() && !qualification.fetch();
    let access = if qualification.write() { DeviceAccess::Write } else { DeviceAccess::Read };
    play_on(guest, Device { page, address }, by_data_access.then_some(access))
}

/// The guest touched the page of its local APIC, which the processor tells by itself. In other modes than xAPIC nothing is there.
pub fn access_apic(guest: &mut Guest<'_>, qualification: ApicAccessQualification) -> Result<(), End> {
    let address = GuestPhysical(LOCAL_APIC_BASE + qualification.offset());
    let page = match guest.state.apic.mode() {
        Mode::Xapic => DevicePage::LocalApic,
        Mode::X2apic | Mode::Disabled => DevicePage::Absent,
    };
    let access = match qualification.kind() {
        ApicAccessQualification::READ => Some(DeviceAccess::Read),
        ApicAccessQualification::WRITE => Some(DeviceAccess::Write),
        _ => None,
    };
    play_on(guest, Device { page, address }, access)
}

/// Plays the access that an instruction made to a device, if one did.
fn play_on(guest: &mut Guest<'_>, device: Device, access: Option<DeviceAccess>) -> Result<(), End> {
    let undecodable = End::Undecodable { address: device.address, rip: guest.vmcs.read(field::GUEST_RIP) };
    // The delivery of an event is no instruction either.
    let delivers = EventInformation::from(guest.vmcs.read(field::IDT_VECTORING_INFORMATION)).valid();
    let Some(access) = access.filter(|_| !delivers) else { return Err(undecodable) };
    match play(guest, device, access, undecodable) {
        Err(Stop::End(end)) => Err(end),
        Err(Stop::Raise(exception)) => {
            guest.raise(exception);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Plays the instruction at RIP, whose memory operand is in the device's page.
fn play(guest: &mut Guest<'_>, device: Device, access: DeviceAccess, undecodable: End) -> Result<(), Stop> {
    let mut bytes = [0; MAX_INSTRUCTION];
    let fetched = linear::fetch(guest, &mut bytes)?;
    let Instruction { operation, length } =
        decode(&bytes[..fetched], code_size(guest), access).map_err(|_| Stop::End(undecodable))?;
    if let Operation::Store { size: Size::Doubleword, .. } = operation
        && device.is_end_of_interrupt()
    {
        guest.state.eoi_store = Some((guest.vmcs.read(field::GUEST_RIP), length as u32));
    }
    let (transfer, size) = (operation.transfer(guest), operation.size());
    // Before a device is read, which may change it: that what is written will be.
    let destination = match transfer.to {
        Some(Place::Memory { segment, offset }) => {
            Some(linear::destination(guest, linear_address(guest, segment, offset), size.bytes())?)
        }
        _ => None,
    };
    let value = match transfer.from {
        Some(Place::Device) => read_device(guest, device, size),
        Some(Place::Memory { segment, offset }) => {
            let mut value = [0; 8];
            linear::read(guest, linear_address(guest, segment, offset), &mut value[..size.bytes()])?;
            u64::from_le_bytes(value)
        }
        None => 0,
    };
    let completion = operation.complete(value, guest);
    if completion.finished {
        guest.advance_by(length as u64);
    } else {
        guest.stay();
    }
    match (completion.write, destination) {
        (Some(value), Some(destination)) => destination.write(guest, &value.to_le_bytes()[..size.bytes()]),
        (Some(value), None) => write_device(guest, device, size, value),
        (None, _) => {}
    }
    Ok(())
}

fn code_size(guest: &Guest<'_>) -> CodeSize {
    const DEFAULT_32: u32 = 1 << 14;
    match () {
        () if guest.in_64_bit_mode() => CodeSize::Bits64,
        () if guest.vmcs.read(field::GUEST_CS_ACCESS_RIGHTS) & DEFAULT_32 != 0 => CodeSize::Bits32,
        () => CodeSize::Bits16,
    }
}

fn linear_address(guest: &Guest<'_>, segment: Segment, offset: u64) -> u64 {
    let base = match segment {
        Segment::Fs => guest.vmcs.read(field::GUEST_FS_BASE),
        Segment::Gs => guest.vmcs.read(field::GUEST_GS_BASE),
        _ if guest.in_64_bit_mode() => 0,
        Segment::Es => guest.vmcs.read(field::GUEST_ES_BASE),
        Segment::Cs => guest.vmcs.read(field::GUEST_CS_BASE),
        Segment::Ss => guest.vmcs.read(field::GUEST_SS_BASE),
        Segment::Ds => guest.vmcs.read(field::GUEST_DS_BASE),
    };
    linear::address(guest, base, offset)
}

/// Registers have 32 bits. A smaller access gets its part of one; what a larger one gets beyond is zero. Where no device
/// answers, all bits are one, however many are read.
fn read_device(guest: &mut Guest<'_>, device: Device, size: Size) -> u64 {
    let register = device.offset() & !3;
    let value = match device.page {
        DevicePage::LocalApic => {
            // There may be an error to tell of by an interrupt.
            guest.state.attention = true;
            let now = guest.state.tsc.now();
            guest.state.apic.mmio_read(register, now)
        }
        DevicePage::IoApic => guest.machine.read_io_apic(register),
        DevicePage::Pci => return read_pci(guest, device, size),
        DevicePage::Absent => return size.truncate(u64::MAX),
        DevicePage::ReadOnly => return read_memory(guest, device, size),
    };
    size.truncate(u64::from(value) >> (8 * (device.offset() & 3)))
}

/// Registers of PCI functions have many sizes.
fn read_pci(guest: &Guest<'_>, device: Device, size: Size) -> u64 {
    let mut value = [0; 8];
    guest.machine.pci.read_memory(device.address.0, &mut value[..size.bytes()], guest.machine);
    u64::from_le_bytes(value)
}

/// What read-only memory holds, for an instruction that reads it and writes to it. What of that is beyond the page is zero.
fn read_memory(guest: &Guest<'_>, device: Device, size: Size) -> u64 {
    let mut value = [0; 8];
    let in_page = size.bytes().min((FRAME - device.offset()) as usize);
    // If it has just been taken away, nothing is read.
    let _ = guest.machine.memory.read(device.address, &mut value[..in_page]);
    u64::from_le_bytes(value)
}

/// Only a write of 32 bits to a register's own address reaches it, but for PCI: both manuals leave others undefined.
fn write_device(guest: &mut Guest<'_>, device: Device, size: Size, value: u64) {
    let offset = device.offset();
    if device.page == DevicePage::Pci {
        let bytes = &value.to_le_bytes()[..size.bytes()];
        guest.machine.pci.write_memory(device.address.0, bytes, guest.machine);
        return;
    }
    if size.bytes() != 4 || offset & 3 != 0 {
        return;
    }
    match device.page {
        DevicePage::LocalApic => {
            let now = guest.state.tsc.now();
            let effect = guest.state.apic.mmio_write(offset, value as u32, now);
            guest.carry_out(effect);
        }
        DevicePage::IoApic => {
            for message in guest.machine.write_io_apic(offset, value as u32) {
                guest.machine.posts.send(message, None);
            }
        }
        DevicePage::Pci | DevicePage::Absent | DevicePage::ReadOnly => {}
    }
}

#[cfg(test)]
mod tests;
