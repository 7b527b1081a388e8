// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compile-time proof that a structure has the published size, and each field its published offset.

/// Refuses to compile unless the structure has exactly this size, these fields and these offsets.
///
/// The pattern names every field, so a field that is added without its offset does not compile either.
macro_rules! assert_layout {
    ($structure:ident, $size:literal, { $($field:ident: $offset:literal),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size);
            $(assert!(core::mem::offset_of!($structure, $field) == $offset);)+
            const fn _every_field_is_listed(structure: &$structure) {
                let $structure { $($field: _),+ } = structure;
            }
        };
    };
}

pub(crate) use assert_layout;
