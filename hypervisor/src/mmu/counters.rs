// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guest memory cost: counted by each CPU for itself, summed up when somebody asks.

use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::cpu::number::Padded;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// INVEPT of one root.
    InveptSingle,
    /// INVEPT of everything: at bring-up only.
    InveptGlobal,
    /// Arrivals of a vCPU on another CPU that needed no INVEPT.
    InveptElided,
    /// INVVPID of one VPID.
    InvvpidSingle,
    /// Hypercalls that flush what L0 derived from a root, failed ones included.
    RemoteFlushHypercalls,
    /// Flushes for which CPUs had to leave their guests.
    RemoteFlushNative,
    /// Flushes that L0 failed to do, so that a native one followed.
    RemoteFlushFailed,
    /// Faults of the second level.
    SecondLevelFaults,
    /// Those among them whose entry permitted the access already.
    SpuriousFaults,
    /// vCPUs that went on on another CPU.
    Migrations,
    /// VMREADs and VMWRITEs: none, where VMCSs are enlightened.
    VmcsAccesses,
}

impl Counter {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::InveptSingle,
        Self::InveptGlobal,
        Self::InveptElided,
        Self::InvvpidSingle,
        Self::RemoteFlushHypercalls,
        Self::RemoteFlushNative,
        Self::RemoteFlushFailed,
        Self::SecondLevelFaults,
        Self::SpuriousFaults,
        Self::Migrations,
        Self::VmcsAccesses,
    ];
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InveptSingle => "invept_single",
            Self::InveptGlobal => "invept_global",
            Self::InveptElided => "invept_elided",
            Self::InvvpidSingle => "invvpid_single",
            Self::RemoteFlushHypercalls => "remote_flush_hypercalls",
            Self::RemoteFlushNative => "remote_flush_native",
            Self::RemoteFlushFailed => "remote_flush_failed",
            Self::SecondLevelFaults => "second_level_faults",
            Self::SpuriousFaults => "spurious_faults",
            Self::Migrations => "migrations",
            Self::VmcsAccesses => "vmcs_accesses",
        })
    }
}

/// All counters of a machine.
#[derive(Debug, Default)]
pub struct Counters(PerCpu<Padded<[AtomicU64; Counter::ALL.len()]>>);

impl Counters {
    /// One more of `counter`. Only `me` itself counts in its own place, with interrupts off; so no locked instruction is needed.
    #[inline]
    pub fn count(&self, me: CpuNumber, counter: Counter) {
        let place = &self.0[me].0[counter as usize];
        place.store(place.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// `counter` stands at `value` on this CPU, as something else that counts it says.
    pub fn stands_at(&self, me: CpuNumber, counter: Counter, value: u64) {
        self.0[me].0[counter as usize].store(value, Ordering::Relaxed);
    }

    /// How often on all CPUs.
    #[must_use]
    pub fn sum(&self, counter: Counter) -> u64 {
        self.0.iter().map(|(_, places)| places.0[counter as usize].load(Ordering::Relaxed)).sum()
    }
}

/// "invept_single 12, invept_global 0, …".
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{counter} {}", self.sum(counter))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_cpu_counts_adds_up() {
        let counters = Counters::default();
        for cpu in CpuNumber::all() {
            counters.count(cpu, Counter::Migrations);
        }
        counters.count(CpuNumber::BOOT, Counter::Migrations);
        assert_eq!(counters.sum(Counter::Migrations), CpuNumber::all().count() as u64 + 1);
        assert_eq!(counters.sum(Counter::InveptGlobal), 0);
    }

    #[test]
    fn every_counter_has_a_place_and_a_name_of_its_own() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
            let namesakes = Counter::ALL.into_iter().filter(|other| other.to_string() == counter.to_string());
            assert_eq!(namesakes.count(), 1);
        }
    }
}
