// SPDX-License-Identifier: MIT OR Apache-2.0
//! Port I/O.

// UNSAFETY: IN and OUT are assembly. No device of the virtual machine writes memory by itself.
#![expect(unsafe_code)]

use core::arch::asm;

macro_rules! port {
    ($read:ident, $write:ident, $type:ty, $register:tt) => {
        #[doc = concat!("`in ", $register, ", dx`")]
        #[must_use]
        pub fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: see above.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value) };
            value
        }

        #[doc = concat!("`out dx, ", $register, "`")]
        pub fn $write(port: u16, value: $type) {
            // SAFETY: see above.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value) };
        }
    };
}

port!(in_u8, out_u8, u8, "al");
port!(in_u16, out_u16, u16, "ax");
port!(in_u32, out_u32, u32, "eax");
