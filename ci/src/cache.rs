// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was fetched or built once and serves every clone: entries in the user's cache, keyed by their recipe.

use std::env;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;

use crate::interrupt::Interrupt;

/// What the names of entries under construction start with.
const UNFINISHED: &str = "unfinished-";

/// The cache of this user, shared by all clones.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

/// What an entry is made from. An entry whose recipe changed is made anew, beside the old one.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// The entry's name, which its folder's name starts with.
    pub name: &'a str,
    /// All that decides what the entry holds: checksums, options, mends, a version of the code that makes it.
    pub text: &'a str,
}

impl Recipe<'_> {
    fn folder(&self) -> String {
        let key: String =
            Sha256::digest(self.text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{key}", self.name)
    }
}

impl Cache {
    /// `$XDG_CACHE_HOME/satori`, or `~/.cache/satori`.
    ///
    /// # Errors
    /// When neither variable says where that is.
    pub fn of_this_user() -> Result<Self> {
        let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
            Some(folder) if folder.is_absolute() => folder,
            _ => env::home_dir().context("no home directory: set HOME or XDG_CACHE_HOME")?.join(".cache"),
        };
        Ok(Self { root: base.join("satori") })
    }

    /// Where the log called `name` goes.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Whether there is an entry for `recipe`.
    #[must_use]
    pub fn has(&self, recipe: &Recipe<'_>) -> bool {
        self.root.join(recipe.folder()).is_dir()
    }

    /// The folder of the entry that `recipe` describes; `make` fills it if it is not there.
    ///
    /// It is filled under another name and renamed when it is complete: an entry that exists is whole.
    ///
    /// # Errors
    /// What `make` returns, and failures to write to the cache.
    pub fn entry(
        &self,
        interrupt: &Interrupt,
        recipe: &Recipe<'_>,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.root.join(recipe.folder());
        if folder.is_dir() {
            return Ok(folder);
        }
        let _lock = self.lock(interrupt)?;
        if folder.is_dir() {
            return Ok(folder);
        }
        self.sweep()?;
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.root)
            .with_context(|| self.unwritable())?;
        make(unfinished.path())?;
        interrupt.check()?;
        fs::rename(unfinished.path(), &folder).with_context(|| self.unwritable())?;
        Ok(folder)
    }

    /// Keeps other setups of this user away while the returned file lives.
    ///
    /// # Errors
    /// When the cache cannot be written, or the wait was interrupted.
    pub fn lock(&self, interrupt: &Interrupt) -> Result<File> {
        fs::create_dir_all(&self.root).with_context(|| self.unwritable())?;
        let file = File::create(self.root.join("lock")).with_context(|| self.unwritable())?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| self.unwritable()),
            }
            if !told {
                eprintln!("satori: another setup is under way; waiting for it");
                told = true;
            }
            interrupt.check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Removes what setups that were killed left behind. Whoever has the lock is the only one at work.
    fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).with_context(|| self.unwritable())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path()).with_context(|| self.unwritable())?;
            }
        }
        Ok(())
    }

    fn unwritable(&self) -> String {
        format!("cannot write to the cache {}; XDG_CACHE_HOME names another place", self.root.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_in(folder: &Path) -> Cache {
        Cache { root: folder.join("satori") }
    }

    #[test]
    fn an_entry_is_made_once_per_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let interrupt = Interrupt::default();
        let make = |content: &'static str| {
            move |into: &Path| fs::write(into.join("file"), content).map_err(Into::into)
        };
        let old = Recipe { name: "thing", text: "1" };
        let first = cache.entry(&interrupt, &old, make("first")).unwrap();
        let again = cache.entry(&interrupt, &old, make("again")).unwrap();
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "first");
        let changed = cache.entry(&interrupt, &Recipe { name: "thing", text: "2" }, make("changed")).unwrap();
        assert_eq!(fs::read_to_string(changed.join("file")).unwrap(), "changed");
    }

    #[test]
    fn what_a_killed_setup_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let left = cache.root.join("unfinished-abc");
        fs::create_dir_all(left.join("half")).unwrap();
        cache.entry(&Interrupt::default(), &Recipe { name: "thing", text: "1" }, |_| Ok(())).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_failed_entry_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let recipe = Recipe { name: "thing", text: "1" };
        let fail = |into: &Path| {
            fs::write(into.join("half"), "half")?;
            anyhow::bail!("no")
        };
        cache.entry(&Interrupt::default(), &recipe, fail).unwrap_err();
        let left: Vec<_> =
            fs::read_dir(&cache.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }
}
