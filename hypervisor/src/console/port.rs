// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's serial port, one for all CPUs: our own lines never stand in the middle of a guest's.

use crate::console::serial::COM1;
use crate::console::serial::Serial;
use crate::cpu::hardware::NativePorts;
use core::fmt;
use core::fmt::Write;
use spin::Mutex;

static PORT: Mutex<Port> = Mutex::new(Port { serial: None, mid_line: false });

struct Port {
    /// `None` until it is found, or where the machine has none.
    serial: Option<Serial<NativePorts>>,
    /// Whether a guest has begun a line that it has not ended.
    mid_line: bool,
}

/// Looks for COM1 and sets it up; `false` where there is none.
pub fn find(ports: NativePorts) -> bool {
    let serial = Serial::find(ports, COM1);
    let found = serial.is_some();
    PORT.lock().serial = serial;
    found
}

/// Bytes of a guest: as they are, or as a line of the guest of that name.
pub fn write_guest(name: Option<&str>, bytes: &[u8]) {
    let mut port = PORT.lock();
    let Port { serial: Some(serial), mid_line } = &mut *port else { return };
    match (name, bytes.last()) {
        (None, Some(&last)) => {
            *mid_line = last != b'\n';
            serial.write(bytes);
        }
        (None, None) => {}
        (Some(name), _) => {
            // A serial port takes everything.
            let _ = write!(serial, "{name}| ");
            serial.write(bytes);
            serial.write(b"\r\n");
        }
    }
}

/// A line of our own. Never in the middle of a guest's.
pub fn write_line(line: fmt::Arguments<'_>) {
    let mut port = PORT.lock();
    let fresh = if core::mem::take(&mut port.mid_line) { "\r\n" } else { "" };
    if let Some(serial) = &mut port.serial {
        // A serial port takes everything.
        let _ = write!(serial, "{fresh}{line}\r\n");
    }
}

/// A line past the lock, for a CPU that is about to stop and may hold it itself.
pub fn emergency(ports: NativePorts, line: fmt::Arguments<'_>) {
    if let Some(mut serial) = Serial::find(ports, COM1) {
        let _ = write!(serial, "\r\n{line}\r\n");
    }
}

/// Waits until everything written is on the line.
pub fn flush() {
    if let Some(serial) = &mut PORT.lock().serial {
        serial.flush();
    }
}

/// A byte that has been typed.
pub fn read_byte() -> Option<u8> {
    PORT.lock().serial.as_mut()?.read_byte()
}
