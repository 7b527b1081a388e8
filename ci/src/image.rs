// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootable CD: GRUB for BIOS machines, Satori, and its bundle.

use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::bundle;
use crate::bundle::VirtualMachine;
use crate::setup::packages;
use crate::setup::packages::GRUB_MODULES;
use crate::steps;
use crate::workshop::Workshop;

/// What GRUB needs to start an image by multiboot2, and to tell on the serial port why it could not. "dumb" keeps it
/// from clearing the terminal of whoever reads that.
const MODULES: &str = "multiboot2 serial terminfo terminal echo test halt";

/// What goes on a CD.
#[derive(Clone, Debug)]
pub struct Image {
    /// The hypervisor's ELF image.
    pub satori: PathBuf,
    /// Its command line.
    pub command_line: String,
    /// The VMs of its bundle.
    pub machines: Vec<VirtualMachine>,
}

impl Image {
    /// Writes the CD to the file `iso`.
    ///
    /// # Errors
    /// When GRUB's tools are missing or fail, or a file cannot be read or written.
    pub fn write(&self, workshop: &Workshop, iso: &Path) -> Result<()> {
        packages::bring(workshop)?;
        let tree = tempfile::tempdir().context("no place for temporary files")?;
        let boot = tree.path().join("boot");
        fs::create_dir_all(boot.join("grub"))?;
        fs::write(boot.join("grub/grub.cfg"), grub_configuration(&self.command_line)?)?;
        fs::copy(&self.satori, boot.join("satori"))
            .with_context(|| format!("cannot copy {}", self.satori.display()))?;
        bundle::write(&self.machines, BufWriter::new(File::create(boot.join("bundle.tar"))?))?;
        make_iso(tree.path(), iso)
    }
}

fn make_iso(tree: &Path, iso: &Path) -> Result<()> {
    let mut command = Command::new("grub-mkrescue");
    command.args(["--directory", GRUB_MODULES, "--fonts=", "--locales=", "--themes=", "--compress=no"]);
    command.arg(format!("--install-modules=normal configfile {MODULES}"));
    // The same content is to give the same bytes: the emulator is deterministic, and its disk is part of its input.
    command.env("SOURCE_DATE_EPOCH", "1000000000").arg("--output").arg(iso).arg(tree);
    steps::output(&mut command)?;
    // Where xorriso or mtools fail, grub-mkrescue of some versions still ends with success.
    ensure!(iso.is_file(), "grub-mkrescue made no image");
    Ok(())
}

fn grub_configuration(command_line: &str) -> Result<String> {
    ensure!(
        !command_line.contains(['\'', '\n']),
        "Satori's command line cannot contain quotes: {command_line}"
    );
    let words: Vec<String> = command_line.split_whitespace().map(|word| format!("'{word}'")).collect();
    Ok(format!(
        "serial --unit=0 --speed=115200
terminfo serial dumb
terminal_output console serial
if multiboot2 /boot/satori {}; then
  if module2 /boot/bundle.tar bundle; then boot; fi
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
        let configuration = grub_configuration("log=debug  a=$b;c").unwrap();
        assert!(configuration.contains("multiboot2 /boot/satori 'log=debug' 'a=$b;c';"));
        grub_configuration("it's").unwrap_err();
    }
}
