// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that touch a device: what Satori would do for one is held to what the decoder's own tables, of which
//! Satori has none, say that it reads and writes.
#![no_main]

use fuzz::Input;
use hypervisor::vcpu::emulate;
use hypervisor::vcpu::emulate::CodeSize;
use hypervisor::vcpu::emulate::DeviceAccess;
use hypervisor::vcpu::emulate::Instruction;
use hypervisor::vcpu::emulate::RegisterFile;
use iced_x86::Decoder;
use iced_x86::DecoderOptions;
use iced_x86::InstructionInfo;
use iced_x86::InstructionInfoFactory;
use iced_x86::OpAccess;
use iced_x86::RflagsBits;
use libfuzzer_sys::fuzz_target;

/// No instruction is longer (SDM Vol. 2A, 2.3.11).
const LONGEST: usize = 15;

/// Bits of RFLAGS by the names that the tables have for them.
const FLAGS: [(u32, u64); 6] = [
    (RflagsBits::CF, 1 << 0),
    (RflagsBits::PF, 1 << 2),
    (RflagsBits::AF, 1 << 4),
    (RflagsBits::ZF, 1 << 6),
    (RflagsBits::SF, 1 << 7),
    (RflagsBits::OF, 1 << 11),
];

#[derive(Clone, PartialEq)]
struct Registers {
    general: [u64; 16],
    rflags: u64,
}

impl RegisterFile for Registers {
    fn get(&self, index: usize) -> u64 {
        self.general[index]
    }

    fn set(&mut self, index: usize, value: u64) {
        self.general[index] = value;
    }

    fn rflags(&self) -> u64 {
        self.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let (code, bits) =
        [(CodeSize::Bits16, 16), (CodeSize::Bits32, 32), (CodeSize::Bits64, 64)][usize::from(mode) % 3];
    let access = if mode & 0x80 == 0 { DeviceAccess::Read } else { DeviceAccess::Write };
    let seed = input.quadword();
    let code_bytes = input.rest();
    match emulate::decode(code_bytes, code, access) {
        Err(unsupported) => {
            assert!(unsupported.bytes().len() <= LONGEST && !unsupported.to_string().is_empty())
        }
        Ok(instruction) => {
            assert!((1..=LONGEST.min(code_bytes.len())).contains(&instruction.length));
            let exact = &code_bytes[..instruction.length];
            assert_eq!(emulate::decode(exact, code, access), Ok(instruction), "bytes behind it matter");
            let cut = &code_bytes[..instruction.length - 1];
            assert!(emulate::decode(cut, code, access).is_err(), "its last byte does not matter");
            let decoded = Decoder::new(bits, exact, DecoderOptions::NONE).decode();
            let mut tables = InstructionInfoFactory::new();
            let info = tables.info(&decoded);
            let flags = decoded.rflags_modified();
            does_what_the_tables_say(&instruction, info, flags, seed);
        }
    }
});

fn does_what_the_tables_say(instruction: &Instruction, info: &InstructionInfo, flags: u32, seed: u64) {
    let operation = instruction.operation;
    let before = registers(seed);
    let transfer = operation.transfer(&before);
    let mut after = before.clone();
    let completion = operation.complete(seed.rotate_left(32), &mut after);

    let memory = info.used_memory();
    // What is repeated has no size in the tables.
    let mut sizes = memory.iter().map(|used| used.memory_size().size()).filter(|size| *size != 0);
    assert!(!memory.is_empty() && sizes.all(|size| size == operation.size().bytes()), "{instruction:?}");
    let is = |wanted: &[OpAccess]| memory.iter().any(|used| wanted.contains(&used.access()));
    let reads = is(&[OpAccess::Read, OpAccess::ReadWrite, OpAccess::ReadCondWrite]);
    let writes = is(&[OpAccess::Write, OpAccess::ReadWrite]);
    let may_read = reads || is(&[OpAccess::CondRead]);
    let may_write = writes || is(&[OpAccess::CondWrite, OpAccess::ReadCondWrite]);
    assert!(
        (!reads || transfer.from.is_some()) && (may_read || transfer.from.is_none()),
        "reads: {instruction:?}"
    );
    assert!(
        (!writes || transfer.to.is_some()) && (may_write || transfer.to.is_none()),
        "writes: {instruction:?}"
    );
    assert_eq!(completion.write.is_some(), transfer.to.is_some());
    assert!(completion.write.is_none_or(|value| operation.size().truncate(value) == value));

    let changes = [OpAccess::Write, OpAccess::ReadWrite, OpAccess::CondWrite, OpAccess::ReadCondWrite];
    let written = info.used_registers().iter().filter(|used| changes.contains(&used.access()));
    let written: Vec<usize> = written.map(|used| used.register().full_register().number()).collect();
    for number in 0..16 {
        let changed = before.general[number] != after.general[number];
        assert!(!changed || written.contains(&number), "register {number}: {instruction:?}");
    }
    let flags: u64 = FLAGS.iter().filter(|(named, _)| flags & named != 0).map(|(_, bit)| bit).sum();
    assert_eq!((before.rflags ^ after.rflags) & !flags, 0, "flags: {instruction:?}");
}

fn registers(seed: u64) -> Registers {
    let mut value = seed | 1;
    let general = std::array::from_fn(|_| {
        value = value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        value
    });
    Registers { general, rflags: seed & 0xcd5 | 2 }
}
