// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of virtual machines: those that the manifest declares run one after the other, each to its end.

use crate::cpu::Cpu;
use crate::cpu::hardware::tsc;
use crate::memory::frames;
use crate::vcpu::run::TimeLimit;
use crate::vcpu::run::Vcpu;
use crate::vm::Offer;
use crate::vm::Vm;
use crate::vm::VmError;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::MANIFEST;
use crate::vm::manifest::Manifest;
use crate::vm::manifest::VmConfig;
use core::fmt::Write;
use log::error;
use log::info;

/// The only vCPU that runs at a time has this VPID; 0 is ours (SDM vol. 3, "Virtual Processor Identifiers (VPIDs)").
const VPID: u16 = 1;
/// Bytes that are not for guests' RAM: tables, what a VM costs, and growth of the heap.
const RESERVE: u64 = 4 << 20;
/// How many exit reasons a report names.
const REASONS_NAMED: usize = 6;

/// Runs every virtual machine of the bundle. One that cannot start does not keep others from it.
pub fn run_all(archive: &[u8], cpu: &mut Cpu, offer: &Offer<'_>) {
    let bundle = match Bundle::parse(archive) {
        Ok(bundle) => bundle,
        Err(reason) => return error!("bundle: {reason}"),
    };
    let manifest = match bundle.file(MANIFEST) {
        Ok(text) => Manifest::parse(text),
        Err(reason) => return error!("bundle: {reason}"),
    };
    for reason in &manifest.errors {
        error!("{reason}");
    }
    for config in &manifest.vms {
        if let Err(reason) = run(config, &bundle, cpu, offer) {
            error!("vm {}: not started: {reason}", config.name);
        }
    }
}

fn run(config: &VmConfig, bundle: &Bundle<'_>, cpu: &mut Cpu, offer: &Offer<'_>) -> Result<(), VmError> {
    let name = &config.name;
    let free = frames::free_bytes();
    let free_mib = free.saturating_sub(RESERVE) >> 20;
    if u64::from(config.memory_mib) > free_mib {
        return Err(VmError::TooLarge { asked_mib: config.memory_mib, free_mib });
    }
    let (vm, entry) = Vm::new(config, bundle, offer)?;
    let mut vcpu = Vcpu::new(cpu, &vm, entry, VPID)?;
    let (memory, tables) = (vm.machine.ram.bytes(), vm.table_bytes());
    let own = (free - frames::free_bytes()).saturating_sub(memory + tables);
    info!(
        "vm {name}: started: {} MiB, {} KiB of tables for them, {} KiB of Satori's own",
        memory >> 20,
        tables >> 10,
        own >> 10
    );
    let limit = config.time_limit_s.map(|seconds| {
        let ticks = u64::from(seconds.get()).saturating_mul(offer.tsc_hz);
        TimeLimit { deadline: tsc().saturating_add(ticks), seconds }
    });
    let end = vcpu.run(cpu, limit);
    info!("vm {name}: ended: {end}");
    info!("vm {name}: {}", exits(&vcpu));
    vcpu.retire(cpu);
    Ok(())
}

/// "1234 exits: IO_INSTRUCTION 1000, HLT 234".
fn exits(vcpu: &Vcpu<'_>) -> alloc::string::String {
    let counts = vcpu.state.exit_counts();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut text = alloc::format!("{total} exits");
    let mut separator = ": ";
    for (reason, count) in counts.iter().take(REASONS_NAMED) {
        // A string takes everything.
        let _ = write!(text, "{separator}{reason:?} {count}");
        separator = ", ";
    }
    text
}
