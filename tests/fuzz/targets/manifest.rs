// SPDX-License-Identifier: MIT OR Apache-2.0
//! Manifests: whatever the text, what comes of it is VMs that may start, and mistakes with the lines where they are.
#![no_main]

use std::collections::BTreeSet;

use hypervisor::vm::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let manifest = Manifest::parse(text);
    assert!(
        !manifest.vms.is_empty() || !manifest.errors.is_empty() || text.windows(2).any(|two| two == b"vm")
    );
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    for error in &manifest.errors {
        assert!((1..=lines).contains(&error.line), "{error} is on no line");
        assert!(!error.to_string().is_empty());
    }
    let names: BTreeSet<&str> = manifest.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names.len(), manifest.vms.len(), "two VMs have one name");
    for vm in &manifest.vms {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!((1..=32).contains(&vm.name.len()) && vm.name.bytes().all(allowed));
        assert!((1..=64).contains(&vm.vcpus) && vm.memory_mib >= 16);
        assert!(vm.disks.len() + vm.nets.len() <= 31, "no bus has room for so many devices");
    }
    assert_eq!(Manifest::parse(text), manifest, "what it says depends on more than its text");
});
