// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori takes: its image and code, and memory as its boot report tells on machines with one CPU and with four.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::bench::footprint;
use crate::bench::footprint::Footprint;
use crate::bench::measure::Parts;
use crate::bench::measure::lines;
use crate::bundle::Manifest;
use crate::bundle::VirtualMachine;
use crate::image::Bundle;
use crate::image::Image;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::workshop::Workshop;

/// A guest that ends at once, so that there is little to wait for.
const GUEST: &str = "reset";

/// Its memory.
const GUEST_MIB: u32 = 16;

/// The larger of the two machines, and of the VMs.
const SEVERAL: u32 = 4;

/// Until the next line, on this machine's clock.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Measures all of it.
///
/// # Errors
/// When something cannot be built or run, or does not report.
pub fn measure(parts: &Parts<'_>) -> Result<Footprint> {
    let Parts { workshop, satori, guests, .. } = parts;
    let guest = guests.of(GUEST)?;
    // Each VM is the first of its machine: what a VM leaves in the heap, the next one need not take again.
    let boot = |cpus, vcpus| {
        let machine = VirtualMachine { vcpus, ..VirtualMachine::new(GUEST, GUEST_MIB, guest) };
        let bundle = Bundle::Of(Manifest::in_turn(vec![machine]));
        let image = Image { satori: satori.clone(), command_line: "when-done=power-off".into(), bundle };
        lines(workshop, &image, cpus)
    };
    let (alone, one, several) = (boot(1, 1)?, boot(SEVERAL, 1)?, boot(SEVERAL, SEVERAL)?);
    let further = machine_kib(&several)?.saturating_sub(machine_kib(&one)?);
    let mut sizes = footprint::of_image(satori)?;
    sizes.extend(footprint::of_code(workshop.root())?);
    let memory = [
        ("satori_kib_1_cpu", own_kib(&alone)?),
        ("satori_kib_4_cpus", own_kib(&several)?),
        ("vm_kib_1_vcpu", machine_kib(&alone)?),
        ("vm_kib_4_vcpus", machine_kib(&several)?),
        ("vcpu_kib", further.div_ceil(u64::from(SEVERAL - 1))),
    ];
    sizes.extend(memory.map(|(name, kib)| (name.to_owned(), kib)));
    Ok(sizes)
}

/// What a machine with so many CPUs prints from its start to its end.
fn lines(workshop: &Workshop, image: &Image, cpus: u32) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let iso = folder.path().join("satori.iso");
    image.write(workshop, &iso)?;
    let memory_mib = image.machine_memory_mib()?;
    let mut session = Machine { iso, processor: Processor::default(), cpus, memory_mib }.boot(workshop)?;
    lines::to_the_end(&mut session, LONGEST_SILENCE)
}

/// What Satori takes for itself.
fn own_kib(lines: &[String]) -> Result<u64> {
    number_between(lines, " INFO  Satori takes ", " KiB, image")
}

/// What the VM costs beside its memory and the tables that map it.
fn machine_kib(lines: &[String]) -> Result<u64> {
    number_between(lines, " vm reset: started: ", " KiB of Satori's own")
}

/// The number that stands right before `unit` in the line with `start`.
fn number_between(lines: &[String], start: &str, unit: &str) -> Result<u64> {
    let told = lines.iter().find_map(|line| line.split_once(start)?.1.split_once(unit));
    let (before, _) = told.with_context(|| format!("no line{start}…{unit}"))?;
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("no number before{unit}: {before:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
[    0.130393] INFO  Satori takes 1960 KiB, image 1196, heap 192, stacks 480, page tables 56, frame allocator 21, VMXON regions 16; 40 MiB are free
[    0.2] INFO  vm reset: started: 16 MiB, 4 KiB of tables for them so far and 40 at most, 92 KiB of Satori's own
[    0.3] INFO  vm reset: ended: reset";

    fn report() -> Vec<String> {
        REPORT.lines().map(str::to_owned).collect()
    }

    #[test]
    fn sizes_are_read_from_the_boot_report() {
        assert_eq!(own_kib(&report()).unwrap(), 1960);
        assert_eq!(machine_kib(&report()).unwrap(), 92);
    }

    #[test]
    fn a_report_that_does_not_say_is_an_error_that_does() {
        let error = machine_kib(&report()[..1]).unwrap_err().to_string();
        assert!(error.contains("vm reset: started"), "{error}");
        let broken = ["[ 0.1] INFO  Satori takes much KiB, image 1".to_owned()];
        assert!(own_kib(&broken).unwrap_err().to_string().contains("no number before KiB, image"));
    }
}
