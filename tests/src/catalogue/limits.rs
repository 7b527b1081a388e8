// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations may cost, in instructions: the promises of SPECIFICATION.md as tests hold programs to them.

/// What lines of `bench` must not exceed, by name. One tick of the lab's TSC is one instruction.
pub const BENCH_LIMITS: &[(&str, u64)] = &[
    ("cpuid", 200),
    ("vmcall", 250),
    ("rdmsr_apic_base", 300),
    ("wrmsr_tsc_deadline", 450),
    ("pit_count", 350),
    ("uart_status", 400),
    ("pm_timer", 350),
    // An access to memory that Satori has to decode.
    ("mmio_read", 3000),
    // None of these exits.
    ("xapic_read", 50),
    ("xapic_eoi", 50),
    ("cr8_read", 5),
    ("cr8_write", 5),
    ("x2apic_eoi", 50),
    ("timer_latency", 1100),
    ("timer_latency_halted", 1900),
    ("fault_4k", 1500),
    ("fault_2m", 262_144 + 1500),
    ("zap_page", 2000),
    ("virtio_notify", 1000),
    ("block_read_4k", 5000),
    ("block_read_4k_of_32", 1900),
];

/// The same where the processor plays of the local APIC the task priority alone, and tells accesses to the rest.
pub const APIC_ACCESSES_BENCH_LIMITS: &[(&str, u64)] = &[
    ("cpuid", 300),
    ("xapic_read", 3000),
    ("xapic_eoi", 400),
    ("cr8_read", 5),
    ("cr8_write", 5),
    ("block_read_4k", 6000),
];

/// The same where it plays nothing of it.
pub const SOFTWARE_APIC_BENCH_LIMITS: &[(&str, u64)] =
    &[("cpuid", 300), ("xapic_read", 3000), ("xapic_eoi", 3000), ("block_read_4k", 8000)];

/// What lines of `packets` must not exceed.
pub const PACKET_LIMITS: &[(&str, u64)] = &[("packet_1514", 2600), ("packet_60", 2000)];

/// What lines of `bench` and `transitions` must not exceed where KVM with Hyper-V's interface is below Satori: what KVM takes
/// there in Satori's place for a CPUID and the PIT, and half of what it takes for a port that QEMU serves.
pub const NESTED_BENCH_LIMITS: &[(&str, u64)] =
    &[("cpuid", 13_400), ("uart_status", 15_000), ("pit_count", 13_400), ("pm_timer", 15_000)];
