// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is booted: Satori and its bundle, on a CD with GRUB for BIOS machines or in a folder.

use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::bundle;
use crate::bundle::Manifest;
use crate::bundle::VirtualMachine;
use crate::lab::HyperV;
use crate::lab::Launch;
use crate::setup::packages;
use crate::setup::packages::GRUB_MODULES;
use crate::steps;
use crate::workshop::Workshop;

/// What GRUB needs to start an image by multiboot2, and to tell on the serial port why it could not. "dumb" keeps it
/// from clearing the terminal of whoever reads that.
const MODULES: &str = "multiboot2 serial terminfo terminal echo test true halt";

/// Names of Satori's image and its bundle, on a CD and elsewhere.
const SATORI: &str = "satori";
pub(crate) const BUNDLE: &str = "bundle.tar";

/// What becomes the CD, in a folder of temporary files.
const TREE: &str = "tree";

/// Memory for Satori and for firmware, in MiB. Satori takes eight at most; the rest is for what comes and goes.
const OWN_MEMORY_MIB: u32 = 64;

/// What goes on a CD.
#[derive(Clone, Debug)]
pub struct Image {
    /// The hypervisor's ELF image.
    pub satori: PathBuf,
    /// Its command line.
    pub command_line: String,
    /// What it is to run.
    pub bundle: Bundle,
}

/// What GRUB hands to Satori as its module.
#[derive(Clone, Debug)]
pub enum Bundle {
    /// An archive that declares these VMs.
    Of(Manifest),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// No module at all.
    Missing,
}

impl Image {
    /// Writes the CD to the file `iso`: all of it, or nothing.
    ///
    /// # Errors
    /// When GRUB's tools are missing or fail, a file cannot be read or written, or on an interrupt.
    pub fn write(&self, workshop: &Workshop, iso: &Path) -> Result<()> {
        let has_bundle = !matches!(self.bundle, Bundle::Missing);
        let configuration = grub_configuration(&self.command_line, has_bundle)?;
        let grub = Grub { modules: MODULES, configuration: &configuration };
        write_cd(workshop, iso, grub, |boot| {
            self.bundle.write(&boot.join(BUNDLE))?;
            copy(&self.satori, &boot.join(SATORI))
        })
    }

    /// Puts Satori into `folder`, and its bundle under this name, for a KVM host to run; and says how that is run: with
    /// one CPU and all that helps of Hyper-V's interface, for a day.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn lay_out(&self, folder: &Path, bundle: &str) -> Result<Launch> {
        copy(&self.satori, &folder.join(SATORI))?;
        self.bundle.write(&folder.join(bundle))?;
        Ok(Launch {
            kernel: SATORI.into(),
            initrd: (!matches!(self.bundle, Bundle::Missing)).then(|| bundle.into()),
            command_line: self.command_line.clone(),
            nests: true,
            hyperv: HyperV::default(),
            cpus: 1,
            memory_mib: self.machine_memory_mib()?,
            more: Vec::new(),
            time_limit: Duration::from_hours(24),
        })
    }

    /// Memory that a machine needs to run it, in MiB: for Satori, for the bundle, which GRUB leaves in memory, and for
    /// the guests that run at one time.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn machine_memory_mib(&self) -> Result<u32> {
        let Bundle::Of(manifest) = &self.bundle else { return Ok(OWN_MEMORY_MIB) };
        let files = manifest.machines.iter().flat_map(VirtualMachine::files);
        let mut bytes = 0;
        for file in files {
            bytes += file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
        }
        Ok(manifest.memory_mib().saturating_add(u32::try_from(bytes >> 20)? + OWN_MEMORY_MIB))
    }
}

impl Bundle {
    /// Writes it to `file`, if there is one.
    ///
    /// # Errors
    /// When a name is not allowed, or a file cannot be read or written.
    pub fn write(&self, file: &Path) -> Result<()> {
        match self {
            Self::Of(manifest) => bundle::write(manifest, BufWriter::new(File::create(file)?)),
            Self::Raw(bytes) => Ok(fs::write(file, bytes)?),
            Self::Missing => Ok(()),
        }
    }
}

/// GRUB on a CD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grub<'a> {
    /// Its modules that the configuration needs, by name.
    pub modules: &'a str,
    /// Its configuration file.
    pub configuration: &'a str,
}

/// Writes a CD to the file `iso`, all of it, or nothing: GRUB, and what `fill` puts into the folder `boot`.
///
/// # Errors
/// When GRUB's tools are missing or fail, a file cannot be read or written, or on an interrupt.
pub(crate) fn write_cd(
    workshop: &Workshop,
    iso: &Path,
    grub: Grub<'_>,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    packages::bring(workshop)?;
    // Beside the CD, so that what is complete can be moved to its place.
    let beside = std::path::absolute(iso)?.parent().map(Path::to_path_buf).unwrap_or_default();
    let folder = tempfile::Builder::new()
        .prefix("image-")
        .tempdir_in(&beside)
        .with_context(|| format!("cannot write to {}", beside.display()))?;
    let boot = folder.path().join(TREE).join("boot");
    fs::create_dir_all(boot.join("grub"))?;
    fs::write(boot.join("grub/grub.cfg"), grub.configuration)?;
    fill(&boot)?;
    let made = make_iso(folder.path(), grub.modules);
    // One that was interrupted fails by itself, or not.
    workshop.interrupt.check()?;
    fs::rename(made?, iso).with_context(|| format!("cannot write {}", iso.display()))
}

/// Copies a file, and says which one if it cannot.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Makes a CD of what is in [`TREE`] in `folder`, and gives its file, which is there, too.
fn make_iso(folder: &Path, modules: &str) -> Result<PathBuf> {
    let iso = folder.join("iso");
    let temporary = folder.join("grub");
    fs::create_dir(&temporary)?;
    let mut command = Command::new("grub-mkrescue");
    command.args(["--directory", GRUB_MODULES, "--fonts=", "--locales=", "--themes=", "--compress=no"]);
    command.arg(format!("--install-modules=normal configfile {modules}"));
    // The same content is to give the same bytes: the emulator is deterministic, and its disk is part of its input.
    command.env("SOURCE_DATE_EPOCH", "1000000000").env("TMPDIR", temporary);
    command.arg("--output").arg(&iso).arg(folder.join(TREE));
    steps::output(&mut command)?;
    // Where xorriso or mtools fail, grub-mkrescue of some versions still ends with success.
    ensure!(iso.is_file(), "grub-mkrescue made no image");
    Ok(iso)
}

fn grub_configuration(command_line: &str, has_module: bool) -> Result<String> {
    ensure!(
        !command_line.contains(['\'', '\n']),
        "Satori's command line cannot contain quotes: {command_line}"
    );
    let words: Vec<String> = command_line.split_whitespace().map(|word| format!("'{word}'")).collect();
    let module = if has_module { "module2 /boot/bundle.tar bundle" } else { "true" };
    Ok(format!(
        "serial --unit=0 --speed=115200
terminfo serial dumb
terminal_output console serial
if multiboot2 /boot/satori {}; then
  if {module}; then boot; fi
fi
echo 'GRUB could not start Satori.'
halt
",
        words.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_the_command_line_reaches_satori_as_it_is() {
        let configuration = grub_configuration("log=debug  a=$b;c", true).unwrap();
        assert!(configuration.contains("multiboot2 /boot/satori 'log=debug' 'a=$b;c';"));
        grub_configuration("it's", true).unwrap_err();
    }
}
