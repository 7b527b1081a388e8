// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel's modules: the drivers that are wanted and what they depend on, in an order in which they can be loaded.
//!
//! The package has no `modules.dep`, which is made where it is installed. What that is made of is in the modules
//! themselves: each names those that it needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use elf::ElfBytes;
use elf::endian::LittleEndian;
use lzma_rust2::XzReader;

/// The section of `KEY=VALUE` strings that each module has, and the key of what it needs.
const SECTION: &str = ".modinfo";
const DEPENDENCIES: &str = "depends=";

/// What modules' files are called, as they are and compressed.
const ENDINGS: [&str; 2] = [".ko", ".ko.xz"];

/// What is built into the kernel, in its folder of modules.
const BUILT_IN: &str = "modules.builtin";

/// A module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` for each `-`.
    pub name: String,
    /// What the kernel loads.
    pub content: Vec<u8>,
}

/// The modules of `folder`, that of one kernel, which `drivers` are and need, each after those that it needs. A driver
/// that is built into the kernel needs none.
///
/// # Errors
/// When the kernel has no such driver, or a module is not made as we know them.
pub fn in_order(folder: &Path, drivers: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let built_in = fs::read_to_string(folder.join(BUILT_IN)).unwrap_or_default();
    let built_in: Vec<String> = built_in.lines().filter_map(|line| name(Path::new(line))).collect();
    let mut modules = Vec::new();
    for driver in drivers {
        let driver = driver.replace('-', "_");
        if !built_in.contains(&driver) {
            add(&mut modules, &files, &driver, files.len())?;
        }
    }
    Ok(modules)
}

/// Adds `driver` to `modules`, after those that it needs; a chain of these is at most so long.
fn add(
    modules: &mut Vec<Module>,
    files: &BTreeMap<String, PathBuf>,
    driver: &str,
    longest_chain: usize,
) -> Result<()> {
    if modules.iter().any(|module| module.name == driver) {
        return Ok(());
    }
    let file = files.get(driver).with_context(|| format!("the kernel has no module {driver}"))?;
    ensure!(longest_chain > 0, "the kernel's module {driver} needs itself");
    let content = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let needed = dependencies(&content).with_context(|| format!("{} is no module", file.display()))?;
    for needed in needed {
        add(modules, files, &needed, longest_chain - 1)?;
    }
    modules.push(Module { name: driver.to_owned(), content });
    Ok(())
}

/// Adds the modules in `folder` and in the folders in it, by their names.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        // Links lead to the kernel's source, if anywhere.
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else if let Some(name) = name(&entry.path()) {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

fn name(file: &Path) -> Option<String> {
    let file = file.file_name()?.to_str()?;
    let name = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending))?;
    Some(name.replace('-', "_"))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file)?;
    if file.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    let mut content = Vec::new();
    XzReader::new(bytes.as_slice(), true).read_to_end(&mut content)?;
    Ok(content)
}

/// The names of the modules that `module` needs.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(module)?;
    let section = file.section_header_by_name(SECTION)?.with_context(|| format!("no section {SECTION}"))?;
    let (strings, _) = file.section_data(&section)?;
    let line =
        strings.split(|byte| *byte == 0).find_map(|string| string.strip_prefix(DEPENDENCIES.as_bytes()));
    let line = str::from_utf8(line.unwrap_or_default())?;
    Ok(line.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with the sections that a module must have: none, its own names, and what it says of itself.
    fn module(depends: &str) -> Vec<u8> {
        const HEADER: usize = 64;
        let names = b"\0.modinfo\0.shstrtab\0";
        let strings = format!("license=GPL\0depends={depends}\0name=any\0");
        let sections = HEADER + names.len() + strings.len();
        let mut file = vec![0; HEADER];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&1_u16.to_le_bytes());
        file[18..20].copy_from_slice(&62_u16.to_le_bytes());
        file[20..24].copy_from_slice(&1_u32.to_le_bytes());
        file[40..48].copy_from_slice(&(sections as u64).to_le_bytes());
        file[52..54].copy_from_slice(&(HEADER as u16).to_le_bytes());
        for (at, value) in [(58, 64_u16), (60, 3), (62, 1)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file.extend_from_slice(names);
        file.extend_from_slice(strings.as_bytes());
        let section = |name: u32, kind: u32, offset: usize, size: usize| {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            header
        };
        file.extend(section(0, 0, 0, 0));
        file.extend(section(10, 3, HEADER, names.len()));
        file.extend(section(1, 1, HEADER + names.len(), strings.len()));
        file
    }

    fn kernel(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, depends) in modules {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, module(depends)).unwrap();
        }
        folder
    }

    fn names(folder: &Path, drivers: &[&str]) -> Result<Vec<String>> {
        Ok(in_order(folder, drivers)?.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn each_module_comes_once_and_after_those_that_it_needs() {
        let kernel = kernel(&[
            ("kernel/net/virtio_net.ko", "failover,virtio-ring"),
            ("kernel/net/failover.ko", ""),
            ("kernel/virtio/virtio_ring.ko", "virtio"),
            ("kernel/virtio/virtio.ko", ""),
            ("kernel/char/virtio-rng.ko", "virtio,virtio_ring"),
            ("kernel/char/other.ko", "virtio"),
        ]);
        let names = names(kernel.path(), &["virtio-rng", "virtio_net"]).unwrap();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_rng", "failover", "virtio_net"]);
    }

    #[test]
    fn a_driver_is_a_module_or_built_in_or_missed() {
        let kernel = kernel(&[("kernel/button.ko", "gone")]);
        fs::write(kernel.path().join(BUILT_IN), "kernel/drivers/input/evdev.ko\n").unwrap();
        assert_eq!(names(kernel.path(), &["evdev"]).unwrap(), [""; 0]);
        let missed = |driver| names(kernel.path(), &[driver]).unwrap_err().to_string();
        assert_eq!(missed("button"), "the kernel has no module gone");
        assert_eq!(missed("virtio"), "the kernel has no module virtio");
    }

    #[test]
    fn modules_that_need_each_other_are_refused() {
        let kernel = kernel(&[("one.ko", "other"), ("other.ko", "one")]);
        let error = names(kernel.path(), &["one"]).unwrap_err().to_string();
        assert!(error.ends_with("needs itself"), "{error}");
    }
}
