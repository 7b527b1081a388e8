// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x check`: reads a manifest as Satori will, and says what is wrong with it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use hypervisor::vm::manifest::Manifest;

/// A line for each mistake in the manifest `file`: what Satori's own parser finds, and files that are not beside it. Empty if all
/// is well.
///
/// # Errors
/// When it cannot be read.
pub fn check(file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let manifest = Manifest::parse(&text);
    let mut mistakes: Vec<_> =
        manifest.errors.iter().map(|error| (error.line, error.reason().to_string())).collect();
    for vm in &manifest.vms {
        let missing = vm.files().filter(|name| !folder.join(name).is_file());
        mistakes.extend(missing.map(|name| {
            (
                vm.line,
                format!("VM {:?}: {name}: is no file beside the manifest; add it, or name another", vm.name),
            )
        }));
    }
    mistakes.sort_by_key(|&(line, _)| line);
    Ok(mistakes.iter().fold(String::new(), |mut told, (line, reason)| {
        // A string takes everything.
        let _ = writeln!(told, "{}:{line}: {reason}", file.display());
        told
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[vm]]\nname = 'a'\nmemory-mib = 16\nkernel = 'k'\n";

    fn told(manifest: &str, files: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| fs::write(folder.path().join(file), "").unwrap());
        let path = folder.path().join("satori.toml");
        fs::write(&path, manifest).unwrap();
        check(&path).unwrap().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_manifest_whose_files_are_there_is_right() {
        assert_eq!(told(GOOD, &["k"]), "");
    }

    #[test]
    fn each_mistake_has_a_line_with_file_and_line_in_their_order() {
        let text = format!(
            "{GOOD}initrd = 'i'\n[[vm]]\nname = 'b'\nkernal = 'k'\n[[vm]]\nname = 'c'\nkernel = 'k'\nmemory-mib = 16\n\
             disks = [{{ file = 'd' }}, {{ size-mib = 1 }}]\nmodules = ['m words']\n"
        );
        let told = told(&text, &["k"]);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert_eq!(
            lines[0],
            "satori.toml:1: VM \"a\": i: is no file beside the manifest; add it, or name another"
        );
        assert!(
            lines[1].starts_with("satori.toml:8: VM \"b\": unknown field `kernal`, expected one of"),
            "{told}"
        );
        assert!(lines[2].starts_with("satori.toml:9: VM \"c\": m: is no file"), "{told}");
        assert!(lines[3].starts_with("satori.toml:9: VM \"c\": d: is no file"), "{told}");
    }

    #[test]
    fn a_manifest_that_is_not_there_is_an_error() {
        let error = check(Path::new("/nowhere/satori.toml")).unwrap_err();
        assert!(error.to_string().contains("cannot read /nowhere/satori.toml"));
    }
}
