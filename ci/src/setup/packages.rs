// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Debian packages that are installed: firmware images, the makers of images, QEMU, and a C++ compiler.

use std::path::Path;

use anyhow::Result;

use crate::setup::apt;
use crate::workshop::Workshop;

/// The BIOS that the emulator runs.
pub const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";

/// The BIOS of the emulator's display adapter; the other one does not start without it.
pub const VGA_BIOS: &str = "/usr/share/vgabios/vgabios.bin";

/// GRUB's modules for BIOS machines.
pub const GRUB_MODULES: &str = "/usr/lib/grub/i386-pc";

/// QEMU, as the shell finds it.
pub const QEMU: &str = "qemu-system-x86_64";

/// A package, and what shows that it is there: a file, or a program on the path.
struct Package {
    name: &'static str,
    shown_by: &'static str,
}

const RUNNING: [Package; 6] = [
    Package { name: "bochsbios", shown_by: BIOS },
    Package { name: "vgabios", shown_by: VGA_BIOS },
    Package { name: "grub-pc-bin", shown_by: "/usr/lib/grub/i386-pc/multiboot2.mod" },
    Package { name: "grub-common", shown_by: "grub-mkrescue" },
    Package { name: "xorriso", shown_by: "xorriso" },
    Package { name: "mtools", shown_by: "mformat" },
];

/// Its firmware comes with it, as packages that it depends on.
const EMULATING: [Package; 1] = [Package { name: "qemu-system-x86", shown_by: QEMU }];

const BUILDING: [Package; 2] =
    [Package { name: "g++", shown_by: "g++" }, Package { name: "make", shown_by: "make" }];

/// Installs what making and booting images takes, where it is missing.
///
/// # Errors
/// As [`apt::install`].
pub fn bring(workshop: &Workshop) -> Result<()> {
    bring_missing(workshop, &RUNNING)
}

/// Installs QEMU, where it is missing.
///
/// # Errors
/// As [`apt::install`].
pub fn bring_qemu(workshop: &Workshop) -> Result<()> {
    bring_missing(workshop, &EMULATING)
}

/// Installs what building the emulator takes, where it is missing.
///
/// # Errors
/// As [`apt::install`].
pub fn bring_compiler(workshop: &Workshop) -> Result<()> {
    bring_missing(workshop, &BUILDING)
}

fn bring_missing(workshop: &Workshop, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| !package.is_there()).map(|package| package.name).collect();
    if missing.is_empty() { Ok(()) } else { apt::install(workshop, &missing) }
}

impl Package {
    fn is_there(&self) -> bool {
        if self.shown_by.starts_with('/') {
            Path::new(self.shown_by).exists()
        } else {
            apt::find_on_path(self.shown_by).is_some()
        }
    }
}
