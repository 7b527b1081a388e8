// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a kernel cannot be loaded, in words for its owner.

use super::MOST_MODULES;
use crate::mmu::Unbacked;
use alloc::string::String;
use core::fmt;
use core::ops::Range;
use elf::ParseError;

/// A file that cannot be loaded, and why.
#[derive(Debug)]
pub struct LoadError {
    /// The file's name.
    pub file: String,
    /// Why.
    pub reason: Reason,
}

/// Why a file cannot be loaded. Addresses are guest-physical ones, sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is of no kind that we know.
    UnknownFormat,
    /// It starts like an ELF file but does not go on like one.
    Elf(String),
    /// It is an ELF file for this machine (`e_machine`), which is not x86.
    Machine(u16),
    /// The ELF file has so many program headers, more than any kernel.
    ManySegments(usize),
    /// A segment has more bytes in the file than in memory.
    SegmentSize {
        /// In the file.
        file: u64,
        /// In memory.
        memory: u64,
    },
    /// The ELF file has neither a PVH entry note nor a multiboot header.
    NoEntry,
    /// The PVH note's content is of this size and holds no address below 4 GiB.
    BadPvhNote(usize),
    /// The entry point is in no segment.
    EntryOutside(u64),
    /// Its multiboot header has these flags, which a loader must know and we do not.
    MultibootFlags(u32),
    /// Its multiboot header has no addresses, and it is no ELF file.
    NoAddresses,
    /// The addresses in its multiboot header contradict each other.
    MultibootAddresses {
        /// Where the header is to be.
        header: u32,
        /// Where what is loaded starts.
        load: u32,
        /// Where it ends; 0 where the file does.
        load_end: u32,
        /// Where what is cleared behind it ends; 0 is nowhere.
        bss_end: u32,
    },
    /// The file ends at this size, before its header or its kernel ends.
    Truncated(usize),
    /// The bzImage is for an older boot protocol: major version in the high byte, minor in the low one.
    OldProtocol(u16),
    /// The bzImage has no 64-bit entry.
    No64BitEntry,
    /// The bzImage wants to be aligned to this, which is no power of two.
    Alignment(u32),
    /// The bzImage holds more than it says that it needs.
    InitSize {
        /// What it holds.
        holds: usize,
        /// What it says that it needs.
        init_size: u32,
    },
    /// Something lies (partly) outside of the RAM that is for kernels.
    OutsideRam {
        /// What.
        what: &'static str,
        /// Where it should start.
        start: u64,
        /// Its size.
        bytes: u64,
        /// The RAM that is for kernels.
        ram: Range<u64>,
    },
    /// Two things would share memory.
    Overlap {
        /// What.
        what: &'static str,
        /// Where it should start.
        start: u64,
        /// Its size.
        bytes: u64,
        /// What is there already.
        other: &'static str,
    },
    /// The RAM that the kernel leaves has no place for this many bytes.
    NoRoom {
        /// How many.
        bytes: u64,
        /// The last address that the kernel accepts for them.
        last: u64,
    },
    /// The initrd or module has no bytes.
    Empty,
    /// A bzImage is given modules.
    NoModules,
    /// The kernel is given so many modules, more than there is room for.
    ManyModules(usize),
    /// The modules' names and command lines take more room than there is.
    LongModuleStrings {
        /// What they take.
        bytes: usize,
        /// The most that there is.
        longest: usize,
    },
    /// The command line is too long for this kernel.
    LongCommandLine {
        /// Its length.
        bytes: usize,
        /// The longest that the kernel takes.
        longest: usize,
    },
    /// The command line has a NUL in it, which ends it for the kernel.
    NulInCommandLine,
    /// The guest's memory is not where its layout says.
    Unbacked(Unbacked),
}

impl From<Unbacked> for Reason {
    fn from(unbacked: Unbacked) -> Self {
        Self::Unbacked(unbacked)
    }
}

impl From<ParseError> for Reason {
    fn from(error: ParseError) -> Self {
        Self::Elf(alloc::format!("{error}"))
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.escape_debug(), self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat => f.write_str(
                "is neither an ELF kernel nor a bzImage, and has no multiboot header in its first 8192 bytes",
            ),
            Self::Elf(reason) => write!(f, "is a damaged ELF file: {reason}"),
            Self::Machine(machine) => write!(f, "is an ELF file for machine {machine}; give an x86 kernel"),
            Self::ManySegments(headers) => write!(f, "has {headers} program headers, more than any kernel"),
            Self::SegmentSize { file, memory } => {
                write!(f, "is damaged: a segment of {memory:#x} bytes has {file:#x} bytes in the file")
            }
            Self::NoEntry => f.write_str(
                "is an ELF file with neither a PVH entry note nor a multiboot header; give a Linux built with \
                 CONFIG_PVH, or its bzImage instead of its ELF file",
            ),
            Self::BadPvhNote(bytes) => {
                write!(f, "has a PVH entry note of {bytes} bytes that holds no address below 4 GiB")
            }
            Self::EntryOutside(eip) => write!(f, "is damaged: its entry {eip:#x} is in no segment"),
            Self::MultibootFlags(flags) => {
                write!(f, "asks by multiboot flags {flags:#x} for what is not known; give a multiboot 1 kernel")
            }
            Self::NoAddresses => {
                f.write_str("is no ELF file, and its multiboot header has no addresses (flag 16) to load it by")
            }
            Self::MultibootAddresses { header, load, load_end, bss_end } => write!(
                f,
                "is damaged: its multiboot header is for {header:#x}, in what goes from {load:#x} to {load_end:#x} \
                 and is cleared to {bss_end:#x}"
            ),
            Self::Truncated(bytes) => write!(f, "is cut short: {bytes} bytes cannot be all of this kernel"),
            Self::OldProtocol(version) => {
                let (major, minor) = (version >> 8, version & 0xFF);
                write!(f, "is for boot protocol {major}.{minor:02}; give Linux 3.8 or later, which has 2.12")
            }
            Self::No64BitEntry => f.write_str("has no 64-bit entry; give a 64-bit kernel"),
            Self::Alignment(alignment) => write!(f, "is damaged: an alignment of {alignment:#x} is impossible"),
            Self::InitSize { holds, init_size } => {
                write!(f, "is damaged: it says that it needs {init_size:#x} bytes but holds {holds:#x}")
            }
            Self::OutsideRam { what, start, bytes, ram } => write!(
                f,
                "{what} of {bytes:#x} bytes at {start:#x} is not within the RAM for kernels, {:#x} to {:#x}; \
                 give the VM more memory if it needs it",
                ram.start, ram.end
            ),
            Self::Overlap { what, start, bytes, other } => {
                write!(f, "is damaged: {what} of {bytes:#x} bytes at {start:#x} overlaps {other}")
            }
            Self::NoRoom { bytes, last } => write!(
                f,
                "its {bytes:#x} bytes find no room beside the kernel at addresses up to {last:#x}; \
                 give the VM more memory"
            ),
            Self::Empty => f.write_str("is empty; leave it out"),
            Self::NoModules => f.write_str("is a bzImage, which takes an `initrd` but no `modules`"),
            Self::ManyModules(modules) => {
                write!(f, "is given {modules} modules, and takes at most {MOST_MODULES}")
            }
            Self::LongModuleStrings { bytes, longest } => write!(
                f,
                "takes at most {longest} bytes of names and words of modules, and is given {bytes}; shorten them"
            ),
            Self::LongCommandLine { bytes, longest } => write!(
                f,
                "takes a command line of at most {longest} bytes, and it is given {bytes}; shorten `command-line`"
            ),
            Self::NulInCommandLine => f.write_str("is given a command line with a NUL in it; take it out"),
            Self::Unbacked(unbacked) => write!(f, "cannot be written to the guest: {unbacked}"),
        }
    }
}

impl core::error::Error for LoadError {}
