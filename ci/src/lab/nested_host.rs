// SPDX-License-Identifier: MIT OR Apache-2.0
//! A KVM host in a machine of QEMU's on another: what Satori stands in the place of on the leg `kvm`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::protocol::REQUESTS;
use anyhow::Context;
use anyhow::Result;

use crate::image;
use crate::lab::HyperV;
use crate::lab::kvm_host::COMMAND_LINE;
use crate::lab::kvm_host::PAYLOAD;
use crate::lab::kvm_host::host_memory_mib;
use crate::lab::launch::Launch;
use crate::setup::kvm_host;
use crate::workshop::Workshop;

/// The kernel's name in the folder.
const KERNEL: &str = "vmlinuz";

/// Puts a KVM host into `folder`, its first file system under the name `name`, which has these launches with it, and what they
/// run, which is in `folder`, too. It carries out one after the other, then powers off. Says how it is run: with one CPU and
/// all that helps of Hyper-V's interface, for a day.
///
/// # Errors
/// When a part of it cannot be had, or a file cannot be read or written.
pub fn lay_out_nested_host(
    workshop: &Workshop,
    folder: &Path,
    name: &str,
    launches: &[Launch],
) -> Result<Launch> {
    let mut archive = kvm_host::file_system(workshop)?;
    let files: BTreeSet<&String> =
        launches.iter().flat_map(|launch| [Some(&launch.kernel), launch.initrd.as_ref()]).flatten().collect();
    for file in files {
        let content = fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        archive.file(&format!("{}/{file}", inside(PAYLOAD)), &content)?;
    }
    let requests = launches.iter().map(|launch| format!("{}\n", launch.request(PAYLOAD)));
    archive.file(inside(REQUESTS), requests.collect::<String>().as_bytes())?;
    let archive = archive.finish()?;
    fs::write(folder.join(name), &archive)?;
    image::copy(&kvm_host::kernel(workshop)?.bzimage, &folder.join(KERNEL))?;
    let largest = launches.iter().map(|launch| launch.memory_mib).max().unwrap_or_default();
    Ok(Launch {
        kernel: KERNEL.into(),
        initrd: Some(name.into()),
        command_line: COMMAND_LINE.into(),
        nests: true,
        hyperv: HyperV::default(),
        cpus: 1,
        memory_mib: host_memory_mib(largest, archive.len())?,
        more: Vec::new(),
        time_limit: Duration::from_hours(24),
    })
}

/// A path as archives have it.
fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}
