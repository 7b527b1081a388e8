// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine: what declares it, what is loaded into it, and its life.

pub mod bundle;
pub mod course;
pub mod devices;
pub mod enlightened;
mod error;
pub mod exercise;
#[cfg(target_os = "none")]
pub mod life;
pub mod loader;
pub mod machine;
pub mod manifest;
pub mod memory_layout;
#[cfg(test)]
pub(crate) mod model;
pub mod msr_bitmap;
pub mod partition;
pub mod post;

pub use error::VmError;

use crate::console::guest_output::GuestOutput;
use crate::cpu::number::current;
use crate::cpu::wall_clock::WallClock;
use crate::devices::chipset;
use crate::devices::firmware;
use crate::devices::fw_cfg::FwCfg;
use crate::devices::pci::DEVICE_MEMORY;
use crate::devices::rtc::Contents;
use crate::devices::switch::Switches;
use crate::irqchip;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::irqchip::local_apic::LocalApic;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::mmu;
use crate::mmu::Coherence;
use crate::mmu::space::Content;
use crate::mmu::space::Features;
use crate::mmu::space::GuestSpace;
use crate::mmu::space::Ram;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::cpuid::CrystalClock;
use crate::vcpu::cpuid::Offered;
use crate::vcpu::cpuid::Profile;
use crate::vcpu::end::End;
use crate::vcpu::exit_counts;
use crate::vcpu::exit_counts::Exits;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::BundleError;
use crate::vm::enlightened::Enlightened;
use crate::vm::enlightened::NestedOffer;
use crate::vm::exercise::Exercise;
use crate::vm::loader::BootSource;
use crate::vm::loader::EntryState;
use crate::vm::loader::File;
use crate::vm::machine::Machine;
use crate::vm::manifest::MOST_VCPUS;
use crate::vm::manifest::VmConfig;
use crate::vm::memory_layout::LEGACY_VIDEO;
use crate::vm::memory_layout::MemoryLayout;
use crate::vm::msr_bitmap::MsrBitmap;
use crate::vm::partition::Partition;
use crate::vm::post::Neighbours;
use crate::vm::post::Posts;
use crate::vmx::capabilities::Capabilities;
use crate::vmx::exit::ExitReason;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::x86_64::CpuidResult;
use core::cmp::Reverse;
use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use evmcs::Vmcs;
use evmcs::VmcsRegion;
use evmcs::controls::Controls;
use spin::Mutex;
use spin::Once;

// A bit or a place for each vCPU.
const _: () = assert!(MOST_VCPUS as usize <= irqchip::delivery::MAX_VCPUS);
const _: () = assert!(MOST_VCPUS as usize <= mmu::flush::MAX_VCPUS);
const _: () = assert!(MOST_VCPUS <= u64::BITS);

/// What the machine below offers to virtual machines.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// CPUID of the processor, by leaf and sub-leaf.
    pub cpuid: &'a dyn Fn(u32, u32) -> CpuidResult,
    /// Ticks of the TSC in a second.
    pub tsc_hz: u64,
    /// What its VMX has.
    pub vmx: Capabilities,
    /// The controls that vCPUs run with that have a CPU each.
    pub controls: Controls,
    /// The controls that vCPUs run with that share CPUs.
    pub shared_controls: Controls,
    /// What time it is.
    pub wall_clock: WallClock,
    /// What L0 does for vCPUs with enlightened VMCSs; `None`: theirs are ordinary ones.
    pub nested: Option<NestedOffer>,
}

impl fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("tsc_hz", &self.tsc_hz)
            .field("controls", &self.controls)
            .finish_non_exhaustive()
    }
}

/// A virtual machine, less its vCPUs.
#[derive(Debug)]
pub struct Vm {
    /// Its name in the manifest.
    pub name: String,
    /// Memory, CPUID and devices.
    pub machine: Machine,
    /// What its vCPUs run with.
    pub controls: Controls,
    /// The processor's revision of VMCSs.
    pub revision: u32,
    /// What its vCPUs' VMCSs tell L0, where they are enlightened ones.
    pub enlightened: Option<Enlightened>,
    /// Ticks of the guest's TSC to one of its APIC timer.
    pub timer_input_tick: NonZeroU32,
    /// The machine's time when the guest's TSC was zero.
    pub started_at: u64,
    /// When it is ended.
    pub limit: Option<TimeLimit>,
    end: Once<End>,
    /// Its vCPUs stay out of the guest.
    held: AtomicBool,
    /// A bit for each vCPU that nothing but another vCPU can set going.
    waiting: Mutex<u64>,
    /// What of the exits' cost was our own.
    #[cfg(feature = "measure")]
    pub shares: Mutex<crate::vcpu::shares::Shares>,
}

/// At this time, after so many seconds, a VM is ended.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The machine's time at which it is over.
    pub deadline: u64,
    /// The limit, for the report.
    pub seconds: NonZeroU32,
}

/// Where a machine is made.
#[derive(Debug)]
pub struct Place<'a> {
    /// What CPUs show each other so that its memory can change under them.
    pub coherence: &'a Arc<Coherence>,
    /// The physical CPUs.
    pub neighbours: &'static dyn Neighbours,
    /// Where what it prints goes.
    pub output: GuestOutput,
    /// Each of its vCPUs has a CPU of its own.
    pub pinned: bool,
    /// The machine's time.
    pub now: u64,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// What its network cards are plugged into.
    pub switches: &'a Switches,
}

impl Vm {
    /// Makes a machine as `config` declares it, its kernel loaded; and tells how the first vCPU enters that.
    pub fn new(
        config: &VmConfig,
        bundle: &Bundle<'static>,
        offer: &Offer<'_>,
        place: Place<'_>,
    ) -> Result<(Self, EntryState), VmError> {
        let source = source(config, bundle).map_err(VmError::File)?;
        let layout = MemoryLayout::new(config.memory_mib);
        let memory = memory(&layout, offer, place.coherence)?;
        let rsdp = firmware::write_tables(&memory, layout, config.vcpus).map_err(VmError::Firmware)?;
        let entry = loader::load(&memory, layout, rsdp, &source).map_err(VmError::Load)?;
        if config.prefault {
            for range in layout.ram() {
                memory.populate(current(), range)?;
            }
        }
        let tick = timer_input_tick(offer.tsc_hz);
        let addresses = (0..config.vcpus).map(|id| LocalApic::new(id, id == 0, tick).address());
        let posts = Arc::new(Posts::new(addresses, place.neighbours));
        let cpuid = CpuidTable::new(offer.cpuid, profile(config, offer));
        // Roots are never alike, and a machine has at least one.
        let id = memory.root().id().number();
        let hyperv = cpuid.hyperv();
        let enlighten = |nested| Enlightened::new(nested, id, hyperv.is_some());
        let enlightened = offer.nested.map(enlighten).transpose()?;
        let setup = chipset_setup(config, offer, &layout, place.now);
        let mut machine = Machine::new(
            memory,
            cpuid,
            offer.vmx.cr4_has,
            posts,
            Arc::new(place.output),
            MsrBitmap::new()?,
            setup,
        );
        let fw_cfg = FwCfg::new(layout, config.vcpus, &config.command_line);
        machine.fw_cfg = Some(Mutex::new(fw_cfg));
        let controls = if place.pinned { offer.controls } else { offer.shared_controls };
        if controls.secondary.virtualize_apic_accesses() {
            machine.apic_access_page = Some(apic_access_page(&machine.memory)?);
        }
        machine.partition = hyperv.map(|offering| Partition::new(offering, config.vcpus)).transpose()?;
        devices::plug(&mut machine, config, bundle, place.switches)?;
        if config.exerciser {
            machine.exercise = Some(Exercise::new(&machine.memory, place.restarts)?);
        }
        let ticks = |seconds: NonZeroU32| u64::from(seconds.get()).saturating_mul(offer.tsc_hz);
        let vm = Self {
            name: config.name.clone(),
            machine,
            controls,
            revision: offer.vmx.revision,
            enlightened,
            timer_input_tick: tick,
            started_at: place.now,
            limit: config
                .time_limit_s
                .map(|seconds| TimeLimit { deadline: place.now.saturating_add(ticks(seconds)), seconds }),
            end: Once::new(),
            held: AtomicBool::new(false),
            waiting: Mutex::new(0),
            #[cfg(feature = "measure")]
            shares: Mutex::default(),
        };
        Ok((vm, entry))
    }

    /// Ends it, if nothing has yet: its vCPUs are stopped wherever they are.
    pub fn end(&self, end: End) {
        let mut first = false;
        self.end.call_once(|| {
            first = true;
            end
        });
        if first {
            self.machine.posts.stop_all();
        }
    }

    /// Keeps its vCPUs out of the guest from soon on. Time passes for it.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
        self.machine.posts.rouse_all();
    }

    /// Lets its vCPUs go on.
    pub fn release(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.machine.posts.rouse_all();
    }

    /// Whether its vCPUs are to stay out of the guest.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) && !self.has_ended()
    }

    /// Whether it has ended, or is about to.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end.is_completed()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn outcome(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// A VMCS for its vCPU of that index.
    #[must_use]
    pub fn vmcs(&self, region: VmcsRegion, vcpu: usize) -> Vmcs {
        match &self.enlightened {
            Some(enlightened) => enlightened.vmcs(region, vcpu as u32),
            None => Vmcs::native(region, self.revision),
        }
    }

    /// The vCPU of that index runs, so that it may set others going. Before it takes its mail.
    pub fn wakes(&self, vcpu: usize) {
        *self.waiting.lock() &= !(1 << vcpu);
    }

    /// The vCPU of that index waits for what only another vCPU can do. Tells whether all do, so that none ever will.
    pub fn waits_in_vain(&self, vcpu: usize) -> bool {
        let all = u64::MAX >> (64 - self.machine.posts.count());
        let mut waiting = self.waiting.lock();
        *waiting |= 1 << vcpu;
        // What one of them has sent before it began to wait may still set another going. Under the lock: nobody wakes up, takes
        // that, and is not seen either way.
        *waiting == all && self.machine.posts.are_empty()
    }

    /// How often its vCPUs exited, by reason, the most frequent first.
    #[must_use]
    pub fn exits(&self) -> Vec<(ExitReason, Exits)> {
        let mut exits = exit_counts::sum(self.machine.posts.iter().map(|post| &post.exits.0));
        exits.sort_by_key(|&(_, exits)| Reverse(exits.count));
        exits
    }
}

/// RAM as the layout has it, none of it touched, and where the registers of devices are.
fn memory(
    layout: &MemoryLayout,
    offer: &Offer<'_>,
    coherence: &Arc<Coherence>,
) -> Result<GuestSpace, OutOfFrames> {
    let features = Features { accessed_dirty: offer.vmx.ept.accessed_dirty() };
    let memory = GuestSpace::new(Arc::clone(coherence), features)?;
    for range in layout.ram() {
        let ram = Ram::new(range.end - range.start)?;
        memory.set(current(), range, Content::Ram(ram))?;
    }
    let registers = [LOCAL_APIC_BASE, IO_APIC_BASE].map(|page| page..page + FRAME);
    for range in registers.into_iter().chain([LEGACY_VIDEO, DEVICE_MEMORY]) {
        memory.set(current(), range, Content::Device)?;
    }
    Ok(memory)
}

/// The page that the guest has where its local APICs are, for a processor that virtualizes accesses to them: it knows it by its
/// physical address. What is in it means nothing: only a vCPU in x2APIC mode reaches it, where the processor plays that.
fn apic_access_page(memory: &GuestSpace) -> Result<u64, OutOfFrames> {
    let ram = Ram::new(FRAME)?;
    let backed = ram.back(0).map_err(|_| OutOfFrames { bytes: FRAME })?;
    memory.set(current(), LOCAL_APIC_BASE..LOCAL_APIC_BASE + FRAME, Content::Played(ram))?;
    Ok(backed.address)
}

fn source<'a>(config: &'a VmConfig, bundle: &Bundle<'a>) -> Result<BootSource<'a>, BundleError> {
    let file = |name: &'a str| Ok(File { name, content: bundle.file(name)? });
    let module = |module: &'a manifest::Module| {
        Ok(loader::Module { file: file(&module.file)?, command_line: &module.command_line })
    };
    Ok(BootSource {
        kernel: file(&config.kernel)?,
        initrd: config.initrd.as_deref().map(file).transpose()?,
        modules: config.modules.iter().map(module).collect::<Result<_, _>>()?,
        command_line: &config.command_line,
    })
}

fn chipset_setup(config: &VmConfig, offer: &Offer<'_>, layout: &MemoryLayout, now: u64) -> chipset::Setup {
    const LOW: u64 = 1 << 32;
    let ram = layout.ram();
    let low_memory = ram.iter().map(|range| range.end).filter(|&end| end <= LOW).max().unwrap_or(0);
    let high_memory =
        ram.iter().filter(|range| range.start >= LOW).map(|range| range.end - range.start).sum();
    chipset::Setup {
        hz: offer.tsc_hz,
        now,
        wall_clock: offer.wall_clock.seconds_at(now, offer.tsc_hz),
        contents: Contents { low_memory, high_memory, vcpus: config.vcpus },
        debug_exit: config.debug_exit,
    }
}

fn profile(config: &VmConfig, offer: &Offer<'_>) -> Profile {
    let secondary = offer.controls.secondary;
    // Without a VPID every entry and exit flushes, PCIDs included; they would promise what they cannot keep.
    let offered = Offered {
        pcid: secondary.enable_vpid(),
        invpcid: secondary.enable_invpcid(),
        rdtscp: secondary.enable_rdtscp(),
        xsaves: false,
    };
    Profile { vcpus: config.vcpus as u16, tsc_hz: offer.tsc_hz, offered, hyperv: config.hyperv }
}

fn timer_input_tick(tsc_hz: u64) -> NonZeroU32 {
    NonZeroU32::new(CrystalClock::of(tsc_hz).tsc_ticks).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests;
