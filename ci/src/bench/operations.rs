// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations that are measured, and what they are called for people.

/// What kind of thing is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One thing that a guest does, on one emulated CPU. With Satori it is compared with what was accepted.
    Operation,
    /// The same on several emulated CPUs, of which all instructions are counted: told, not compared.
    SeveralCpus,
    /// A guest from its start, or a workload in it. With Satori it is compared, where the guest's Linux is the same.
    WholeGuest,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name, as the guest tells it.
    pub name: &'static str,
    /// What it is, for people.
    pub words: &'static str,
    /// Where it is shown, and whether it is compared.
    pub group: Group,
    /// Whether the short table of README.md has it.
    pub is_telling: bool,
}

/// Those that are known, in the order in which they are shown.
pub const OPERATIONS: &[Operation] = &[
    Operation::telling("cpuid", "CPUID"),
    Operation::telling("vmcall", "VMCALL that nobody knows"),
    Operation::telling("rdmsr_apic_base", "RDMSR of IA32_APIC_BASE"),
    Operation::telling("wrmsr_tsc_deadline", "WRMSR of IA32_TSC_DEADLINE"),
    Operation::telling("pit_count", "port read, of the PIT"),
    Operation::telling("uart_status", "port read, of the UART"),
    Operation::new("pm_timer", "port read, of ACPI's timer"),
    Operation::telling("mmio_read", "MMIO read, of the I/O APIC"),
    Operation::new("xapic_read", "MMIO read, of the local APIC's ID"),
    Operation::new("xapic_eoi", "end of interrupt, xAPIC"),
    Operation::new("x2apic_eoi", "end of interrupt, x2APIC"),
    Operation::new("cr8_read", "read of CR8"),
    Operation::telling("cr8_write", "write of CR8"),
    Operation::telling("timer_latency", "timer interrupt, while running"),
    Operation::new("timer_latency_halted", "timer interrupt, out of HLT"),
    Operation::telling("ipi_halted", "IPI to a halted vCPU, one way"),
    Operation::telling("fault_4k", "EPT fault on fresh memory, 4 KiB"),
    Operation::new("fault_2m", "EPT fault on fresh memory, 2 MiB"),
    Operation::new("zap_page", "removal of a page's mapping"),
    Operation::new("virtio_notify", "notification of a virtio device"),
    Operation::telling("block_read_4k", "block read of 4 KiB, alone"),
    Operation::new("block_read_4k_of_32", "block read of 4 KiB, one of 32"),
    Operation::of(Group::SeveralCpus, "ipi_running", "IPI to a running vCPU, round trip"),
    Operation::of(Group::SeveralCpus, "zap_page_2_cpus", "removal of a page's mapping, 2 vCPUs"),
    Operation::of(Group::SeveralCpus, "zap_page_4_cpus", "removal of a page's mapping, 4 vCPUs"),
    Operation::of(Group::SeveralCpus, "migration", "a vCPU's way to another CPU"),
    Operation::of(Group::WholeGuest, "to_guest", "until its first instruction"),
    Operation::of(Group::WholeGuest, "linux_boot", "Linux, until its first process"),
    Operation::of(Group::WholeGuest, "linux_cpu", "Linux, a workload that computes"),
    Operation::of(Group::WholeGuest, "linux_memory", "Linux, one that touches memory"),
    Operation::of(Group::WholeGuest, "linux_syscall", "Linux, one that makes system calls"),
    Operation::of(Group::WholeGuest, "linux_fork", "Linux, one that forks"),
];

/// What the loop around an operation costs by itself. It is measured so that nobody has to believe that it is small.
pub const EMPTY: &str = "empty";

/// The operation of this name, if it is known.
#[must_use]
pub fn named(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

impl Operation {
    const fn of(group: Group, name: &'static str, words: &'static str) -> Self {
        Self { name, words, group, is_telling: false }
    }

    const fn new(name: &'static str, words: &'static str) -> Self {
        Self::of(Group::Operation, name, words)
    }

    const fn telling(name: &'static str, words: &'static str) -> Self {
        Self { is_telling: true, ..Self::new(name, words) }
    }
}

/// The operations of this group.
pub fn of_group(group: Group) -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(move |operation| operation.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        for operation in OPERATIONS {
            assert_eq!(named(operation.name), Some(operation));
        }
    }
}
