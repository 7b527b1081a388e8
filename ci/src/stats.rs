// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x stats`: what Satori's console answered to `stats`, once or again and again, as a table and as a picture.

mod dump;
mod picture;

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets;

use dump::Dump;
use dump::Exits;

/// The table of the last dump in `file`, a captured console; with `svg`, also a picture of all of them there.
///
/// # Errors
/// When the file cannot be read, has no dump or a broken one, or the picture cannot be written.
pub fn stats(file: &Path, svg: Option<&Path>) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let dumps = dump::parse(&String::from_utf8_lossy(&text))
        .with_context(|| format!("cannot make sense of {}", file.display()))?;
    let Some((last, before)) = dumps.split_last() else {
        anyhow::bail!(
            "{} has no dump: type \"stats\" at Satori's prompt, and keep what it prints",
            file.display()
        );
    };
    if let Some(svg) = svg {
        ensure!(dumps.len() > 1, "one dump makes no picture: ask for \"stats\" several times while VMs run");
        fs::write(svg, picture::draw(&dumps)?).with_context(|| format!("cannot write {}", svg.display()))?;
    }
    Ok(format!("{}\n{}", exits(last, before.last()), counters(last)))
}

/// Exits by VM, vCPU and reason; a second's worth is taken from the dump before, or from the start.
fn exits(dump: &Dump, before: Option<&Dump>) -> Table {
    let mut table = table(["VM", "vCPU", "exit", "count", "per second", "ticks each", "share of time"]);
    for column in 3..7 {
        align_right(&mut table, column);
    }
    for Exits { vm, vcpu, reason, count, ticks, share } in &dump.exits {
        let rate = dump.rate(vm, *vcpu, reason, before);
        table.add_row([
            vm.clone(),
            vcpu.to_string(),
            reason.clone(),
            count.to_string(),
            rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
            ticks.to_string(),
            format!("{share:.1} %"),
        ]);
    }
    table
}

/// What the machine counts as a whole, but for what never happened.
fn counters(dump: &Dump) -> Table {
    let mut table = table(["counter", "value"]);
    align_right(&mut table, 1);
    for (name, value) in dump.counters.iter().filter(|(_, value)| *value > 0) {
        table.add_row([name.clone(), value.to_string()]);
    }
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &str = include_str!("stats/capture.txt");

    fn told(text: &str, picture: bool) -> Result<(String, String)> {
        let folder = tempfile::tempdir()?;
        let (file, svg) = (folder.path().join("console.log"), folder.path().join("exits.svg"));
        fs::write(&file, text)?;
        let table = stats(&file, picture.then_some(svg.as_path()))?;
        Ok((table, fs::read_to_string(svg).unwrap_or_default()))
    }

    #[test]
    fn the_last_dump_of_a_real_capture_is_a_table() {
        let (table, _) = told(CAPTURE, false).unwrap();
        let row = |start: &[&str]| {
            let row = table.lines().find(|line| {
                let cells = line.split('|').map(str::trim).filter(|cell| !cell.is_empty());
                cells.take(start.len()).eq(start.iter().copied())
            });
            row.unwrap_or_else(|| panic!("no row {start:?} in\n{table}"))
        };
        assert!(row(&["a", "0", "IO_INSTRUCTION"]).contains('%'));
        row(&["b", "0", "IO_INSTRUCTION"]);
        row(&["invept_single"]);
        assert!(!table.contains("invept_global "), "what never happened is left out\n{table}");
    }

    #[test]
    fn several_dumps_are_a_picture_and_one_is_none() {
        let (_, picture) = told(CAPTURE, true).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("a IO_INSTRUCTION"), "{picture}");
        let one = CAPTURE.rsplit_once("stats ").unwrap().1;
        let error = told(&format!("stats {one}"), true).unwrap_err().to_string();
        assert!(error.starts_with("one dump makes no picture"), "{error}");
    }

    #[test]
    fn a_file_without_a_dump_says_how_one_is_had() {
        let error = told("[    0.1] INFO  Satori\r\n", false).unwrap_err().to_string();
        assert!(error.contains("has no dump: type \"stats\""), "{error}");
    }
}
