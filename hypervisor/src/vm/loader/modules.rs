// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files beside the kernel: where each lies, and the strings that go with them.

use super::BootSource;
use super::Kernel;
use super::LoadError;
use super::MODULE_STRINGS;
use super::MODULE_STRINGS_BYTES;
use super::MOST_MODULES;
use super::Module;
use super::Reason;
use super::placement::Placement;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use alloc::borrow::ToOwned;
use alloc::vec::Vec;

/// A module, and the place that was found for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedModule<'a> {
    /// It and the length are below 4 GiB.
    pub(super) address: u32,
    pub(super) content: &'a [u8],
    /// Address of its string; 0: it has none.
    pub(super) string: u32,
}

/// All modules of a kernel.
#[derive(Debug, Default)]
pub(super) struct PlacedModules<'a> {
    pub(super) list: Vec<PlacedModule<'a>>,
    /// What is at [`MODULE_STRINGS`].
    strings: Vec<u8>,
}

impl<'a> PlacedModules<'a> {
    /// Finds a place for the initrd and all modules of `source`, in this order.
    pub(super) fn place(
        source: &BootSource<'a>,
        kernel: &Kernel<'_>,
        placement: &mut Placement,
    ) -> Result<Self, LoadError> {
        let initrd = source.initrd.map(|file| Module { file, command_line: "" });
        let given = source.modules.len() + usize::from(initrd.is_some());
        let refusal = if kernel.is_linux() && !source.modules.is_empty() {
            Some(Reason::NoModules)
        } else {
            (given > MOST_MODULES).then_some(Reason::ManyModules(given))
        };
        if let Some(reason) = refusal {
            return Err(LoadError { file: source.kernel.name.to_owned(), reason });
        }
        let mut placed = Self::default();
        for module in initrd.iter().chain(&source.modules) {
            placed
                .add(module, kernel, placement)
                .map_err(|reason| LoadError { file: module.file.name.to_owned(), reason })?;
        }
        Ok(placed)
    }

    fn add(
        &mut self,
        module: &Module<'a>,
        kernel: &Kernel<'_>,
        placement: &mut Placement,
    ) -> Result<(), Reason> {
        let content = module.file.content;
        if content.is_empty() {
            return Err(Reason::Empty);
        }
        let address = kernel.place_module(placement, content.len() as u64)?;
        let string = self.add_string(&kernel.words_of(module.file.name, module.command_line))?;
        self.list.push(PlacedModule { address, content, string });
        Ok(())
    }

    fn add_string(&mut self, words: &str) -> Result<u32, Reason> {
        if words.is_empty() {
            return Ok(0);
        }
        if words.contains('\0') {
            return Err(Reason::NulInCommandLine);
        }
        let address = MODULE_STRINGS.0 as u32 + self.strings.len() as u32;
        self.strings.extend_from_slice(words.as_bytes());
        self.strings.push(0);
        if self.strings.len() > MODULE_STRINGS_BYTES {
            return Err(Reason::LongModuleStrings {
                bytes: self.strings.len(),
                longest: MODULE_STRINGS_BYTES,
            });
        }
        Ok(address)
    }

    pub(super) fn write(&self, memory: &impl GuestMemory) -> Result<(), Unbacked> {
        memory.write(MODULE_STRINGS, &self.strings)?;
        self.list
            .iter()
            .try_for_each(|module| memory.write(GuestPhysical(module.address.into()), module.content))
    }
}
