// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses to the registers of devices, and to where nothing is.

mod memory;
mod second_level;

use super::*;
use crate::cpu::CpuNumber;
use crate::devices::virtio::transport::model::ModelDevice;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::mmu::GuestMemory;
use crate::mmu::space::Content;
use crate::mmu::space::Ram;
use crate::vcpu::model::CODE;
use crate::vcpu::model::DATA;
use crate::vcpu::model::Model;
use crate::vcpu::model::RAM;
use crate::vmx::exit::ExitReason;
use alloc::sync::Arc;

const VERSION: u64 = 0x30;
const TASK_PRIORITY: u64 = 0x80;
const INTERRUPT_COMMAND: u64 = 0x300;
const IO_APIC_WINDOW: u64 = 0x10;

/// MOV EAX, [RBX] and MOV [RBX], EAX; in 32-bit code with EBX.
const LOAD: &[u8] = &[0x8b, 0x03];
const STORE: &[u8] = &[0x89, 0x03];

fn data_access() -> EptQualification {
    EptQualification::new().with_linear_valid(true).with_final_access(true)
}

fn reading() -> EptQualification {
    data_access().with_read(true)
}

fn writing() -> EptQualification {
    data_access().with_write(true)
}

/// The instruction `code` is at RIP and has touched `address`.
fn prepare(model: &mut Model, code: &[u8], qualification: EptQualification, address: u64) {
    let rip = model.read(field::GUEST_RIP);
    model.store(rip, code);
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
    model.tell(field::GUEST_PHYSICAL_ADDRESS, address);
    // EPT violations do not tell the length of the instruction.
    model.tell(field::VM_EXIT_INSTRUCTION_LENGTH, 0x5a);
}

/// The instruction is played, and RIP is behind it.
#[track_caller]
fn plays(model: &mut Model, code: &[u8], qualification: EptQualification, address: u64) {
    prepare(model, code, qualification, address);
    let rip = model.read(field::GUEST_RIP);
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    assert_eq!(model.state.exception, None);
    assert_eq!(model.read(field::GUEST_RIP), rip + code.len() as u64);
}

#[track_caller]
fn loads(model: &mut Model, address: u64) -> u64 {
    model.frame.registers.rax = u64::MAX;
    plays(model, LOAD, reading(), address);
    model.frame.registers.rax
}

#[track_caller]
fn stores(model: &mut Model, address: u64, value: u64) {
    model.frame.registers.rax = value;
    plays(model, STORE, writing(), address);
}

#[test]
fn where_nothing_is_the_vm_ends_and_the_access_is_named() {
    let accesses = [
        (reading(), "read"),
        (writing(), "write"),
        (writing().with_read(true), "write"),
        (data_access().with_fetch(true), "fetch"),
        (EptQualification::new().with_read(true), "read"),
    ];
    for address in [RAM, 0xfec0_1000, 0xfee0_1000, 0xfedf_ffff, 1 << 32 | LOCAL_APIC_BASE, u64::MAX] {
        for (qualification, access) in accesses {
            let mut model = Model::long_64();
            prepare(&mut model, LOAD, qualification, address);
            let end = End::Nothing { address: GuestPhysical(address), access, rip: CODE };
            assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Err(end));
        }
    }
}

/// SDM vol. 3, "Local APIC Register Address Map".
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn the_local_apic_is_read_and_written_by_mov() {
    let mut model = Model::long_64();
    assert_eq!(loads(&mut model, LOCAL_APIC_BASE + VERSION), 0x0105_0014);
    stores(&mut model, LOCAL_APIC_BASE + TASK_PRIORITY, 0xffff_ffff_0000_0070);
    assert_eq!(model.state.apic.cr8(), 7);
    assert!(model.state.attention);
    assert_eq!(loads(&mut model, LOCAL_APIC_BASE + TASK_PRIORITY), 0x70);
}

/// SDM vol. 3, "Error Handling": a read can be an error, of which an interrupt tells.
#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn an_interrupt_for_a_register_that_is_not_there_is_seen_before_the_next_entry() {
    let mut model = Model::long_64();
    stores(&mut model, LOCAL_APIC_BASE + 0xf0, 0x1ff);
    stores(&mut model, LOCAL_APIC_BASE + 0x370, 0x43);
    model.state.attention = false;
    assert_eq!(loads(&mut model, LOCAL_APIC_BASE + 0x3f0), 0);
    assert_eq!((model.state.apic.pending(), model.state.attention), (Some(0x43), true));
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn what_a_write_to_the_local_apic_asks_for_is_carried_out() {
    let mut model = Model::long_64();
    stores(&mut model, LOCAL_APIC_BASE + 0xf0, 0x1ff);
    stores(&mut model, LOCAL_APIC_BASE + 0x320, 0x42);
    model.state.timer_changed = false;
    stores(&mut model, LOCAL_APIC_BASE + 0x380, 1000);
    assert!(model.state.timer_changed);
    const FIXED_ALL: u64 = 2 << 18 | 0x41;
    stores(&mut model, LOCAL_APIC_BASE + INTERRUPT_COMMAND, FIXED_ALL);
    assert_eq!(model.takes_mail(), Ok(()));
    assert_eq!(model.state.apic.pending(), Some(0x41));
    const INIT: u64 = 5 << 8 | 1 << 14;
    stores(&mut model, LOCAL_APIC_BASE + INTERRUPT_COMMAND, INIT);
    assert_eq!(model.takes_mail(), Err(End::Init));
}

/// SDM vol. 3, "x2APIC Register Availability": in x2APIC mode, and without an APIC, the page is not the APIC's.
#[test]
fn outside_of_xapic_mode_no_register_is_in_the_page_of_the_local_apic() {
    for base in [0xfee0_0d00, 0xfee0_0100] {
        let mut model = Model::long_64();
        assert_eq!(model.state.apic.set_base(base).err(), None);
        assert_eq!(loads(&mut model, LOCAL_APIC_BASE + VERSION), 0xffff_ffff);
        stores(&mut model, LOCAL_APIC_BASE + TASK_PRIORITY, 0x70);
        assert_eq!(model.state.apic.cr8(), 0);
    }
}

#[test]
fn the_io_apic_is_read_and_written_by_mov() {
    let mut model = Model::long_64();
    stores(&mut model, IO_APIC_BASE, 1);
    assert_eq!(loads(&mut model, IO_APIC_BASE), 1);
    assert_eq!(loads(&mut model, IO_APIC_BASE + IO_APIC_WINDOW), 0x0017_0020);
    stores(&mut model, IO_APIC_BASE, 0x11);
    stores(&mut model, IO_APIC_BASE + IO_APIC_WINDOW, 0x0300_0000);
    assert_eq!(loads(&mut model, IO_APIC_BASE + IO_APIC_WINDOW), 0x0300_0000);
}

#[test]
fn an_interrupt_that_the_io_apic_sends_at_a_write_is_delivered() {
    let mut model = Model::long_64();
    model.enable_apic();
    model.state.attention = false;
    // The UART's line is asserted while its pin is masked.
    model.machine.write_port(0x3fc, 1, 8, || 0);
    model.machine.write_port(0x3f9, 1, 2, || 0);
    stores(&mut model, IO_APIC_BASE, 0x10 + 2 * 4);
    assert!(!model.state.attention);
    const LEVEL: u64 = 1 << 15;
    stores(&mut model, IO_APIC_BASE + IO_APIC_WINDOW, LEVEL | 0x44);
    assert_eq!(model.neighbours.take().notified, [CpuNumber::BOOT]);
    assert_eq!(model.takes_mail(), Ok(()));
    assert_eq!(model.state.apic.pending(), Some(0x44));
    assert!(model.state.attention);
}

#[test]
fn a_small_or_odd_read_gets_its_part_of_the_register_and_a_wide_one_zeros_beyond() {
    let mut model = Model::long_64();
    stores(&mut model, IO_APIC_BASE, 1);
    for (offset, byte) in [(0, 0x20), (1, 0), (2, 0x17), (3, 0)] {
        model.frame.registers.rax = 0xffff;
        plays(&mut model, &[0x8a, 0x03], reading(), IO_APIC_BASE + IO_APIC_WINDOW + offset);
        assert_eq!(model.frame.registers.rax, 0xff00 | byte);
    }
    model.frame.registers.rax = u64::MAX;
    plays(&mut model, &[0x48, 0x8b, 0x03], reading(), IO_APIC_BASE + IO_APIC_WINDOW);
    assert_eq!(model.frame.registers.rax, 0x0017_0020);
    // The last bytes of the page: nothing of the next one.
    assert_eq!(loads(&mut model, IO_APIC_BASE + 0xfff), 0);
}

#[test]
fn a_write_that_is_not_of_a_whole_register_is_lost() {
    let mut model = Model::long_64();
    stores(&mut model, IO_APIC_BASE, 1);
    model.frame.registers.rax = 2;
    for code in [&[0x88, 0x03][..], &[0x66, 0x89, 0x03], &[0x48, 0x89, 0x03]] {
        plays(&mut model, code, writing(), IO_APIC_BASE);
    }
    for offset in [1, 2, 3] {
        plays(&mut model, STORE, writing(), IO_APIC_BASE + offset);
    }
    assert_eq!(loads(&mut model, IO_APIC_BASE), 1);
}

#[test]
fn read_modify_write_does_both_and_sets_flags() {
    let mut model = Model::long_64();
    stores(&mut model, IO_APIC_BASE, 0x10);
    // OR DWORD PTR [RBX], 8.
    plays(&mut model, &[0x83, 0x0b, 0x08], writing().with_read(true), IO_APIC_BASE);
    assert_eq!(loads(&mut model, IO_APIC_BASE), 0x18);
    // AND DWORD PTR [RBX], 0: ZF.
    plays(&mut model, &[0x83, 0x23, 0x00], writing().with_read(true), IO_APIC_BASE);
    assert_eq!(model.read(field::GUEST_RFLAGS) & 1 << 6, 1 << 6);
}

#[test]
fn pci_functions_are_accessed_by_instructions_of_each_size() {
    const FUNCTION: u64 = 0xe000_8000;
    const COMMAND: u64 = FUNCTION + 4;
    const VIRTIO_BLOCK: u64 = 0x1042_1af4;
    let mut model = Model::long_64();
    let machine = Arc::get_mut(&mut model.machine).expect("nobody else has it");
    machine.plug(Box::new(ModelDevice::default())).expect("the bus has room");
    assert_eq!(loads(&mut model, FUNCTION), VIRTIO_BLOCK);
    for (code, bits) in [(&[0x8a, 0x03][..], 8), (&[0x66, 0x8b, 0x03], 16), (&[0x48, 0x8b, 0x03], 64)] {
        model.frame.registers.rax = 0;
        plays(&mut model, code, reading(), FUNCTION);
        let double_words = VIRTIO_BLOCK | 0x0010_0003 << 32;
        assert_eq!(model.frame.registers.rax, double_words & u64::MAX >> (64 - bits));
    }
    // The selected queue, by 16 bits, and its addresses, by 64.
    let structures = loads(&mut model, FUNCTION + 0x10);
    model.frame.registers.rax = 1;
    plays(&mut model, &[0x66, 0x89, 0x03], writing(), structures + 0x16);
    assert_eq!(loads(&mut model, structures + 0x18), 0xffff_0010, "size and vector of queue 1");
    model.frame.registers.rax = 0x1_0000_2000;
    plays(&mut model, &[0x48, 0x89, 0x03], writing(), structures + 0x20);
    assert_eq!(loads(&mut model, structures + 0x24), 1);
    // OR BYTE PTR [RBX], 4.
    plays(&mut model, &[0x80, 0x0b, 0x04], writing().with_read(true), COMMAND);
    assert_eq!(loads(&mut model, COMMAND), 0x0010_0007);
    assert_eq!(loads(&mut model, FUNCTION + 0x8000), 0xffff_ffff, "nobody is there");
}

#[test]
fn code_of_each_size_is_decoded_as_such() {
    // MOV EAX, [moffs], whose address has the code's address size.
    type Code = (fn() -> Model, &'static [u8]);
    let codes: [Code; 3] = [
        (Model::long_64, &[0xa1, 0x10, 0, 0xc0, 0xfe, 0, 0, 0, 0]),
        (Model::protected_32, &[0xa1, 0x10, 0, 0xc0, 0xfe]),
        (
            || {
                const DEFAULT_32: u32 = 1 << 14;
                let mut model = Model::protected_32();
                let rights = model.read(field::GUEST_CS_ACCESS_RIGHTS);
                model.write(field::GUEST_CS_ACCESS_RIGHTS, rights & !DEFAULT_32);
                model
            },
            &[0x66, 0xa1, 0x10, 0],
        ),
    ];
    for (model, code) in codes {
        let mut model = model();
        assert!(model.machine.write_io_apic(0, 1).is_empty());
        plays(&mut model, code, reading(), IO_APIC_BASE + IO_APIC_WINDOW);
        assert_eq!(model.frame.registers.rax, 0x0017_0020);
    }
}

/// Another vCPU may be the first to touch it each time that it comes back.
#[test]
fn what_is_refused_is_counted_anew_when_something_was_taken_away() {
    let mut model = Model::long_64();
    prepare(&mut model, LOAD, reading(), DATA);
    for _ in 0..3 {
        // Mapped at the first time.
        for _ in 0..MOST_REFUSED {
            assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
        }
        assert!(model.state.flush_guest_physical);
        model.machine.memory.zap(CpuNumber::BOOT, DATA..DATA + FRAME);
    }
    for _ in 0..MOST_REFUSED {
        assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    }
    let end = End::Refused { address: GuestPhysical(DATA), access: "read", rip: CODE };
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Err(end));
}

#[test]
fn read_only_memory_is_read_and_not_written_by_an_instruction_that_would_do_both() {
    let mut model = Model::long_64();
    let ram = Ram::new(FRAME).unwrap();
    let rom = 2 * RAM..2 * RAM + FRAME;
    let put = |content| model.machine.memory.set(CpuNumber::BOOT, rom.clone(), content).unwrap();
    put(Content::Ram(Arc::clone(&ram)));
    model.machine.memory.write(GuestPhysical(rom.start + 9), &[1, 2, 3, 4]).unwrap();
    put(Content::Rom(ram));
    // XCHG [RBX], EAX.
    model.frame.registers.rax = 0x5a5a_5a5a;
    plays(&mut model, &[0x87, 0x03], writing().with_read(true), rom.start + 9);
    assert_eq!(model.frame.registers.rax, 0x0403_0201);
    stores(&mut model, rom.start + 9, 0);
    assert_eq!(model.load(rom.start + 9), [1, 2, 3, 4]);
}

#[test]
fn what_is_no_data_access_of_an_instruction_is_not_played() {
    let accesses = [
        ("a fetch", data_access().with_fetch(true), 0),
        ("a page walk", EptQualification::new().with_linear_valid(true).with_read(true), 0),
        ("a load of directory pointers", EptQualification::new().with_final_access(true).with_read(true), 0),
        ("the delivery of an interrupt", writing(), 0x8000_0040),
        ("the delivery of a page fault", writing(), 0x8000_0b0e),
    ];
    for (access, qualification, vectoring) in accesses {
        println!("{access}");
        for page in [LOCAL_APIC_BASE, IO_APIC_BASE] {
            let mut model = Model::long_64();
            prepare(&mut model, LOAD, qualification, page);
            model.tell(field::IDT_VECTORING_INFORMATION, vectoring);
            let end = End::Undecodable { address: GuestPhysical(page), rip: CODE };
            assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Err(end));
        }
    }
}

#[test]
fn an_instruction_that_is_not_played_ends_the_vm_with_a_report() {
    // UD2; MOVUPS XMM0, [RBX]; LOCK CMPXCHG [RBX], EAX; fifteen prefixes; MOV CR3, RAX; NOP.
    let codes: [&[u8]; 6] = [
        &[0x0f, 0x0b],
        &[0x0f, 0x10, 0x03],
        &[0xf0, 0x0f, 0xb1, 0x03],
        &[0x66; 15],
        &[0x0f, 0x22, 0xd8],
        &[0x90],
    ];
    for code in codes {
        let mut model = Model::long_64();
        prepare(&mut model, code, reading(), IO_APIC_BASE);
        let end = End::Undecodable { address: GuestPhysical(IO_APIC_BASE), rip: CODE };
        assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Err(end), "{code:x?}");
    }
}
