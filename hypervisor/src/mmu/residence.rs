// SPDX-License-Identifier: MIT OR Apache-2.0
//! On which CPU a vCPU's own translations are current, and what it owes when it comes to another.
//!
//! A guest changes its page tables without telling us, and flushes (INVLPG, MOV to CR3) the CPU that it is on. What
//! other CPUs keep under its VPID goes stale without notice. So a vCPU that comes to a CPU from anywhere else owes an
//! INVVPID there. That drops no guest-physical translation: the generations of its root look after those.

use crate::cpu::CpuNumber;
use crate::mmu::rule::Rule;

/// The CPU on which a vCPU ran last, while its VMCS has not been released since.
#[derive(Debug)]
pub struct Residence(Option<CpuNumber>);

impl Residence {
    /// Of a vCPU that has not run yet. Its VPID may have been another one's.
    #[must_use]
    pub fn new() -> Self {
        Self(if Rule::FreshVpidIsFlushed.kept() { None } else { Some(CpuNumber::BOOT) })
    }

    /// The vCPU will run on `cpu`. `true`: it owes a single-context INVVPID of its VPID there before it does.
    #[must_use]
    pub fn arrive(&mut self, cpu: CpuNumber) -> bool {
        self.0.replace(cpu) != Some(cpu) && Rule::InvvpidOnArrival.kept()
    }

    /// Its VMCS was released (VMCLEAR): wherever it goes on, even here, it arrives anew.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

impl Default for Residence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invvpid_is_owed_first_of_all_on_every_change_of_cpu_and_after_a_release() {
        let cpu = |number| CpuNumber::new(number).unwrap();
        let mut residence = Residence::new();
        assert!(residence.arrive(cpu(0)), "the VPID may have been used before");
        assert!(!residence.arrive(cpu(0)));
        assert!(residence.arrive(cpu(1)));
        assert!(residence.arrive(cpu(0)), "even where it has been before");
        assert!(!residence.arrive(cpu(0)));
        residence.release();
        assert!(residence.arrive(cpu(0)));
    }
}
