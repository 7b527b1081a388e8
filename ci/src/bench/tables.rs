// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures as tables, which are Markdown, too.

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets;

use crate::bench::cost;
use crate::bench::figures::Figure;
use crate::bench::figures::Figures;
use crate::bench::figures::Setting;
use crate::bench::footprint;
use crate::bench::operations;
use crate::bench::operations::EMPTY;
use crate::bench::operations::Group;

/// From here on a count is told in millions.
const MILLIONS: u64 = 10_000_000;

/// Satori, and KVM in its place.
const PAIRS: [[Setting; 2]; 3] = [
    [Setting::Satori, Setting::Kvm],
    [Setting::SatoriOnKvm, Setting::KvmOnKvm],
    [Setting::SatoriOnKvmWithoutEvmcs, Setting::KvmOnKvmWithoutEvmcs],
];

/// Above the table of figures of several CPUs.
const SEVERAL_CPUS: &str =
    "Several emulated CPUs: instructions of all of them, those that spin included. Told, not compared:";

/// All tables of what was measured, each below what it is, and what the figures depend on.
#[must_use]
pub fn all(figures: &Figures) -> String {
    let [one_level, with_evmcs, without_evmcs] = PAIRS;
    let parts = [
        ("One level: instructions, and VM exits, of one operation:", pair(figures, one_level, "exits"), ""),
        (
            "Nested, on KVM with Hyper-V's interface: instructions of all levels, and transitions to L0:",
            pair(figures, with_evmcs, "to L0"),
            "",
        ),
        ("The same without the enlightened VMCS:", pair(figures, without_evmcs, "to L0"), ""),
        ("Estimated cycles on a real machine:", estimates(figures), cost::SOURCE),
        (SEVERAL_CPUS, several_cpus(figures), ""),
        (
            "Whole guests: instructions, and how many times those of the bare machine; nested is Satori on KVM:",
            whole_guests(figures),
            "",
        ),
        ("Footprint:", footprint::table(&figures.footprint), ""),
        ("Others:", others(figures), ""),
    ];
    let mut text = String::new();
    for (heading, table, note) in parts.into_iter().filter(|(_, table, _)| table.row_count() > 0) {
        text.push_str(&format!("{heading}\n\n{table}\n\n"));
        if !note.is_empty() {
            text.push_str(&format!("{note}\n\n"));
        }
    }
    text + &versions(figures) + "\n"
}

/// A line that names what the figures depend on.
#[must_use]
pub fn versions(figures: &Figures) -> String {
    let versions: Vec<String> =
        figures.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect();
    format!(
        "Measured with {}.",
        if versions.is_empty() { "unknown versions".into() } else { versions.join("; ") }
    )
}

/// What operations cost with Satori, and with KVM in its place; and how often the processor left a guest for that, which is called
/// `count`.
fn pair(figures: &Figures, settings: [Setting; 2], count: &str) -> Table {
    let mut table = table(["operation", "Satori", count, "KVM", count, "KVM / Satori"]);
    for operation in operations::of_group(Group::Operation) {
        let found = settings.map(|setting| figures.find(operation.name, setting, 1));
        if found.iter().any(Option::is_some) {
            let mut row = vec![operation.words.to_owned()];
            row.extend(
                found
                    .iter()
                    .flat_map(|figure| [instructions(*figure), rate(figure.and_then(cost::round_trips))]),
            );
            row.push(ratio(found[1], found[0]));
            table.add_row(row);
        }
    }
    table
}

/// Of the most telling operations, one level and nested with eVMCS in one table.
pub fn in_short(figures: &Figures) -> Table {
    let mut table = table([
        "operation",
        "Satori",
        "KVM",
        "KVM / Satori",
        "nested: Satori",
        "to L0",
        "nested: KVM",
        "to L0",
        "KVM / Satori",
    ]);
    for operation in operations::of_group(Group::Operation).filter(|operation| operation.is_telling) {
        let of = |setting| figures.find(operation.name, setting, 1);
        let (satori, kvm) = (of(Setting::Satori), of(Setting::Kvm));
        let (nested, peer) = (of(Setting::SatoriOnKvm), of(Setting::KvmOnKvm));
        if [satori, kvm, nested, peer].iter().any(Option::is_some) {
            table.add_row([
                operation.words.to_owned(),
                instructions(satori),
                instructions(kvm),
                ratio(kvm, satori),
                instructions(nested),
                rate(nested.and_then(|figure| figure.transitions)),
                instructions(peer),
                rate(peer.and_then(|figure| figure.transitions)),
                ratio(peer, nested),
            ]);
        }
    }
    table
}

/// A table as Markdown that keeps numbers at the right.
pub fn markdown(table: &Table) -> String {
    let text = table.to_string();
    let is_rule = |line: &str| line.chars().all(|c| c == '|' || c == '-');
    let lines = text.lines().map(|line| {
        let Some((first, numbers)) = line.strip_prefix('|').and_then(|line| line.split_once('|')) else {
            return line.to_owned();
        };
        if is_rule(line) { format!("|{first}|{}", numbers.replace("-|", ":|")) } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What they might cost on a real machine.
fn estimates(figures: &Figures) -> Table {
    let mut table = table([
        "estimated cycles",
        "Satori",
        "KVM",
        "ratio",
        "nested",
        "KVM",
        "ratio",
        "no eVMCS",
        "KVM",
        "ratio",
    ]);
    for operation in operations::of_group(Group::Operation) {
        let cycles = |setting| figures.find(operation.name, setting, 1).and_then(cost::estimated_cycles);
        let pairs = PAIRS.map(|pair| pair.map(cycles));
        if pairs.iter().flatten().any(Option::is_some) {
            let cells = pairs.iter().flat_map(|[ours, theirs]| {
                [
                    ours.map_or_else(String::new, count),
                    theirs.map_or_else(String::new, count),
                    quotient(*theirs, *ours),
                ]
            });
            table.add_row([operation.words.to_owned()].into_iter().chain(cells));
        }
    }
    table
}

/// What was measured with several emulated CPUs.
fn several_cpus(figures: &Figures) -> Table {
    let mut table = table(["operation", "CPUs", "Satori", "KVM"]);
    for operation in operations::OPERATIONS {
        let of_it = |figure: &&Figure| figure.operation == operation.name && figure.cpus > 1;
        let mut cpus: Vec<u32> = figures.figures.iter().filter(of_it).map(|figure| figure.cpus).collect();
        cpus.sort_unstable();
        cpus.dedup();
        for cpus in cpus {
            let of = |setting| instructions(figures.find(operation.name, setting, cpus));
            table.add_row([
                operation.words.to_owned(),
                cpus.to_string(),
                of(Setting::Satori),
                of(Setting::Kvm),
            ]);
        }
    }
    table
}

/// What whole guests cost on the bare machine, with Satori and with KVM.
pub fn whole_guests(figures: &Figures) -> Table {
    const HOSTED: [Setting; 3] = [Setting::Satori, Setting::Kvm, Setting::SatoriOnKvm];
    let mut table =
        table(["guest", "bare", "Satori", "/ bare", "KVM", "/ bare", "nested", "/ bare", "KVM / Satori"]);
    for operation in operations::of_group(Group::WholeGuest) {
        let metal = figures.find(operation.name, Setting::Metal, 1);
        let hosted = HOSTED.map(|setting| figures.find(operation.name, setting, 1));
        if metal.is_some() || hosted.iter().any(Option::is_some) {
            let cells = hosted.iter().flat_map(|figure| [instructions(*figure), ratio(*figure, metal)]);
            let mut row = vec![operation.words.to_owned(), instructions(metal)];
            row.extend(cells);
            row.push(ratio(hosted[1], hosted[0]));
            table.add_row(row);
        }
    }
    table
}

/// What no other table knows.
fn others(figures: &Figures) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["operation", "setting", "CPUs", "instructions", "exits", "to L0"]);
    for column in 2..6 {
        align_right(&mut table, column);
    }
    let is_elsewhere = |figure: &&Figure| match operations::named(&figure.operation) {
        Some(known) => known.group != Group::SeveralCpus || figure.cpus > 1,
        None => figure.operation == EMPTY,
    };
    for figure in figures.figures.iter().filter(|figure| !is_elsewhere(figure)) {
        table.add_row([
            figure.operation.clone(),
            figure.setting.to_string(),
            figure.cpus.to_string(),
            count(figure.instructions),
            rate(figure.exits),
            rate(figure.transitions),
        ]);
    }
    table
}

/// A table with words in its first column, and numbers in the others.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in 1..N {
        align_right(&mut table, column);
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn instructions(figure: Option<&Figure>) -> String {
    figure.map_or_else(String::new, |figure| count(figure.instructions))
}

/// A count as people read it.
pub fn count(count: u64) -> String {
    if count >= MILLIONS { format!("{:.1} M", count as f64 / 1e6) } else { count.to_string() }
}

/// How often something happens for one operation.
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!("{rate:.2}"))
}

fn ratio(dividend: Option<&Figure>, divisor: Option<&Figure>) -> String {
    let instructions = |figure: Option<&Figure>| figure.map(|figure| figure.instructions);
    quotient(instructions(dividend), instructions(divisor))
}

fn quotient(dividend: Option<u64>, divisor: Option<u64>) -> String {
    match (dividend, divisor) {
        (Some(dividend), Some(divisor)) if divisor > 0 => {
            let quotient = dividend as f64 / divisor as f64;
            // Of thousands nobody wants hundredths, and what is not 0 is not to look like it.
            let decimals = if quotient >= 100.0 {
                0
            } else if quotient >= 0.01 {
                2
            } else {
                4
            };
            format!("{quotient:.decimals$}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::made_up;

    /// The cells of the row that starts with `first`, of which there is one.
    fn row(text: &str, first: &str) -> Vec<String> {
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows: Vec<_> =
            text.lines().map(cells).filter(|cells| cells.get(1).is_some_and(|cell| cell == first)).collect();
        assert_eq!(rows.len(), 1, "{first} in\n{text}");
        rows[0][2..rows[0].len() - 1].to_vec()
    }

    #[test]
    fn one_level_stands_beside_kvm_with_its_ratio() {
        let table = pair(&made_up::figures(), PAIRS[0], "exits").to_string();
        assert_eq!(row(&table, "CPUID"), ["200", "1.00", "1250", "1.00", "6.25"]);
        assert_eq!(row(&table, "removal of a page's mapping"), ["1437", "", "", "", ""]);
        assert!(!table.contains("VMCALL"), "what was not measured is left out\n{table}");
    }

    #[test]
    fn nested_stands_beside_kvm_in_its_place() {
        let of = |settings| pair(&made_up::figures(), settings, "to L0").to_string();
        assert_eq!(row(&of(PAIRS[1]), "CPUID"), ["10300", "2.00", "14513", "2.00", "1.41"]);
        assert_eq!(row(&of(PAIRS[2]), "CPUID"), ["15000", "6.00", "17319", "8.00", "1.15"]);
    }

    #[test]
    fn in_short_both_stand_in_one_table_and_only_what_tells_most() {
        let table = markdown(&in_short(&made_up::figures()));
        let expected = ["200", "1250", "6.25", "10300", "2.00", "14513", "2.00", "1.41"];
        assert_eq!(row(&table, "CPUID"), expected);
        assert!(!table.contains("mapping"), "{table}");
        let rule = table.lines().nth(1).unwrap();
        assert!(rule.starts_with("|--") && rule.matches("-:|").count() == expected.len(), "{table}");
    }

    #[test]
    fn whole_guests_are_compared_with_the_bare_machine() {
        let table = whole_guests(&made_up::figures()).to_string();
        let expected = ["100.0 M", "101.0 M", "1.01", "103.0 M", "1.03", "", "", "1.02"];
        assert_eq!(row(&table, "Linux, a workload that computes"), expected);
    }

    #[test]
    fn nothing_that_was_measured_is_left_out() {
        let text = all(&made_up::figures());
        assert_eq!(row(&text, "never_heard_of"), ["satori", "1", "77", "", ""]);
        assert_eq!(row(&text, "removal of a page's mapping, 4 vCPUs"), ["4", "2958", ""]);
        assert!(text.contains("those that spin included. Told, not compared"), "{text}");
        assert!(text.contains("emulator: Bochs 3.0") && text.contains("QEMU: 10.0"), "{text}");
        assert!(text.contains(cost::SOURCE), "{text}");
    }

    #[test]
    fn a_ratio_has_as_many_digits_as_it_is_worth() {
        let ratios = [(1250, 200), (4594, 3), (3, 10_241), (0, 5)].map(|(a, b)| quotient(Some(a), Some(b)));
        assert_eq!(ratios, ["6.25", "1531", "0.0003", "0.0000"]);
        assert_eq!(quotient(Some(1), Some(0)), "");
    }

    #[test]
    fn tables_fit_a_terminal_of_120_columns() {
        let mut figures = made_up::figures();
        for operation in operations::OPERATIONS {
            for setting in Setting::ALL {
                let cost = if operation.group == Group::WholeGuest { 999_900_000 } else { 999_999 };
                figures.figures.push(made_up::figure(
                    operation.name,
                    setting,
                    cost,
                    [Some(12.34), Some(12.34)],
                ));
            }
        }
        for line in all(&figures).lines().filter(|line| line.starts_with('|')) {
            assert!(line.chars().count() <= 120, "{line}");
        }
    }

    #[test]
    fn without_figures_there_is_no_empty_table() {
        assert_eq!(all(&Figures::default()), "Measured with unknown versions.\n");
    }
}
