// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may call, in which registers, and whom a call reaches. What is wrong with calls `enlightenments::offer` tests.

use super::*;
use crate::vcpu::model::DATA;
use crate::vcpu::model::Model;
use crate::vm::model::cpu;
use crate::vmx::exit::ExitReason;
use enlightenments::offer::flush::Processors;
use hyperv_bindings::msr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const SPACE: u64 = 2;
const FAST: u64 = 1 << 16;

/// The guest has said who it is.
fn identified(model: Model) -> Model {
    let mut model = model.with_hyperv();
    let partition = model.machine.partition.as_ref().expect("it has one");
    let own = &mut model.state.virtual_processor;
    partition.write(&model.machine.memory, 0, own, msr::GUEST_OS_ID, 1).expect("any is taken");
    model
}

/// Puts the input of call 0x0002 for the vCPUs of a mask into memory, and its registers.
fn prepare(model: &mut Model, mask: u64) {
    model.store(DATA, [0, 0, mask].as_bytes());
    let registers = &mut model.frame.registers;
    (registers.rcx, registers.rdx, registers.r8, registers.rax) = (SPACE, DATA, 0, 0xdead);
}

/// Who has to flush after the calls so far, of the four vCPUs: the caller, which is the first, and whom they have asked.
fn flushes(model: &Model) -> [bool; 4] {
    let caller = model.state.flush_linear && model.state.attention;
    let asked = [0, 1, 2, 3].map(|vcpu| model.machine.posts.of(vcpu).linear_flush.owed().is_some());
    assert!(!asked[0], "nobody asks himself");
    [caller, asked[1], asked[2], asked[3]]
}

#[test]
fn whoever_does_not_see_the_interface_or_has_not_said_who_it_is_cannot_call() {
    Model::long_64().raises(ExitReason::VMCALL, Exception::InvalidOpcode);
    Model::long_64().with_hyperv().raises(ExitReason::VMCALL, Exception::InvalidOpcode);
    identified(Model::long_64()).executes(ExitReason::VMCALL);
}

#[test]
fn only_privileged_code_in_protected_or_long_mode_can_call() {
    let mut user = identified(Model::long_64());
    let rights = user.read(field::GUEST_SS_ACCESS_RIGHTS);
    user.write(field::GUEST_SS_ACCESS_RIGHTS, rights | 3 << 5);
    user.raises(ExitReason::VMCALL, Exception::InvalidOpcode);
    identified(Model::after_reset(0)).raises(ExitReason::VMCALL, Exception::InvalidOpcode);
    identified(Model::protected_32()).executes(ExitReason::VMCALL);
}

#[test]
fn a_call_reaches_whom_it_names_and_nobody_else() {
    let mut model = identified(Model::long_64());
    prepare(&mut model, 0b0101);
    model.executes(ExitReason::VMCALL);
    assert_eq!(model.frame.registers.rax, 0);
    assert_eq!(flushes(&model), [true, false, true, false]);
    assert_eq!(model.neighbours.take().notified, [], "nobody else is being run");
    prepare(&mut model, 0);
    model.executes(ExitReason::VMCALL);
    assert_eq!(flushes(&model), [true; 4]);
}

#[test]
fn a_call_that_fails_reaches_nobody_and_tells_its_status() {
    let mut model = identified(Model::long_64());
    for (value, input, status) in [(0x7fff, DATA, 2), (SPACE | 1 << 63, DATA, 3), (SPACE, DATA + 1, 4)] {
        prepare(&mut model, u64::MAX);
        (model.frame.registers.rcx, model.frame.registers.rdx) = (value, input);
        model.executes(ExitReason::VMCALL);
        assert_eq!(model.frame.registers.rax, status);
    }
    assert_eq!(flushes(&model), [false; 4]);
}

#[test]
fn code_of_32_bits_calls_with_pairs_of_registers() {
    let mut model = identified(Model::protected_32());
    prepare(&mut model, 0b10);
    let high = 0xbad << 32;
    let registers = &mut model.frame.registers;
    (registers.rdx, registers.rax) = (high, high | SPACE);
    (registers.rbx, registers.rcx) = (high, high | DATA);
    model.executes(ExitReason::VMCALL);
    assert_eq!(flushes(&model), [false, true, false, false]);
    assert_eq!((model.frame.registers.rdx, model.frame.registers.rax), (0, 0));
    let registers = &mut model.frame.registers;
    (registers.rdx, registers.rax) = (1 << 31, SPACE);
    model.executes(ExitReason::VMCALL);
    assert_eq!((model.frame.registers.rdx, model.frame.registers.rax), (0, 3));
}

/// XMM0 is zero, so the mask is.
#[test]
fn fast_input_is_taken_from_registers() {
    let mut model = identified(Model::long_64());
    prepare(&mut model, 0b1);
    model.frame.registers.rcx = SPACE | FAST;
    model.frame.registers.rdx = 1;
    model.executes(ExitReason::VMCALL);
    assert_eq!((model.frame.registers.rax, flushes(&model)), (0, [true; 4]));
}

#[test]
fn whoever_is_in_the_guest_is_told_where_it_is_run_and_waited_for() {
    let model = identified(Model::long_64());
    let machine = Arc::clone(&model.machine);
    let target = &machine.posts.of(3).linear_flush;
    target.begin_run(cpu(2));
    model.neighbours.set_away(cpu(2), true);
    assert_eq!(target.owed(), None);
    let returned = AtomicBool::new(false);
    let (told, waits) = thread::scope(|scope| {
        scope.spawn(|| {
            machine.posts.flush_linear(Processors(0b1001), 0);
            returned.store(true, Ordering::SeqCst);
        });
        let mut tellings = std::iter::repeat_with(|| model.neighbours.take().notified);
        let told = tellings.find(|cpus| !cpus.is_empty());
        thread::sleep(Duration::from_millis(20));
        let waits = !returned.load(Ordering::SeqCst);
        model.neighbours.set_away(cpu(2), false);
        (told, waits)
    });
    assert_eq!((told, waits), (Some(vec![cpu(2)]), true));
    assert!(target.owed().is_some());
}
