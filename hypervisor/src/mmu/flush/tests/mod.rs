// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushing on one thread: what each checklist asks, and random histories against TLBs that keep everything.

mod elision;
mod failures;
mod histories;
mod lists;
mod threads;
mod tracking;

use super::model::Machine;
use super::model::Setup;
use super::model::Vcpu;
use crate::cpu::CpuNumber;

/// CPUs of the machines here.
const CPUS: usize = 4;
/// On bare metal; whoever is kicked leaves at once.
const BARE: Setup = Setup { cpus: CPUS, nested: false, by_l0: false, threads: false };
/// L0 flushes for us.
const BY_L0: Setup = Setup { nested: true, by_l0: true, ..BARE };

/// The vCPU enters `cpu`, and whether that took an INVEPT.
fn owes_invept(machine: &Machine, vcpu: &mut Vcpu, cpu: CpuNumber) -> bool {
    let before = machine.count(crate::mmu::Counter::InveptSingle);
    machine.run(vcpu, cpu, &[]);
    machine.count(crate::mmu::Counter::InveptSingle) > before
}
