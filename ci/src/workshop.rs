// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the work happens: this clone, the user's cache, and what Ctrl-C must end.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::interrupt::Interrupt;

/// Everything that a command of `cargo x` or a system test works with.
#[derive(Debug)]
pub struct Workshop {
    /// What was fetched or built for all clones.
    pub cache: Cache,
    /// The children of this process.
    pub interrupt: Interrupt,
}

impl Workshop {
    /// Opens it, and takes over Ctrl-C.
    ///
    /// # Errors
    /// When there is no place for a cache, or when it is opened twice.
    pub fn open() -> Result<Self> {
        Ok(Self { cache: Cache::of_this_user()?, interrupt: Interrupt::install()? })
    }

    /// The root of this clone.
    #[must_use]
    pub fn root(&self) -> &'static Path {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        crate_folder.parent().unwrap_or(crate_folder)
    }

    /// Where cargo builds, and where we put what is made of that.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        let named = std::env::var_os("CARGO_TARGET_DIR").and_then(|folder| std::path::absolute(folder).ok());
        named.unwrap_or_else(|| self.root().join("target"))
    }
}
