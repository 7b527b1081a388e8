// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a program ends: one line on COM1, `verdict: pass` or `verdict: fail: what`, and power off.

// UNSAFETY: stopping the CPU for good is assembly.
#![expect(unsafe_code)]

use crate::ports;
use crate::processors;
use crate::say;
use crate::serial;
use core::arch::asm;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

/// PM1a control (ACPI 6.5, 4.8.3.2.1) of Satori's virtual machine, and of QEMU's.
pub const PM1A_CONTROL: u16 = 0x604;
/// The same of the emulator's machine itself.
const PM1A_CONTROL_OF_EMULATOR: u16 = 0xb004;
/// SLP_EN, and SLP_TYP 0, which is S5: off.
const POWER_OFF: u16 = 1 << 13;
/// Reset control register of a PC's chipset; writing 6 resets.
pub const RESET_CONTROL: u16 = 0xcf9;
/// QEMU's isa-debug-exit.
pub const DEBUG_EXIT: u16 = 0xf4;

/// Ends the program: it saw what it expected.
pub fn pass() -> ! {
    say!("verdict: pass");
    power_off()
}

/// Ends the program: `what` says what was expected and what was seen. The first failure is the one that is told.
#[track_caller]
pub fn fail(what: impl fmt::Display) -> ! {
    static FAILED: AtomicBool = AtomicBool::new(false);
    if FAILED.swap(true, Relaxed) {
        stop();
    }
    let vcpu = processors::current();
    if vcpu == 0 {
        say!("verdict: fail: {what} ({})", Location::caller());
    } else {
        // The first one may be in the middle of a line.
        say!("\nverdict: fail: on vCPU {vcpu}: {what} ({})", Location::caller());
    }
    power_off()
}

/// Fails unless `seen` is what was `expected` of `what`.
#[track_caller]
pub fn expect_eq<T: PartialEq + fmt::Debug>(what: impl fmt::Display, seen: T, expected: T) {
    if seen != expected {
        fail(format_args!("{what}: expected {expected:x?}, saw {seen:x?}"));
    }
}

/// Fails unless `seen` lies within `bounds`, both included.
#[track_caller]
pub fn expect_within(what: impl fmt::Display, seen: u64, bounds: core::ops::RangeInclusive<u64>) {
    if !bounds.contains(&seen) {
        fail(format_args!("{what}: expected {bounds:?}, saw {seen}"));
    }
}

/// Fails unless `holds`; `what` is the promise in words.
#[track_caller]
pub fn expect(what: impl fmt::Display, holds: bool) {
    if !holds {
        fail(format_args!("{what}: expected, but it is not so"));
    }
}

/// Powers the machine off, by whichever way this machine has.
pub fn power_off() -> ! {
    ports::out_u16(PM1A_CONTROL, POWER_OFF);
    serial::wait_for_idle_line();
    ports::out_u16(PM1A_CONTROL_OF_EMULATOR, POWER_OFF);
    ports::out_u8(DEBUG_EXIT, 0);
    stop()
}

/// HLT with interrupts off, for ever.
pub fn stop() -> ! {
    loop {
        // SAFETY: nothing is left to do.
        unsafe { asm!("cli", "hlt") };
    }
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    // Not `fail`, whose location would be this line.
    say!("verdict: fail: panic: {info}");
    power_off()
}
