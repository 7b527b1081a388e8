// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine: what declares it, what is loaded into it, and its life.

pub mod bundle;
#[cfg(target_os = "none")]
pub mod life;
pub mod loader;
pub mod machine;
pub mod manifest;
pub mod memory_layout;

use crate::cpu::CpuNumber;
use crate::devices::firmware;
use crate::devices::firmware::FirmwareError;
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::mmu::Coherence;
use crate::mmu::GuestSpace;
use crate::mmu::Kick;
use crate::mmu::flush::Provider;
use crate::mmu::space::Content;
use crate::mmu::space::Features;
use crate::mmu::space::Ram;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::cpuid::CrystalClock;
use crate::vcpu::cpuid::Offered;
use crate::vcpu::cpuid::Profile;
use crate::vcpu::msr_policy;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::BundleError;
use crate::vm::loader::BootSource;
use crate::vm::loader::EntryState;
use crate::vm::loader::File;
use crate::vm::loader::LoadError;
use crate::vm::machine::Machine;
use crate::vm::manifest::VmConfig;
use crate::vm::memory_layout::MemoryLayout;
use crate::vmx::capabilities::Capabilities;
use alloc::boxed::Box;
use core::arch::x86_64::CpuidResult;
use core::fmt;
use core::num::NonZeroU32;
use evmcs::controls::Controls;

/// What the machine below offers to virtual machines.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// CPUID of the processor, by leaf and sub-leaf.
    pub cpuid: &'a dyn Fn(u32, u32) -> CpuidResult,
    /// Ticks of the TSC in a second.
    pub tsc_hz: u64,
    /// What its VMX has.
    pub vmx: Capabilities,
    /// The controls that vCPUs run with.
    pub controls: Controls,
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
    /// RAM, CPUID and devices.
    pub machine: Machine,
    /// Which MSR accesses exit.
    pub msr_bitmap: Frames,
    /// The controls that its vCPUs run with.
    pub controls: Controls,
    /// Ticks of the guest's TSC to one of its APIC timer.
    pub timer_input_tick: NonZeroU32,
}

/// Why a virtual machine could not be made.
#[derive(Debug)]
pub enum VmError {
    /// Its kernel or initial RAM disk is not in the bundle.
    File(BundleError),
    /// Its kernel cannot be loaded.
    Load(LoadError),
    /// It asks for more memory than is free.
    TooLarge {
        /// What it asks for.
        asked_mib: u32,
        /// What is left for virtual machines.
        free_mib: u64,
    },
    /// There is not enough memory in the pieces that are needed.
    Memory(OutOfFrames),
    /// Its firmware tables could not be written.
    Firmware(FirmwareError),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::TooLarge { asked_mib, free_mib } => write!(
                f,
                "{asked_mib} MiB are asked for and {free_mib} free: give it less, or the machine more"
            ),
            Self::Memory(error) => error.fmt(f),
            Self::Firmware(error) => error.fmt(f),
        }
    }
}

impl From<OutOfFrames> for VmError {
    fn from(error: OutOfFrames) -> Self {
        Self::Memory(error)
    }
}

impl Vm {
    /// Makes a machine as `config` declares it, its kernel loaded; and tells how the first vCPU enters that.
    pub fn new(
        config: &VmConfig,
        bundle: &Bundle<'_>,
        offer: &Offer<'_>,
    ) -> Result<(Self, EntryState), VmError> {
        let source = source(config, bundle).map_err(VmError::File)?;
        let layout = MemoryLayout::new(config.memory_mib);
        let ram = memory(layout, Features { accessed_dirty: offer.vmx.ept.accessed_dirty() })?;
        let rsdp = firmware::write_tables(&ram, config.vcpus).map_err(VmError::Firmware)?;
        let entry = loader::load(&ram, layout, rsdp, &source).map_err(VmError::Load)?;
        let cpuid = CpuidTable::new(offer.cpuid, profile(config, offer));
        let vm = Self {
            machine: Machine::new(ram, cpuid, offer.vmx.cr4_has),
            msr_bitmap: msr_bitmap()?,
            controls: offer.controls,
            timer_input_tick: timer_input_tick(offer.tsc_hz),
        };
        Ok((vm, entry))
    }

    /// Value for the VMCS's EPT pointer.
    #[must_use]
    pub fn ept_pointer(&self) -> u64 {
        self.machine.ram.root().pointer()
    }

    /// Bytes of the tables that translate its memory.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        self.machine.ram.held_bytes()
    }
}

/// RAM as `layout` has it, all of it mapped.
fn memory(layout: MemoryLayout, features: Features) -> Result<GuestSpace, OutOfFrames> {
    let ram = GuestSpace::new(Coherence::new(Provider::Native, Box::new(OneCpu)), features)?;
    for range in layout.ram() {
        ram.set(CpuNumber::BOOT, range.clone(), Content::Ram(Ram::new(range.end - range.start)?))?;
        ram.populate(CpuNumber::BOOT, range)?;
    }
    Ok(ram)
}

/// A machine whose only CPU is this one.
#[derive(Debug)]
struct OneCpu;

impl Kick for OneCpu {
    fn kick(&self, _: CpuNumber) {}

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn cpus(&self) -> usize {
        1
    }
}

fn source<'a>(config: &'a VmConfig, bundle: &Bundle<'a>) -> Result<BootSource<'a>, BundleError> {
    let file = |name: &'a str| Ok(File { name, content: bundle.file(name)? });
    Ok(BootSource {
        kernel: file(&config.kernel)?,
        initrd: config.initrd.as_deref().map(file).transpose()?,
        command_line: &config.command_line,
    })
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
    Profile { vcpus: config.vcpus as u16, tsc_hz: offer.tsc_hz, offered }
}

fn timer_input_tick(tsc_hz: u64) -> NonZeroU32 {
    NonZeroU32::new(CrystalClock::of(tsc_hz).tsc_ticks).unwrap_or(NonZeroU32::MIN)
}

fn msr_bitmap() -> Result<Frames, OutOfFrames> {
    let mut page = [0; FRAME as usize];
    msr_policy::fill_bitmap(&mut page);
    let frames = Frames::one()?;
    frames.copy_in(0, &page);
    Ok(frames)
}
