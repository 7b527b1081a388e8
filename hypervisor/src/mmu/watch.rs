// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory whose last use must come before its release: by causality, which only loom can judge.

/// A piece of memory that is used, released, and used for something else.
#[cfg(not(feature = "loom"))]
#[derive(Debug, Default)]
pub(crate) struct Watch;

/// A piece of memory that is used, released, and used for something else.
#[cfg(feature = "loom")]
#[derive(Debug, Default)]
pub(crate) struct Watch(std::sync::Mutex<loom::cell::UnsafeCell<()>>);

#[cfg(not(feature = "loom"))]
impl Watch {
    /// It is used, as others may use it at the same time.
    pub(crate) fn used(&self) {}

    /// It becomes something else. Panics where a use is not over.
    pub(crate) fn released(&self) {}
}

#[cfg(feature = "loom")]
impl Watch {
    /// It is used, as others may use it at the same time.
    pub(crate) fn used(&self) {
        self.0.lock().unwrap().with(|_| ());
    }

    /// It becomes something else. Panics where a use is not over.
    pub(crate) fn released(&self) {
        self.0.lock().unwrap().with_mut(|_| ());
    }
}
