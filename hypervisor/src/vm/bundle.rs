// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot module: one tar archive with `satori.toml` and the files that it names.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use tar_no_std::CorruptDataError;
use tar_no_std::TarArchiveRef;

/// The name of the manifest in the bundle.
pub const MANIFEST: &str = "satori.toml";

/// How many names an error lists, to stay one line.
const MOST_NAMES: usize = 8;

/// A bundle that was found in order, as an index into the archive's bytes.
#[derive(Debug, Default)]
pub struct Bundle<'a> {
    files: BTreeMap<String, &'a [u8]>,
}

/// Why there is no bundle, or no such file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// The module is no tar archive, or a broken one.
    Corrupt(CorruptDataError),
    /// The name of a file is not UTF-8. Files are counted from 1.
    Name {
        /// Which file it is.
        number: usize,
    },
    /// Two files have this name.
    Duplicate(String),
    /// The file that was asked for is not there.
    Missing {
        /// The name that was asked for.
        name: String,
        /// The names of some files that are there, with commas between them.
        present: String,
    },
}

impl<'a> Bundle<'a> {
    /// Reads the index of a tar archive in ustar format (`tar --format=ustar`), the archive being hostile.
    ///
    /// A leading `./` of a name is dropped. What is no regular file is left out. Names that need extensions
    /// of the format (over 100 bytes, or 255 with directories) are refused or cut by the writer.
    pub fn parse(archive: &'a [u8]) -> Result<Self, BundleError> {
        let archive = TarArchiveRef::new(archive).map_err(BundleError::Corrupt)?;
        let mut files = BTreeMap::new();
        for (index, entry) in archive.entries().enumerate() {
            let name = entry.filename();
            let name = name.as_str().map_err(|_| BundleError::Name { number: index + 1 })?;
            let name = name.strip_prefix("./").unwrap_or(name).to_owned();
            if files.contains_key(&name) {
                return Err(BundleError::Duplicate(name));
            }
            files.insert(name, entry.data());
        }
        Ok(Self { files })
    }

    /// One of these files.
    #[cfg(test)]
    pub(super) fn of(files: impl IntoIterator<Item = (String, &'a [u8])>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// The content of the file `name`.
    pub fn file(&self, name: &str) -> Result<&'a [u8], BundleError> {
        self.files.get(name).copied().ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> BundleError {
        let present: Vec<_> = self.files.keys().take(MOST_NAMES).map(String::as_str).collect();
        BundleError::Missing { name: name.to_owned(), present: present.join(", ") }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(reason) => {
                write!(
                    f,
                    "the bundle is no tar archive in ustar format, or is damaged: {reason}; make it anew"
                )
            }
            Self::Name { number } => {
                write!(f, "the bundle's file number {number} has a name that is not UTF-8; rename it")
            }
            Self::Duplicate(name) => {
                write!(f, "{}: is in the bundle twice; leave one out", name.escape_debug())
            }
            Self::Missing { name, present } if present.is_empty() => {
                write!(f, "{}: is not in the bundle, which is empty; add it", name.escape_debug())
            }
            Self::Missing { name, present } => {
                let (name, present) = (name.escape_debug(), present.escape_debug());
                write!(f, "{name}: is not in the bundle; add it, or name one that is there ({present})")
            }
        }
    }
}

impl core::error::Error for BundleError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 512;

    /// Sets the checksum of the header that starts at `at` (POSIX ustar: octal, as if its own field were spaces).
    fn seal(archive: &mut [u8], at: usize) {
        archive[at + 148..at + 156].fill(b' ');
        let sum: u32 = archive[at..at + BLOCK].iter().copied().map(u32::from).sum();
        archive[at + 148..at + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, content) in files {
            let at = archive.len();
            archive.resize(at + BLOCK, 0);
            archive[at..at + name.len()].copy_from_slice(name.as_bytes());
            archive[at + 124..at + 136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            archive[at + 156] = b'0';
            archive[at + 257..at + 265].copy_from_slice(b"ustar\x0000");
            seal(&mut archive, at);
            archive.extend_from_slice(content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        archive
    }

    #[test]
    fn files_are_found_by_name_with_or_without_a_leading_dot() {
        let kernel = [7; 1300];
        let archive = tar(&[("./satori.toml", b"[[vm]]"), ("vmlinux", &kernel), ("empty", b"")]);
        let bundle = Bundle::parse(&archive).unwrap();
        assert_eq!(bundle.file(MANIFEST), Ok(&b"[[vm]]"[..]));
        assert_eq!(bundle.file("vmlinux"), Ok(&kernel[..]));
        assert_eq!(bundle.file("empty"), Ok(&b""[..]));
    }

    #[test]
    fn a_missing_file_is_named_beside_those_that_are_there() {
        let archive = tar(&[("b", b""), ("a", b"")]);
        let error = Bundle::parse(&archive).unwrap().file("vmlinux").unwrap_err();
        assert_eq!(
            error.to_string(),
            "vmlinux: is not in the bundle; add it, or name one that is there (a, b)"
        );
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let archive = tar(&[("a", b"1"), ("./a", b"2")]);
        assert_eq!(Bundle::parse(&archive).unwrap_err(), BundleError::Duplicate("a".into()));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        let mut archive = tar(&[("a", b""), ("b", b"")]);
        archive[BLOCK] = 0xFF;
        seal(&mut archive, BLOCK);
        assert_eq!(Bundle::parse(&archive).unwrap_err(), BundleError::Name { number: 2 });
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b""[..], b"x", &[0; 512], &[1; 2048]] {
            assert!(matches!(Bundle::parse(bytes), Err(BundleError::Corrupt(_))));
        }
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let archive = tar(&[("a", &[1; 2000])]);
        for length in 0..archive.len() {
            assert!(matches!(Bundle::parse(&archive[..length]), Err(BundleError::Corrupt(_))), "{length}");
        }
    }

    proptest! {
        /// Headers are sealed again after the damage, or the checksum would keep most of it from the parser.
        #[test]
        fn a_damaged_archive_never_panics(
            damage in prop::collection::vec((0..6 * BLOCK, any::<u8>()), 1..24),
            sealed in any::<bool>(),
            length in 0..=6 * BLOCK,
        ) {
            let long_name = "d".repeat(100);
            let mut archive = tar(&[(&long_name, &[1; 600]), ("b", b"")]);
            prop_assert_eq!(archive.len(), 6 * BLOCK);
            for (at, value) in damage {
                archive[at] = value;
            }
            if sealed {
                [0, 3 * BLOCK].into_iter().for_each(|at| seal(&mut archive, at));
            }
            archive.truncate(length.next_multiple_of(BLOCK));
            if let Ok(bundle) = Bundle::parse(&archive) {
                for name in bundle.files.keys() {
                    prop_assert!(bundle.file(name).is_ok());
                }
            }
        }

        #[test]
        fn a_damaged_size_or_type_never_panics(size in "[0-9 +x\\-]{0,12}", kind in any::<u8>(), prefix in any::<[u8; 155]>()) {
            let mut archive = tar(&[("a", &[1; 600]), ("b", b"")]);
            archive[124..136].fill(0);
            archive[124..124 + size.len()].copy_from_slice(size.as_bytes());
            archive[156] = kind;
            archive[345..500].copy_from_slice(&prefix);
            seal(&mut archive, 0);
            let _ = Bundle::parse(&archive);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4 * BLOCK)) {
            let _ = Bundle::parse(&bytes);
        }
    }
}
