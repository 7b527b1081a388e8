// SPDX-License-Identifier: MIT OR Apache-2.0
//! L0s that are absent, or not as one would like them.

use super::*;
use crate::consume::model::Manner;
use crate::consume::model::ModelCpuid;
use hyperv_bindings::hypercall::Status;

const ASSIST_PAGE: u32 = 0x4000_0073;

#[test]
fn no_hyperv_means_that_no_msr_is_touched() {
    for cpuid in [ModelCpuid::bare_metal(), ModelCpuid::kvm()] {
        let l0 = ModelL0::offering(cpuid);
        let machine = Machine::on(&l0, Switches::NONE_OFF);
        assert_eq!(machine.in_use(), []);
        assert_eq!(machine.row(Feature::HypercallPage), "no no not offered: no Hv#1 interface");
        machine.vanishes_from(&l0);
        assert_eq!(l0.msrs.accesses(), 0);
    }
}

#[test]
fn hyperv_without_any_one_of_the_features_is_used_for_the_others() {
    for lost in Feature::all() {
        for bit in lost.bits() {
            let l0 = ModelL0::offering(ModelCpuid::everything().without(bit));
            let machine = Machine::on(&l0, Switches::NONE_OFF);
            assert_eq!(machine.in_use(), all_but(&[lost]), "without {lost:?}");
            assert_eq!(machine.row(lost), format!("no no not offered: {bit} is clear"));
            machine.vanishes_from(&l0);
        }
    }
}

#[test]
fn version_range_0x0201_has_our_version_in_it() {
    let cpuid =
        |versions: u32| ModelCpuid::everything().with_leaf(0x4000_000A, [0x003E_0000 | versions, 1, 0, 0]);
    let l0 = ModelL0::offering(cpuid(0x0201));
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), ALL);
    machine.vanishes_from(&l0);

    let l0 = ModelL0::offering(cpuid(0x0302));
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::EnlightenedVmcs]));
    assert_eq!(machine.row(Feature::EnlightenedVmcs), "no no not offered: versions 2 to 3, not 1");
    machine.vanishes_from(&l0);
}

#[test]
fn leaf_a_missing_costs_what_is_nested_and_no_more() {
    let l0 = ModelL0::offering(ModelCpuid::everything().with_max_leaf(0x4000_0009));
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), [Feature::HypercallPage, Feature::VpIndex, Feature::VpAssistPage]);
    assert_eq!(machine.row(Feature::EnlightenedVmcs), "no no not offered: leaf 0x4000000A is missing");
    machine.vanishes_from(&l0);
}

#[test]
fn assist_page_refused_on_one_cpu_means_no_enlightened_vmcs_on_any() {
    for cpu in 0..CPUS {
        let l0 = ModelL0::everything();
        l0.msrs.refuse_writes(cpu, ASSIST_PAGE);
        let machine = Machine::on(&l0, Switches::NONE_OFF);
        assert_eq!(machine.in_use(), all_but(&[Feature::VpAssistPage]));
        assert!(!machine.capabilities.calls_for_enlightened_vmcs());
        assert_eq!(
            machine.row(Feature::VpAssistPage),
            format!("yes no refused on CPU {cpu}: #GP on MSR 0x40000073")
        );
        assert_eq!(machine.row(Feature::EnlightenedVmcs), "yes no needs VP assist page");
        assert_eq!(machine.row(Feature::DirectVirtualFlush), "yes no needs enlightened VMCS");
        // The page on that CPU is not given back: the #GP kept us from making sure that L0 does not have it.
        let (pages, partition) = machine.take_down(&[0, 1, 2, 3].map(|cpu| l0.cpu(cpu)));
        assert_eq!((partition, l0.msrs.enabled()), (Ok(()), vec![]));
        let expected: Vec<bool> = (0..CPUS).map(|other| other != cpu).collect();
        assert_eq!(pages.iter().map(Option::is_some).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn assist_page_accepted_and_forgotten_is_no_assist_page() {
    let l0 = ModelL0::everything();
    l0.msrs.forget_writes(3, ASSIST_PAGE);
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::VpAssistPage]));
    assert_eq!(
        machine.row(Feature::VpAssistPage),
        "yes no refused on CPU 3: MSR 0x40000073 does not keep what is written"
    );
    machine.vanishes_from(&l0);
}

#[test]
fn vp_index_refused_costs_nothing_but_what_goes_by_it() {
    let l0 = ModelL0::everything();
    l0.msrs.refuse_reads(2, 0x4000_0002);
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::VpIndex]));
    assert_eq!(machine.row(Feature::VpIndex), "yes no refused on CPU 2: #GP on MSR 0x40000002");
    assert_eq!(machine.row(Feature::Reenlightenment), "yes no needs VP index");
    machine.vanishes_from(&l0);
}

#[test]
fn signatures_of_kvm_and_hyperv_both_there_are_used_as_hyperv() {
    let l0 = ModelL0::offering(ModelCpuid::kvm_with_hyperv());
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::GuestMappingFlush]));
    assert_eq!(l0.calls.made(), []);
    machine.vanishes_from(&l0);
}

#[test]
fn flush_offered_and_refused_is_not_in_use() {
    let l0 = ModelL0::everything();
    l0.calls.answer(Manner::Refuses { after: 0, status: Status::ACCESS_DENIED });
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::GuestMappingFlush]));
    assert_eq!(
        machine.row(Feature::GuestMappingFlush),
        "yes no refused: the call ends with access denied (0x6)"
    );
    machine.vanishes_from(&l0);
}

#[test]
fn flush_that_is_refused_after_a_time_is_out_of_use_from_then_on() {
    let l0 = ModelL0::everything();
    let mut machine = Machine::on(&l0, Switches::NONE_OFF);
    l0.calls.answer(Manner::Refuses { after: 10, status: Status::INSUFFICIENT_MEMORY });
    let mut flush = || guest_mapping::flush_space(&l0, &mut machine.input, ROOT);
    assert_eq!((1..10).map(|_| flush()).collect::<Result<Vec<_>, _>>().map(drop), Ok(()));
    let outcome = flush().map_err(Obstacle::Call);
    machine.capabilities.settle(Feature::GuestMappingFlush, outcome);
    assert_eq!(
        machine.row(Feature::GuestMappingFlush),
        "yes no refused: the call ends with insufficient memory (0xb)"
    );
    machine.vanishes_from(&l0);
}

#[test]
fn hypercall_page_that_is_refused_takes_the_flush_with_it() {
    let l0 = ModelL0::everything();
    l0.msrs.refuse_writes(0, 0x4000_0001);
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), all_but(&[Feature::HypercallPage]));
    assert_eq!(machine.row(Feature::HypercallPage), "yes no refused: #GP on MSR 0x40000001");
    assert_eq!(machine.row(Feature::GuestMappingFlush), "yes no needs hypercall page");
    machine.vanishes_from(&l0);
}

/// What a kernel that started us by kexec may leave, on each CPU.
#[test]
fn nothing_that_an_earlier_kernel_left_stays_wherever_we_run() {
    for switches in [Switches::NONE_OFF, Switches::ALL_OFF] {
        let l0 = ModelL0::everything();
        let theirs = l0.page(0x9000);
        l0.leave(0, 0x4000_0000, 0x8100_0000_0000_0001);
        l0.leave(0, 0x4000_0001, 0x8001);
        l0.leave(0, 0x4000_0021, 0xA001);
        l0.leave(0, 0x4000_0106, 0x1_00F2);
        l0.leave(0, 0x4000_0107, 1);
        for cpu in 0..CPUS {
            for msr in [0x80, 0x82, 0x83, 0xB0, 0xB2, 0xB4, 0xB6] {
                l0.leave(cpu, 0x4000_0000 + msr, 0xB001);
            }
        }
        l0.leave(1, ASSIST_PAGE, 0x9001);
        assert_eq!(l0.enlightened_vmcs(1), Some(0x7000));
        assert_eq!(theirs.read::<u8>(0x28), 1);

        let machine = Machine::on(&l0, switches);
        let ours: Vec<u32> = l0.msrs.enabled().into_iter().map(|(_, msr)| msr).collect();
        assert_eq!(theirs.read::<u8>(0x28), 0, "L0's page is in our memory still");
        match switches {
            Switches::ALL_OFF => assert_eq!((ours, machine.in_use()), (vec![], vec![])),
            _ => {
                assert_eq!(
                    ours,
                    [ASSIST_PAGE, ASSIST_PAGE, ASSIST_PAGE, ASSIST_PAGE, 0x4000_0000, 0x4000_0001]
                );
                assert_eq!(machine.in_use(), ALL);
            }
        }
        assert!((0..CPUS).all(|cpu| l0.enlightened_vmcs(cpu).is_none()));
        machine.vanishes_from(&l0);
    }
}
