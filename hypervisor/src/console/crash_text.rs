// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of a panic in a page of the image, where L0 reads it when it is told of the panic.
//!
//! It needs neither a lock nor the heap: whoever panics may hold the one and have broken the other.

use crate::boot_info::ImageLayout;
use core::fmt;
use core::fmt::Write;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering;
use enlightenments::consume::crash::CrashText;
use hyperv_bindings::PAGE_SIZE;

/// A page for a text.
#[derive(Debug)]
#[repr(C, align(4096))]
struct Page([AtomicU8; PAGE_SIZE]);

static PAGE: Page = Page([const { AtomicU8::new(0) }; PAGE_SIZE]);

/// Puts `text` there, as much of it as there is room for. By one CPU: the one that reports the panic.
pub fn write(text: fmt::Arguments<'_>) -> CrashText {
    let address = ((&raw const PAGE).addr() as u64).wrapping_sub(ImageLayout::VIRTUAL_BASE);
    CrashText { address, length: PAGE.fill(text) }
}

impl Page {
    /// Bytes of the text that are there.
    fn fill(&self, text: fmt::Arguments<'_>) -> usize {
        let mut cursor = Cursor { page: self, at: 0 };
        // What has no room is left out.
        let _ = cursor.write_fmt(text);
        cursor.at
    }
}

struct Cursor<'a> {
    page: &'a Page,
    at: usize,
}

impl Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.page.0.get(self.at).ok_or(fmt::Error)?.store(byte, Ordering::Relaxed);
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(page: &Page, length: usize) -> String {
        let bytes = page.0[..length].iter().map(|byte| byte.load(Ordering::Relaxed));
        String::from_utf8(bytes.collect()).expect("it is text")
    }

    #[test]
    fn a_text_is_there_from_the_beginning_of_the_page() {
        let text = write(format_args!("PANIC in {} on CPU {}", "Satori", 3));
        assert_eq!(text_of(&PAGE, text.length), "PANIC in Satori on CPU 3");
        assert_eq!(text.address % PAGE_SIZE as u64, 0);
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let page = Page([const { AtomicU8::new(0) }; PAGE_SIZE]);
        let long = "0123456789".repeat(500);
        let length = page.fill(format_args!("{long}{long}"));
        assert_eq!(length, PAGE_SIZE);
        assert_eq!(text_of(&page, length), long[..PAGE_SIZE]);
    }
}
