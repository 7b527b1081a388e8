// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x bench --accept`: what was measured becomes what later runs are compared with, and what people read.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

use crate::bench::baseline;
use crate::bench::cost;
use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::picture;
use crate::bench::promises;
use crate::bench::tables;

/// Between these comments README.md has what is written here.
const BEGIN: &str = "<!-- Written by cargo x bench --accept. -->";
const END: &str = "<!-- That was cargo x bench. -->";

const README: &str = "README.md";
const SPECIFICATION: &str = "SPECIFICATION.md";
const PICTURE: &str = "docs/bench.svg";

/// Writes all of it into the tree at `root`, or nothing where a part of it cannot be made.
///
/// # Errors
/// When figures are missing that the documents name, or a file cannot be read or written.
pub fn accept(root: &Path, figures: &Figures) -> Result<()> {
    let texts = documents(root, figures)?;
    figures.write(&baseline::file(root))?;
    for (name, text) in texts {
        fs::write(root.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// The documents with these figures in them.
fn documents(root: &Path, figures: &Figures) -> Result<[(&'static str, String); 3]> {
    let read =
        |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    Ok([
        (README, readme(&read(README)?, figures)?),
        (SPECIFICATION, promises::fill(&read(SPECIFICATION)?, figures)?),
        (PICTURE, picture::draw(figures)?),
    ])
}

/// README.md with tables of these figures.
fn readme(text: &str, figures: &Figures) -> Result<String> {
    let no_comments =
        || format!("{README} has not the two comments that the tables go between: {BEGIN} and {END}");
    let (before, rest) = text.split_once(BEGIN).with_context(no_comments)?;
    let (_, after) = rest.split_once(END).with_context(no_comments)?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", section(figures)))
}

fn section(figures: &Figures) -> String {
    let operations = tables::markdown(&tables::in_short(figures));
    let guests = tables::markdown(&tables::whole_guests(figures));
    let (versions, estimate) = (tables::versions(figures), estimate(figures));
    format!(
        "Instructions for one operation; on the right nested, on KVM with Hyper-V's interface, instructions of all levels and \
         transitions to L0:\n\n{operations}\n\n\
         Instructions of whole guests, and how many times those of the bare machine; nested is Satori on KVM:\n\n{guests}\n\n\
         ![The same as bars, Satori beside KVM]({PICTURE})\n\n{estimate}{versions}\n"
    )
}

/// A sentence on what a CPUID might cost on a real machine, and an end of line.
fn estimate(figures: &Figures) -> String {
    let cycles = |setting| figures.find("cpuid", setting, 1).and_then(cost::estimated_cycles);
    let (Some(ours), Some(theirs)) = (cycles(Setting::SatoriOnKvm), cycles(Setting::KvmOnKvm)) else {
        return String::new();
    };
    format!(
        "An estimate of what a nested CPUID would take on a real machine, from published figures: {ours} cycles with Satori, {theirs} \
         with KVM; [docs/benchmarks.md](docs/benchmarks.md) says how that comes about.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::made_up;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ci", "docs"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join(README), format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        let row = "| 1 | at most 300 | ? | `bench cpuid` |";
        let promises = format!("| | promise | measured | held by |\n|---|---|---|---|\n{row}\n");
        fs::write(folder.path().join(SPECIFICATION), promises).unwrap();
        folder
    }

    #[test]
    fn what_is_accepted_is_what_later_runs_are_compared_with_and_what_people_read() {
        let folder = tree();
        accept(folder.path(), &made_up::figures()).unwrap();
        let baseline = baseline::read(folder.path()).unwrap();
        assert!(baseline::compare(&baseline, &made_up::figures(), false).is_good());
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read(README).starts_with("before\n") && read(README).ends_with("\nafter\n"));
        assert!(read(README).contains("CPUID") && !read(README).contains("old"), "{}", read(README));
        assert!(read(README).contains("6150 cycles"), "{}", read(README));
        assert!(read(SPECIFICATION).contains("| 200 |"));
        assert!(read(PICTURE).starts_with("<svg"));
        let once = read(README);
        accept(folder.path(), &made_up::figures()).unwrap();
        assert_eq!(once, read(README));
    }

    #[test]
    fn where_a_part_cannot_be_made_nothing_is_written() {
        let folder = tree();
        fs::write(folder.path().join(README), "no comments\n").unwrap();
        let error = accept(folder.path(), &made_up::figures()).unwrap_err().to_string();
        assert!(error.contains("two comments"), "{error}");
        assert!(!baseline::file(folder.path()).exists());
    }

    #[test]
    fn documents_have_the_figures_of_the_baseline() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        if !baseline::file(root).exists() {
            return;
        }
        let accepted = baseline::read(root).unwrap();
        for (name, text) in documents(root, &accepted).unwrap() {
            let differs = format!("{name} is not what cargo x bench --accept wrote");
            assert!(fs::read_to_string(root.join(name)).unwrap() == text, "{differs}");
        }
    }
}
