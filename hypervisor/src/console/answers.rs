// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori answers an operator: text for people whose lines are also regular enough for a program.

use crate::mmu::Counters;
use crate::vcpu::exit_counts::ExitCounts;
use crate::vm::Vm;
use crate::vm::course::Entry;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::fmt::Write;

/// All VMs, a line each.
#[must_use]
pub fn list<'a>(vms: impl Iterator<Item = Entry<'a>>) -> String {
    let mut text = String::new();
    for Entry { config, phase, last, restarts, .. } in vms {
        let (name, vcpus, mib) = (&config.name, config.vcpus, config.memory_mib);
        let phase = phase.to_string();
        add(
            &mut text,
            format_args!("{name:<16} {phase:<10} vcpus {vcpus} memory_mib {mib} restarts {restarts}"),
        );
        if let Some(end) = last {
            add(&mut text, format_args!(" last: {end}"));
        }
        text.push('\n');
    }
    text
}

/// What there is of physical memory, and who has it.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes that nobody has, and none is promised.
    pub free: u64,
    /// Bytes of Satori's heap that are in use.
    pub heap: u64,
}

/// Who has how much memory.
#[must_use]
pub fn memory<'a>(memory: Memory, vms: impl Iterator<Item = Entry<'a>>) -> String {
    let mut text = format!("memory {memory}\n");
    vms.for_each(|entry| add_vm(&mut text, &entry));
    text
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "free_kib {} heap_bytes {}", self.free >> 10, self.heap)
    }
}

/// What happened how often, up to `micros` after the start: in all of `vms`, and in the machine as a whole.
#[must_use]
pub fn stats<'a>(
    micros: u64,
    memory: Memory,
    counters: &Counters,
    vms: impl Iterator<Item = Entry<'a>>,
) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let flushes = format!("{counters}").replace(',', "");
    let mut text = format!("stats {seconds}.{micros:06}\nmemory {memory}\nflushes {flushes}\n");
    for entry in vms {
        add_vm(&mut text, &entry);
        if let Some(vm) = entry.vm {
            add_exits(&mut text, vm);
        }
    }
    text
}

fn add_vm(text: &mut String, entry: &Entry<'_>) {
    let Entry { config, phase, restarts, vm, .. } = entry;
    add(
        text,
        format_args!("vm {} {phase} vcpus {} memory_mib {}", config.name, config.vcpus, config.memory_mib),
    );
    if let Some(vm) = vm {
        let memory = &vm.machine.memory;
        let (backed, tables) = (memory.backed_bytes() >> 10, memory.held_bytes() >> 10);
        add(text, format_args!(" backed_kib {backed} tables_kib {tables}"));
    }
    add(text, format_args!(" restarts {restarts}\n"));
}

fn add_exits(text: &mut String, vm: &Vm) {
    for (vcpu, post) in vm.machine.posts.iter().enumerate() {
        add_exits_of(text, &vm.name, vcpu, &post.exits.0);
    }
}

fn add_exits_of(text: &mut String, name: &str, vcpu: usize, counts: &ExitCounts) {
    let mut exits: Vec<_> = counts.iter().collect();
    exits.sort_by_key(|&(_, exits)| Reverse(exits.count));
    let total: u64 = exits.iter().map(|(_, exits)| exits.count).sum();
    let all_ticks: u128 = exits.iter().map(|(_, exits)| u128::from(exits.estimated_ticks())).sum();
    add(text, format_args!("vcpu {name} {vcpu} exits {total}\n"));
    for (reason, exits) in exits {
        let reason = format!("{reason:?}").replace(' ', "_");
        let ticks = exits.ticks.checked_div(exits.timed).unwrap_or(0);
        let per_mille = u128::from(exits.estimated_ticks()) * 1000;
        let per_mille = per_mille.checked_div(all_ticks).unwrap_or(0);
        let (percent, tenth) = (per_mille / 10, per_mille % 10);
        let count = exits.count;
        add(
            text,
            format_args!(
                "exit {name} {vcpu} {reason:<24} count {count:<10} ticks {ticks:<8} share {percent}.{tenth}\n"
            ),
        );
    }
}

fn add(text: &mut String, more: fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::end::End;
    use crate::vm::course::Phase;
    use crate::vm::manifest::Manifest;
    use crate::vm::manifest::VmConfig;
    use crate::vmx::exit::ExitReason;

    fn configs() -> Vec<VmConfig> {
        let vm = |name| format!("[[vm]]\nname = \"{name}\"\nkernel = \"k\"\nmemory-mib = 64\n");
        Manifest::parse((vm("a") + &vm("linux-2")).as_bytes()).vms
    }

    fn entry(config: &VmConfig, phase: Phase, last: Option<End>) -> Entry<'_> {
        Entry { config, phase, last, restarts: 3, vm: None }
    }

    #[test]
    fn every_vm_has_its_line() {
        let configs = configs();
        let vms = [
            entry(&configs[0], Phase::Running, None),
            entry(&configs[1], Phase::Stopped, Some(End::PoweredOff)),
        ];
        assert_eq!(
            list(vms.into_iter()),
            "a                running    vcpus 1 memory_mib 64 restarts 3\n\
             linux-2          stopped    vcpus 1 memory_mib 64 restarts 3 last: powered off\n"
        );
    }

    #[test]
    fn a_dump_has_a_time_the_flushes_and_a_line_for_each_vm() {
        let configs = configs();
        let memory = Memory { free: 5 << 20, heap: 77 };
        let vms = [entry(&configs[0], Phase::Paused, None)].into_iter();
        let text = stats(12_000_345, memory, &Counters::default(), vms);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("stats 12.000345"));
        assert_eq!(lines.next(), Some("memory free_kib 5120 heap_bytes 77"));
        assert!(
            lines.next().is_some_and(|line| line.starts_with("flushes invept_single 0 invept_global 0 "))
        );
        assert_eq!(lines.next(), Some("vm a paused vcpus 1 memory_mib 64 restarts 3"));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn exits_are_told_by_count_with_their_share_of_time() {
        let counts = ExitCounts::default();
        for (reason, count, ticks) in [(ExitReason::CPUID, 300, 100), (ExitReason::from_field(78), 100, 900)]
        {
            for _ in 0..count {
                if counts.count(reason) {
                    counts.note_time(reason, ticks);
                }
            }
        }
        let mut text = String::new();
        add_exits_of(&mut text, "a", 1, &counts);
        assert_eq!(
            text,
            "vcpu a 1 exits 400\n\
             exit a 1 CPUID                    count 300        ticks 100      share 25.0\n\
             exit a 1 exit_reason_78           count 100        ticks 900      share 75.0\n"
        );
    }
}
