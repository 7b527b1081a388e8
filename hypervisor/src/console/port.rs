// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's serial port, one for all CPUs: our own lines never stand in the middle of a guest's.

use crate::console::serial::COM1;
use crate::console::serial::Serial;
use crate::console::terminal::News;
use crate::console::terminal::Terminal;
use crate::cpu::hardware::NativePorts;
use core::fmt;
use core::fmt::Write;
use spin::Mutex;

static PORT: Mutex<Terminal<NativePorts>> = Mutex::new(Terminal::new());

/// Looks for COM1 and sets it up; `false` where there is none.
pub fn find(ports: NativePorts) -> bool {
    let serial = Serial::find(ports, COM1);
    let found = serial.is_some();
    PORT.lock().serial = serial;
    found
}

/// The port's interrupt reaches a CPU.
pub fn has_interrupts() {
    PORT.lock().interrupts = true;
}

/// From here on [`interrupt`] is called on the port's interrupts, if it has any: nobody waits for the line any more.
pub fn use_interrupts() {
    PORT.lock().use_interrupts();
}

/// From here on it is not called any more.
pub fn use_no_interrupts() {
    PORT.lock().use_no_interrupts();
}

/// The port has raised an interrupt. Interrupts are let in only where this CPU has none of the console's locks.
pub fn interrupt() -> News {
    PORT.lock().interrupt()
}

/// Bytes of a guest: as they are, or as a line of the guest of that name. Whether that guest's port is to take no more until
/// there are [`News`] of room.
pub fn write_guest(name: Option<&str>, bytes: &[u8]) -> bool {
    PORT.lock().write_guest(name, bytes)
}

/// Whether guests' ports are still to take no more.
pub fn guests_wait() -> bool {
    PORT.lock().guests_wait()
}

/// A line of our own. Never in the middle of a guest's.
pub fn write_line(line: fmt::Arguments<'_>) {
    PORT.lock().write_line(line);
}

/// What is shown to who types: `bytes`, and from there on `line`, as far as it is typed.
pub fn show(bytes: &[u8], line: &[u8]) {
    PORT.lock().show(bytes, line);
}

/// A line past the lock, for a CPU that is about to stop and may hold it itself. What waited before it comes first, if it can be had.
pub fn emergency(ports: NativePorts, line: fmt::Arguments<'_>) {
    if let Some(mut port) = PORT.try_lock() {
        port.use_no_interrupts();
    }
    if let Some(mut serial) = Serial::find(ports, COM1) {
        let _ = write!(serial, "\r\n{line}\r\n");
    }
}

/// Waits until everything written is on the line.
pub fn flush() {
    PORT.lock().flush();
}

/// A byte that has been typed.
pub fn read_byte() -> Option<u8> {
    PORT.lock().read_byte()
}
