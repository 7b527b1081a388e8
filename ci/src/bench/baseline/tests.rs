// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of comparing with what was accepted.

use super::*;
use crate::bench::figures::Setting;
use crate::bench::figures::made_up;
use crate::bench::figures::made_up::figure;

fn of(figures: Vec<Figure>) -> Figures {
    Figures { figures, ..Figures { versions: made_up::figures().versions, ..Figures::default() } }
}

fn satori(instructions: u64) -> Figures {
    of(vec![figure("cpuid", Setting::Satori, instructions, [Some(1.0), None])])
}

fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{} {}", change.what, change.quantity)).collect()
}

#[test]
fn what_is_the_same_is_good() {
    let figures = made_up::figures();
    let comparison = compare(&figures, &figures, false);
    assert_eq!(comparison, Comparison::default());
    assert_eq!(comparison.to_string(), "Nothing is worse than ci/baseline.json by more than 2 %.\n");
}

#[test]
fn two_percent_is_where_worse_begins() {
    let is_good = |now| compare(&satori(1000), &satori(now), false).is_good();
    assert!(is_good(1019) && is_good(1020));
    assert!(!is_good(1021));
}

#[test]
fn two_instructions_are_nothing() {
    let is_good = |now| compare(&satori(4), &satori(now), false).is_good();
    assert!(is_good(6) && !is_good(7));
}

#[test]
fn better_never_fails_but_is_told() {
    let comparison = compare(&satori(1000), &satori(979), false);
    assert!(comparison.is_good());
    assert_eq!(names(&comparison.better), ["satori cpuid instructions"]);
    let told = comparison.to_string();
    assert!(told.contains("-2.1 %") && told.contains("--accept"), "{told}");
    assert_eq!(compare(&satori(1000), &satori(981), false), Comparison::default());
}

#[test]
fn exits_and_transitions_count_too() {
    let with = |exits, transitions| {
        of(vec![figure("cpuid", Setting::SatoriOnKvm, 10_000, [Some(exits), Some(transitions)])])
    };
    let worse = compare(&with(1.0, 2.0), &with(1.18, 2.2), false).worse;
    assert_eq!(names(&worse), ["satori-on-kvm cpuid exits", "satori-on-kvm cpuid transitions"]);
    assert!(!compare(&with(0.0, 2.0), &with(1.0, 2.0), false).is_good(), "an exit where there was none");
}

#[test]
fn a_stray_interrupt_among_few_operations_is_nobodys_fault() {
    let with = |exits, transitions| {
        of(vec![figure("fault_2m", Setting::SatoriOnKvm, 680_000, [Some(exits), Some(transitions)])])
    };
    assert!(compare(&with(1.06, 4.88), &with(1.12, 5.0), false).is_good(), "one of 16, and two of 16");
    assert!(compare(&with(1.0, 10.0), &with(1.0, 10.34), false).is_good(), "a timer's");
    assert!(!compare(&with(1.0, 5.0), &with(2.0, 5.0), false).is_good());
}

#[test]
fn what_was_never_accepted_is_named() {
    let mut now = satori(1000);
    now.figures.push(figure("brand_new", Setting::SatoriOnKvm, 1, [None, None]));
    now.figures.push(figure("brand_new", Setting::Kvm, 1, [None, None]));
    let comparison = compare(&satori(1000), &now, true);
    assert!(comparison.is_good());
    let expected =
        "not in ci/baseline.json, so held to nothing until it is accepted: satori-on-kvm brand_new";
    assert_eq!(comparison.notes, [expected]);
}

#[test]
fn a_baseline_with_what_is_no_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("ci")).unwrap();
    satori(1000).write(&file(folder.path())).unwrap();
    let good = std::fs::read_to_string(file(folder.path())).unwrap();
    for bad in ["NaN", "1e999", "\"1\"", "-1.0", "-1e-3"] {
        let text = good.replace("1.0", bad);
        assert_ne!(text, good);
        std::fs::write(file(folder.path()), text).unwrap();
        assert!(read(folder.path()).is_err(), "{bad}");
    }
    let twice = good.replace("\"figures\": [", &format!("\"figures\": [{},", one_figure()));
    std::fs::write(file(folder.path()), twice).unwrap();
    assert!(read(folder.path()).is_err(), "two figures of the same");
}

/// What [`satori`] has, as a file has it.
fn one_figure() -> String {
    serde_json::to_string(&satori(9).figures[0]).unwrap()
}

#[test]
fn a_figure_that_is_missing_fails() {
    let worse = compare(&satori(1000), &of(vec![]), false).worse;
    assert_eq!(names(&worse), ["satori cpuid instructions", "satori cpuid exits"]);
    let uncounted = of(vec![figure("cpuid", Setting::Satori, 1000, [None, None])]);
    assert_eq!(names(&compare(&satori(1000), &uncounted, false).worse), ["satori cpuid exits"]);
    assert!(compare(&satori(1000), &of(vec![]), false).to_string().contains("not measured"));
}

#[test]
fn of_a_part_only_that_part_is_compared() {
    let accepted = made_up::figures();
    assert!(compare(&accepted, &satori(200), true).is_good());
    let comparison = compare(&accepted, &satori(300), true);
    assert_eq!(names(&comparison.worse), ["satori cpuid instructions"]);
}

#[test]
fn kvm_the_bare_machine_and_several_cpus_are_not_ours_to_hold() {
    let mut now = made_up::figures();
    for figure in &mut now.figures {
        if !figure.setting.is_ours() || figure.cpus > 1 {
            figure.instructions *= 2;
        }
    }
    assert_eq!(compare(&made_up::figures(), &now, false), Comparison::default());
}

/// What is worse when everything takes twice as long with another version of one thing.
fn worse_with_another(version: &str) -> (Vec<String>, Vec<String>) {
    let mut now = made_up::figures();
    now.figures.iter_mut().for_each(|figure| figure.instructions *= 2);
    now.versions.insert(version.into(), "newer".into());
    let comparison = compare(&made_up::figures(), &now, false);
    (comparison.worse.into_iter().map(|change| change.what).collect(), comparison.notes)
}

#[test]
fn what_depends_on_another_version_is_left_out_with_a_line() {
    let (worse, notes) = worse_with_another(QEMU);
    assert!(worse.contains(&"satori cpuid".into()) && !worse.contains(&"satori-on-kvm cpuid".into()));
    assert_eq!(notes, ["not compared is what depends on QEMU: newer here, 10.0 in the baseline"]);
    let (worse, _) = worse_with_another(KVM_HOST);
    assert!(!worse.contains(&"satori-on-kvm-without-evmcs cpuid".into()));
    let (worse, _) = worse_with_another(GUEST_LINUX);
    assert!(worse.contains(&"satori-on-kvm cpuid".into()) && !worse.contains(&"satori linux_cpu".into()));
    let (worse, notes) = worse_with_another(EMULATOR);
    assert_eq!((worse.len(), notes.len()), (0, 1));
}

#[test]
fn another_compiler_excuses_nothing_but_is_told() {
    let (worse, notes) = worse_with_another(COMPILER);
    assert!(worse.contains(&"satori cpuid".into()));
    assert_eq!(
        notes,
        ["what became worse need not be your change: compiler: newer here, unknown in the baseline"]
    );
}

#[test]
fn what_is_worse_is_told_with_what_to_do() {
    let told = compare(&satori(1000), &satori(1500), false).to_string();
    assert!(told.contains("satori cpuid") && told.contains("+50.0 %"), "{told}");
    assert!(told.contains("cargo x bench --accept"), "{told}");
}

#[test]
fn without_a_baseline_it_says_how_there_is_one() {
    let error = read(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert!(error.contains("cargo x bench --accept"), "{error}");
}

#[test]
fn of_whole_guests_only_instructions_without_kvm_are_compared() {
    let linux =
        |setting, instructions, exits| of(vec![figure("linux_cpu", setting, instructions, [exits, exits])]);
    let is_good = |setting, now, exits| {
        compare(&linux(setting, 1000, Some(100.0)), &linux(setting, now, Some(exits)), false).is_good()
    };
    assert!(is_good(Setting::Satori, 1000, 200.0) && !is_good(Setting::Satori, 1021, 100.0));
    assert!(is_good(Setting::SatoriOnKvm, 2000, 200.0));
}
