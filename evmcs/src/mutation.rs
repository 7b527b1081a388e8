// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must not be forgotten about an enlightened VMCS, each by its name, so that tests forget one at a time and see it found.
//!
//! Without the feature `mutations`, and outside of tests, nothing is ever forgotten, and all of this costs nothing.

use hyperv_bindings::enlightened_vmcs::CleanFields;

/// Something to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A write clears the clean bits of its field's group: of the field with this encoding, `kept` are not.
    #[cfg(all(test, feature = "mutations"))]
    Write { encoding: u16, kept: CleanFields },
    /// A change of the MSR bitmap clears its clean bit.
    MsrBitmap,
    /// A new VMCS starts with no clean bit, whatever was in its page.
    Mapping,
    /// A released VMCS has no clean bit.
    ReleaseClears,
    /// A released VMCS is one that L0 has let go of.
    ReleaseVmclears,
    /// The VMCS that becomes current is the one that L0 takes.
    Select,
}

impl Mutation {
    /// Whether it is forgotten: never, but in tests that have it so.
    #[cfg(not(all(test, feature = "mutations")))]
    #[inline(always)]
    pub(crate) const fn is_made(self) -> bool {
        false
    }

    /// Whether it is forgotten: never, but in tests that have it so.
    #[cfg(all(test, feature = "mutations"))]
    pub(crate) fn is_made(self) -> bool {
        MADE.get() == Some(self)
    }

    /// Runs `act` while this is forgotten on this thread.
    #[cfg(all(test, feature = "mutations"))]
    pub(crate) fn during<R>(self, act: impl FnOnce() -> R) -> R {
        struct Remember;
        impl Drop for Remember {
            fn drop(&mut self) {
                MADE.set(None);
            }
        }
        MADE.set(Some(self));
        let _remember = Remember;
        act()
    }
}

/// The clean bits that a write to the field with this encoding clears, of the `group` that it should.
#[cfg(not(all(test, feature = "mutations")))]
#[inline(always)]
pub(crate) const fn cleared_by_write(_encoding: u16, group: CleanFields) -> CleanFields {
    group
}

/// The clean bits that a write to the field with this encoding clears, of the `group` that it should.
#[cfg(all(test, feature = "mutations"))]
pub(crate) fn cleared_by_write(written: u16, group: CleanFields) -> CleanFields {
    match MADE.get() {
        Some(Mutation::Write { encoding, kept }) if encoding == written => {
            CleanFields::from_bits(group.into_bits() & !kept.into_bits())
        }
        _ => group,
    }
}

#[cfg(all(test, feature = "mutations"))]
std::thread_local! {
    static MADE: core::cell::Cell<Option<Mutation>> = const { core::cell::Cell::new(None) };
}
