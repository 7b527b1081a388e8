// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each switch, on a whole machine.

use super::*;

fn switched_off(names: &str) -> Machine {
    let l0 = ModelL0::everything();
    let switches = Switches::parse(names, |unknown| panic!("{unknown} is no switch"));
    let machine = Machine::on(&l0, switches);
    let again = Machine::on(&ModelL0::everything(), switches);
    machine.vanishes_from(&l0);
    again
}

#[test]
fn each_switch_takes_its_feature_and_what_needs_it() {
    for feature in Feature::all() {
        let machine = switched_off(&format!("-{}", feature.switch()));
        assert_eq!(machine.in_use(), all_but(&[feature]), "{feature:?}");
        assert_eq!(machine.row(feature), "yes no switched off");
    }
}

#[test]
fn what_needs_a_switched_off_feature_names_it() {
    let machine = switched_off("-evmcs,-hypercall");
    assert_eq!(machine.row(Feature::DirectVirtualFlush), "yes no needs enlightened VMCS");
    assert_eq!(machine.row(Feature::GuestMappingFlush), "yes no needs hypercall page");
    assert_eq!(machine.in_use(), [Feature::VpIndex, Feature::VpAssistPage]);
}

#[test]
fn none_switches_everything_off() {
    let l0 = ModelL0::everything();
    let machine = Machine::on(&l0, Switches::parse("none", |_| {}));
    assert_eq!(machine.in_use(), []);
    for feature in Feature::all() {
        assert_eq!(machine.row(feature), "yes no switched off");
    }
    machine.vanishes_from(&l0);
    assert_eq!(l0.calls.made(), []);
}
