// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short lock of the protocols that are model-checked: it spins, or is loom's while it explores them.

#[cfg(feature = "loom")]
pub use explored::Mutex;
#[cfg(not(feature = "loom"))]
pub use spin::Mutex;

#[cfg(feature = "loom")]
mod explored {
    use loom::sync::MutexGuard;

    /// loom's mutex, locked as the spinning one is.
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// Unlocked, around `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Locks it.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panicked is over")
        }
    }
}
