// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open sets: numbers of which some have names, where an unknown one is data like any other.

/// Names some values of a newtype, as associated constants and in its `Display`.
macro_rules! open_set {
    (
        $set:ident($bits:ty);
        $($(#[doc = $doc:literal])+ $name:ident = $value:literal, $meaning:literal;)+
    ) => {
        impl $set {
            $($(#[doc = $doc])+ pub const $name: Self = Self($value);)+

            /// Takes any value as it is.
            #[must_use]
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// The value as it goes over the interface.
            #[must_use]
            pub const fn into_bits(self) -> $bits {
                self.0
            }
        }

        impl core::fmt::Display for $set {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let meaning = match *self {
                    $(Self::$name => $meaning,)+
                    Self(_) => "unknown",
                };
                write!(f, "{meaning} ({:#x})", self.0)
            }
        }
    };
}

pub(crate) use open_set;
