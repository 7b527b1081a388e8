// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is notified, who is waited for, and that nothing stale is used in any interleaving.

#[cfg(feature = "loom")]
mod loom;

use super::*;
use std::cell::RefCell;

fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).unwrap()
}

/// Which CPUs are notified by a flush of all, where each that is notified does `act` and each that is asked after is in a guest.
fn notified(vcpus: &[LinearFlush], act: impl Fn(CpuNumber)) -> Vec<CpuNumber> {
    let notified: RefCell<Vec<CpuNumber>> = RefCell::default();
    flush(
        vcpus.iter(),
        |cpu| {
            act(cpu);
            notified.borrow_mut().push(cpu);
        },
        |_| panic!("all have done what they were asked for"),
    );
    notified.into_inner()
}

/// As its CPU does it before it enters; tells whether it has dropped its translations.
fn looks(vcpu: &LinearFlush) -> bool {
    let owed = vcpu.owed();
    owed.inspect(|&request| vcpu.meet(request)).is_some()
}

#[test]
fn only_who_is_being_run_is_notified_where_it_is_and_the_others_owe_it() {
    let vcpus: [LinearFlush; 3] = Default::default();
    vcpus[1].begin_run(cpu(2));
    assert!(!looks(&vcpus[1]), "nobody has asked yet");
    assert_eq!(notified(&vcpus, |_| assert!(looks(&vcpus[1]))), [cpu(2)]);
    assert_eq!([0, 1, 2].map(|vcpu| looks(&vcpus[vcpu])), [true, false, true]);
    assert!(!vcpus.iter().any(looks), "once is enough");
    vcpus[1].end_run();
    assert_eq!(notified(&vcpus, |_| ()), []);
    assert!(vcpus.iter().all(looks));
}

#[test]
fn nobody_is_waited_for_whose_run_has_ended_or_goes_on_elsewhere() {
    let vcpus: [LinearFlush; 2] = Default::default();
    vcpus[0].begin_run(cpu(0));
    vcpus[1].begin_run(cpu(1));
    let act = |at: CpuNumber| {
        let vcpu = &vcpus[at.index()];
        vcpu.end_run();
        if at == cpu(1) {
            vcpu.begin_run(cpu(3));
        }
    };
    assert_eq!(notified(&vcpus, act), [cpu(0), cpu(1)]);
    assert!(vcpus.iter().all(looks), "before the first entry");
}

#[test]
fn who_is_out_of_the_guest_is_not_waited_for_and_who_is_in_it_is() {
    let vcpu = LinearFlush::new();
    vcpu.begin_run(cpu(1));
    let asked = RefCell::new(0);
    let is_away = |at| {
        assert_eq!(at, cpu(1));
        *asked.borrow_mut() += 1;
        *asked.borrow() < 5
    };
    flush([&vcpu].into_iter(), |_| (), is_away);
    assert_eq!(asked.into_inner(), 5);
    assert!(looks(&vcpu));
}

#[test]
fn many_requests_are_met_at_once_and_one_that_comes_too_late_by_the_next_entry() {
    let vcpu = LinearFlush::new();
    (0..5).for_each(|_| assert_eq!(notified(std::slice::from_ref(&vcpu), |_| ()), []));
    vcpu.begin_run(cpu(1));
    let owed = vcpu.owed().unwrap();
    let late = vcpu.ask();
    vcpu.meet(owed);
    assert_eq!(vcpu.may_use_old_on(owed), None);
    assert_eq!(vcpu.may_use_old_on(late), Some(cpu(1)));
    assert!(looks(&vcpu));
    assert_eq!(vcpu.may_use_old_on(late), None);
}
