// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each command, as a guest gives it by its ports, on a guest's memory.

use super::*;
use crate::cpu::number::set_current;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::space::Access;
use crate::mmu::space::Fault;
use crate::vcpu::model::DATA;
use crate::vcpu::model::Model;
use crate::vm::model::CPUS;
use crate::vm::model::cpu;
use crate::vmx::exit::ExitReason;
use crate::vmx::exit::IoQualification;
use evmcs::field;

// docs/machine.md: ports and commands.
const COMMAND: u16 = 0x620;
const OPERAND_A: u16 = 0x624;
const OPERAND_B: u16 = 0x628;
const VALUE: u16 = 0x62c;
const ZAP: u32 = 1;
const LOG_START: u32 = 2;
const LOG_FETCH: u32 = 3;
const LOG_STOP: u32 = 4;
const WINDOW: u32 = 5;
const MIGRATE: u32 = 6;
const COUNTER: u32 = 7;
const WHERE: u32 = 8;
const COLLAPSE: u32 = 9;
const AGE: u32 = 10;
const CPU_COUNT: u32 = 11;
const INTERCEPT_READS: u32 = 12;
const READ_EXITS: u32 = 13;
const EXITS: u32 = 17;

/// Its reads reach the processor, unless they are made to exit.
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// The frame of [`DATA`].
const FRAME_OF_DATA: u32 = (DATA / FRAME) as u32;
const WINDOW_AT: u64 = 0xc000_0000;

const READ: Access = Access { read: true, write: false, execute: false };
const WRITE: Access = Access { read: false, write: true, execute: false };

fn with_exerciser() -> Model {
    let mut model = Model::long_64();
    let machine = Arc::get_mut(&mut model.machine).expect("nobody else has it yet");
    machine.exercise = Some(Exercise::new(&machine.memory, 7).expect("the host has memory"));
    model
}

fn qualify(model: &mut Model, port: u16, input: bool) {
    let qualification = IoQualification::new().with_port(port).with_size_less_one(3).with_input(input);
    model.tell(field::EXIT_QUALIFICATION, qualification.into_bits());
}

/// OUT, of 32 bits.
#[track_caller]
fn output(model: &mut Model, port: u16, value: u32) {
    qualify(model, port, false);
    model.frame.registers.rax = value.into();
    model.executes(ExitReason::IO_INSTRUCTION);
}

/// IN, of 32 bits.
#[track_caller]
fn input(model: &mut Model, port: u16) -> u32 {
    qualify(model, port, true);
    model.executes(ExitReason::IO_INSTRUCTION);
    model.frame.registers.rax as u32
}

/// Gives a command; its value, or `None` if it was refused.
#[track_caller]
fn command(model: &mut Model, number: u32, a: u32, b: u32) -> Option<u32> {
    output(model, OPERAND_A, a);
    output(model, OPERAND_B, b);
    output(model, COMMAND, number);
    match input(model, COMMAND) {
        0 => Some(input(model, VALUE)),
        1 => None,
        other => panic!("status {other}"),
    }
}

/// The guest touches `address`, which is not mapped for that yet, or is.
fn touch(model: &Model, address: u64, access: Access) -> Fault {
    model.machine.memory.fault(current(), GuestPhysical(address), access)
}

#[test]
fn without_an_exerciser_its_ports_are_absent_and_nothing_is_executed() {
    let mut model = Model::long_64();
    for port in [COMMAND, VALUE] {
        output(&mut model, port, MIGRATE);
        assert_eq!(input(&mut model, port), u32::MAX);
    }
    assert!(!model.state.moves_on);
    execute(&mut model.guest());
}

#[test]
fn accesses_of_other_widths_are_none_of_the_exercisers() {
    let mut model = with_exerciser();
    assert!(!model.machine.write_port(COMMAND, 1, MIGRATE, || 0).exercise);
    assert!(!model.machine.write_port(COMMAND, 2, MIGRATE, || 0).exercise);
    assert_eq!(model.machine.read_port(COMMAND, 1, || 0), 0xff);
    execute(&mut model.guest());
    assert!(!model.state.moves_on);
}

#[test]
fn what_means_nothing_is_refused_and_the_next_command_is_not() {
    let mut model = with_exerciser();
    for (number, a, b) in [
        (0, 0, 0),
        (14, 0, 0),
        (INTERCEPT_READS, KERNEL_GS_BASE, 2),
        (u32::MAX, 0, 0),
        (WINDOW, 4, 0),
        (LOG_FETCH, 0, 33),
        (COUNTER, COUNTERS.len() as u32, 0),
        (COUNTER, u32::MAX, 0),
    ] {
        assert_eq!(command(&mut model, number, a, b), None, "{number} {a} {b}");
        assert_eq!(command(&mut model, CPU_COUNT, 0, 0), Some(CPUS as u32));
    }
}

#[test]
fn a_zapped_page_is_mapped_anew_and_has_its_contents() {
    let mut model = with_exerciser();
    model.store(DATA, &[1, 2, 3]);
    for page in [DATA, DATA + FRAME] {
        assert_eq!(touch(&model, page, READ), Fault::Resolved);
        assert_eq!(touch(&model, page, READ), Fault::Spurious);
    }
    assert_eq!(command(&mut model, ZAP, FRAME_OF_DATA, 1), Some(0));
    assert_eq!(touch(&model, DATA, READ), Fault::Resolved);
    assert_eq!(touch(&model, DATA + FRAME, READ), Fault::Spurious);
    assert_eq!(model.load(DATA), [1, 2, 3]);
    // Nothing, and far more than there is.
    assert_eq!(command(&mut model, ZAP, FRAME_OF_DATA, 0), Some(0));
    assert_eq!(touch(&model, DATA, READ), Fault::Spurious);
    assert_eq!(command(&mut model, ZAP, 0, u32::MAX), Some(0));
    assert_eq!(command(&mut model, ZAP, u32::MAX, u32::MAX), Some(0));
    assert_eq!(touch(&model, DATA, READ), Fault::Resolved);
    assert_eq!(model.load(DATA), [1, 2, 3]);
}

#[test]
fn the_log_tells_once_what_was_written_while_it_was_on() {
    let mut model = with_exerciser();
    assert_eq!(touch(&model, DATA, WRITE), Fault::Resolved);
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 4), Some(0), "it is off");
    assert_eq!(command(&mut model, LOG_START, 0, 0), Some(0));
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 4), Some(0), "that was before");
    assert_eq!(touch(&model, DATA + 2 * FRAME, WRITE), Fault::Resolved);
    model.store(DATA + FRAME, &[1]);
    assert_eq!(touch(&model, DATA + 3 * FRAME, READ), Fault::Resolved);
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 2), Some(0b10));
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 32), Some(0b100));
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 32), Some(0));
    // Protected again, so that the next write is told as well.
    assert_eq!(touch(&model, DATA + 2 * FRAME, WRITE), Fault::Resolved);
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA + 2, 1), Some(1));
    assert_eq!(command(&mut model, LOG_FETCH, u32::MAX, 32), Some(0), "nothing is there");
    assert_eq!(command(&mut model, LOG_STOP, 0, 0), Some(0));
    assert_eq!(touch(&model, DATA, WRITE), Fault::Resolved);
    assert_eq!(command(&mut model, LOG_FETCH, FRAME_OF_DATA, 32), Some(0));
}

#[test]
fn the_window_shows_what_was_chosen() {
    let mut model = with_exerciser();
    let in_window = |model: &Model, value: u8| {
        model.machine.memory.write(GuestPhysical(WINDOW_AT + 0x1f_f000), &[value]).is_ok()
    };
    let shown = |model: &Model| {
        let mut byte = [0];
        let read = model.machine.memory.read(GuestPhysical(WINDOW_AT + 0x1f_f000), &mut byte);
        read.ok().map(|()| byte[0])
    };
    let faults = |model: &Model| [READ, WRITE].map(|access| touch(model, WINDOW_AT + 0x1f_f000, access));
    assert_eq!(faults(&model), [Fault::Device; 2], "at first");
    let (alpha, beta, read_only, device) = (1, 2, 3, 0);
    assert_eq!(command(&mut model, WINDOW, alpha, 0), Some(0));
    assert_eq!(shown(&model), Some(0));
    assert!(in_window(&model, 0xa));
    assert_eq!(faults(&model)[0], Fault::Resolved);
    assert_eq!(command(&mut model, WINDOW, beta, 0), Some(0));
    assert_eq!(shown(&model), Some(0));
    assert!(in_window(&model, 0xb));
    assert_eq!(faults(&model)[0], Fault::Resolved, "what was mapped there before is gone");
    assert_eq!(command(&mut model, WINDOW, read_only, 0), Some(0));
    assert_eq!(shown(&model), Some(0xa));
    assert!(!in_window(&model, 0xc));
    assert_eq!(faults(&model), [Fault::Resolved, Fault::Protected]);
    assert_eq!(command(&mut model, WINDOW, device, 0), Some(0));
    assert_eq!(faults(&model), [Fault::Device; 2]);
    assert_eq!(shown(&model), None);
    assert_eq!(command(&mut model, WINDOW, beta, 0), Some(0));
    assert_eq!(shown(&model), Some(0xb));
    // Nothing beside it.
    assert_eq!(touch(&model, WINDOW_AT - FRAME, READ), Fault::Nothing);
    assert_eq!(touch(&model, WINDOW_AT + (2 << 20), READ), Fault::Device);
}

#[test]
fn who_migrates_moves_on_elsewhere_before_the_next_instruction() {
    let mut model = with_exerciser();
    output(&mut model, OPERAND_A, 0);
    assert!(!model.state.moves_on && !model.state.attention);
    output(&mut model, COMMAND, MIGRATE);
    assert!(model.state.moves_on && model.state.attention);
    assert_eq!(input(&mut model, COMMAND), 0);
}

#[test]
fn counters_are_those_of_the_machine_by_number() {
    let mut model = with_exerciser();
    let memory = &model.machine.memory;
    for (number, counter) in COUNTERS.into_iter().enumerate() {
        for _ in 0..=number + 10 * COUNTERS.len() {
            memory.roots().coherence().counters.count(cpu(number), counter);
        }
    }
    let expected: Vec<u32> =
        COUNTERS.map(|counter| memory.roots().coherence().counters.sum(counter) as u32).into();
    for (number, expected) in expected.into_iter().enumerate() {
        assert_eq!(command(&mut model, COUNTER, number as u32, 0), Some(expected), "{number}");
    }
    // docs/machine.md: second-level faults, of which one came second.
    let before = [6, 7].map(|number| command(&mut model, COUNTER, number, 0).expect("there is one"));
    assert_eq!(touch(&model, DATA, READ), Fault::Resolved);
    assert_eq!(touch(&model, DATA, READ), Fault::Spurious);
    let after = [6, 7].map(|number| command(&mut model, COUNTER, number, 0).expect("there is one"));
    assert_eq!(after, [before[0] + 2, before[1] + 1]);
}

#[test]
fn reads_of_an_msr_exit_while_they_are_asked_to_and_each_vcpu_counts_its_own() {
    let mut model = with_exerciser();
    let bits = |model: &Model| model.machine.msr_bitmap.changes();
    assert_eq!(command(&mut model, READ_EXITS, 0, 0), Some(0));
    assert_eq!(command(&mut model, INTERCEPT_READS, KERNEL_GS_BASE, 1), Some(0));
    assert_eq!(bits(&model), 1);
    assert_eq!(model.neighbours.take().notified.len(), CPUS, "all vCPUs");
    for _ in 0..3 {
        let _ = model.machine.posts.of(0).exits.0.count(ExitReason::RDMSR);
    }
    assert_eq!(command(&mut model, READ_EXITS, 0, 0), Some(3));
    assert_eq!(command(&mut model, INTERCEPT_READS, KERNEL_GS_BASE, 0), Some(0));
    assert_eq!(bits(&model), 2);
    let mut sibling = model.sibling(1);
    assert_eq!(command(&mut sibling, READ_EXITS, 0, 0), Some(0));
}

#[test]
fn exits_are_those_of_all_vcpus_for_whatever_reason() {
    let mut model = with_exerciser();
    assert_eq!(command(&mut model, EXITS, 0, 0), Some(0));
    for (vcpu, reason) in [(0, ExitReason::CPUID), (1, ExitReason::CPUID), (1, ExitReason::from_field(5000))]
    {
        let _ = model.machine.posts.of(vcpu).exits.0.count(reason);
    }
    assert_eq!(command(&mut model, EXITS, 0, 0), Some(3));
}

#[test]
fn what_has_to_exit_or_has_no_bit_cannot_be_switched() {
    let mut model = with_exerciser();
    for msr in [0x10, 0x1b, 0xc000_0080, 0x830, 0x4000_0000, 0x480, u32::MAX] {
        for exits in [0, 1] {
            assert_eq!(command(&mut model, INTERCEPT_READS, msr, exits), None, "{msr:#x}");
        }
    }
    assert_eq!(model.machine.msr_bitmap.changes(), 0);
}

#[test]
fn where_is_the_cpu_that_executes_the_command() {
    let mut model = with_exerciser();
    assert_eq!(command(&mut model, WHERE, 0, 0), Some(0));
    set_current(cpu(3));
    assert_eq!(command(&mut model, WHERE, 0, 0), Some(3));
    set_current(cpu(0));
}

#[test]
fn small_pages_become_a_large_one_where_it_fits() {
    let mut model = with_exerciser();
    assert_eq!(command(&mut model, WINDOW, 1, 0), Some(0));
    // Small pages: the log wants to know each.
    assert_eq!(command(&mut model, LOG_START, 0, 0), Some(0));
    for page in [0, FRAME] {
        assert_eq!(touch(&model, WINDOW_AT + page, WRITE), Fault::Resolved);
    }
    assert_eq!(command(&mut model, LOG_STOP, 0, 0), Some(0));
    assert_eq!(touch(&model, WINDOW_AT + 2 * FRAME, WRITE), Fault::Resolved);
    let window = (WINDOW_AT / FRAME) as u32;
    assert_eq!(command(&mut model, COLLAPSE, window, 512), Some(0));
    assert_eq!(touch(&model, WINDOW_AT, WRITE), Fault::Resolved);
    assert_eq!(touch(&model, WINDOW_AT + 511 * FRAME, WRITE), Fault::Spurious, "one page for all of it");
    // More than there is.
    assert_eq!(command(&mut model, COLLAPSE, 0, u32::MAX), Some(0));
    assert_eq!(command(&mut model, COLLAPSE, u32::MAX, u32::MAX), Some(0));
}

#[test]
fn a_page_that_is_not_mapped_was_not_accessed() {
    let mut model = with_exerciser();
    for frame in [FRAME_OF_DATA, (WINDOW_AT / FRAME) as u32, u32::MAX] {
        assert_eq!(command(&mut model, AGE, frame, 0), Some(0));
    }
}

#[test]
fn a_command_is_executed_once() {
    let mut model = with_exerciser();
    output(&mut model, COMMAND, MIGRATE);
    model.state.moves_on = false;
    execute(&mut model.guest());
    assert!(!model.state.moves_on);
}
