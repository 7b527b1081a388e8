// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU for tests on the host. Its VMCS is an enlightened page, which takes no VMX instruction to read and write.

// UNSAFETY: gives pages to a VMCS and to the slot of a CPU that does not exist.
#![expect(unsafe_code)]

use crate::irqchip::local_apic::LocalApic;
use crate::irqchip::local_apic::Part;
use crate::memory::Frames;
use crate::memory::physical;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vcpu::controls;
use crate::vcpu::cpuid::CpuidResult;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::cpuid::Offered;
use crate::vcpu::cpuid::Profile;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::exits;
use crate::vcpu::guest::Guest;
use crate::vcpu::initial_state;
use crate::vcpu::processor_state::ProcessorState;
use crate::vcpu::state::State;
use crate::vm::loader::EntryState;
use crate::vm::machine::Machine;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::VCPUS;
use crate::vm::model::machine;
use crate::vm::partition::Partition;
use crate::vmx::entry::EntryFrame;
use crate::vmx::entry::Registers;
use crate::vmx::exit::ExitReason;
use core::num::NonZeroU32;
use core::ptr::NonNull;
use evmcs::AssistPage;
use evmcs::Enlightenments;
use evmcs::Field;
use evmcs::NativeInstructions;
use evmcs::Vmcs;
use evmcs::VmcsRegion;
use evmcs::VmcsSlot;
use evmcs::field;
use evmcs::field::Access;
use evmcs::field::ReadOnly;
use evmcs::field::Width;
use std::sync::Arc;

/// IA32_VMX_CR4_FIXED1 of the model processor: all that a guest may be offered but UMIP, and what VMX wants.
pub(crate) const CR4_HAS: u64 = 0x37_27ff;

/// Bytes of RAM, from guest-physical 0 on.
pub(crate) const RAM: u64 = 32 << 12;
/// Where the guest's code starts.
pub(crate) const CODE: u64 = 0x8000;
/// A page for what it reads and writes.
pub(crate) const DATA: u64 = 0x9000;
/// A page of RAM that its page tables do not map.
pub(crate) const UNMAPPED: u64 = 0x1_f000;
/// The page tables that 64-bit mode starts with: the first 4 GiB map to themselves, less [`UNMAPPED`].
pub(crate) const PAGE_TABLES: u64 = 0x4000;
/// Length of the instruction at each exit, unless a test tells another.
pub(crate) const LENGTH: u64 = 2;
/// Bits of a guest-physical address.
pub(crate) const PHYSICAL_BITS: u8 = 39;
/// What a guest may set in XCR0.
pub(crate) const XCR0: u64 = 7;

/// Bytes of an enlightened VMCS.
const PAGE: usize = 1024;
/// Offset in it of the clean fields (TLFS, HV_VMX_ENLIGHTENED_VMCS).
const CLEAN_FIELDS: usize = 0x338;

/// One vCPU of a virtual machine, out of its guest.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) frame: EntryFrame,
    pub(crate) state: State,
    pub(crate) machine: Arc<Machine>,
    /// The physical CPUs, as the machine sees them.
    pub(crate) neighbours: &'static ModelNeighbours,
    vmcs: Vmcs,
    slot: VmcsSlot,
    page: Frames,
    _assist_page: Frames,
}

impl Model {
    /// About to execute its first instruction.
    pub(crate) fn new(entry: EntryState) -> Self {
        let mut model = Self::after_reset(0);
        initial_state::write(&mut model.guest(), entry);
        model
    }

    /// After RESET: the vCPU with local APIC 0 at the reset vector, any other waits for a start-up IPI.
    pub(crate) fn after_reset(apic_id: u32) -> Self {
        let mut model = Self::poisoned(apic_id, 0);
        let controls = controls::required();
        model.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, controls.primary.into_bits());
        model.write(field::VM_ENTRY_CONTROLS, controls.entry.into_bits());
        model.guest().reset(0);
        model.tell(field::VM_EXIT_INSTRUCTION_LENGTH, LENGTH as u32);
        model.state.attention = false;
        model.state.timer_changed = false;
        model.state.flush_linear = false;
        model
    }

    /// The same, of a machine whose guest sees Hyper-V's interface.
    pub(crate) fn with_hyperv(mut self) -> Self {
        let machine = Arc::get_mut(&mut self.machine).expect("it has no sibling yet");
        machine.cpuid = cpuid(true);
        let offering = machine.cpuid.hyperv().expect("that was asked for");
        machine.partition = Some(Partition::new(offering, VCPUS).expect("the host has memory"));
        self
    }

    /// Another vCPU of the same machine, as `after_reset`.
    pub(crate) fn sibling(&self, apic_id: u32) -> Self {
        let mut model = Self::after_reset(apic_id);
        model.machine = Arc::clone(&self.machine);
        model.neighbours = self.neighbours;
        model
    }

    /// With a VMCS of which nothing is written, but for `byte` in all places.
    pub(crate) fn poisoned(apic_id: u32, byte: u8) -> Self {
        let (page, assist_page) = (frame(), frame());
        // SAFETY: frames of our own. They live as long as the model, with which VMCS and slot end unreleased.
        let (region, assist) = unsafe {
            (VmcsRegion::new(pointer(&page), page.address()), AssistPage::new(pointer(&assist_page)))
        };
        // SAFETY: never executed: the slot takes nothing but enlightened VMCSs, and none is released.
        let instructions = unsafe { NativeInstructions::new() };
        let vmcs = Vmcs::enlightened(region, &Enlightenments::default());
        page.copy_in(4, &[byte; PAGE - 4]);
        let neighbours = ModelNeighbours::new();
        let machine = Arc::new(machine(VCPUS, neighbours));
        let processor = ProcessorState::at_reset(&machine.cpuid, true);
        Self {
            frame: EntryFrame::default(),
            state: State::new(LocalApic::new(apic_id, apic_id == 0, NonZeroU32::MIN), 0, processor),
            machine,
            neighbours,
            vmcs,
            slot: VmcsSlot::enlightened(0, instructions, assist),
            page,
            _assist_page: assist_page,
        }
    }

    /// In 32-bit code without paging.
    pub(crate) fn protected_32() -> Self {
        Self::new(EntryState::Protected32 { eip: CODE as u32, eax: 0, ebx: 0 })
    }

    /// In 64-bit code.
    pub(crate) fn long_64() -> Self {
        let model = Self::new(EntryState::Long64 {
            rip: CODE,
            rsi: 0,
            cr3: GuestPhysical(PAGE_TABLES),
            gdt_base: GuestPhysical(0x1000),
            gdt_limit: 0x17,
        });
        model.map_all();
        model
    }

    /// Accessed, dirty, writable, and for CPL 3 too.
    fn map_all(&self) {
        const TABLE: u64 = 0x67;
        const LARGE: u64 = 0xe7;
        let entry = |table: u64, index: u64, value: u64| self.store(table + 8 * index, &value.to_le_bytes());
        let [pml4, pointers, directory, table] = [0, 1, 2, 3].map(|n| PAGE_TABLES + n * 0x1000);
        entry(pml4, 0, pointers | TABLE);
        entry(pointers, 0, directory | TABLE);
        (1..4).for_each(|n| entry(pointers, n, n << 30 | LARGE));
        entry(directory, 0, table | TABLE);
        (0..RAM >> 12).for_each(|n| entry(table, n, n << 12 | TABLE));
        entry(table, UNMAPPED >> 12, UNMAPPED);
    }

    /// With a local APIC of which the processor plays that part, enabled by software. The VMCS knows only of the task priority.
    pub(crate) fn with_played_apic(mut self, part: Part) -> Self {
        self.state.apic = self.state.apic.in_frame(frame(), part);
        if part != Part::Whole {
            self.guest().settle_apic();
        }
        self.enable_apic();
        self.state.attention = false;
        self
    }

    /// A register in the page of which the processor plays a part.
    pub(crate) fn virtual_apic(&self, offset: u64) -> u32 {
        // SAFETY: in a frame of the local APIC's own, and nobody has it while this looks.
        unsafe { self.virtual_apic_pointer(offset).read_volatile() }
    }

    /// The processor writes there.
    pub(crate) fn set_virtual_apic(&mut self, offset: u64, value: u32) {
        // SAFETY: as for `virtual_apic`.
        unsafe { self.virtual_apic_pointer(offset).write_volatile(value) }
    }

    fn virtual_apic_pointer(&self, offset: u64) -> *mut u32 {
        let page = self.state.apic.virtual_page().expect("the processor plays the APIC");
        assert!(offset < 0x1000 && offset.is_multiple_of(4), "that is no register");
        physical::pointer(page + offset).cast()
    }

    /// What handlers of exits work on.
    pub(crate) fn guest(&mut self) -> Guest<'_> {
        let vmcs = self.vmcs.activate(&mut self.slot).expect("the slot takes enlightened VMCSs");
        Guest { vmcs, frame: &mut self.frame, state: &mut self.state, machine: &self.machine }
    }

    /// Its guest writes a register of the local APIC, at an offset in that one's page.
    pub(crate) fn write_apic(&mut self, offset: u64, value: u32) {
        let effect = self.state.apic.mmio_write(offset, value, 0);
        self.guest().carry_out(effect);
    }

    /// Its guest enables the local APIC by software.
    pub(crate) fn enable_apic(&mut self) {
        self.write_apic(0xf0, 0x1ff);
    }

    /// Takes its mail, as before an entry.
    pub(crate) fn takes_mail(&mut self) -> Result<(), End> {
        self.guest().take_mail()
    }

    /// The guest exits for `reason`, and the exit is handled.
    pub(crate) fn exit(&mut self, reason: ExitReason) -> Result<(), End> {
        self.tell(field::VM_EXIT_REASON, reason.number());
        let mut guest = self.guest();
        let reason = ExitReason::from_field(guest.vmcs.note_exit());
        exits::handle(&mut guest, reason)
    }

    /// The guest exits for an instruction, which is played, and RIP is behind it.
    #[track_caller]
    pub(crate) fn executes(&mut self, reason: ExitReason) {
        let next = self.read(field::GUEST_RIP) + LENGTH;
        assert_eq!(self.exit(reason), Ok(()));
        assert_eq!(self.state.exception, None);
        assert_eq!(self.read(field::GUEST_RIP), next);
    }

    /// The guest exits for an instruction, which raises an exception and leaves all else as it was.
    #[track_caller]
    pub(crate) fn raises(&mut self, reason: ExitReason, exception: Exception) {
        self.state.attention = false;
        let before = self.all();
        assert_eq!(self.exit(reason), Ok(()));
        assert_eq!(self.state.exception.take(), Some(exception));
        assert!(core::mem::take(&mut self.state.attention), "an exception waits for the next entry");
        assert_eq!(self.clean_fields(), 0xffff, "no field was written");
        assert_eq!(self.all(), before);
    }

    /// All that an instruction could change, but for RAM, devices, and what says that the VMCS was written.
    fn all(&mut self) -> (Vec<u8>, Registers, String) {
        self.tell(field::VM_EXIT_REASON, 0);
        let mut page = vec![0; PAGE];
        self.page.copy_out(0, &mut page);
        page[CLEAN_FIELDS..CLEAN_FIELDS + 4].fill(0);
        (page, self.frame.registers, format!("{:?}", self.state))
    }

    /// The groups of fields that were not written since the last exit.
    pub(crate) fn clean_fields(&self) -> u64 {
        self.raw(CLEAN_FIELDS as u16, 4)
    }

    /// Reads a field.
    pub(crate) fn read<W: Width, A: Access>(&mut self, field: Field<W, A>) -> W {
        self.guest().vmcs.read(field)
    }

    /// Writes a field.
    pub(crate) fn write<W: Width>(&mut self, field: Field<W>, value: W) {
        self.guest().vmcs.write(field, value);
    }

    /// Writes a field that only the processor, or L0, writes.
    pub(crate) fn tell<W: Width>(&mut self, field: Field<W, ReadOnly>, value: W) {
        let place = field.place().expect("the field is in the enlightened VMCS");
        self.page.copy_in(u64::from(place.offset()), &value.into_u64().to_le_bytes()[..size_of::<W>()]);
    }

    /// `size` bytes of the enlightened page.
    pub(crate) fn raw(&self, offset: u16, size: u16) -> u64 {
        let mut bytes = [0; 8];
        self.page.copy_out(offset.into(), &mut bytes[..size.into()]);
        u64::from_le_bytes(bytes)
    }

    /// Puts bytes into the guest's RAM.
    pub(crate) fn store(&self, address: u64, bytes: &[u8]) {
        self.machine.memory.write(GuestPhysical(address), bytes).expect("there is RAM");
    }

    /// Bytes of the guest's RAM.
    pub(crate) fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.machine.memory.read(GuestPhysical(address), &mut bytes).expect("there is RAM");
        bytes
    }
}

fn frame() -> Frames {
    Frames::one().expect("the host has memory")
}

fn pointer(frames: &Frames) -> NonNull<u8> {
    NonNull::new(physical::pointer(frames.address())).expect("no frame is at address zero")
}

/// What a vCPU answers on a small processor of the year 2013.
pub(crate) fn cpuid(hyperv: bool) -> CpuidTable {
    let processor = |leaf, subleaf| {
        let (eax, ebx, ecx, edx) = match (leaf, subleaf) {
            (0x0, _) => (0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69),
            (0x1, _) => (0x0003_06c3, 0x0010_0800, 0x7ffa_fbbf, 0xbfeb_fbff),
            (0xd, 0) => (XCR0 as u32, 832, 832, 0),
            (0xd, 2) => (256, 576, 0, 0),
            (0x8000_0000, _) => (0x8000_0008, 0, 0, 0),
            (0x8000_0001, _) => (0, 0, 0x21, 0x2c10_0800),
            (0x8000_0008, _) => (0x3000 | u32::from(PHYSICAL_BITS), 0, 0, 0),
            _ => (0, 0, 0, 0),
        };
        CpuidResult { eax, ebx, ecx, edx }
    };
    let offered = Offered::default();
    CpuidTable::new(&processor, Profile { vcpus: 1, tsc_hz: 3_000_000_000, offered, hyperv })
}
