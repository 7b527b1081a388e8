// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is kicked, who is waited for, and that nothing stale is used in any interleaving.

#[cfg(feature = "loom")]
mod loom;

use super::*;
use std::cell::RefCell;

/// Who is kicked by a flush of all; a kick has the vCPU leave its guest.
fn kicked(vcpus: &[LinearFlush]) -> Vec<usize> {
    let kicked: RefCell<Vec<usize>> = RefCell::default();
    flush(
        vcpus.iter(),
        |place| {
            vcpus[place].come_out();
            kicked.borrow_mut().push(place);
        },
        || panic!("nobody is in a guest any more"),
    );
    kicked.into_inner()
}

/// As its CPU does it before an entry; tells whether it has dropped its translations.
fn enters(vcpu: &LinearFlush) -> bool {
    vcpu.go_in();
    let owed = vcpu.owed();
    owed.inspect(|&request| vcpu.meet(request)).is_some()
}

#[test]
fn only_a_vcpu_that_is_in_its_guest_is_kicked_and_the_others_owe_it() {
    let vcpus: [LinearFlush; 3] = Default::default();
    assert!(!enters(&vcpus[1]), "nobody has asked yet");
    assert_eq!(kicked(&vcpus), [1]);
    for vcpu in &vcpus {
        assert!(enters(vcpu));
        vcpu.come_out();
        assert!(!enters(vcpu), "once is enough");
    }
    assert_eq!(kicked(&vcpus), [0, 1, 2]);
}

#[test]
fn many_requests_are_met_at_once_and_one_that_comes_too_late_by_the_next_entry() {
    let vcpu = LinearFlush::new();
    (0..5).for_each(|_| assert_eq!(kicked(std::slice::from_ref(&vcpu)), []));
    vcpu.go_in();
    let owed = vcpu.owed().unwrap();
    let late = vcpu.ask();
    vcpu.meet(owed);
    assert!(vcpu.may_use_old(late));
    vcpu.come_out();
    assert!(!vcpu.may_use_old(late));
    assert!(enters(&vcpu));
    assert!(!vcpu.may_use_old(late));
}
