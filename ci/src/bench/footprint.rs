// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much there is of Satori: its image, what that loads, and its code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use comfy_table::Table;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;

use crate::bench::code;
use crate::bench::code::Code;
use crate::bench::tables;

/// Sizes in KiB, in the order in which they are shown, and what they are for people.
const KNOWN: [(&str, &str); 7] = [
    ("image_file_kib", "image, file"),
    ("image_loaded_kib", "image, what is loaded of it"),
    ("satori_kib_1_cpu", "Satori at rest, 1 CPU"),
    ("satori_kib_4_cpus", "Satori at rest, 4 CPUs"),
    ("vm_kib_1_vcpu", "a VM beside its memory, 1 vCPU"),
    ("vm_kib_4_vcpus", "a VM beside its memory, 4 vCPUs"),
    ("vcpu_kib", "each further vCPU"),
];

/// Sizes by name.
pub type Footprint = BTreeMap<String, u64>;

/// The crates that everything relies on.
const TRUSTED: [&str; 5] = ["boot", "hypervisor", "evmcs", "enlightenments", "hyperv-bindings"];

/// The size of the image's file, with what debuggers want to know, and of what a loader takes of it.
///
/// # Errors
/// When it cannot be read, or is no ELF file.
pub fn of_image(file: &Path) -> Result<Footprint> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let loaded = loaded_bytes(&bytes).with_context(|| format!("{} is no image", file.display()))?;
    let sizes = [("image_file_kib", bytes.len() as u64), ("image_loaded_kib", loaded)];
    Ok(sizes.into_iter().map(|(name, size)| (name.into(), size.div_ceil(1024))).collect())
}

fn loaded_bytes(image: &[u8]) -> Result<u64> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(image)?;
    let segments = elf.segments().context("it has no segments")?;
    Ok(segments.iter().filter(|segment| segment.p_type == PT_LOAD).map(|segment| segment.p_filesz).sum())
}

/// Lines of code of the crates that are trusted, which are those of Satori's image, below this folder: of each and of all.
///
/// # Errors
/// When a file cannot be read, or is no Rust.
pub fn of_code(root: &Path) -> Result<Footprint> {
    let mut footprint = Footprint::new();
    let mut all = Code::default();
    for name in TRUSTED {
        let code = code::of_crate(&root.join(name))?;
        all += code;
        footprint.extend(named(code, &format!("_{}", name.replace('-', "_"))));
    }
    footprint.extend(named(all, ""));
    Ok(footprint)
}

fn named(code: Code, of: &str) -> [(String, u64); 3] {
    [
        (format!("lines{of}"), code.lines),
        (format!("unsafe_lines{of}"), code.unsafe_lines),
        (format!("unsafe_places{of}"), code.unsafe_places),
    ]
}

/// Sizes for people.
pub fn table(footprint: &Footprint) -> Table {
    let mut table = tables::table(["what", "size", ""]);
    let mut sorted: Vec<(&String, &u64)> = footprint.iter().collect();
    sorted.sort_by_key(|(name, _)| KNOWN.iter().position(|(known, _)| known == name).unwrap_or(KNOWN.len()));
    for (name, size) in sorted {
        let (words, unit) = words(name);
        table.add_row([words, size.to_string(), unit.to_owned()]);
    }
    table
}

/// What a name means, and the unit.
fn words(name: &str) -> (String, &'static str) {
    if let Some((_, words)) = KNOWN.into_iter().find(|(known, _)| *known == name) {
        return (words.into(), "KiB");
    }
    for (start, words, unit) in [
        ("lines", "code", "lines"),
        ("unsafe_lines", "code in unsafe", "lines"),
        ("unsafe_places", "unsafe blocks, functions, implementations", ""),
    ] {
        match name.strip_prefix(start) {
            Some("") => return (words.into(), unit),
            Some(of) if of.starts_with('_') => {
                return (format!("{words}, {}", of[1..].replace('_', "-")), unit);
            }
            _ => {}
        }
    }
    (name.into(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with segments of these types and sizes in the file.
    fn image(segments: &[(u32, u64)]) -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01\x01".to_vec();
        image.resize(64, 0);
        image[20] = 1; // e_version
        image[32] = 64; // e_phoff
        image[52] = 64; // e_ehsize
        image[54] = 56; // e_phentsize
        image[56] = u8::try_from(segments.len()).unwrap();
        for (kind, size) in segments {
            let mut header = [0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[8..16].copy_from_slice(&0x1000_u64.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            // In memory it takes more: zeros, which nobody loads.
            header[40..48].copy_from_slice(&(size * 2).to_le_bytes());
            image.extend(header);
        }
        image
    }

    #[test]
    fn what_is_loaded_are_the_segments_that_say_so() {
        const PT_NOTE: u32 = 4;
        let image = image(&[(PT_LOAD, 5000), (PT_NOTE, 70), (PT_LOAD, 300)]);
        assert_eq!(loaded_bytes(&image).unwrap(), 5300);
    }

    #[test]
    fn what_is_loaded_of_a_program_is_a_part_of_its_file() {
        let this_test = std::env::current_exe().unwrap();
        let sizes = of_image(&this_test).unwrap();
        let (loaded, file) = (sizes["image_loaded_kib"], sizes["image_file_kib"]);
        assert!(0 < loaded && loaded < file, "{loaded} of {file}");
    }

    #[test]
    fn a_file_that_is_no_image_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("satori");
        fs::write(&file, "no ELF").unwrap();
        let error = of_image(&file).unwrap_err().to_string();
        assert!(error.ends_with("satori is no image"), "{error}");
    }

    #[test]
    fn the_trusted_base_is_counted_by_crate_and_in_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let code = of_code(root).unwrap();
        let of_crates = |start: &str| -> u64 {
            let start = format!("{start}_");
            code.iter().filter(|(name, _)| name.starts_with(&start)).map(|(_, lines)| lines).sum()
        };
        assert_eq!(of_crates("lines"), code["lines"]);
        assert_eq!(of_crates("unsafe_lines"), code["unsafe_lines"]);
        assert!(code["lines"] > 10_000 && code["unsafe_lines"] < code["lines"] / 10, "{code:?}");
        assert_eq!(code["unsafe_places_hyperv_bindings"], 0);
    }

    #[test]
    fn each_size_has_words() {
        for name in ["vcpu_kib", "lines", "unsafe_lines_boot", "unsafe_places_hyperv_bindings"] {
            assert_ne!(words(name).0, name);
        }
        assert_eq!(
            words("unsafe_lines_hyperv_bindings"),
            ("code in unsafe, hyperv-bindings".into(), "lines")
        );
    }
}
