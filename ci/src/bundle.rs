// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bundle: a tar archive with `satori.toml`, which declares the VMs, and the files that it names.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Serialize;

/// The manifest's name in the bundle.
const MANIFEST: &str = "satori.toml";

/// Longest name of a VM, in bytes.
const LONGEST_NAME: usize = 32;

/// A VM, with its files where they are on this machine. Satori runs the VMs of a bundle one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMachine {
    /// Unique in its bundle; lower-case letters, digits and hyphens, at most 32.
    pub name: String,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// How many virtual CPUs it has.
    pub vcpus: u32,
    /// An ELF file with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// Seconds of emulated time after which Satori ends it.
    pub time_limit_s: Option<u32>,
}

#[derive(Serialize)]
struct Manifest<'a> {
    vm: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Declaration<'a> {
    name: &'a str,
    memory_mib: u32,
    vcpus: u32,
    kernel: String,
    initrd: Option<String>,
    command_line: Option<&'a str>,
    time_limit_s: Option<u32>,
}

impl VirtualMachine {
    fn kernel_in_bundle(&self) -> String {
        format!("{}.kernel", self.name)
    }

    fn initrd_in_bundle(&self) -> String {
        format!("{}.initrd", self.name)
    }

    fn declaration(&self) -> Declaration<'_> {
        Declaration {
            name: &self.name,
            memory_mib: self.memory_mib,
            vcpus: self.vcpus,
            kernel: self.kernel_in_bundle(),
            initrd: self.initrd.is_some().then(|| self.initrd_in_bundle()),
            command_line: self.command_line.as_deref(),
            time_limit_s: self.time_limit_s,
        }
    }
}

/// Writes the bundle with `machines` to `archive`. The same machines give the same bytes.
///
/// # Errors
/// When a name is not allowed, or a file cannot be read or written.
pub fn write(machines: &[VirtualMachine], archive: impl Write) -> Result<()> {
    check_names(machines)?;
    let manifest = Manifest { vm: machines.iter().map(VirtualMachine::declaration).collect() };
    let manifest = toml::to_string(&manifest).context("the manifest cannot be written")?;
    let mut builder = tar::Builder::new(archive);
    append(&mut builder, MANIFEST, manifest.len() as u64, manifest.as_bytes())?;
    for machine in machines {
        append_file(&mut builder, &machine.kernel_in_bundle(), &machine.kernel)?;
        if let Some(initrd) = &machine.initrd {
            append_file(&mut builder, &machine.initrd_in_bundle(), initrd)?;
        }
    }
    Ok(builder.into_inner()?.flush()?)
}

fn check_names(machines: &[VirtualMachine]) -> Result<()> {
    for (index, machine) in machines.iter().enumerate() {
        let name = &machine.name;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed),
            "{name:?} is no name for a VM: lower-case letters, digits and hyphens, at most {LONGEST_NAME}"
        );
        ensure!(machines[..index].iter().all(|other| other.name != *name), "two VMs are called {name}");
    }
    Ok(())
}

fn append_file(builder: &mut tar::Builder<impl Write>, name: &str, file: &Path) -> Result<()> {
    let unreadable = || format!("cannot read {}", file.display());
    let content = File::open(file).with_context(unreadable)?;
    let size = content.metadata().with_context(unreadable)?.len();
    append(builder, name, size, content)
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl std::io::Read,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder
        .append_data(&mut header, name, content)
        .with_context(|| format!("cannot put {name} into the bundle"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn machine(name: &str, kernel: &Path) -> VirtualMachine {
        VirtualMachine {
            name: name.into(),
            memory_mib: 64,
            vcpus: 1,
            kernel: kernel.into(),
            initrd: None,
            command_line: Some("console=ttyS0 say=\"hello\"".into()),
            time_limit_s: None,
        }
    }

    #[test]
    fn the_manifest_names_files_that_the_bundle_holds() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("kernel");
        std::fs::write(&kernel, "the kernel").unwrap();
        let mut bundle = Vec::new();
        write(&[machine("one", &kernel)], &mut bundle).unwrap();

        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bundle.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let manifest: toml::Table = files[MANIFEST].parse().unwrap();
        let vm = &manifest["vm"][0];
        assert_eq!(vm["name"].as_str(), Some("one"));
        assert_eq!(vm["memory-mib"].as_integer(), Some(64));
        assert_eq!(vm["command-line"].as_str(), Some("console=ttyS0 say=\"hello\""));
        assert!(vm.get("initrd").is_none() && vm.get("time-limit-s").is_none());
        assert_eq!(files[vm["kernel"].as_str().unwrap()], "the kernel");
    }

    #[test]
    fn the_same_machines_give_the_same_bytes() {
        let this_file = Path::new(file!()).file_name().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(this_file);
        let bundle = || {
            let mut bytes = Vec::new();
            write(&[machine("one", &source)], &mut bytes).unwrap();
            bytes
        };
        assert_eq!(bundle(), bundle());
    }

    #[test]
    fn names_that_satori_refuses_are_refused_here() {
        let refused = |names: &[&str]| {
            let machines: Vec<_> = names.iter().map(|name| machine(name, Path::new("/dev/null"))).collect();
            write(&machines, std::io::sink()).is_err()
        };
        assert!(!refused(&["a-1", "b"]));
        assert!(refused(&["a", "a"]));
        assert!(
            refused(&[""]) && refused(&["A"]) && refused(&["a_b"]) && refused(&["a".repeat(33).as_str()])
        );
    }
}
