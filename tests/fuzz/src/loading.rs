// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading a kernel that is hostile: it is refused with a reason, or is in the guest's memory where it may be.

use std::ops::Range;

use hypervisor::mmu::GuestPhysical;
use hypervisor::vm::loader;
use hypervisor::vm::loader::BootSource;
use hypervisor::vm::loader::EntryState;
use hypervisor::vm::loader::File;
use hypervisor::vm::loader::Module;
use hypervisor::vm::loader::Reason;
use hypervisor::vm::memory_layout::HIGH_MEMORY;
use hypervisor::vm::memory_layout::MemoryLayout;

use crate::Ram;

const MEBIBYTES: u32 = 64;

const RSDP: GuestPhysical = GuestPhysical(0xE_0000);

/// Where the loaders' own structures are.
const OWN: Range<u64> = 0x1000..0xE000;

/// Loads `kernel`, with `modules` for it.
///
/// # Panics
/// When what came of it is neither.
pub fn load(kernel: &[u8], modules: &[&[u8]]) {
    let layout = MemoryLayout::new(MEBIBYTES);
    let ram = Ram::new(layout.ram());
    let modules = modules.iter().map(|content| File { name: "module", content });
    let modules = modules.map(|file| Module { file, command_line: "a module" });
    let source = BootSource {
        kernel: File { name: "kernel", content: kernel },
        initrd: Some(File { name: "initrd", content: &[0xdd; 100] }),
        modules: modules.collect(),
        command_line: "quiet",
    };
    let loaded = loader::load(&ram, layout, RSDP, &source);
    let within = |place: &Range<u64>, range: Range<u64>| range.start <= place.start && place.end <= range.end;
    for place in ram.written() {
        let allowed = within(&place, OWN) || within(&place, HIGH_MEMORY..layout.low_ram_end());
        assert!(allowed || place.is_empty(), "{place:x?} was written");
    }
    match loaded {
        Err(error) => {
            // It has judged all ranges itself, and has not to learn from a failing write.
            assert!(!matches!(error.reason, Reason::Unbacked(_)), "{error}");
            assert!(!error.to_string().is_empty());
        }
        Ok(state) => {
            let entry = match state {
                EntryState::Protected32 { eip, .. } => eip.into(),
                EntryState::Long64 { rip, .. } => rip,
            };
            assert!((HIGH_MEMORY..layout.low_ram_end()).contains(&entry), "entered at {entry:#x}");
        }
    }
}
