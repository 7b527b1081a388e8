// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings that Satori is compared with where it is nested: KVM in its place, on the same KVM host.

use anyhow::Result;
use anyhow::ensure;

use crate::bench::figures::Setting;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::kvm;
use crate::bench::measure::kvm::Measurement;
use crate::bench::measure::kvm::Nested;
use crate::bench::measure::kvm::Payload;
use crate::bench::measure::lines;
use crate::bench::measure::programs;
use crate::lab::Launch;
use crate::lab::lay_out_nested_host;

/// What the words of L1's kernel are when its KVM uses enlightened VMCSs.
const USES_EVMCS: &str = "Using Hyper-V Enlightened VMCS";

/// L1's first file system, for both settings.
const FILE_SYSTEM: &str = "l1";

/// Measurements in L1, once with enlightened VMCSs and once without, as far as `filter` wants them.
///
/// # Errors
/// When a part of L1 cannot be had.
pub fn measurements(payload: &Payload<'_>, filter: Filter<'_>, cpus: u32) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for Nested { setting, hyperv, benches } in
        kvm::nested([Setting::KvmOnKvm, Setting::KvmOnKvmWithoutEvmcs], filter, cpus)
    {
        let names = programs::names(&benches);
        let launch = |bench| payload.plain(bench, kvm::WORDS);
        let launches = benches.iter().map(launch).collect::<Result<Vec<Launch>>>()?;
        let workshop = payload.parts.workshop;
        let l1 = lay_out_nested_host(workshop, payload.folder, FILE_SYSTEM, &launches)?;
        measurements.push(Measurement {
            name: kvm::title(setting, cpus, &names),
            launch: Launch { hyperv, time_limit: kvm::TIME_LIMIT, ..l1 },
            follow: Box::new(move |run| {
                let lines = kvm::lines(run)?;
                check_evmcs(&lines, setting)?;
                lines::figures(&lines, &names, setting, cpus)
            }),
        });
    }
    Ok(measurements)
}

/// Figures of KVM would be no peer's if it did not use what it was offered.
fn check_evmcs(lines: &[String], setting: Setting) -> Result<()> {
    let uses = lines.iter().any(|line| line.to_lowercase().contains(&USES_EVMCS.to_lowercase()));
    let expected = setting == Setting::KvmOnKvm;
    ensure!(uses || !expected, "the KVM of L1 does not say that it uses enlightened VMCSs");
    ensure!(expected || !uses, "the KVM of L1 uses enlightened VMCSs although they are not offered");
    Ok(())
}
