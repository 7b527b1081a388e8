// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's apt, as far as the lab uses it: installing, looking up, and downloading from where it is set up to.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::progress::Step;
use crate::steps;
use crate::workshop::Workshop;

/// Package lists older than this name versions that mirrors may have dropped.
const LISTS_ARE_OLD: Duration = Duration::from_hours(7 * 24);

const LISTS: &str = "/var/lib/apt/lists";

/// Installs `packages`. Uses sudo where we are not root, and says so first.
///
/// # Errors
/// When this is no Debian, we may not install, or apt fails.
pub fn install(workshop: &Workshop, packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    require_apt(&names)?;
    let _lock = workshop.cache.lock(&workshop.interrupt)?;
    if is_root() {
        eprintln!("satori: installing Debian packages: {names}");
    } else {
        ensure!(on_path("sudo"), "Debian packages are missing; as root, run: apt-get install {names}");
        eprintln!("satori: installing Debian packages with sudo: {names}");
        authenticate(workshop)?;
    }
    with_fresh_lists(workshop, || {
        let step = Step::start(format!("installing {names}"));
        let mut command = as_root("apt-get");
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        steps::run_in_foreground(&workshop.interrupt, &step, &mut command, &workshop.cache.log("apt"))?;
        step.done();
        Ok(())
    })
    .with_context(|| format!("Debian packages could not be installed: {names}"))
}

/// Downloads the newest `package` that apt knows and unpacks it into `folder`. Nothing gets installed.
///
/// # Errors
/// When this is no Debian, or the package cannot be had.
pub fn unpack(workshop: &Workshop, package: &str, folder: &Path) -> Result<()> {
    require_apt(package)?;
    let archive = with_fresh_lists(workshop, || download(workshop, &[], package, folder))?;
    extract(workshop, package, &archive, folder)
}

/// Downloads `package` into `folder`, with `options` for apt-get, and gives its file.
///
/// # Errors
/// When it cannot be had.
pub fn download(workshop: &Workshop, options: &[String], package: &str, folder: &Path) -> Result<PathBuf> {
    let step = Step::start(format!("downloading Debian's {package}"));
    let target = tempfile::tempdir_in(folder)?;
    let mut command = Command::new("apt-get");
    command.args(options).args(["download", package]).current_dir(&target);
    steps::run(&workshop.interrupt, &step, &mut command, &workshop.cache.log(package))
        .with_context(|| format!("Debian's package {package} could not be downloaded"))?;
    step.done();
    let downloaded = fs::read_dir(&target)?.next().context("apt-get download left no file")??.path();
    let archive = folder.join("package.deb");
    fs::rename(downloaded, &archive)?;
    Ok(archive)
}

/// Unpacks the file `archive` of `package` into `folder`, and removes it.
///
/// # Errors
/// When it is broken, or the disk is full.
pub fn extract(workshop: &Workshop, package: &str, archive: &Path, folder: &Path) -> Result<()> {
    let step = Step::start(format!("unpacking {package}"));
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(archive).arg(folder);
    steps::run(&workshop.interrupt, &step, &mut command, &workshop.cache.log(package))?;
    step.done();
    Ok(fs::remove_file(archive)?)
}

/// The package that `package`, one without content, stands for: its first dependency that starts with `prefix`.
///
/// # Errors
/// When apt knows no such package, also not after an update.
pub fn resolve(workshop: &Workshop, package: &str, prefix: &str) -> Result<String> {
    require_apt(package)?;
    with_fresh_lists(workshop, || {
        let mut command = Command::new("apt-cache");
        let record = steps::output(command.args(["show", "--no-all-versions", package]))?;
        first_dependency(&record, prefix)
            .map(str::to_owned)
            .with_context(|| format!("{package} depends on no {prefix}*"))
    })
    .with_context(|| format!("apt knows no {package}"))
}

fn first_dependency<'a>(record: &'a str, prefix: &str) -> Option<&'a str> {
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    depends
        .split([',', '|'])
        .filter_map(|item| item.split_whitespace().next())
        .find(|name| name.starts_with(prefix))
}

/// Fetches `path`, a file in Debian's pool, from the first mirror of this machine that has it with this SHA-256.
///
/// # Errors
/// When no mirror has it.
pub fn fetch_from_pool(workshop: &Workshop, path: &str, sha256: &str, to: &Path) -> Result<()> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    require_apt(&name)?;
    let step = Step::start(format!("fetching {name}"));
    for mirror in mirrors()? {
        let mut command = Command::new("/usr/lib/apt/apt-helper");
        command.arg("download-file").arg(format!("{mirror}{path}")).arg(to).arg(format!("SHA256:{sha256}"));
        let fetched = steps::run(&workshop.interrupt, &step, &mut command, &workshop.cache.log("fetch"));
        workshop.interrupt.check()?;
        if fetched.is_ok() {
            step.done();
            return Ok(());
        }
    }
    let log = workshop.cache.log("fetch");
    bail!("no mirror that apt is set up with has {path}; {} says why", log.display())
}

/// The base addresses of the archives that apt is set up with, each with a slash at its end.
fn mirrors() -> Result<Vec<String>> {
    let listed = steps::output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let mut mirrors = Vec::new();
    for base in listed.lines() {
        // A list of mirrors in a file, as cloud images have it. apt-helper does not look into it by itself.
        match base.strip_prefix("mirror+file:") {
            Some(list) => mirrors.extend(mirror_list(&fs::read_to_string(list.trim_end_matches('/'))?)),
            None => mirrors.push(base.to_owned()),
        }
    }
    mirrors.sort();
    mirrors.dedup();
    Ok(mirrors)
}

fn mirror_list(list: &str) -> Vec<String> {
    let bases = list.lines().filter_map(|line| line.split_whitespace().next());
    bases
        .filter(|base| !base.starts_with('#'))
        .map(|base| format!("{}/", base.trim_end_matches('/')))
        .collect()
}

/// Does `work`, updating the package lists before if they are missing or old, or once if it fails.
pub(super) fn with_fresh_lists<T>(workshop: &Workshop, work: impl Fn() -> Result<T>) -> Result<T> {
    if lists_are_fresh() {
        let result = work();
        workshop.interrupt.check()?;
        if result.is_ok() {
            return result;
        }
    }
    update(workshop)?;
    work()
}

fn lists_are_fresh() -> bool {
    let Ok(entries) = fs::read_dir(LISTS) else { return false };
    let newest = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    // Release files keep the archive's own date; the folder's is that of the last update.
    let updated = fs::metadata(LISTS).and_then(|metadata| metadata.modified()).ok();
    newest.is_some() && updated.is_some_and(|at| SystemTime::now() < at + LISTS_ARE_OLD)
}

fn update(workshop: &Workshop) -> Result<()> {
    if !is_root() {
        ensure!(on_path("sudo"), "the package lists are missing or old; as root, run: apt-get update");
        eprintln!("satori: updating the package lists with sudo");
        authenticate(workshop)?;
    }
    let step = Step::start("updating apt's package lists");
    let mut command = as_root("apt-get");
    command.arg("update");
    steps::run_in_foreground(&workshop.interrupt, &step, &mut command, &workshop.cache.log("apt"))?;
    step.done();
    Ok(())
}

pub(super) fn require_apt(wanted: &str) -> Result<()> {
    let there = on_path("apt-get") && on_path("dpkg-deb");
    ensure!(there, "this is no Debian: no apt-get to bring {wanted}; use Debian 12 or 13");
    Ok(())
}

/// Lets sudo ask for its password now, while no spinner is in the way.
fn authenticate(workshop: &Workshop) -> Result<()> {
    let mut command = Command::new("sudo");
    command.arg("--validate").stdin(Stdio::inherit());
    let status = workshop.interrupt.spawn_in_foreground(&mut command)?.wait()?;
    ensure!(status.success(), "sudo refused; have the packages installed by root, or run this as root");
    Ok(())
}

fn as_root(program: &str) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    if !is_root() {
        command.args(["--non-interactive", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the shell would find `program`, for telling whether it is there.
#[must_use]
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn on_path(program: &str) -> bool {
    find_on_path(program).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_concrete_package_is_found_among_the_dependencies() {
        let record =
            "Package: linux-image-amd64\nDepends: x (>= 2) | y, linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(first_dependency(record, "linux-image-"), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(first_dependency("Package: linux-image-amd64\n", "linux-image-"), None);
    }

    #[test]
    fn a_list_of_mirrors_may_carry_priorities_and_comments() {
        let list = "# ours\nhttps://one.example/debian\tpriority:1\n\nhttps://two.example/debian/\n";
        assert_eq!(mirror_list(list), ["https://one.example/debian/", "https://two.example/debian/"]);
    }
}
