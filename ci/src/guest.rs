// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest of a run or of an image: what the command line says of it.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;

use crate::bundle::Disk;
use crate::bundle::Manifest;
use crate::bundle::Module;
use crate::bundle::Net;
use crate::bundle::OnReboot;
use crate::bundle::VirtualMachine;
use crate::cargo;
use crate::image::Bundle;
use crate::image::Image;
use crate::setup::debian;
use crate::setup::initramfs;
use crate::workshop::Workshop;

/// The guest's name.
pub const NAME: &str = "linux";

/// What Linux is told unless somebody tells it otherwise: where its console is, and to end, not to wait, when it panics.
pub const KERNEL_COMMAND_LINE: &str = "console=ttyS0 panic=-1";

/// The guest, of a run or of an image.
#[derive(Clone, Debug, clap::Args)]
pub struct GuestOptions {
    /// Memory of the guest.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=2048))]
    pub memory: u32,
    /// Its virtual CPUs [default: as many as the machine's CPUs that --cpus gives, else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub vcpus: Option<u32>,
    /// The guest's kernel, told by its content: an ELF file with a PVH note, a bzImage, or a multiboot 1 kernel. With it the
    /// guest has QEMU's isa-debug-exit at port 0xF4 [default: Debian's vmlinux].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Its initial RAM disk, the first module to kernels with modules [default: busybox with a shell; none with --kernel].
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Its command line [default: console=ttyS0 panic=-1; none with --kernel].
    #[arg(long, value_name = "STR")]
    pub append: Option<String>,
    /// A module for its kernel, with words for it. May be given several times.
    #[arg(long = "module", value_name = "FILE[=WORDS]", value_parser = module)]
    pub modules: Vec<Module>,
    /// A disk with what is in the file; what the guest writes is gone at its end. May be given several times.
    #[arg(long = "disk", value_name = "FILE[,read-only]", value_parser = disk)]
    pub disks: Vec<Disk>,
    /// A network card at the switch of this name. May be given several times.
    #[arg(long = "net", value_name = "SWITCH")]
    pub nets: Vec<String>,
    /// Give it the device by which a guest program changes its own machine.
    #[arg(long)]
    pub exerciser: bool,
    /// Let it see Hyper-V's interface.
    #[arg(long)]
    pub hyperv: bool,
    /// More words for Satori's own command line.
    #[arg(long, value_name = "STR", default_value = "")]
    pub satori: String,
}

impl GuestOptions {
    /// Looks for the files that are named, before anything is built for them.
    ///
    /// # Errors
    /// When one is not there, cannot be read, or is no file.
    pub fn check(&self) -> Result<()> {
        let modules = self.modules.iter().map(|module| &module.file);
        let disks = self.disks.iter().filter_map(|disk| match disk {
            Disk::File { file, .. } => Some(file),
            Disk::Blank { .. } => None,
        });
        let files = [&self.kernel, &self.initrd].into_iter().flatten().chain(modules).chain(disks);
        files.into_iter().try_for_each(|file| {
            let unreadable = || format!("cannot read {}", file.display());
            let metadata = File::open(file).and_then(|file| file.metadata()).with_context(unreadable)?;
            ensure!(metadata.is_file(), "{} is no file", file.display());
            Ok(())
        })
    }
}

fn module(text: &str) -> Result<Module, Infallible> {
    let (file, words) = text.split_once('=').unwrap_or((text, ""));
    Ok(Module { file: file.into(), command_line: words.into() })
}

fn disk(text: &str) -> Result<Disk, Infallible> {
    let file = text.strip_suffix(",read-only");
    Ok(Disk::File { file: file.unwrap_or(text).into(), read_only: file.is_some() })
}

/// Satori and one guest, as `options` say, for a machine with `cpus` CPUs. What has to be made for it goes to `folder`.
///
/// # Errors
/// When something cannot be had or built.
pub fn image(
    workshop: &Workshop,
    options: &GuestOptions,
    cpus: u32,
    on_reboot: OnReboot,
    folder: &TempDir,
) -> Result<Image> {
    let vcpus = options.vcpus.unwrap_or(cpus);
    let guest = VirtualMachine { vcpus, on_reboot, ..guest(workshop, options, folder.path())? };
    Ok(Image {
        satori: cargo::build_satori(workshop)?,
        // Of two words that contradict each other Satori takes the first.
        command_line: format!("{} when-done=power-off", options.satori),
        bundle: Bundle::Of(Manifest::together(vec![guest])),
    })
}

fn guest(workshop: &Workshop, options: &GuestOptions, folder: &Path) -> Result<VirtualMachine> {
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => debian::linux(workshop)?.vmlinux,
    };
    let mut guest = VirtualMachine {
        initrd: options.initrd.clone(),
        command_line: options.append.clone(),
        modules: options.modules.clone(),
        disks: options.disks.clone(),
        nets: options.nets.iter().map(|switch| Net { switch: switch.clone(), mac: None }).collect(),
        // Debian's Linux has no use for it.
        debug_exit: options.kernel.is_some(),
        exerciser: options.exerciser,
        hyperv: options.hyperv,
        ..VirtualMachine::new(NAME, options.memory, kernel)
    };
    if options.kernel.is_some() {
        return Ok(guest);
    }
    guest.command_line.get_or_insert_with(|| KERNEL_COMMAND_LINE.into());
    if guest.initrd.is_none() {
        let initrd = folder.join("initrd");
        std::fs::write(&initrd, initramfs::build(workshop, &[])?)?;
        guest.initrd = Some(initrd);
    }
    Ok(guest)
}

/// What the machine prints when its guest can take input that did not come from a human's fingers: the shell's
/// prompt, or for a guest that we know nothing about, Satori's word that it runs.
#[must_use]
pub fn ready_when(options: &GuestOptions) -> String {
    let our_shell = options.kernel.is_none() && options.initrd.is_none();
    if our_shell { initramfs::PROMPT.into() } else { format!("vm {NAME}: started") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = |initrd: PathBuf| GuestOptions {
            memory: 512,
            vcpus: None,
            kernel: None,
            initrd: Some(initrd),
            append: None,
            modules: Vec::new(),
            disks: Vec::new(),
            nets: Vec::new(),
            exerciser: false,
            hyperv: false,
            satori: String::new(),
        };
        let complaint = |file: PathBuf| options(file).check().unwrap_err().to_string();
        let shown = folder.path().display();
        assert_eq!(complaint(folder.path().into()), format!("{shown} is no file"));
        assert_eq!(complaint(folder.path().join("x")), format!("cannot read {shown}/x"));
        let file = folder.path().join("initrd");
        std::fs::write(&file, "").unwrap();
        options(file.clone()).check().unwrap();
        let with_module =
            |text| GuestOptions { modules: vec![module(text).unwrap()], ..options(file.clone()) };
        let complaint = with_module("/nowhere=words").check().unwrap_err().to_string();
        assert_eq!(complaint, "cannot read /nowhere");
    }

    #[test]
    fn a_module_has_words_behind_the_equals_sign() {
        let module = |text| module(text).map(|module| (module.file, module.command_line));
        assert_eq!(module("a/b"), Ok(("a/b".into(), String::new())));
        assert_eq!(module("a/b=c d=e"), Ok(("a/b".into(), "c d=e".into())));
    }

    #[test]
    fn a_disk_may_be_read_only() {
        let file = |file: &str, read_only| Ok(Disk::File { file: file.into(), read_only });
        assert_eq!(disk("a,b"), file("a,b", false));
        assert_eq!(disk("a,b,read-only"), file("a,b", true));
    }
}
