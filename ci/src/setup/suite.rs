// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of another of Debian's suites: apt with a root of its own, so that the system's stays as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;

use crate::progress::Step;
use crate::setup::apt;
use crate::steps;
use crate::workshop::Workshop;

/// Debian's own keys. Where they are not here, apt has them among those that it always trusts.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite, with its package lists.
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    folder: TempDir,
}

impl Suite {
    /// Fetches the package lists of the suite `name` from where this machine has its own of, into a folder in `folder`.
    ///
    /// # Errors
    /// When this is no Debian, or the archives that it is set up with do not have that suite.
    pub fn open(workshop: &Workshop, name: &'static str, folder: &Path) -> Result<Self> {
        apt::require_apt(&format!("packages of {name}"))?;
        let archives = apt::with_fresh_lists(workshop, archives)?;
        let suite = Self { name, folder: tempfile::tempdir_in(folder)? };
        let root = suite.folder.path();
        fs::create_dir_all(root.join("lists/partial"))?;
        fs::create_dir_all(root.join("cache/archives/partial"))?;
        let options =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let sources: String =
            archives.iter().map(|archive| format!("deb {options}{archive} {name} main\n")).collect();
        fs::write(root.join("sources.list"), sources)?;
        let step = Step::start(format!("updating the package lists of {name}"));
        let mut update = Command::new("apt-get");
        // Without it, an archive that cannot be reached is no failure.
        update.args(suite.options()).args(["update", "--error-on=any"]);
        steps::run(&workshop.interrupt, &step, &mut update, &workshop.cache.log(name))
            .with_context(|| format!("the package lists of {name} cannot be had"))?;
        step.done();
        Ok(suite)
    }

    fn options(&self) -> Vec<String> {
        let root = self.folder.path().display();
        // Downloads are not done by a user of their own, who could not reach this folder.
        let options = [
            format!("Dir::Etc::SourceList={root}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={root}/lists"),
            format!("Dir::Cache={root}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ];
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
    }

    /// The names of its packages that start with `prefix`.
    ///
    /// # Errors
    /// When apt cannot read its lists.
    pub fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        let names = steps::output(command.args(self.options()).args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads `package` and unpacks it into `folder`. Nothing gets installed.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn unpack(&self, workshop: &Workshop, package: &str, folder: &Path) -> Result<()> {
        let archive = apt::download(workshop, &self.options(), package, folder)
            .with_context(|| format!("from the suite {}", self.name))?;
        apt::extract(workshop, package, &archive, folder)
    }
}

/// The addresses of Debian's archives that apt has its packages from, without those of security updates and of others.
fn archives() -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(LABEL) $(RELEASE) $(REPO_URI)", "Created-By: Packages"]);
    let archives = archives_of_debian(&steps::output(&mut command)?);
    ensure!(!archives.is_empty(), "apt is set up with no archive of Debian's");
    Ok(archives)
}

fn archives_of_debian(targets: &str) -> Vec<String> {
    let archive = |line: &str| {
        let (release, address) = line.strip_prefix("Debian ")?.split_once(' ')?;
        // Updates and backports may be had from elsewhere.
        (!release.contains('-')).then(|| address.to_owned())
    };
    let mut archives: Vec<String> = targets.lines().filter_map(archive).collect();
    archives.sort();
    archives.dedup();
    archives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_suites_are_looked_for_where_the_release_comes_from() {
        let targets = "Debian bookworm https://one.example/debian/\nDebian bookworm https://one.example/debian/\n\
                       Debian bookworm-updates https://two.example/debian/\n\
                       Debian-Security bookworm-security https://three.example/security/\n\
                       Node Source nodistro https://four.example/\n . nodistro https://five.example/\n";
        assert_eq!(archives_of_debian(targets), ["https://one.example/debian/"]);
    }
}
