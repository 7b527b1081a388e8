// SPDX-License-Identifier: MIT OR Apache-2.0
//! What manifests are accepted, and what is said about the others.

use super::*;
use core::num::NonZeroU32;
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
        command-line = 'console=ttyS0'\ntime-limit-s = 60\nprefault = true\nexerciser = true\nhyperv = true\n\
        modules = ['m -v  x ', 'n']\ndisks = [{ file = 'd', read-only = true }, { size-mib = 3 }]\n\
        nets = [{ switch = 'lan', mac = '52:54:00:00:00:01' }, { switch = 'lan' }]\nautostart = false\n\
        restart = 'on-failure'\non-reboot = 'end'\nstop-timeout-s = 5\ncpus = [1]\ncpu-percent = 50\n\
        virtio-console = true\nentropy = false\ndebug-exit = true\n";
    let file = |file: &str| DiskSource::File(file.into());
    let blank = DiskSource::Blank { mib: NonZeroU32::new(3).unwrap() };
    let lan = |mac| NetConfig { switch: "lan".into(), mac };
    let expected = VmConfig {
        name: "linux-2".into(),
        memory_mib: 512,
        vcpus: 64,
        kernel: "vmlinux".into(),
        initrd: Some("i".into()),
        command_line: "console=ttyS0".into(),
        time_limit_s: NonZeroU32::new(60),
        modules: vec![
            Module { file: "m".into(), command_line: "-v  x".into() },
            Module { file: "n".into(), command_line: String::new() },
        ],
        disks: vec![
            DiskConfig { source: file("d"), read_only: true },
            DiskConfig { source: blank, read_only: false },
        ],
        nets: vec![lan(Some(Mac([0x52, 0x54, 0, 0, 0, 1]))), lan(None)],
        autostart: false,
        restart: Restart::OnFailure,
        on_reboot: OnReboot::End,
        stop_timeout_s: 5,
        cpus: vec![1],
        cpu_percent: 50,
        prefault: true,
        virtio_console: true,
        entropy: false,
        debug_exit: true,
        exerciser: true,
        hyperv: true,
        line: 2,
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
    assert_eq!((vm.restart, vm.on_reboot, vm.autostart), (Restart::Never, OnReboot::Restart, true));
    assert_eq!((vm.stop_timeout_s, vm.cpu_percent, vm.cpu_of(3)), (30, 100, None));
    assert_eq!((vm.virtio_console, vm.entropy, vm.debug_exit), (false, true, false));
    assert!(vm.modules.is_empty() && vm.disks.is_empty() && vm.nets.is_empty());
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
    assert!(with("cpu-percent = 0").contains("line 5: VM \"a\": a vCPU cannot have 0 hundredths"));
    assert!(with("cpu-percent = 101").contains("101 hundredths"));
    assert!(
        with("restart = 'sometimes'")
            .contains("line 5: VM \"a\": unknown variant `sometimes`, expected one of")
    );
    assert!(with("autostart = 1").contains("line 5: VM \"a\": invalid type"));
    assert!(with("modules = [' ']").contains("line 5: VM \"a\": a module has the name of a file"));
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

#[test]
fn a_disk_has_a_file_or_a_size() {
    let with = |disks: &str| error(&format!("{SMALL}disks = [\n  {disks}\n]\n"));
    let prefix = "satori.toml, line 6: VM \"a\": ";
    assert!(with("{}").starts_with(&format!("{prefix}a disk has a `file` of the bundle, or is a blank one")));
    assert!(
        with("{ file = 'd', size-mib = 1 }").starts_with(&format!("{prefix}a disk has the size of its file"))
    );
    assert!(with("{ size-mib = 1, read-only = true }").starts_with(&format!("{prefix}a blank disk")));
    for bad in ["{ size-mib = 0 }", "{ size-mib = 4294967296 }", "{ file = 1 }", "{ fil = 'd' }", "'d'"] {
        assert!(with(bad).starts_with(prefix), "{bad}: {}", with(bad));
    }
    let many = format!("{SMALL}disks = [{}]\n", "{ size-mib = 1 },".repeat(MOST_DISKS + 1));
    assert!(error(&many).contains("line 5: VM \"a\": 17 disks cannot be had"), "{}", error(&many));
}

#[test]
fn a_net_has_a_switch_and_perhaps_an_address() {
    let with = |nets: &str| error(&format!("{SMALL}nets = [{nets}]\n"));
    assert!(with("{}").contains("line 5: VM \"a\": missing field `switch`"));
    assert!(with("{ switch = 'A B' }").contains("line 5: VM \"a\": \"A B\" cannot be a name"));
    assert!(
        with("{ switch = 'a', mac = '1' }").contains("line 5: VM \"a\": \"1\" cannot be a card's address")
    );
    assert!(with("{ switch = 'a', ip = '1' }").contains("unknown field `ip`"));
    assert!(with(&"{ switch = 'a' },".repeat(MOST_NETS + 1)).contains("9 nets cannot be had"));
}

#[test]
fn two_cards_of_one_address_are_refused_on_one_switch_and_not_on_two() {
    let card = |vm: &str, switch: &str| {
        format!("{}nets = [{{ switch = '{switch}', mac = '52:54:00:00:00:01' }}]\n", SMALL.replace("'a'", vm))
    };
    let manifest = Manifest::parse(format!("{}{}", card("'a'", "lan"), card("'b'", "wan")).as_bytes());
    assert_eq!((manifest.vms.len(), &manifest.errors[..]), (2, &[][..]));
    let manifest = Manifest::parse(format!("{}{}", card("'a'", "lan"), card("'b'", "lan")).as_bytes());
    assert_eq!(manifest.vms.len(), 1);
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let mistake = Mistake::MacTaken { mac, switch: "lan".into(), line: 1 };
    assert_eq!(manifest.errors, [ManifestError { line: 6, vm: Some("b".into()), mistake }]);
    let twice = "{ switch = 'lan', mac = '52:54:00:00:00:01' },".repeat(2);
    assert!(
        error(&format!("{SMALL}nets = [{twice}]\n")).contains("52:54:00:00:00:01 on switch \"lan\" already")
    );
}

#[test]
fn there_is_a_cpu_for_each_vcpu_or_one_for_all() {
    let with = |cpus: &str| format!("{SMALL}vcpus = 2\ncpus = {cpus}\n");
    let cpus_of = |cpus: &str| {
        let manifest = Manifest::parse(with(cpus).as_bytes());
        assert_eq!(manifest.errors, []);
        [0, 1].map(|vcpu| manifest.vms[0].cpu_of(vcpu).unwrap())
    };
    assert_eq!((cpus_of("[3]"), cpus_of("[1, 0]")), ([3, 3], [1, 0]));
    for (cpus, count) in [("[]", 0), ("[0, 1, 2]", 3)] {
        let expected = format!("line 6: VM \"a\": `cpus` has {count} CPUs for 2 vCPUs: give one for each");
        assert!(error(&with(cpus)).contains(&expected), "{}", error(&with(cpus)));
    }
    assert!(error(&with("[-1]")).contains("line 6: VM \"a\": invalid value"));
}

#[test]
fn all_files_that_a_vm_names_are_told() {
    let text =
        format!("{SMALL}initrd = 'i'\nmodules = ['m x']\ndisks = [{{ file = 'd' }}, {{ size-mib = 1 }}]\n");
    let manifest = Manifest::parse(text.as_bytes());
    assert!(manifest.vms[0].files().eq(["k", "i", "m", "d"]));
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
