// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a machine ends: by one of its vCPUs, once; or because all wait for each other.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::vcpu::controls;
use crate::vcpu::model::Model;
use crate::vcpu::state::Activity;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::cpu;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use evmcs::field;
use std::thread;

fn vm(vcpus: u32, neighbours: &'static ModelNeighbours) -> Vm {
    Vm {
        name: String::from("a"),
        machine: model::machine(vcpus, neighbours),
        controls: controls::required(),
        revision: 1,
        enlightened: None,
        timer_input_tick: NonZeroU32::MIN,
        started_at: 0,
        limit: None,
        end: Once::new(),
        held: AtomicBool::new(false),
        waiting: Mutex::new(0),
        #[cfg(feature = "measure")]
        shares: Mutex::default(),
    }
}

fn start_up(to: u32) -> Message {
    Message {
        destination: Destination::Physical(to),
        delivery: DeliveryMode::StartUp,
        vector: 0x10,
        trigger: Trigger::Edge,
    }
}

/// Takes the mail of the vCPU of that index. Whether there was a start-up IPI.
fn is_started(vm: &Vm, index: usize) -> bool {
    let mut vcpu = Model::after_reset(1);
    vm.machine.posts.of(index).mailbox.drain(&mut vcpu.guest()).expect("nobody stops it");
    vcpu.state.activity == Activity::Running
}

#[test]
fn what_ends_a_machine_first_is_its_end_and_all_its_vcpus_are_told() {
    let neighbours = ModelNeighbours::new();
    let vm = vm(3, neighbours);
    assert!(!vm.has_ended());
    vm.end(End::PoweredOff);
    assert_eq!(neighbours.take().notified, [0, 1, 2].map(cpu));
    vm.end(End::Stopped);
    vm.end(End::TripleFault { rip: 7 });
    assert!(vm.has_ended());
    assert_eq!(neighbours.take().notified, [], "they have not looked yet");
    for index in 0..3 {
        let mut vcpu = Model::after_reset(1);
        assert_eq!(vm.machine.posts.of(index).mailbox.drain(&mut vcpu.guest()), Err(End::Stopped));
    }
    assert_eq!(vm.outcome(), Some(End::PoweredOff));
}

#[test]
fn what_all_its_vcpus_exited_for_adds_up() {
    let vm = vm(2, ModelNeighbours::new());
    for (vcpu, reason) in [(0, ExitReason::HLT), (0, ExitReason::CPUID), (1, ExitReason::CPUID)] {
        let _ = vm.machine.posts.of(vcpu).exits.0.count(reason);
    }
    let counts = vm.exits().into_iter().map(|(reason, exits)| (reason, exits.count));
    assert!(counts.eq([(ExitReason::CPUID, 2), (ExitReason::HLT, 1)]));
}

#[test]
fn vcpus_wait_in_vain_when_all_of_them_do() {
    for vcpus in [1, 2, 3, 64] {
        let vm = vm(vcpus, ModelNeighbours::new());
        let last = vcpus as usize - 1;
        assert!((0..last).all(|vcpu| !vm.waits_in_vain(vcpu)));
        assert!(vm.waits_in_vain(last));
    }
}

#[test]
fn who_was_set_going_again_may_set_others_going() {
    let vm = vm(3, ModelNeighbours::new());
    assert!(!vm.waits_in_vain(1) && !vm.waits_in_vain(2));
    vm.wakes(2);
    assert!(!vm.waits_in_vain(0));
    assert!(vm.waits_in_vain(2));
}

#[test]
fn nobody_waits_in_vain_while_mail_is_on_its_way() {
    let vm = vm(2, ModelNeighbours::new());
    assert!(!vm.waits_in_vain(1));
    vm.machine.posts.send(start_up(1), Some(0));
    assert!(!vm.waits_in_vain(0));
    vm.wakes(1);
    assert!(is_started(&vm, 1));
    assert!(vm.waits_in_vain(1));
}

/// Two vCPUs start each other in turn, and wait in between. There always is one that was set going and has not yet passed it
/// on, so neither ever waits in vain: whatever the other sees of the one that wakes up.
#[test]
fn nobody_waits_in_vain_while_another_wakes_up() {
    const ROUNDS: u32 = if cfg!(miri) { 50 } else { 50_000 };
    let vm = &vm(2, ModelNeighbours::new());
    assert!(!vm.waits_in_vain(1));
    let given_up = &AtomicUsize::new(0);
    thread::scope(|scope| {
        for me in [0_usize, 1] {
            scope.spawn(move || {
                let mut vcpu = Model::after_reset(1);
                for round in 0..ROUNDS {
                    if (me, round) != (0, 0) {
                        let mailbox = &vm.machine.posts.of(me).mailbox;
                        // Without sleep while it can be soon, so that the two meet.
                        for looks in 0_u32.. {
                            if !mailbox.is_empty() {
                                break;
                            }
                            if looks % 1_000 == 999 {
                                thread::yield_now();
                            }
                        }
                        // As a CPU does that takes up a vCPU which had to wait.
                        vm.wakes(me);
                        mailbox.drain(&mut vcpu.guest()).expect("nobody stops it");
                    }
                    vm.machine.posts.send(start_up(1 - me as u32), Some(me));
                    if vm.waits_in_vain(me) {
                        given_up.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(given_up.load(Ordering::Relaxed), 0);
}

/// SDM vol. 3, "MP Initialization Protocol": an interrupt with IF clear ends no HLT, and nothing but a start-up IPI ends the
/// wait for one.
#[test]
fn who_halts_with_interrupts_off_or_was_never_started_waits_for_others() {
    const INTERRUPT_FLAG: u64 = 1 << 9;
    let mut vcpu = Model::long_64();
    let cases = [
        (Activity::Running, 2, false),
        (Activity::Halted, 2, true),
        (Activity::Halted, 2 | INTERRUPT_FLAG, false),
        (Activity::WaitForSipi, 2 | INTERRUPT_FLAG, true),
    ];
    for (activity, rflags, waits) in cases {
        vcpu.state.activity = activity;
        vcpu.write(field::GUEST_RFLAGS, rflags);
        assert_eq!(vcpu.guest().waits_for_others(), waits, "{activity:?} {rflags:#x}");
    }
}
