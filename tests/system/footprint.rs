// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori takes for itself and for each VM, as its report says.

use anyhow::Result;
use anyhow::ensure;
use ci::bundle::VirtualMachine;

use crate::Lab;
use crate::guests;
use crate::lines::line_with;
use crate::lines::number_before;
use crate::report::Report;
use crate::test;

/// SPECIFICATION.md, promises 1 to 3.
const SATORI_KIB: u64 = 8 << 10;
const VM_KIB: u64 = 1 << 10;
const TABLES_OF_1_GIB_KIB: u64 = 64;

/// Runs the tests.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for cpus in [1, 8] {
        let name = format!("footprint::satori_and_each_vm_stay_within_what_is_promised_on_{cpus}_cpus");
        test(report, &name, || stays_within(lab, cpus))?;
    }
    test(report, "footprint::tables_of_a_1_gib_vm_stay_within_what_is_promised", || {
        let guest = guests::named(lab, &["reset"])?.remove(0);
        let mut session =
            lab.boot_machines(vec![VirtualMachine { memory_mib: 1024, prefault: true, ..guest }], 1)?;
        let line = line_with(&mut session, " vm reset: started: ")?;
        let tables = number_before(&line, " KiB of tables")?;
        println!("bench: tables_of_1_gib_kib {tables}");
        ensure!(tables <= TABLES_OF_1_GIB_KIB, "they take {tables} KiB, more than {TABLES_OF_1_GIB_KIB}");
        Ok(())
    })
}

fn stays_within(lab: &Lab, cpus: u32) -> Result<()> {
    let mut session = lab.boot_machines(guests::named(lab, &["cpuid", "reset"])?, cpus)?;
    let line = line_with(&mut session, " INFO  Satori takes ")?;
    let satori = number_before(&line, " KiB, image")?;
    ensure!(satori <= SATORI_KIB, "Satori takes {satori} KiB, more than {SATORI_KIB}");
    for vm in ["cpuid", "reset"] {
        let line = line_with(&mut session, &format!(" vm {vm}: started: "))?;
        let own = number_before(&line, " KiB of Satori's own")?;
        ensure!(own <= VM_KIB, "{vm} costs {own} KiB, more than {VM_KIB}");
    }
    Ok(())
}
