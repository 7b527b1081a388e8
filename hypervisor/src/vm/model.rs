// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for tests on the host, and the physical CPUs that senders of messages see: they note what they are told.

use crate::console::attachment::Attached;
use crate::console::attachment::Attachment;
use crate::console::guest_output::GuestOutput;
use crate::cpu::CpuNumber;
use crate::devices::chipset;
use crate::devices::pci::DEVICE_MEMORY;
use crate::devices::rtc::Contents;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::local_apic::Address;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::irqchip::local_apic::LocalApic;
use crate::memory::FRAME;
use crate::mmu;
use crate::mmu::GuestSpace;
use crate::mmu::space::Content;
use crate::vcpu::model;
use crate::vm::machine::Machine;
use crate::vm::msr_bitmap::MsrBitmap;
use crate::vm::post::Neighbours;
use crate::vm::post::Posts;
use core::mem;
use core::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// How many physical CPUs there are.
pub(crate) const CPUS: usize = 4;
/// Ticks of a machine's time in a second.
pub(crate) const HZ: u64 = 1_000_000_000;
/// How many vCPUs a machine has, unless a test asks for another number.
pub(crate) const VCPUS: u32 = 4;

/// The physical CPUs.
#[derive(Debug, Default)]
pub(crate) struct ModelNeighbours {
    told: Mutex<Told>,
    away: [AtomicBool; CPUS],
}

/// What they were told since somebody looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Who was notified, in order.
    pub(crate) notified: Vec<CpuNumber>,
    /// How often the one that reads the console was asked to.
    pub(crate) asked_for_input: usize,
    /// The rate of the TSC that they were to pretend last.
    pub(crate) rate: Option<(u32, u32)>,
}

impl ModelNeighbours {
    /// For machines that live as long as the test.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// What they were told since this was asked last.
    pub(crate) fn take(&self) -> Told {
        mem::take(&mut self.told())
    }

    /// A CPU goes to a guest, or comes back.
    pub(crate) fn set_away(&self, cpu: CpuNumber, away: bool) {
        self.away[cpu.index()].store(away, Ordering::SeqCst);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no test panics while it holds the lock")
    }
}

impl Neighbours for ModelNeighbours {
    fn notify(&self, cpu: CpuNumber) {
        self.told().notified.push(cpu);
    }

    fn is_away(&self, cpu: CpuNumber) -> bool {
        self.away[cpu.index()].load(Ordering::SeqCst)
    }

    fn ask_for_input(&self) {
        self.told().asked_for_input += 1;
    }

    fn pretend_rate(&self, numerator: u32, denominator: u32) {
        self.told().rate = Some((numerator, denominator));
    }

    fn is_rate_pending(&self) -> bool {
        self.told().rate.is_some()
    }

    fn count(&self) -> usize {
        CPUS
    }
}

/// A CPU by its number.
pub(crate) fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).expect("there are so many")
}

/// A machine of that many vCPUs after RESET, with the RAM of [`model`] and where devices have registers. Its vCPUs are at home
/// on the CPUs in turn.
pub(crate) fn machine(vcpus: u32, neighbours: &'static ModelNeighbours) -> Machine {
    let address = |id| LocalApic::new(id, id == 0, NonZeroU32::MIN).address();
    let posts = posts((0..vcpus).map(address), neighbours);
    let msr_bitmap = MsrBitmap::new().expect("the host has memory");
    let output = GuestOutput::new("a", 0, Arc::new(Attachment::new(Attached::ToWhatRuns)));
    Machine::new(memory(), model::cpuid(false), model::CR4_HAS, posts, Arc::new(output), msr_bitmap, setup())
}

/// Of a machine whose time has a thousand million ticks in a second, which began at the start of 1970.
pub(crate) fn setup() -> chipset::Setup {
    let contents = Contents { low_memory: model::RAM, high_memory: 0, vcpus: VCPUS };
    chipset::Setup { hz: HZ, now: 0, wall_clock: 0, contents, debug_exit: true }
}

/// For vCPUs whose local APICs listen to `addresses`, at home on the CPUs in turn.
pub(crate) fn posts(
    addresses: impl Iterator<Item = Address>,
    neighbours: &'static ModelNeighbours,
) -> Arc<Posts> {
    let posts = Posts::new(addresses, neighbours);
    (0..posts.count()).for_each(|vcpu| posts.of(vcpu).set_home(cpu(vcpu % CPUS)));
    Arc::new(posts)
}

fn memory() -> GuestSpace {
    let memory = mmu::model::space(core::slice::from_ref(&(0..model::RAM)));
    let registers = [LOCAL_APIC_BASE, IO_APIC_BASE].map(|page| page..page + FRAME);
    for range in registers.into_iter().chain([DEVICE_MEMORY]) {
        memory.set(CpuNumber::BOOT, range, Content::Device).expect("the host has memory");
    }
    memory
}
