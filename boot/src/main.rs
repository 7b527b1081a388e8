// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image: from the loader's door to `hypervisor::start`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod entry;

/// The image runs on the bare machine; for the host there is nothing to start.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("satori: this is a hypervisor: build it for x86_64-unknown-none, or use `cargo x run`");
}

#[cfg(target_os = "none")]
use image::rust_entry;

#[cfg(target_os = "none")]
mod image {
    // UNSAFETY: the linker's symbols and the memory that the loader filled are known only by address.
    #![expect(unsafe_code)]

    use crate::entry;
    use core::panic::PanicInfo;
    use hypervisor::boot_info::ImageLayout;
    use hypervisor::boot_info::PhysicalRange;

    /// What the tables of [`entry`] map.
    const BOOT_MAPPED: u64 = 4 << 30;

    unsafe extern "C" {
        static boot_start: u8;
        static boot_end: u8;
        static text_start: u8;
        static text_end: u8;
        static rodata_end: u8;
        static data_end: u8;
    }

    /// Called once by the assembly, on the first stack, with interrupts off.
    pub extern "sysv64" fn rust_entry(door: u32, start_info: u32) -> ! {
        let boot = match door {
            entry::BY_MULTIBOOT2 => boot::multiboot2::parse(&physical, u64::from(start_info)),
            entry::BY_PVH => boot::pvh::parse(&physical, u64::from(start_info)),
            _ => Err(boot::Error::Unknown("boot protocol")),
        };
        // SAFETY: this is the boot CPU, once, on the boot tables, with interrupts off, as `start` asks.
        unsafe { hypervisor::start(boot.map_err(|error| error.reason()), &layout()) }
    }

    /// Memory as the loader left it.
    fn physical(address: u64, len: usize) -> Option<&'static [u8]> {
        let (image, end) = (layout().physical(), address.checked_add(len as u64)?);
        if address == 0 || end > BOOT_MAPPED || address < image.end && image.start < end {
            return None;
        }
        // SAFETY: the boot tables map this range one to one, and before `start` only the image's own memory is written,
        // which it is not in.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
    }

    fn layout() -> ImageLayout {
        let at = |symbol: *const u8| symbol.addr() as u64;
        ImageLayout {
            boot: PhysicalRange { start: at(&raw const boot_start), end: at(&raw const boot_end) },
            text: at(&raw const text_start)..at(&raw const text_end),
            rodata: at(&raw const text_end)..at(&raw const rodata_end),
            data: at(&raw const rodata_end)..at(&raw const data_end),
        }
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        hypervisor::panicked(info)
    }
}
