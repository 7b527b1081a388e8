// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules that make flushing right, each by its name, so that tests can break one at a time and see it found.

/// A rule. Where one is kept the code asks [`Rule::kept`], which outside of tests is always so, and costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {}

impl Rule {
    /// Whether it is kept: always, but in tests that break it.
    #[cfg(not(test))]
    #[inline(always)]
    #[must_use]
    pub const fn kept(self) -> bool {
        true
    }

    /// Whether it is kept: always, but in tests that break it.
    #[cfg(test)]
    #[must_use]
    pub fn kept(self) -> bool {
        BROKEN.get() != Some(self)
    }

    /// Runs `act` while this rule is broken on this thread.
    #[cfg(test)]
    pub fn broken<R>(self, act: impl FnOnce() -> R) -> R {
        struct Mend;
        impl Drop for Mend {
            fn drop(&mut self) {
                BROKEN.set(None);
            }
        }
        BROKEN.set(Some(self));
        let _mend = Mend;
        act()
    }
}

#[cfg(test)]
std::thread_local! {
    static BROKEN: core::cell::Cell<Option<Rule>> = const { core::cell::Cell::new(None) };
}
