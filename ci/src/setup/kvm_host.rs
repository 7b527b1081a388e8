// SPDX-License-Identifier: MIT OR Apache-2.0
//! The KVM host that runs Satori on the leg `kvm`: a kernel of Debian's backports with KVM, and the system's own QEMU.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use lzma_rust2::XzReader;

use crate::cache::Recipe;
use crate::cargo;
use crate::progress::Step;
use crate::setup::apt;
use crate::setup::archive::Archive;
use crate::setup::packages;
use crate::setup::packages::QEMU;
use crate::setup::suite::Suite;
use crate::steps;
use crate::workshop::Workshop;

/// Older suites have kernels whose KVM lacks direct flushes, or is very slow where it is nested.
const SUITE: &str = "trixie-backports";

/// The version of Linux whose figures Satori's are compared with; another one of its series is the next best.
const VERSION: [u32; 2] = [7, 2];

/// What packages of kernels are called, before the version.
const KERNEL_PACKAGE: &str = "linux-binary-";
const MODULES_PACKAGE: &str = "linux-modules-";

/// KVM's modules, in a kernel's folder.
const MODULES: [&str; 3] = ["virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-intel"];

/// What QEMU reads for a machine like ours.
const FIRMWARE: [&str; 5] =
    ["bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "multiboot_dma.bin", "pvh.bin"];

/// Where Debian's packages have it.
const FIRMWARE_FOLDERS: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// Where QEMU looks for it, which is itself in usr/bin.
const FIRMWARE_FOLDER: &str = "usr/share/qemu";

/// The KVM host's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// A bzImage.
    pub bzimage: PathBuf,
    /// KVM's modules, in the order in which they are to be loaded.
    pub modules: Vec<PathBuf>,
    /// The package that it is from, with its version.
    pub package: String,
}

/// The kernel with KVM, its files only.
///
/// # Errors
/// When its packages cannot be had, or are not made as we know them.
pub fn kernel(workshop: &Workshop) -> Result<Kernel> {
    let text = format!("{SUITE} {VERSION:?}: bzimage, {MODULES:?}");
    let recipe = Recipe { name: "kvm-host", text: &text };
    let folder = workshop.cache.entry(&workshop.interrupt, &recipe, |folder| unpack(workshop, folder));
    let folder = folder.context("no Linux with KVM for the leg kvm")?;
    let modules = MODULES.iter().map(|module| folder.join(file_name(module))).collect();
    let package = fs::read_to_string(folder.join("package"))?;
    Ok(Kernel { bzimage: folder.join("bzimage"), modules, package })
}

fn unpack(workshop: &Workshop, folder: &Path) -> Result<()> {
    let tree = tempfile::tempdir_in(folder)?;
    let suite = Suite::open(workshop, SUITE, folder)?;
    let version = newest(&suite.packages(KERNEL_PACKAGE)?)
        .with_context(|| format!("{SUITE} has no package {KERNEL_PACKAGE}{}.*-amd64", VERSION[0]))?;
    for package in [KERNEL_PACKAGE, MODULES_PACKAGE] {
        suite.unpack(workshop, &format!("{package}{version}"), tree.path())?;
    }
    let unpacked = tree.path().join("usr/lib/modules").join(&version);
    let bzimage = unpacked.join("vmlinuz");
    fs::rename(&bzimage, folder.join("bzimage")).with_context(|| format!("no {}", bzimage.display()))?;
    let step = Step::start("decompressing KVM's modules");
    for module in MODULES {
        let compressed = unpacked.join("kernel").join(format!("{module}.ko.xz"));
        let file = File::open(&compressed).with_context(|| format!("no {}", compressed.display()))?;
        io::copy(&mut XzReader::new(file, true), &mut File::create(folder.join(file_name(module)))?)
            .with_context(|| format!("{module} does not decompress"))?;
    }
    step.done();
    fs::write(folder.join("package"), format!("{KERNEL_PACKAGE}{version}")).map_err(Into::into)
}

fn file_name(module: &str) -> String {
    let (_, name) = module.rsplit_once('/').unwrap_or(("", module));
    format!("{name}.ko")
}

/// The newest version of [`VERSION`] among packages of kernels, or else of its series. Those for clouds and for real-time
/// systems have one more word in their names.
fn newest(packages: &[String]) -> Option<String> {
    let version = |package: &String| {
        let version = package.strip_prefix(KERNEL_PACKAGE)?;
        let plain = version.strip_suffix("-amd64").filter(|version| !version.contains('-'))?;
        let numbers = plain.split('+').next()?;
        let numbers: Vec<u32> =
            numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let fits = numbers.starts_with(&VERSION);
        (numbers.first() == VERSION.first()).then(|| (fits, numbers, version.to_owned()))
    };
    Some(packages.iter().filter_map(version).max()?.2)
}

/// What the emulated KVM host's first file system holds beside what it is to run: the agent as the first process, KVM's
/// modules, and QEMU with all that it loads.
///
/// # Errors
/// When a part of it cannot be had.
pub fn file_system(workshop: &Workshop) -> Result<Archive> {
    let kernel = kernel(workshop)?;
    packages::bring_qemu(workshop)?;
    let mut files: Vec<(String, PathBuf)> = vec![("init".into(), cargo::build_agent(workshop)?)];
    for module in kernel.modules {
        files.push((format!("modules/{}", module.file_name().unwrap_or_default().display()), module));
    }
    for firmware in FIRMWARE {
        let candidates = FIRMWARE_FOLDERS.map(|folder| Path::new(folder).join(firmware));
        let file = candidates.into_iter().find(|file| file.is_file());
        let file = file.with_context(|| format!("QEMU's {firmware} is not in {FIRMWARE_FOLDERS:?}"))?;
        files.push((format!("{FIRMWARE_FOLDER}/{firmware}"), file));
    }
    let program = apt::find_on_path(QEMU).with_context(|| format!("no {QEMU}"))?;
    for library in libraries(&program)? {
        files.push((library.trim_start_matches('/').to_owned(), library.into()));
    }
    files.push((format!("usr/bin/{QEMU}"), program));
    assemble(&files)
}

fn assemble(files: &[(String, PathBuf)]) -> Result<Archive> {
    let mut archive = Archive::default();
    let mut folders = vec!["bin", "dev", "payload", "proc", "sys", "tmp"];
    for (path, _) in files {
        folders.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    folders.sort_unstable();
    folders.dedup();
    archive.folders(&folders)?;
    archive.console()?;
    for (path, file) in files {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.program(path, &content)?;
    }
    Ok(archive)
}

/// The shared libraries that `program` loads, and the program that loads them.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let listed = steps::output(Command::new("ldd").arg(program))?;
    let libraries = loaded(&listed);
    ensure!(!libraries.is_empty(), "ldd names no libraries of {}", program.display());
    Ok(libraries)
}

/// Takes lines apart like `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn loaded(listed: &str) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_the_version_is_taken_and_none_for_clouds() {
        let newest_of = |versions: &[&str]| {
            newest(&versions.iter().map(|version| format!("{KERNEL_PACKAGE}{version}")).collect::<Vec<_>>())
        };
        let all =
            ["7.2.9+deb13-amd64", "7.2.12+deb13-amd64", "7.3.4+deb13-amd64", "7.2.13+deb13-cloud-amd64"];
        assert_eq!(newest_of(&all).as_deref(), Some("7.2.12+deb13-amd64"));
        assert_eq!(newest_of(&["7.3.4+deb13-amd64", "7.10.1-amd64"]).as_deref(), Some("7.10.1-amd64"));
        assert_eq!(newest_of(&["6.12.1-amd64", "7.2.1-arm64", "7.2.1-rt-amd64"]), None);
    }

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/libm.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(loaded(listed), ["/lib/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
