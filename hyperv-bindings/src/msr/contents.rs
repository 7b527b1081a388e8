// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the bits of the synthetic MSRs mean. Those of the SynIC and its timers lie with their pages.
//!
//! Reserved bits that are to be preserved are: decode what was read, change a field, write it back.

use crate::open_set::open_set;
use bitfield_struct::bitfield;

/// The operating system in an open-source [`GuestOsId`], seven bits. Microsoft allots the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenSourceOs(pub u8);

open_set! {
    OpenSourceOs(u8);
    /// Linux.
    LINUX = 1, "Linux";
    /// FreeBSD.
    FREEBSD = 2, "FreeBSD";
    /// Xen.
    XEN = 3, "Xen";
    /// Illumos.
    ILLUMOS = 4, "Illumos";
}

/// [`GUEST_OS_ID`](super::GUEST_OS_ID), in the form for open-source systems (TLFS, "Guest OS Identity MSR").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GuestOsId {
    /// Build number.
    pub build: u16,
    /// Version, by the system's own rules.
    pub version: u32,
    /// Further identification, such as a distribution.
    pub id: u8,
    /// Which system it is. Seven bits.
    #[bits(7)]
    pub os: OpenSourceOs,
    /// Set in this form; clear in that of Microsoft and others, whose other fields lie elsewhere.
    pub open_source: bool,
}

/// [`HYPERCALL`](super::HYPERCALL): the page whose code makes hypercalls.
///
/// The page is an overlay: what the guest had there is hidden while it is enabled, not destroyed.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Hypercall {
    /// The page is there.
    pub enabled: bool,
    /// The MSR cannot be changed any more until the system is reset.
    pub locked: bool,
    #[bits(10)]
    __: u16,
    /// The page's guest-physical address divided by 4096.
    #[bits(52)]
    pub page_number: u64,
}

/// The form that VP_ASSIST_PAGE, REFERENCE_TSC, SIEFP and SIMP share: an overlay page that may be enabled.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct OverlayPage {
    /// The page is there.
    pub enabled: bool,
    #[bits(11)]
    __: u16,
    /// The page's guest-physical address divided by 4096.
    #[bits(52)]
    pub page_number: u64,
}

/// [`CRASH_CTL`](super::CRASH_CTL): a read gives what the hypervisor can do, a write has it done.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct CrashControl {
    #[bits(58)]
    __: u64,
    /// The crash happened in the pre-OS environment of this number.
    #[bits(3)]
    pub pre_os_id: u8,
    /// No crash dump will be taken.
    pub no_crash_dump: bool,
    /// P3 holds the guest-physical address of a message, P4 its length in bytes.
    pub crash_message: bool,
    /// The parameters are complete and are to be logged.
    pub crash_notify: bool,
}

/// [`REENLIGHTENMENT_CONTROL`](super::REENLIGHTENMENT_CONTROL): an interrupt after each live migration.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ReenlightenmentControl {
    /// The vector of a fixed interrupt.
    pub vector: u8,
    __: u8,
    /// The interrupt is wanted.
    pub enabled: bool,
    #[bits(15)]
    __: u16,
    /// The VP index of the processor that gets it.
    pub target_vp: u32,
}

/// [`TSC_EMULATION_CONTROL`](super::TSC_EMULATION_CONTROL): emulate the TSC after a migration.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TscEmulationControl {
    /// Emulation is wanted.
    pub enabled: bool,
    #[bits(63)]
    __: u64,
}

/// [`TSC_EMULATION_STATUS`](super::TSC_EMULATION_STATUS): whether the TSC is being emulated now.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TscEmulationStatus {
    /// Accesses are emulated, at the old frequency. Writing 0 ends it.
    pub in_progress: bool,
    #[bits(63)]
    __: u64,
}

/// [`TSC_INVARIANT_CONTROL`](super::TSC_INVARIANT_CONTROL): let CPUID show what the TSC is.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TscInvariantControl {
    /// CPUID shows an invariant TSC. Once set it stays.
    pub invariant_tsc_exposed: bool,
    #[bits(63)]
    __: u64,
}
