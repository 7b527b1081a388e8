// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's whole file system: busybox and a first process that ends in a shell on the console.

use std::fs;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
use cpio::newc;

use crate::setup::debian;
use crate::workshop::Workshop;

/// What the shell prints when it waits for a command. A marker for whoever drives it, too.
pub const PROMPT: &str = "linux on satori # ";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The first process. `cttyhack` makes the console the shell's controlling terminal, so that Ctrl-C reaches what
/// runs in it.
fn init() -> String {
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
export HOME=/ TERM=linux PS1='{PROMPT}'
echo
echo "Linux $(uname -r) on Satori, $(nproc) CPU, $(awk '/MemTotal/ {{ print int($2 / 1024) }}' /proc/meminfo) MiB."
echo "This is busybox' shell; exit powers the machine off."
echo
cd /
setsid cttyhack sh
poweroff -f
"#
    )
}

/// An archive (cpio, "newc") that Linux unpacks into its first file system, with `programs` (their names and contents)
/// in /bin beside busybox.
///
/// # Errors
/// When busybox cannot be had.
pub fn build(workshop: &Workshop, programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let busybox = debian::busybox(workshop)?;
    let busybox = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive(&busybox, programs).context("cannot make the guest's file system")
}

fn archive(busybox: &[u8], programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        append(&mut archive, newc::Builder::new(folder).mode(FOLDER), &[])?;
    }
    // Linux opens it for the first process before anything is mounted.
    let console = newc::Builder::new("dev/console").mode(CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
    append(&mut archive, console, &[])?;
    append(&mut archive, newc::Builder::new("bin/busybox").mode(PROGRAM), busybox)?;
    for (name, content) in programs {
        append(&mut archive, newc::Builder::new(&format!("bin/{name}")).mode(PROGRAM), content)?;
    }
    append(&mut archive, newc::Builder::new("init").mode(PROGRAM), init().as_bytes())?;
    newc::trailer(&mut archive)?;
    Ok(archive)
}

fn append(archive: &mut Vec<u8>, entry: newc::Builder, content: &[u8]) -> Result<()> {
    let mut writer = entry.nlink(1).write(archive, u32::try_from(content.len())?);
    writer.write_all(content)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_reads_back() {
        let archive = archive(b"busybox' content", &[("other", b"another's".to_vec())]).unwrap();
        let mut rest = archive.as_slice();
        let mut files = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut content).unwrap();
            let entry = reader.entry();
            if entry.name() == "dev/console" {
                assert_eq!((entry.mode(), entry.rdev_major(), entry.rdev_minor()), (CHARACTER_DEVICE, 5, 1));
            }
            files.push((entry.name().to_owned(), entry.mode(), content));
            rest = reader.finish().unwrap();
        }
        assert!(files.contains(&("bin/busybox".into(), PROGRAM, b"busybox' content".to_vec())));
        assert!(files.contains(&("bin/other".into(), PROGRAM, b"another's".to_vec())));
        assert!(files.iter().any(|(name, mode, content)| {
            name == "init" && *mode == PROGRAM && content.starts_with(b"#!/bin/busybox sh\n")
        }));
        assert!(files.iter().any(|(name, ..)| name == "dev/console"));
    }
}
