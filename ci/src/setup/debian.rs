// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest that `cargo x run` starts: Debian's kernel and busybox, unpacked from their packages, never installed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::cache::Recipe;
use crate::progress::Step;
use crate::setup::apt;
use crate::setup::bzimage;
use crate::workshop::Workshop;

/// A Linux kernel in both of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linux {
    /// The ELF file, with a PVH note.
    pub vmlinux: PathBuf,
    /// The compressed kernel with its boot-protocol header.
    pub bzimage: PathBuf,
}

/// Debian's kernel for this release.
///
/// # Errors
/// When its package cannot be had, or holds no kernel that we understand.
pub fn linux(workshop: &Workshop) -> Result<Linux> {
    let recipe = Recipe { name: "linux", text: "linux-image-amd64, vmlinux and bzimage" };
    let folder = workshop.cache.entry(&workshop.interrupt, &recipe, |folder| {
        let package = apt::resolve(workshop, "linux-image-amd64", "linux-image-")?;
        let tree = tempfile::tempdir_in(folder)?;
        apt::unpack(workshop, &package, tree.path())?;
        let compressed = fs::read(find(&tree.path().join("boot"), "vmlinuz-")?)?;
        let step = Step::start(format!("decompressing the kernel of {package}"));
        fs::write(folder.join("vmlinux"), bzimage::vmlinux(&compressed)?)?;
        step.done();
        fs::write(folder.join("bzimage"), compressed)?;
        fs::write(folder.join("package"), package).map_err(Into::into)
    });
    let folder = folder.context("no Linux kernel for the guest (--kernel can name another one)")?;
    Ok(Linux { vmlinux: folder.join("vmlinux"), bzimage: folder.join("bzimage") })
}

/// Debian's statically linked busybox.
///
/// # Errors
/// When its package cannot be had.
pub fn busybox(workshop: &Workshop) -> Result<PathBuf> {
    let recipe = Recipe { name: "busybox", text: "busybox-static, its program" };
    let folder = workshop.cache.entry(&workshop.interrupt, &recipe, |folder| {
        let tree = tempfile::tempdir_in(folder)?;
        apt::unpack(workshop, "busybox-static", tree.path())?;
        // /bin is a link to usr/bin on every Debian of today; packages may have it under either name.
        let program = ["usr/bin/busybox", "bin/busybox"].map(|path| tree.path().join(path));
        let program =
            program.iter().find(|file| file.is_file()).context("busybox-static holds no busybox")?;
        fs::rename(program, folder.join("busybox")).map_err(Into::into)
    });
    let folder = folder.context("no busybox for the guest (--initrd can name a whole file system)")?;
    Ok(folder.join("busybox"))
}

fn find(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let missing = || format!("the package holds no {prefix}*");
    let mut entries = fs::read_dir(folder).with_context(missing)?.flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    Ok(found.with_context(missing)?.path())
}
