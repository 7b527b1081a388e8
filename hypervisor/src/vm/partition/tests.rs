// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the registers lay over the guest's memory, and that all else is as it was.

use super::*;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vcpu::model;
use crate::vm::machine::Machine;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::VCPUS;
use crate::vm::model::machine;
use hyperv_bindings::msr;

const ENABLED: u64 = 1;
const HERE: u64 = 0x5000;
const THERE: u64 = 0x7000;
/// The first bytes of the hypercall page.
const VMCALL_RET: [u8; 4] = [0x0f, 0x01, 0xc1, 0xc3];

/// A machine, and vCPU 1 of it. The first byte of each page is the page's number.
struct Guest {
    machine: Machine,
    partition: Partition,
    own: VirtualProcessor,
}

impl Guest {
    fn new() -> Self {
        let machine = machine(VCPUS, ModelNeighbours::new());
        for page in 0..model::RAM >> 12 {
            machine.memory.write(GuestPhysical(page << 12), &[page as u8]).unwrap();
        }
        let partition = Partition::new(Offering::default(), VCPUS).unwrap();
        let mut guest = Self { machine, partition, own: VirtualProcessor::new(1) };
        guest.write(msr::GUEST_OS_ID, 1).unwrap();
        guest
    }

    fn write(&mut self, register: u32, value: u64) -> Result<(), Refused> {
        self.partition.write(&self.machine.memory, 1, &mut self.own, register, value)
    }

    fn bytes(&self, address: u64) -> [u8; 4] {
        let mut bytes = [0; 4];
        self.machine.memory.read(GuestPhysical(address), &mut bytes).unwrap();
        bytes
    }
}

#[test]
fn the_hypercall_page_hides_what_is_under_it_and_gives_it_back() {
    let mut guest = Guest::new();
    guest.write(msr::HYPERCALL, HERE | ENABLED).unwrap();
    assert_eq!(guest.bytes(HERE), VMCALL_RET);
    assert_eq!(guest.bytes(HERE + 0xffc), [0xcc; 4]);
    assert!(guest.machine.memory.write(GuestPhysical(HERE), &[0x90]).is_err(), "it is read-only");
    guest.write(msr::HYPERCALL, THERE | ENABLED).unwrap();
    assert_eq!((guest.bytes(HERE), guest.bytes(THERE)), ([5, 0, 0, 0], VMCALL_RET));
    guest.write(msr::GUEST_OS_ID, 0).unwrap();
    assert_eq!(guest.bytes(THERE), [7, 0, 0, 0]);
}

#[test]
fn an_assist_page_starts_as_zero_and_keeps_what_the_guest_writes() {
    let mut guest = Guest::new();
    guest.write(msr::VP_ASSIST_PAGE, HERE | ENABLED).unwrap();
    assert_eq!(guest.bytes(HERE), [0; 4]);
    guest.machine.memory.write(GuestPhysical(HERE), &[9]).unwrap();
    guest.write(msr::VP_ASSIST_PAGE, THERE | ENABLED).unwrap();
    assert_eq!((guest.bytes(HERE), guest.bytes(THERE)), ([5, 0, 0, 0], [9, 0, 0, 0]));
    guest.write(msr::VP_ASSIST_PAGE, THERE).unwrap();
    assert_eq!(guest.bytes(THERE), [7, 0, 0, 0]);
}

#[test]
fn of_two_pages_at_one_place_the_later_is_seen_and_the_other_when_it_is_gone() {
    let mut guest = Guest::new();
    guest.write(msr::HYPERCALL, HERE | ENABLED).unwrap();
    guest.write(msr::VP_ASSIST_PAGE, HERE | ENABLED).unwrap();
    assert_eq!(guest.bytes(HERE), [0; 4]);
    guest.write(msr::HYPERCALL, THERE | ENABLED).unwrap();
    assert_eq!((guest.bytes(HERE), guest.bytes(THERE)), ([0; 4], VMCALL_RET));
    guest.write(msr::HYPERCALL, HERE | ENABLED).unwrap();
    assert_eq!(guest.bytes(HERE), VMCALL_RET);
    guest.write(msr::HYPERCALL, 0).unwrap();
    guest.write(msr::VP_ASSIST_PAGE, 0).unwrap();
    assert_eq!((guest.bytes(HERE), guest.bytes(THERE)), ([5, 0, 0, 0], [7, 0, 0, 0]));
}

#[test]
fn a_page_where_no_memory_is_is_refused_and_the_one_before_stays() {
    let mut guest = Guest::new();
    guest.write(msr::HYPERCALL, HERE | ENABLED).unwrap();
    for page in [model::RAM, 0xfee0_0000, 1 << 51, !0xfff] {
        for register in [msr::HYPERCALL, msr::VP_ASSIST_PAGE] {
            assert_eq!(guest.write(register, page | ENABLED), Err(Refused), "{page:#x}");
        }
        guest.write(msr::VP_ASSIST_PAGE, page).unwrap();
    }
    assert_eq!(guest.bytes(HERE), VMCALL_RET);
    assert_eq!(guest.partition.read(&guest.own, msr::HYPERCALL), Ok(HERE | ENABLED));
}

#[test]
fn nothing_of_the_interface_is_there_that_is_not_offered() {
    let mut guest = Guest::new();
    let offered = [msr::GUEST_OS_ID, msr::HYPERCALL, msr::VP_INDEX, msr::VP_ASSIST_PAGE];
    for register in registers::SYNTHETIC.filter(|register| !offered.contains(register)) {
        assert_eq!(guest.partition.read(&guest.own, register), Err(Refused), "{register:#x}");
        assert_eq!(guest.write(register, 0), Err(Refused), "{register:#x}");
    }
    assert_eq!(guest.partition.read(&guest.own, msr::VP_INDEX), Ok(1));
}
