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

/// What a bundle asks Satori to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// When each VM starts.
    pub start: Start,
    /// The VMs.
    pub machines: Vec<VirtualMachine>,
}

/// When the VMs of a bundle start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// All at once.
    #[default]
    Together,
    /// Each when the one before it has ended.
    InTurn,
}

/// A VM, with its files where they are on this machine.
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
    /// Whether it has the device by which a guest changes its own machine under itself.
    pub exerciser: bool,
    /// Whether all of its memory is there before it starts.
    pub prefault: bool,
    /// Whether its guest sees Hyper-V's interface.
    pub hyperv: bool,
    /// Whether it has QEMU's isa-debug-exit.
    pub debug_exit: bool,
}

/// The manifest as it is written.
#[derive(Serialize)]
struct Text<'a> {
    start: Start,
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
    #[serde(skip_serializing_if = "is_off")]
    exerciser: bool,
    #[serde(skip_serializing_if = "is_off")]
    prefault: bool,
    #[serde(skip_serializing_if = "is_off")]
    hyperv: bool,
    #[serde(skip_serializing_if = "is_off")]
    debug_exit: bool,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

impl VirtualMachine {
    /// A VM with one CPU and nothing that need not be said.
    #[must_use]
    pub fn new(name: impl Into<String>, memory_mib: u32, kernel: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            memory_mib,
            vcpus: 1,
            kernel: kernel.into(),
            initrd: None,
            command_line: None,
            time_limit_s: None,
            exerciser: false,
            prefault: false,
            hyperv: false,
            debug_exit: false,
        }
    }

    /// The files on this machine that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.kernel), self.initrd.as_ref()].into_iter().flatten()
    }

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
            exerciser: self.exerciser,
            prefault: self.prefault,
            hyperv: self.hyperv,
            debug_exit: self.debug_exit,
        }
    }
}

impl Manifest {
    /// `machines`, all at once.
    #[must_use]
    pub fn together(machines: Vec<VirtualMachine>) -> Self {
        Self { start: Start::Together, machines }
    }

    /// `machines`, one after the other.
    #[must_use]
    pub fn in_turn(machines: Vec<VirtualMachine>) -> Self {
        Self { start: Start::InTurn, machines }
    }

    /// The most memory that the VMs have at one time, in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        let each = self.machines.iter().map(|machine| machine.memory_mib);
        match self.start {
            Start::Together => each.fold(0, u32::saturating_add),
            Start::InTurn => each.max().unwrap_or_default(),
        }
    }
}

/// Writes the bundle of `manifest` to `archive`. The same manifest and files give the same bytes.
///
/// # Errors
/// When a name is not allowed, or a file cannot be read or written.
pub fn write(manifest: &Manifest, archive: impl Write) -> Result<()> {
    let Manifest { start, machines } = manifest;
    check_names(machines)?;
    let text = Text { start: *start, vm: machines.iter().map(VirtualMachine::declaration).collect() };
    let text = toml::to_string(&text).context("the manifest cannot be written")?;
    let mut builder = tar::Builder::new(archive);
    append(&mut builder, MANIFEST, text.len() as u64, text.as_bytes())?;
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

    #[test]
    fn vms_in_turn_need_the_memory_of_the_largest_and_together_that_of_all() {
        let machines = [16, 64, 32].map(|mib| VirtualMachine::new("any", mib, "kernel"));
        assert_eq!(Manifest::in_turn(machines.to_vec()).memory_mib(), 64);
        assert_eq!(Manifest::together(machines.to_vec()).memory_mib(), 112);
    }

    #[test]
    fn the_same_machines_give_the_same_bytes() {
        let this_file = Path::new(file!()).file_name().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(this_file);
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
        assert!(
            refused(&[""]) && refused(&["A"]) && refused(&["a_b"]) && refused(&["a".repeat(33).as_str()])
        );
    }
}
