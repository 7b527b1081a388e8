// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever L0 answers, we do not fall over, know where we are, and leave what a next kernel needs.

use super::*;
use crate::consume::model::AnyL0;
use crate::consume::model::ModelCpuid;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::PageSpan;
use proptest::prelude::*;

const HYPERCALL: u32 = 0x4000_0001;
const GUEST_OS_ID: u32 = 0x4000_0000;

prop_compose! {
    /// An interface with anything in its leaves, or one that offers everything.
    fn any_cpuid()(answers: [[u32; 4]; 4], max_leaf in 0x3FFF_FFFF_u32..0x4000_0010, honest: bool) -> ModelCpuid {
        if honest {
            return ModelCpuid::everything();
        }
        let leaves = [0x4000_0002, 0x4000_0003, 0x4000_0004, 0x4000_000A];
        leaves.into_iter().zip(answers).fold(ModelCpuid::everything(), |cpuid, (leaf, registers)| {
            cpuid.with_leaf(leaf, registers)
        }).with_max_leaf(max_leaf)
    }
}

fn any_switches() -> impl Strategy<Value = Switches> {
    let names: Vec<String> = Feature::all().map(|feature| format!("-{}", feature.switch())).collect();
    prop_oneof![
        Just(Switches::NONE_OFF),
        proptest::sample::subsequence(names, 0..=Feature::COUNT)
            .prop_map(|names| Switches::parse(&names.join(","), |_| panic!("that is a switch"))),
    ]
}

/// What must hold of any machine that is up.
fn assert_consistent(machine: &Machine, switches: Switches) {
    let uses = |feature| machine.capabilities.is_in_use(feature);
    for feature in machine.in_use() {
        assert!(!switches.is_off(feature) && machine.capabilities.get(feature).is_offered());
        assert!(feature.needs().iter().all(|needed| uses(*needed)), "{feature:?}");
    }
    assert_eq!(uses(Feature::HypercallPage), machine.partition.is_ok());
    let pages = machine.processors.iter().filter(|processor| processor.assist_page().is_some());
    assert_eq!(uses(Feature::VpAssistPage), pages.count() == machine.processors.len());
    let table = machine.capabilities.to_string();
    assert_eq!(table.lines().count(), 1 + Feature::all().count());
    assert!(table.bytes().all(|byte| byte == b'\n' || (0x20..0x7F).contains(&byte)));
}

proptest! {
    #[test]
    fn any_answers_end_in_a_consistent_machine_that_leaves_nothing_enabled(
        cpuid in any_cpuid(),
        switches in any_switches(),
        l0s in proptest::collection::vec(AnyL0::any(), 1..4),
    ) {
        let memory = Memory::default();
        let surroundings = Surroundings::discover(&cpuid);
        let machine = Machine::bring_up(&surroundings, switches, &l0s, &l0s[0], |address| memory.page(address));
        assert_consistent(&machine, switches);
        let _ = machine.take_down(&l0s);
        for l0 in &l0s {
            let written = l0.last_written();
            for (msr, (_, value)) in &written {
                let enabled = match *msr {
                    GUEST_OS_ID => *value,
                    0x4000_0106 => *value & 1 << 16,
                    _ => *value & 1,
                };
                prop_assert_eq!(enabled, 0, "{:#x} is left at {:#x}", msr, value);
            }
            if let (Some((page, _)), Some((id, _))) = (written.get(&HYPERCALL), written.get(&GUEST_OS_ID)) {
                prop_assert!(page < id, "the name went before the page");
            }
        }
    }

    /// L0 tells the truth here, but may refuse or ignore any access.
    #[test]
    fn what_stays_enabled_is_known_to_stay(
        refused in proptest::collection::vec((0..CPUS, any_msr(), 0..3), 0..6),
        left in proptest::collection::vec((0..CPUS, any_msr(), any::<u64>()), 0..6),
        switches in any_switches(),
    ) {
        let l0 = ModelL0::everything();
        for (cpu, msr, value) in left {
            l0.leave(cpu, msr, if msr == GUEST_OS_ID { value } else { value & !0xFFE | value & 2 });
        }
        for (cpu, msr, how) in refused {
            match how {
                0 => l0.msrs.refuse_reads(cpu, msr),
                1 => l0.msrs.refuse_writes(cpu, msr),
                _ => l0.msrs.forget_writes(cpu, msr),
            }
        }
        let machine = Machine::on(&l0, switches);
        assert_consistent(&machine, switches);
        let joined = machine.partition.is_ok();
        let ours: Vec<bool> =
            machine.processors.iter().map(|processor| processor.assist_page().is_some()).collect();
        let (pages, partition) = machine.take_down(&[0, 1, 2, 3].map(|cpu| l0.cpu(cpu)));
        if joined && partition.is_ok() {
            prop_assert_eq!(l0.msrs.value(0, HYPERCALL) & 1, 0);
            prop_assert!(l0.msrs.value(0, GUEST_OS_ID) == 0 || l0.msrs.is_bent(0, GUEST_OS_ID));
        }
        for (cpu, (page, was_ours)) in (0..CPUS).zip(pages.iter().zip(ours)) {
            let enabled = l0.msrs.value(cpu, 0x4000_0073);
            let still_there = enabled & 1 != 0 && enabled >> 12 == (ASSIST_PAGES >> 12) + u64::from(cpu);
            prop_assert!(page.is_none() || !still_there, "CPU {cpu}'s page is back, and with L0 too");
            prop_assert!(!was_ours || page.is_some() || l0.msrs.is_bent(cpu, 0x4000_0073));
        }
    }

    #[test]
    fn any_result_ends_a_list_after_as_many_calls_as_it_has_ranges_at_most(
        l0 in AnyL0::any(),
        pages in 0..512 * 2048_u64,
    ) {
        let ranges = PageRanges::of(PageSpan { first_page: 5, pages }).unwrap();
        let mut input = Memory::default().page(INPUT_PAGE);
        let count = ranges.remaining() as usize;
        let _ = guest_mapping::flush_list(&l0, &mut input, ROOT, ranges);
        prop_assert!(l0.calls() <= count.max(1));
    }
}

fn any_msr() -> impl Strategy<Value = u32> {
    proptest::sample::select(vec![
        GUEST_OS_ID,
        HYPERCALL,
        0x4000_0002,
        0x4000_0021,
        0x4000_0073,
        0x4000_0080,
        0x4000_0083,
        0x4000_00B0,
        0x4000_0106,
    ])
}
