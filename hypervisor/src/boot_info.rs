// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hypervisor is told by whoever starts it, whatever door it came through.

use crate::acpi::RootTable;
use arrayvec::ArrayString;
use arrayvec::ArrayVec;
use core::fmt;
use core::ops::Range;

/// The words that our command line can have.
const WORDS: [&str; 4] = ["when-done=wait", "when-done=power-off", "when-done=halt", "when-done=panic"];
/// What words can begin with that have a value of their own.
const KEYS: [&str; 1] = ["enlightenments="];

/// A stretch of the firmware's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First physical address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Whether it is RAM that nobody holds.
    pub usable: bool,
}

/// A range of physical addresses; `end` is the first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalRange {
    /// First physical address.
    pub start: u64,
    /// The first physical address after the range.
    pub end: u64,
}

/// A file that the loader put into memory beside the image.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The text that came with it; its first word names it.
    pub name: ArrayString<64>,
    /// First physical address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Module {
    /// A module; of a longer text the first 64 bytes are kept.
    #[must_use]
    pub fn new(name: &str, start: u64, size: u64) -> Self {
        Self { name: shortened(name), start, size }
    }
}

/// Where the image lies: the part that ran before paging, and the parts that our own tables map each in its way.
#[derive(Clone, Debug)]
pub struct ImageLayout {
    /// The entry code and the first page tables.
    pub boot: PhysicalRange,
    /// Virtual addresses of the code.
    pub text: Range<u64>,
    /// Virtual addresses of the constants.
    pub rodata: Range<u64>,
    /// Virtual addresses of data and zeroed data.
    pub data: Range<u64>,
}

impl ImageLayout {
    /// What is added to a physical address to get the virtual one at which the image is linked.
    pub const VIRTUAL_BASE: u64 = 0xffff_ffff_8000_0000;

    /// The whole of the image in physical memory.
    #[must_use]
    pub fn physical(&self) -> PhysicalRange {
        PhysicalRange { start: self.boot.start, end: self.data.end - Self::VIRTUAL_BASE }
    }
}

/// Everything that a loader tells.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// The boot protocol, for the log.
    pub protocol: &'static str,
    /// The firmware's memory map, as it came: unsorted, perhaps overlapping.
    pub memory: ArrayVec<MemoryRange, 128>,
    /// The command line, without the image's name.
    pub command_line: ArrayString<1024>,
    /// The files beside the image.
    pub modules: ArrayVec<Module, 8>,
    /// Where ACPI's tables begin, if the loader knows.
    pub acpi_root: Option<RootTable>,
}

impl BootInfo {
    /// Boot information that tells nothing yet.
    #[must_use]
    pub fn new(protocol: &'static str) -> Self {
        Self {
            protocol,
            memory: ArrayVec::new(),
            command_line: ArrayString::new(),
            modules: ArrayVec::new(),
            acpi_root: None,
        }
    }

    /// Adds a range of memory; `false` if there are too many, as one that is left out could be one not to be used.
    #[must_use]
    pub fn add_memory(&mut self, range: MemoryRange) -> bool {
        self.memory.try_push(range).is_ok()
    }

    /// Adds a module; those beyond the bound are left alone.
    pub fn add_module(&mut self, module: Module) {
        let _ = self.modules.try_push(module);
    }

    /// Takes the command line; of a longer one the first 1024 bytes are kept.
    pub fn set_command_line(&mut self, text: &str) {
        self.command_line = shortened(text);
    }

    /// Whether the firmware says that there is usable RAM at `address`.
    #[must_use]
    pub fn is_ram(&self, address: u64) -> bool {
        let holds =
            |range: &MemoryRange| address.checked_sub(range.start).is_some_and(|offset| offset < range.size);
        self.memory.iter().any(|range| range.usable && holds(range))
    }

    /// Words of the command line that mean nothing to us.
    pub fn unknown_words(&self) -> impl Iterator<Item = &str> {
        let has_key = |word: &str| KEYS.iter().any(|key| word.starts_with(key));
        self.command_line.split_whitespace().filter(move |word| !WORDS.contains(word) && !has_key(word))
    }

    /// The value of `key=value` on the command line, the first if there are several.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options(key).next()
    }

    /// The values of all `key=value` on the command line.
    pub fn options(&self, key: &str) -> impl Iterator<Item = &str> {
        self.command_line.split_whitespace().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// Why there is no boot information: part of what the loader left is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartError {
    /// Which part.
    pub what: &'static str,
    /// What is wrong with it, and what to do.
    pub why: &'static str,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the loader's {} {}", self.what, self.why)
    }
}

fn shortened<const N: usize>(text: &str) -> ArrayString<N> {
    let mut kept = ArrayString::new();
    for character in text.chars() {
        if kept.try_push(character).is_err() {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_by_its_whole_key() {
        let mut boot = BootInfo::new("test");
        boot.set_command_line("when-done-not=1 when-done=power-off x");
        assert_eq!(boot.option("when-done"), Some("power-off"));
        assert_eq!(boot.option("when"), None);
    }

    #[test]
    fn a_key_that_comes_again_has_all_its_values() {
        let mut boot = BootInfo::new("test");
        boot.set_command_line("enlightenments=-evmcs quiet enlightenments= enlightenments=-crash,none");
        assert!(boot.options("enlightenments").eq(["-evmcs", "", "-crash,none"]));
    }

    #[test]
    fn words_that_mean_nothing_are_told() {
        let mut boot = BootInfo::new("test");
        boot.set_command_line("when-done=halt when-done=later quiet");
        assert!(boot.unknown_words().eq(["when-done=later", "quiet"]));
    }

    #[test]
    fn what_does_not_fit_is_cut_and_does_not_panic() {
        let mut boot = BootInfo::new("test");
        boot.set_command_line(&"ä".repeat(1000));
        assert_eq!(boot.command_line.len(), 1024);
        let taken = (0..1000).filter(|&start| boot.add_memory(MemoryRange { start, size: 1, usable: true }));
        assert_eq!(taken.count(), 128);
    }
}
