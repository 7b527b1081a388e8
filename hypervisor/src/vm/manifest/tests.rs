// SPDX-License-Identifier: MIT OR Apache-2.0
//! What manifests are accepted, and what is said about the others.

use super::*;
use proptest::prelude::*;

const SMALL: &str = "[[vm]]\nname = 'a'\nmemory-mib = 16\nkernel = 'k'\n";

/// The one error of a manifest that has no VM without mistakes.
fn error(text: &str) -> String {
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(manifest.vms, []);
    let [error] = &manifest.errors[..] else { panic!("{:?}", manifest.errors) };
    error.to_string()
}

#[test]
fn all_keys_are_read() {
    let text = "start = 'in-turn'\n[[vm]]\nname = 'linux-2'\nmemory-mib = 512\nvcpus = 64\nkernel = 'vmlinux'\ninitrd = 'i'\n\
        command-line = 'console=ttyS0'\ntime-limit-s = 60\nprefault = true\nexerciser = true\ndebug-exit = true\nhyperv = true\n";
    let expected = VmConfig {
        name: "linux-2".into(),
        memory_mib: 512,
        vcpus: 64,
        kernel: "vmlinux".into(),
        initrd: Some("i".into()),
        command_line: "console=ttyS0".into(),
        time_limit_s: NonZeroU32::new(60),
        prefault: true,
        exerciser: true,
        debug_exit: true,
        hyperv: true,
    };
    let manifest = Manifest { start: Start::InTurn, vms: vec![expected], errors: vec![] };
    assert_eq!(Manifest::parse(text.as_bytes()), manifest);
}

#[test]
fn what_is_left_out_has_its_default() {
    let manifest = Manifest::parse(SMALL.as_bytes());
    let [vm] = &manifest.vms[..] else { panic!("{:?}", manifest.errors) };
    assert_eq!((vm.vcpus, &vm.initrd, vm.command_line.as_str(), vm.time_limit_s), (1, &None, "", None));
    assert_eq!(
        (manifest.start, vm.prefault, vm.exerciser, vm.hyperv),
        (Start::Together, false, false, false)
    );
}

#[test]
fn a_mistake_in_one_vm_leaves_the_others() {
    let third = SMALL.replace("'a'", "'c'");
    let text = format!("{SMALL}[[vm]]\nname = 'b'\nmemory-mib = 16\nkernal = 'k'\n{third}");
    let manifest = Manifest::parse(text.as_bytes());
    assert_eq!(manifest.vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(manifest.errors.len(), 1);
    assert_eq!((manifest.errors[0].line, manifest.errors[0].vm.as_deref()), (8, Some("b")));
}

#[test]
fn errors_name_line_vm_and_reason() {
    let with = |line: &str| error(&format!("{SMALL}{line}\n"));
    assert_eq!(with("vcpus = 65"), "satori.toml, line 5: VM \"a\": 65 vCPUs cannot be had: a VM has 1 to 64");
    assert!(with("vcpus = 0").contains("line 5: VM \"a\": 0 vCPUs"));
    assert!(with("time-limit-s = 0").contains("line 5: VM \"a\": invalid value"));
    assert!(with("initrd = 7").contains("line 5: VM \"a\": invalid type: integer `7`, expected a string"));
    assert!(with("disk = 'd'").contains("line 5: VM \"a\": unknown field `disk`, expected one of"));
    assert!(with("kernel = 'l'").contains("line 5: duplicate key"));
    assert!(with("initrd = ").contains("line 5: "));
}

#[test]
fn a_missing_key_is_named() {
    assert!(
        error("[[vm]]\nname = 'a'\nkernel = 'k'\n").contains("line 1: VM \"a\": missing field `memory-mib`")
    );
    assert!(error("[[vm]]\nmemory-mib = 16\nkernel = 'k'\n").contains("line 1: missing field `name`"));
}

#[test]
fn names_are_1_to_32_of_a_few_characters() {
    let named = |name: &str| SMALL.replace("'a'", &format!("'{name}'"));
    for good in ["a", "0-9", &"x".repeat(32)] {
        assert_eq!(Manifest::parse(named(good).as_bytes()).errors, []);
    }
    for bad in ["", "A", "a b", "ä", "a_b", &"x".repeat(33)] {
        assert!(error(&named(bad)).contains("line 2: VM"), "{bad}");
    }
}

#[test]
fn the_second_vm_of_a_name_is_refused() {
    let manifest = Manifest::parse(format!("{SMALL}{SMALL}").as_bytes());
    assert_eq!(manifest.vms.len(), 1);
    let mistake = Mistake::NameTaken { line: 1 };
    assert_eq!(manifest.errors, [ManifestError { line: 5, vm: Some("a".into()), mistake }]);
}

#[test]
fn memory_has_a_lower_bound() {
    let with = |mebibytes: &str| SMALL.replace("16", mebibytes);
    assert!(error(&with("15")).contains("line 3: VM \"a\": 15 MiB of memory are too few"));
    for bad in ["-1", "4294967296", "1.5", "'16'"] {
        assert!(error(&with(bad)).contains("line 3: VM \"a\": invalid"), "{bad}");
    }
}

#[test]
fn what_is_outside_of_vms_is_refused_but_leaves_them() {
    let manifest = Manifest::parse(format!("verbose = true\n{SMALL}").as_bytes());
    assert_eq!(manifest.vms.len(), 1);
    assert_eq!(manifest.errors[0].mistake, Mistake::UnknownKey("verbose".into()));
    assert_eq!(error(""), "satori.toml, line 1: no VM is declared; add a [[vm]] table");
    assert!(error("\n[vm]\nname = 'a'").contains("line 2: a VM is declared by [[vm]]"));
    assert!(
        error("\nvm = [1]").contains("line 2: invalid type: integer `1`, expected a table that declares")
    );
}

#[test]
fn a_start_that_is_none_is_refused_and_leaves_the_vms() {
    let manifest = Manifest::parse(format!("start = 'never'\n{SMALL}").as_bytes());
    assert_eq!((manifest.start, manifest.vms.len()), (Start::Together, 1));
    let text = manifest.errors[0].to_string();
    assert!(text.starts_with("satori.toml, line 1: unknown variant `never`, expected"), "{text}");
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let manifest = Manifest::parse(b"# fine\n# \xFF\n");
    assert_eq!(manifest.errors, [ManifestError { line: 2, vm: None, mistake: Mistake::Encoding }]);
}

#[test]
fn deep_nesting_is_refused() {
    assert!(error(&format!("vm = {}", "[".repeat(100_000))).contains("line 1: "));
    assert!(error(&format!("vm = {}", "{a=".repeat(100_000))).contains("line 1: "));
}

proptest! {
    #[test]
    fn damaged_text_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut text = format!("{SMALL}vcpus = 1\ncommand-line = \"x\\u0000\"\n{SMALL}").into_bytes();
        for (at, value) in damage {
            let at = at.index(text.len());
            text[at] = value;
        }
        let manifest = Manifest::parse(&text);
        prop_assert!(manifest.vms.len() + manifest.errors.len() > 0);
        prop_assert!(manifest.errors.iter().all(|error| error.line <= 11 && !error.to_string().is_empty()));
    }
}
