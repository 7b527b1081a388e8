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
use crate::setup::modules;
use crate::workshop::Workshop;

/// The drivers of what Satori gives a guest that are not built into Debian's kernels: virtio's, and those by which a guest
/// hears of its power button.
const DRIVERS: [&str; 7] =
    ["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "virtio_console", "button", "evdev"];

/// Where packages of kernels have the modules, on older and newer releases.
const MODULES_FOLDERS: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// A Linux kernel in both of its forms, and drivers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linux {
    /// The ELF file, with a PVH note.
    pub vmlinux: PathBuf,
    /// The compressed kernel with its boot-protocol header.
    pub bzimage: PathBuf,
    /// Modules, in an order in which they can be loaded.
    pub modules: Vec<PathBuf>,
    /// The package that it is from, with its version.
    pub package: String,
}

/// Debian's kernel for this release.
///
/// # Errors
/// When its package cannot be had, or holds no kernel that we understand.
pub fn linux(workshop: &Workshop) -> Result<Linux> {
    let text = format!("linux-image-amd64: vmlinux, bzimage, {DRIVERS:?}");
    let recipe = Recipe { name: "linux", text: &text };
    let folder = workshop.cache.entry(&workshop.interrupt, &recipe, |folder| {
        let package = apt::resolve(workshop, "linux-image-amd64", "linux-image-")?;
        let tree = tempfile::tempdir_in(folder)?;
        apt::unpack(workshop, &package, tree.path())?;
        let compressed = fs::read(find(&tree.path().join("boot"), "vmlinuz-")?)?;
        let step = Step::start(format!("decompressing the kernel of {package}"));
        fs::write(folder.join("vmlinux"), bzimage::vmlinux(&compressed)?)?;
        step.done();
        fs::write(folder.join("bzimage"), compressed)?;
        unpack_modules(tree.path(), &folder.join("modules"))?;
        fs::write(folder.join("package"), package).map_err(Into::into)
    });
    let folder = folder.context("no Linux kernel for the guest (--kernel can name another one)")?;
    let modules = fs::read_dir(folder.join("modules"))?.map(|entry| Ok(entry?.path()));
    let mut modules = modules.collect::<Result<Vec<PathBuf>>>()?;
    modules.sort();
    let package = fs::read_to_string(folder.join("package"))?;
    Ok(Linux { vmlinux: folder.join("vmlinux"), bzimage: folder.join("bzimage"), modules, package })
}

/// Puts the modules into `folder`, with names that sort as they are to be loaded.
fn unpack_modules(package: &Path, folder: &Path) -> Result<()> {
    let versions = MODULES_FOLDERS.map(|path| package.join(path));
    let versions =
        versions.iter().find(|versions| versions.is_dir()).context("the package has no modules")?;
    fs::create_dir(folder)?;
    for (index, module) in modules::in_order(&find(versions, "")?, &DRIVERS)?.into_iter().enumerate() {
        fs::write(folder.join(format!("{index:02}-{}.ko", module.name)), module.content)?;
    }
    Ok(())
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
