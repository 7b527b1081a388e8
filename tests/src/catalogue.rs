// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every guest program: what it promises, what it is run with, and how it must end.
//!
//! Plain data, for the host's system test to go through.

/// One guest program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The name of its file in `guests/` and of the executable.
    pub name: &'static str,
    /// What holds if it ends as it must.
    pub promises: &'static str,
    /// RAM of its virtual machine, in MiB.
    pub memory_mib: u32,
    /// The time limit that its manifest gives, in seconds.
    pub time_limit_s: u32,
    /// How it must end.
    pub end: End,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// The machines that it is run on, by their number of physical CPUs.
    pub cpus: &'static [u32],
    /// Whether its virtual machine has the exerciser.
    pub exerciser: bool,
    /// Whether its memory is there before it starts.
    pub prefault: bool,
    /// Whether it has a disk of 1 MiB, all zeros.
    pub disk: bool,
    /// Whether it sees Hyper-V's interface.
    pub hyperv: bool,
    /// Its command line, where it has no other words there.
    pub command_line: Option<&'static str>,
    /// Its modules: files of this crate, and the words that go with them.
    pub modules: &'static [(&'static str, &'static str)],
}

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The line `verdict: pass`, then power off.
    Pass,
    /// As [`End::Pass`], and what lies between the lines `output: begin` and `output: end` is [`console_output`].
    PassWithOutput,
    /// The virtual machine is ended with a report: memory was touched where neither RAM nor a device is.
    UnbackedMemory {
        /// The guest-physical address that the report must name.
        address: u64,
    },
    /// The virtual machine is ended with a report: triple fault.
    TripleFault,
    /// The virtual machine is ended with a report: it used up its time.
    TimeLimit,
    /// The virtual machine is ended with a report: halted, and nothing can ever wake it.
    HaltedForEver,
    /// The virtual machine ends since its guest asked for a reset.
    Reset,
    /// The virtual machine, which has isa-debug-exit, ends by that with this status.
    DebugExit {
        /// The status of QEMU's process.
        status: u8,
    },
}

/// How often the long line of `console_output` has all characters, with all effort.
pub const CONSOLE_OUTPUT: u64 = 100;

/// What the program `console_output` prints between its two marks: each printable character, by itself and in a line
/// longer than any buffer on its way is likely to be, of so many times all of them. Lines end with a line feed.
pub fn console_output(times: u64) -> impl Iterator<Item = u8> {
    let printable = || 0x20..=0x7e_u8;
    let long_line = (0..times).flat_map(move |_| printable());
    printable().chain([b'\n']).chain(long_line).chain([b'\n'])
}

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

/// How many CPUIDs `transitions` executes between its marks, and then how many port reads.
pub const TRANSITIONS: [u64; 2] = [10_000, 40_000];

/// What lines of `bench` and `transitions` must not exceed where KVM with Hyper-V's interface is below Satori: what KVM takes
/// there in Satori's place for a CPUID, and half of what it takes for a port that QEMU serves.
pub const NESTED_BENCH_LIMITS: &[(&str, u64)] =
    &[("cpuid", 14_512), ("uart_status", 15_499), ("pit_count", 15_499), ("pm_timer", 15_499)];

/// What `debug_exit` writes.
pub const DEBUG_EXIT_VALUE: u8 = 0x2a;
/// The words of `multiboot`.
pub const MULTIBOOT_WORDS: &str = "one two=three";

/// The modules of `multiboot`.
pub const MULTIBOOT_MODULES: &[(&str, &str)] = &[("guest.ld", "a script"), ("build.rs", "")];

/// What `multiboot` writes to isa-debug-exit in the end.
pub const MULTIBOOT_EXIT_VALUE: u8 = 0x15;

/// Where `unbacked_memory` reads: above any RAM that a program is given, below the devices.
pub const UNBACKED: u64 = 0xb000_0000;

/// RAM of a program's virtual machine that need not have more, in MiB.
pub const MEMORY_MIB: u32 = 16;

/// Virtual CPUs of the programs that have more than one.
pub const VCPUS: u32 = 4;

/// They run on as many physical CPUs, on half of that, and on one.
const SHARED_MORE_AND_MORE: &[u32] = &[VCPUS, VCPUS / 2, 1];

/// All programs.
pub const PROGRAMS: &[Program] = &[
    Program::passes(
        "cpuid",
        "CPUID names Satori, hides VMX, offers what the virtual machine has, and follows the state of the virtual CPU",
    ),
    Program::passes(
        "msr_allow",
        "the MSRs that a guest may use keep their values across exits, and the CPU acts by them",
    ),
    Program::passes(
        "msr_deny",
        "unknown MSRs, and reserved bits of known ones, raise #GP(0) and change nothing",
    ),
    Program::passes(
        "port_io",
        "IN, OUT, INS and OUTS do what they are defined to do, on absent ports and on the UART",
    ),
    Program::passes(
        "event_injection",
        "interrupts are held, ordered and delivered as IF, shadows and priorities say; exceptions carry the right data",
    ),
    Program::passes(
        "invalid_state",
        "a guest that makes its own state invalid gets what the architecture says, and lives",
    ),
    Program::passes(
        "local_apic",
        "the local APIC, by memory and by MSRs: registers, priorities, EOI, errors, change of mode",
    ),
    Program::passes("registers", "all general registers and RFLAGS survive each kind of exit"),
    Program::passes("xsave", "x87, SSE and AVX state is kept across thousands of exits of several kinds"),
    Program::passes(
        "halt_timer",
        "the local APIC's timer wakes HLT in each mode: not early, soon, and exactly as often as asked",
    ),
    Program::passes(
        "tsc",
        "the TSC never goes back, ticks at the rate that it is said to, and moves as it is told to",
    ),
    Program::passes(
        "io_apic",
        "the I/O APIC keeps its entries, and brings the UART's interrupt by edge and by level",
    ),
    Program::passes(
        "pci",
        "one PCI bus by ports and in memory, and a virtio device that works by messages, by its line, and anew after a breach",
    ),
    Program::passes(
        "pic",
        "the 8259As bring the UART's interrupt by LINT0 and by the I/O APIC, and hold back what they are told to",
    ),
    Program::passes(
        "pit",
        "the 8254's channel 0 interrupts as often as it is told to, without storms, and channel 2 counts by its gate",
    ),
    Program::passes(
        "rtc",
        "the real-time clock goes on, is set, and interrupts at its rate, with each update and at its alarm",
    ),
    Program::passes("pm_timer", "ACPI's timer ticks at its rate by the TSC, and never goes back"),
    Program::passes("modes", "exits are served alike from long mode down to real mode, and on the way back"),
    Program::passes("memory", "all RAM of the memory map is there, starts as zero, and is distinct"),
    Program::passes("bench", "prints what one operation costs, in lines `bench: NAME TICKS`")
        // The last of it is no whole large page. On QEMU it has the same memory, and the same devices by
        // `-drive driver=null-co,read-zeroes=on,size=1M,if=none,id=d`,
        // `-device virtio-blk-pci,drive=d,disable-legacy=on,modern-pio-notify=on` and
        // `-device virtio-rng-pci,disable-legacy=on,modern-pio-notify=on`.
        .with_memory(129)
        .with_disk()
        .with_hyperv()
        .exercised(),
    // Tests of their own run these, with others beside them or again and again.
    Program::passes("restarts", "a machine that starts again has nothing of the one before").exercised().on(&[]),
    Program::passes("storm", "a guest that exits as often as it can harms nobody")
        .ending(End::TimeLimit)
        .within(6)
        .on(&[]),
    Program::passes("packets", "sends packets to another one like it, gets others from there, and tells what one costs")
        .on(&[]),
    Program::passes("steady", "a guest that computes has its share of the CPU").within(60).on(&[]),
    // The test of Satori's console talks to them.
    Program::passes("echo", "says what it is told until it is told to quit").on(&[]),
    Program::passes("power_button", "a guest that heeds its power button ends when that is pressed").on(&[]),
    // It becomes the Linux that is measured, on whatever machine.
    Program::passes("start_linux", "starts a Linux in the place of this program").on(&[]),
    // The leg `kvm` runs it by itself.
    Program::passes("transitions", "exits come in known numbers between marks").on(&[]),
    Program::passes("bench_migration", "prints what it costs to go on on another CPU").exercised().on(&[2]),
    Program::passes("bench_pair", "prints what it costs that two vCPUs wake each other on one CPU")
        .with_so_many_vcpus(2)
        .exercised()
        .on(&[1]),
    Program::passes("bench_ipi", "prints what an interrupt costs from one CPU to another that runs")
        .with_so_many_vcpus(2)
        .exercised()
        .on(&[2]),
    Program::passes("bench_smp", "prints what a flush costs while all other CPUs are in the guest")
        .with_vcpus()
        .exercised()
        .on(&[VCPUS, 2]),
    Program::passes("prefault", "memory that is there from the start costs no fault")
        .prefaulted()
        .exercised(),
    Program::passes("age", "a page tells once that it was read, written or executed")
        .with_memory(32)
        .exercised(),
    Program::passes("all_cpus", "each vCPU of a machine with as many CPUs runs, on a CPU of its own")
        .exercised()
        .on(&[]),
    Program::passes(
        "ap_start",
        "INIT and SIPI, in each order that the SDM allows, leave a vCPU in the state that the SDM says",
    )
    .with_vcpus(),
    Program::passes(
        "ipi",
        "interrupts between vCPUs reach those whom they address, running or halted, and none is lost",
    )
    .with_vcpus(),
    Program::passes("spin_lock", "a lock's owner is not starved by those who wait for it, and each gets it")
        .with_vcpus(),
    Program::passes(
        "halt_gives_cpu",
        "a halted vCPU leaves its CPU to others, and its timer still wakes it on time",
    )
    .with_vcpus(),
    Program::passes(
        "processor_state",
        "registers that vCPUs share a CPU's for are each vCPU's own, over time slices and changes of CPU",
    )
    .with_vcpus()
    .exercised(),
    Program::passes(
        "msr_bitmap",
        "RDMSR exits while the MSR bitmap says so, on each vCPU wherever it goes, and its value is right either way",
    )
    .with_vcpus()
    .exercised(),
    Program::passes(
        "migrate",
        "a vCPU that goes from CPU to CPU costs no INVEPT, and never meets a translation that is no more",
    )
    .with_memory(32)
    .exercised()
    .on(&[4, 2]),
    Program::passes("zap_stress", "memory keeps what vCPUs write while its mappings are taken away")
        .with_vcpus()
        .with_memory(32)
        .exercised(),
    Program::passes("protect_stress", "the dirty log misses no write, and no write is lost to it")
        .with_vcpus()
        .with_memory(32)
        .exercised(),
    Program::passes("remap_stress", "vCPUs see what is mapped while it changes, and nothing that was")
        .with_vcpus()
        .exercised(),
    Program::passes(
        "collapse_stress",
        "memory keeps what vCPUs write while large pages are split and made anew",
    )
    .with_vcpus()
    .with_memory(32)
    .exercised(),
    Program::passes(
        "hyperv_interface",
        "Hyper-V's interface offers what flushes take and no more, and its pages give back what they hide",
    )
    .with_hyperv(),
    Program::passes(
        "hyperv_flush",
        "once a flush by hypercall has returned, no vCPU reads by a translation from before",
    )
    .with_vcpus()
    .with_memory(32)
    .with_hyperv(),
    Program::passes(
        "console_output",
        "all printable characters, and a very long line, arrive complete and in order",
    )
    .ending(End::PassWithOutput),
    Program::passes(
        "unbacked_memory",
        "a read where neither RAM nor a device is ends the virtual machine with a report",
    )
    .ending(End::UnbackedMemory { address: UNBACKED }),
    Program::passes("triple_fault", "a triple fault ends the virtual machine with a report")
        .ending(End::TripleFault),
    Program::passes("spin", "a guest that spins with interrupts off is ended when its time is up")
        .ending(End::TimeLimit)
        .within(1),
    Program::passes("halt_for_ever", "HLT that nothing can end ends the virtual machine with a report")
        .ending(End::HaltedForEver),
    Program::passes("reset", "a write to the reset control register ends the virtual machine as a reset")
        .ending(End::Reset),
    Program::passes("reset_by_keyboard", "so does the keyboard controller's command").ending(End::Reset),
    Program::passes("reset_by_port_a", "so does system control port A").ending(End::Reset),
    Program::passes("debug_exit", "isa-debug-exit ends the virtual machine with a status, as on QEMU")
        .ending(End::DebugExit { status: DEBUG_EXIT_VALUE << 1 | 1 }),
    Program {
        command_line: Some(MULTIBOOT_WORDS),
        modules: MULTIBOOT_MODULES,
        ..Program::passes(
            "multiboot",
            "a multiboot kernel gets all that was given, finds all tables, asks fw_cfg, and ends with a status",
        )
    }
    .ending(End::DebugExit { status: MULTIBOOT_EXIT_VALUE << 1 | 1 }),
    // The last: the machine's time is not quite what it was at the start.
    Program::passes(
        "exchanged_tsc",
        "when the TSC below is taken for one of another rate, a guest's clocks stay one and its timers fire when they are due",
    )
    .with_vcpus()
    .exercised(),
];

impl Program {
    const fn passes(name: &'static str, promises: &'static str) -> Self {
        Self {
            name,
            promises,
            memory_mib: MEMORY_MIB,
            time_limit_s: 20,
            end: End::Pass,
            vcpus: 1,
            cpus: &[1],
            exerciser: false,
            prefault: false,
            disk: false,
            hyperv: false,
            command_line: None,
            modules: &[],
        }
    }

    const fn with_vcpus(self) -> Self {
        Self { cpus: SHARED_MORE_AND_MORE, ..self.with_so_many_vcpus(VCPUS) }
    }

    const fn with_so_many_vcpus(self, vcpus: u32) -> Self {
        Self { vcpus, time_limit_s: 60, ..self }
    }

    const fn on(self, cpus: &'static [u32]) -> Self {
        Self { cpus, ..self }
    }

    const fn with_memory(self, memory_mib: u32) -> Self {
        Self { memory_mib, ..self }
    }

    const fn exercised(self) -> Self {
        Self { exerciser: true, ..self }
    }

    const fn with_hyperv(self) -> Self {
        Self { hyperv: true, ..self }
    }

    const fn with_disk(self) -> Self {
        Self { disk: true, ..self }
    }

    const fn prefaulted(self) -> Self {
        Self { prefault: true, ..self }
    }

    const fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    const fn within(self, time_limit_s: u32) -> Self {
        Self { time_limit_s, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// A program that is not in the catalogue would never be run, and nobody would notice.
    #[test]
    fn every_program_is_in_the_catalogue_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let names: BTreeSet<String> = PROGRAMS.iter().map(|program| program.name.to_owned()).collect();
        assert_eq!(files, names);
        assert_eq!(PROGRAMS.len(), names.len(), "a name is there twice");
    }

    #[test]
    fn the_hole_is_above_all_ram() {
        let most = PROGRAMS.iter().map(|program| program.memory_mib).max().unwrap();
        assert!(u64::from(most) << 20 <= UNBACKED);
    }
}
