// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori reports of its enlightenments: the table at its start, and at a VM's end how often it executed VMREAD and
//! VMWRITE.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::lines::number_after;

/// A row of the table.
pub struct Enlightenment {
    /// Its name on Satori's command line.
    pub switch: &'static str,
    /// Its name in the table.
    title: &'static str,
    /// Whether KVM offers it.
    offered: bool,
    /// Switches of those without which it is not used.
    needs: &'static [&'static str],
}

/// All that can be switched off.
pub const ALL: [Enlightenment; 13] = [
    of("evmcs", "enlightened VMCS").needing(&["assist-page"]),
    of("msr-bitmap", "enlightened MSR bitmap").needing(&["evmcs"]),
    of("direct-flush", "direct virtual flush").needing(&["evmcs", "hypercall"]),
    of("gpa-flush", "guest-mapping flush").not_offered(),
    of("hypercall", "hypercall page"),
    of("vp-index", "VP index"),
    of("assist-page", "VP assist page"),
    of("reference-tsc", "reference TSC page"),
    of("reference-counter", "reference counter"),
    of("frequencies", "frequency MSRs"),
    of("reenlightenment", "re-enlightenment").needing(&["vp-index", "frequencies"]),
    of("invariant-tsc", "TSC invariant control").not_offered(),
    of("crash", "crash MSRs"),
];

const fn of(switch: &'static str, title: &'static str) -> Enlightenment {
    Enlightenment { switch, title, offered: true, needs: &[] }
}

impl Enlightenment {
    const fn needing(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    const fn not_offered(self) -> Self {
        Self { offered: false, ..self }
    }

    /// Whether it is in use where `off` is switched off.
    fn in_use(&self, off: Option<&str>) -> bool {
        let has_what_it_needs =
            || self.needs.iter().all(|need| named(need).is_some_and(|need| need.in_use(off)));
        self.offered && off != Some(self.switch) && has_what_it_needs()
    }
}

fn named(switch: &str) -> Option<&'static Enlightenment> {
    ALL.iter().find(|enlightenment| enlightenment.switch == switch)
}

/// The lines of a run with `off` switched off say so, and all that can be in use is.
///
/// # Errors
/// When they do not.
pub fn are_in_use_but(off: Option<&str>, lines: &[String]) -> Result<()> {
    for enlightenment in &ALL {
        let row = row(enlightenment.title, lines)?;
        let expected = (enlightenment.offered, enlightenment.in_use(off));
        ensure!(
            (row.offered, row.in_use) == expected,
            "expected (offered, in use) {expected:?}: {}",
            row.line
        );
        if enlightenment.offered && off == Some(enlightenment.switch) {
            ensure!(row.line.ends_with("switched off"), "it was switched off: {}", row.line);
        }
    }
    let by_page = named("evmcs").is_some_and(|evmcs| evmcs.in_use(off));
    if by_page { no_vmread_or_vmwrite(lines) } else { Ok(()) }
}

/// In the lines of a run there is no Hyper-V below.
///
/// # Errors
/// When there is.
pub fn are_not_there(lines: &[String]) -> Result<()> {
    ensure!(lines.iter().any(|line| line.contains("without the interface Hv#1")), "Satori does not say so");
    ensure!(row(ALL[0].title, lines).is_err(), "there is a table of enlightenments");
    Ok(())
}

struct Row<'a> {
    line: &'a str,
    offered: bool,
    in_use: bool,
}

/// The row of this title, as in `INFO  enlightened VMCS                     yes      no      why not`.
fn row<'a>(title: &str, lines: &'a [String]) -> Result<Row<'a>> {
    let start = format!("] INFO  {title} ");
    let of_it = |line: &'a String| line.split_once(&start).map(|(_, columns)| (line.as_str(), columns));
    let (line, columns) = lines.iter().find_map(of_it).with_context(|| format!("no row for {title}"))?;
    let mut columns = columns.split_whitespace().map(|column| column == "yes");
    let mut column = || columns.next().with_context(|| format!("too few columns: {line}"));
    Ok(Row { line, offered: column()?, in_use: column()? })
}

fn no_vmread_or_vmwrite(lines: &[String]) -> Result<()> {
    let mut told = lines.iter().filter(|line| line.contains("vmcs_accesses ")).peekable();
    ensure!(told.peek().is_some(), "no line told of VMREAD and VMWRITE");
    for line in told {
        ensure!(number_after(line, "vmcs_accesses ")? == 0, "with an enlightened VMCS: {line}");
    }
    Ok(())
}
