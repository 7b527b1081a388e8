// SPDX-License-Identifier: MIT OR Apache-2.0
//! An archive (cpio, "newc") that Linux unpacks into its first file system.

use std::io::Write;

use anyhow::Result;
use cpio::newc;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The archive so far.
#[derive(Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Adds empty folders; each comes after the one that it is in.
    ///
    /// # Errors
    /// Never; writing to memory does not fail.
    pub fn folders(&mut self, paths: &[&str]) -> Result<()> {
        paths.iter().try_for_each(|path| self.append(newc::Builder::new(path).mode(FOLDER), &[]))
    }

    /// Adds `dev/console`, which Linux opens for the first process before anything is mounted.
    ///
    /// # Errors
    /// As [`Archive::folders`].
    pub fn console(&mut self) -> Result<()> {
        let console = newc::Builder::new("dev/console").mode(CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
        self.append(console, &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it is larger than the format allows, 4 GiB.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.append(newc::Builder::new(path).mode(FILE), content)
    }

    /// Adds a file that can be executed.
    ///
    /// # Errors
    /// As [`Archive::file`].
    pub fn program(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.append(newc::Builder::new(path).mode(PROGRAM), content)
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// As [`Archive::folders`].
    pub fn finish(mut self) -> Result<Vec<u8>> {
        newc::trailer(&mut self.0)?;
        Ok(self.0)
    }

    fn append(&mut self, entry: newc::Builder, content: &[u8]) -> Result<()> {
        let mut writer = entry.nlink(1).write(&mut self.0, u32::try_from(content.len())?);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_reads_back() {
        let mut archive = Archive::default();
        archive.folders(&["dev"]).unwrap();
        archive.console().unwrap();
        archive.file("text", b"a text").unwrap();
        archive.program("init", b"a program").unwrap();
        let archive = archive.finish().unwrap();
        let mut rest = archive.as_slice();
        let mut files = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let entry = reader.entry();
            let device = (entry.rdev_major(), entry.rdev_minor());
            files.push((entry.name().to_owned(), entry.mode(), device, content));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("dev", FOLDER, (0, 0), ""),
            ("dev/console", CHARACTER_DEVICE, (5, 1), ""),
            ("text", FILE, (0, 0), "a text"),
            ("init", PROGRAM, (0, 0), "a program"),
        ];
        assert_eq!(
            files,
            expected.map(|(name, mode, device, content)| (name.to_owned(), mode, device, content.to_owned()))
        );
    }
}
