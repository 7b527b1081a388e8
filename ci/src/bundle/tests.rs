// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written, and that it is the same each time.

use std::io::Read;
use std::path::Path;

use super::*;

fn machine(name: &str, kernel: &Path) -> VirtualMachine {
    let command_line = Some("console=ttyS0 say=\"hello\"".into());
    VirtualMachine { command_line, ..VirtualMachine::new(name, 64, kernel) }
}

#[test]
fn the_manifest_names_files_that_the_bundle_holds() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    std::fs::write(&kernel, "the kernel").unwrap();
    let mut bundle = Vec::new();
    let one = VirtualMachine { vcpus: 4, exerciser: true, hyperv: true, ..machine("one", &kernel) };
    write(&Manifest::in_turn(vec![one]), &mut bundle).unwrap();

    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(bundle.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    let manifest: toml::Table = files[MANIFEST].parse().unwrap();
    assert_eq!(manifest["start"].as_str(), Some("in-turn"));
    let vm = &manifest["vm"][0];
    assert_eq!(vm["name"].as_str(), Some("one"));
    assert_eq!(vm["memory-mib"].as_integer(), Some(64));
    assert_eq!(vm["command-line"].as_str(), Some("console=ttyS0 say=\"hello\""));
    assert_eq!((vm["vcpus"].as_integer(), vm["exerciser"].as_bool()), (Some(4), Some(true)));
    assert_eq!(vm["hyperv"].as_bool(), Some(true));
    assert!(["initrd", "time-limit-s", "prefault"].iter().all(|key| vm.get(key).is_none()));
    assert_eq!(files[vm["kernel"].as_str().unwrap()], "the kernel");
}

/// What this side writes, Satori's own parser reads.
#[test]
fn satori_reads_every_key_that_is_written() {
    use hypervisor::vm::manifest;
    let file = |name: &str| PathBuf::from(name);
    let machine = VirtualMachine {
        initrd: Some(file("i")),
        time_limit_s: Some(9),
        modules: vec![Module { file: file("m"), command_line: "x y".into() }],
        disks: vec![
            Disk::File { file: file("d"), read_only: true },
            Disk::Blank { size_mib: 3 },
            Disk::File { file: file("e"), read_only: false },
        ],
        nets: vec![Net { switch: "lan".into(), mac: Some("52:54:00:00:00:01".into()) }],
        autostart: false,
        restart: Restart::OnFailure,
        on_reboot: OnReboot::Restart,
        stop_timeout_s: Some(4),
        cpus: vec![1],
        cpu_percent: Some(50),
        virtio_console: true,
        entropy: false,
        debug_exit: true,
        hyperv: true,
        ..VirtualMachine::new("one", 64, "kernel")
    };
    let text = Text { start: Start::InTurn, vm: vec![machine.declaration()] };
    let read = manifest::Manifest::parse(toml::to_string(&text).unwrap().as_bytes());
    assert_eq!(read.errors, []);
    let vm = &read.vms[0];
    assert!(vm.files().eq(machine.files_in_bundle().map(|(name, _)| name)));
    assert_eq!(
        (vm.disks.len(), vm.disks[0].read_only, vm.modules[0].command_line.as_str()),
        (3, true, "x y")
    );
    assert_eq!((vm.restart, vm.on_reboot), (manifest::Restart::OnFailure, manifest::OnReboot::Restart));
    assert_eq!((vm.autostart, vm.stop_timeout_s, vm.cpu_of(0), vm.cpu_percent), (false, 4, Some(1), 50));
    assert_eq!((vm.virtio_console, vm.entropy, vm.debug_exit, vm.hyperv), (true, false, true, true));
    assert_eq!(vm.nets[0].mac_in("one", 0).to_string(), "52:54:00:00:00:01");
}

#[test]
fn a_disk_that_can_be_written_to_counts_as_memory() {
    let disks = vec![Disk::Blank { size_mib: 3 }, Disk::File { file: "none".into(), read_only: true }];
    let machine = VirtualMachine { disks, ..VirtualMachine::new("one", 64, "kernel") };
    assert_eq!(Manifest::together(vec![machine]).memory_mib(), 67);
}

#[test]
fn vms_in_turn_need_the_memory_of_the_largest_and_together_that_of_all() {
    let machines = [16, 64, 32].map(|mib| VirtualMachine::new("any", mib, "kernel"));
    assert_eq!(Manifest::in_turn(machines.to_vec()).memory_mib(), 64);
    assert_eq!(Manifest::together(machines.to_vec()).memory_mib(), 112);
}

#[test]
fn the_same_machines_give_the_same_bytes() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bundle.rs");
    let bundle = || {
        let mut bytes = Vec::new();
        write(&Manifest::together(vec![machine("one", &source)]), &mut bytes).unwrap();
        bytes
    };
    assert_eq!(bundle(), bundle());
}

#[test]
fn names_that_satori_refuses_are_refused_here() {
    let refused = |names: &[&str]| {
        let machines: Vec<_> = names.iter().map(|name| machine(name, Path::new("/dev/null"))).collect();
        write(&Manifest::together(machines), std::io::sink()).is_err()
    };
    assert!(!refused(&["a-1", "b"]));
    assert!(refused(&["a", "a"]));
    assert!(refused(&[""]) && refused(&["A"]) && refused(&["a_b"]) && refused(&["a".repeat(33).as_str()]));
}
