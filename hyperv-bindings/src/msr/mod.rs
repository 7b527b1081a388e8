// SPDX-License-Identifier: MIT OR Apache-2.0
//! The synthetic MSRs: their addresses here, their contents beside.

mod contents;

pub use contents::CrashControl;
pub use contents::GuestOsId;
pub use contents::Hypercall;
pub use contents::OpenSourceOs;
pub use contents::OverlayPage;
pub use contents::ReenlightenmentControl;
pub use contents::TscEmulationControl;
pub use contents::TscEmulationStatus;
pub use contents::TscInvariantControl;

/// Who the guest is ([`GuestOsId`]). Has to be set before hypercalls; writing 0 takes the hypercall page away.
pub const GUEST_OS_ID: u32 = 0x4000_0000;
/// Where the hypercall page lies ([`Hypercall`]).
pub const HYPERCALL: u32 = 0x4000_0001;
/// The virtual processor's index, read-only. Not its APIC identifier; all VP masks and sets count by it.
pub const VP_INDEX: u32 = 0x4000_0002;
/// Resets the system.
pub const RESET: u32 = 0x4000_0003;
/// For how long the virtual processor ran, in 100 ns, read-only.
pub const VP_RUNTIME: u32 = 0x4000_0010;
/// The partition's reference time in 100 ns, read-only. Each read is an exit; the reference TSC page is not.
pub const TIME_REF_COUNT: u32 = 0x4000_0020;
/// Where the reference TSC page lies ([`OverlayPage`]).
pub const REFERENCE_TSC: u32 = 0x4000_0021;
/// The TSC's frequency in Hz, read-only.
pub const TSC_FREQUENCY: u32 = 0x4000_0022;
/// The APIC timer's frequency in Hz, read-only.
pub const APIC_FREQUENCY: u32 = 0x4000_0023;
/// The APIC's EOI register.
pub const EOI: u32 = 0x4000_0070;
/// The APIC's ICR: the high half in 63:32, the low one in 31:0.
pub const ICR: u32 = 0x4000_0071;
/// The APIC's TPR.
pub const TPR: u32 = 0x4000_0072;
/// Where this processor's VP assist page lies ([`OverlayPage`]).
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// Turns this processor's SynIC on ([`crate::synic::SynicControl`]).
pub const SCONTROL: u32 = 0x4000_0080;
/// The SynIC's version, read-only.
pub const SVERSION: u32 = 0x4000_0081;
/// Where the event flags page lies ([`OverlayPage`]).
pub const SIEFP: u32 = 0x4000_0082;
/// Where the message page lies ([`OverlayPage`]).
pub const SIMP: u32 = 0x4000_0083;
/// End of message: a write makes the SynIC look for the next one.
pub const EOM: u32 = 0x4000_0084;
/// The first of sixteen synthetic interrupt sources ([`crate::synic::InterruptSource`]); see [`sint`].
pub const SINT0: u32 = 0x4000_0090;
/// The first of four timers' configuration ([`crate::stimer::TimerConfig`]); see [`stimer_config`].
pub const STIMER0_CONFIG: u32 = 0x4000_00B0;
/// The first of four timers' count; see [`stimer_count`].
pub const STIMER0_COUNT: u32 = 0x4000_00B1;
/// A read puts the virtual processor to sleep until an interrupt arrives, masked or not.
pub const GUEST_IDLE: u32 = 0x4000_00F0;
/// The first of five parameters of a crash report; see [`crash_parameter`].
pub const CRASH_P0: u32 = 0x4000_0100;
/// What can be, and what is, reported of a crash ([`CrashControl`]).
pub const CRASH_CTL: u32 = 0x4000_0105;
/// Asks for an interrupt after each live migration ([`ReenlightenmentControl`]).
pub const REENLIGHTENMENT_CONTROL: u32 = 0x4000_0106;
/// Asks for TSC accesses to be emulated after a migration ([`TscEmulationControl`]).
pub const TSC_EMULATION_CONTROL: u32 = 0x4000_0107;
/// Whether TSC accesses are being emulated ([`TscEmulationStatus`]).
pub const TSC_EMULATION_STATUS: u32 = 0x4000_0108;
/// Has CPUID show an invariant TSC ([`TscInvariantControl`]).
pub const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// A nested root's processor's index at the hypervisor under its own, read-only.
///
/// The nested MSRs are for a nested *root* partition alone, whose ordinary ones are answered by its own hypervisor.
pub const NESTED_VP_INDEX: u32 = 0x4000_1002;
/// [`SCONTROL`] of the hypervisor below.
pub const NESTED_SCONTROL: u32 = 0x4000_1080;
/// [`SVERSION`] of the hypervisor below.
pub const NESTED_SVERSION: u32 = 0x4000_1081;
/// [`SIEFP`] of the hypervisor below.
pub const NESTED_SIEFP: u32 = 0x4000_1082;
/// [`SIMP`] of the hypervisor below.
pub const NESTED_SIMP: u32 = 0x4000_1083;
/// [`EOM`] of the hypervisor below.
pub const NESTED_EOM: u32 = 0x4000_1084;
/// [`SINT0`] of the hypervisor below; see [`nested_sint`].
pub const NESTED_SINT0: u32 = 0x4000_1090;

/// Crash parameters, [`CRASH_P0`] and those after it.
pub const CRASH_PARAMETERS: u32 = 5;

/// The address of synthetic interrupt source `number`, or `None` where there is no such source.
#[must_use]
pub const fn sint(number: u32) -> Option<u32> {
    nth(SINT0, 1, number, crate::synic::INTERRUPT_SOURCES as u32)
}

/// The address of synthetic interrupt source `number` of the hypervisor below, or `None`.
#[must_use]
pub const fn nested_sint(number: u32) -> Option<u32> {
    nth(NESTED_SINT0, 1, number, crate::synic::INTERRUPT_SOURCES as u32)
}

/// The address of synthetic timer `number`'s configuration, or `None` where there is no such timer.
#[must_use]
pub const fn stimer_config(number: u32) -> Option<u32> {
    nth(STIMER0_CONFIG, 2, number, crate::stimer::TIMERS)
}

/// The address of synthetic timer `number`'s count, or `None` where there is no such timer.
#[must_use]
pub const fn stimer_count(number: u32) -> Option<u32> {
    nth(STIMER0_COUNT, 2, number, crate::stimer::TIMERS)
}

/// The address of crash parameter `number`, or `None` where there is no such parameter.
#[must_use]
pub const fn crash_parameter(number: u32) -> Option<u32> {
    nth(CRASH_P0, 1, number, CRASH_PARAMETERS)
}

const fn nth(first: u32, stride: u32, number: u32, count: u32) -> Option<u32> {
    if number < count { Some(first + stride * number) } else { None }
}
