// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VMCS field as a typed constant: its width, its access, its encoding and its place in the enlightened page.

mod control;
mod exit_information;
mod guest;
mod host;

pub use control::*;
pub use exit_information::*;
pub use guest::*;
pub use host::*;

use crate::place::Place;
use crate::place::place_of;
use core::fmt;
use core::marker::PhantomData;

/// Access of a field that only the processor writes: VM-exit information.
#[derive(Clone, Copy, Debug)]
pub enum ReadOnly {}

/// Access of a field that we write: control, guest state and host state.
#[derive(Clone, Copy, Debug)]
pub enum ReadWrite {}

/// Whether a field can be written: [`ReadOnly`] or [`ReadWrite`].
pub trait Access: sealed::Sealed {
    #[doc(hidden)]
    const IS_READ_ONLY: bool;
}

impl Access for ReadOnly {
    const IS_READ_ONLY: bool = true;
}

impl Access for ReadWrite {
    const IS_READ_ONLY: bool = false;
}

/// Width of a field: `u16`, `u32`, or `u64`, which also stands for natural width as VMX needs 64-bit mode here.
pub trait Width: sealed::Sealed + Copy {
    /// The width codes of the encoding (SDM Vol. 3D, appendix B, bits 14:13) that this type stands for, as a bit set.
    #[doc(hidden)]
    const WIDTH_CODES: u16;
    #[doc(hidden)]
    fn into_u64(self) -> u64;
    #[doc(hidden)]
    fn from_u64(value: u64) -> Self;
}

macro_rules! width {
    ($type:ty, $codes:literal) => {
        impl sealed::Sealed for $type {}
        impl Width for $type {
            const WIDTH_CODES: u16 = $codes;
            #[inline(always)]
            fn into_u64(self) -> u64 {
                self.into()
            }
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $type
            }
        }
    };
}

width!(u16, 0b0001);
width!(u64, 0b1010);
width!(u32, 0b0100);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ReadOnly {}
    impl Sealed for super::ReadWrite {}
}

/// A VMCS field of width `W` and access `A`.
///
/// Everything about a field is in the constant, so that reading or writing one compiles to the bare access.
pub struct Field<W, A = ReadWrite> {
    name: &'static str,
    encoding: u16,
    place: Option<Place>,
    typed: PhantomData<(W, A)>,
}

impl<W: Width, A: Access> Field<W, A> {
    /// A field by its encoding, whose width and access have to be those of the type.
    pub(crate) const fn new(name: &'static str, encoding: u16) -> Self {
        let width_code = (encoding >> 13) & 0b11;
        assert!(W::WIDTH_CODES & (1 << width_code) != 0, "the encoding says another width");
        let is_exit_information = (encoding >> 10) & 0b11 == 1;
        assert!(A::IS_READ_ONLY == is_exit_information, "the encoding says another access");
        Self { name, encoding, place: place_of(encoding), typed: PhantomData }
    }
}

impl<W, A> Field<W, A> {
    /// The field's name, as its constant is called.
    #[inline(always)]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The field's encoding (SDM Vol. 3D, appendix B).
    #[inline(always)]
    pub const fn encoding(self) -> u16 {
        self.encoding
    }

    /// The field's place in the enlightened VMCS, version 1, if it has one there.
    #[inline(always)]
    pub const fn place(self) -> Option<Place> {
        self.place
    }
}

// Derived, these would ask the same of the markers.
impl<W, A> Clone for Field<W, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, A> Copy for Field<W, A> {}

impl<W, A> fmt::Debug for Field<W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#06x})", self.name, self.encoding)
    }
}

/// Declares one constant per field, and a list of their names and encodings for the tests.
macro_rules! vmcs_fields {
    ($($access:ident $width:ident { $($name:ident = $encoding:literal,)* })*) => {
        $($(
            #[doc = concat!("VMCS field ", stringify!($encoding), ".")]
            pub const $name: $crate::field::Field<$width, $crate::field::$access> =
                $crate::field::Field::new(stringify!($name), $encoding);
        )*)*

        #[cfg(test)]
        pub(super) const ENCODINGS: &[u16] = &[$($($encoding,)*)*];
    };
}
use vmcs_fields;

#[cfg(test)]
mod tests {
    use super::control::ENCODINGS as CONTROL;
    use super::exit_information::ENCODINGS as EXIT_INFORMATION;
    use super::guest::ENCODINGS as GUEST;
    use super::host::ENCODINGS as HOST;
    use super::*;
    use hyperv_bindings::enlightened_vmcs::FIELDS;
    use std::collections::BTreeSet;

    fn encodings() -> Vec<u16> {
        [CONTROL, EXIT_INFORMATION, GUEST, HOST].concat()
    }

    #[test]
    fn no_two_fields_share_an_encoding() {
        let distinct: BTreeSet<_> = encodings().into_iter().collect();
        assert_eq!(distinct.len(), encodings().len());
    }

    #[test]
    fn every_field_of_the_enlightened_vmcs_is_a_constant() {
        let encodings = encodings();
        for field in FIELDS {
            assert!(encodings.contains(&field.encoding), "{:#x}", field.encoding);
        }
    }

    #[test]
    fn each_file_holds_the_fields_of_its_kind() {
        let kind = |encoding: &u16| (encoding >> 10) & 0b11;
        assert!(CONTROL.iter().all(|encoding| kind(encoding) == 0));
        assert!(EXIT_INFORMATION.iter().all(|encoding| kind(encoding) == 1));
        assert!(GUEST.iter().all(|encoding| kind(encoding) == 2));
        assert!(HOST.iter().all(|encoding| kind(encoding) == 3));
    }

    #[test]
    #[should_panic(expected = "another width")]
    fn a_field_of_the_wrong_width_is_refused() {
        Field::<u32>::new("GUEST_RIP", 0x681E);
    }

    #[test]
    #[should_panic(expected = "another access")]
    fn exit_information_that_can_be_written_is_refused() {
        Field::<u32, ReadWrite>::new("VM_EXIT_REASON", 0x4402);
    }
}
