// SPDX-License-Identifier: MIT OR Apache-2.0
//! The KVM host itself: file systems, KVM's modules, and the terminal as a plain stream of bytes.

use std::ffi::CStr;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::thread;
use std::time::Duration;

use rustix::mount::MountFlags;
use rustix::mount::mount;
use rustix::system::RebootCommand;
use rustix::system::init_module;
use rustix::system::reboot;
use rustix::termios;
use rustix::termios::OptionalActions;

/// File systems, and where they belong. The kernel's own devices are there before the first process.
const FILE_SYSTEMS: [(&str, &str); 4] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("debugfs", "/sys/kernel/debug")];

/// KVM's modules, in the order in which they need each other, and their parameters.
const MODULES: [(&str, &CStr); 3] = [("irqbypass", c""), ("kvm", c""), ("kvm-intel", c"nested=1")];

/// Makes a fresh Linux a KVM host.
pub fn prepare() -> io::Result<()> {
    for (name, at) in FILE_SYSTEMS {
        mount(name, at, name, MountFlags::empty(), None)
            .map_err(|error| failed(&format!("mount {at}"), error.into()))?;
    }
    for (name, parameters) in MODULES {
        let module = fs::read(format!("/modules/{name}.ko"))?;
        init_module(&module, parameters).map_err(|error| failed(&format!("load {name}"), error.into()))?;
    }
    make_terminal_raw().map_err(|error| failed("set the serial port up", error))
}

fn failed(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the KVM host cannot {what}: {error}"))
}

fn make_terminal_raw() -> io::Result<()> {
    let mut settings = termios::tcgetattr(io::stdin())?;
    settings.make_raw();
    Ok(termios::tcsetattr(io::stdin(), OptionalActions::Now, &settings)?)
}

/// What the kernel has logged about Hyper-V's interface, and what KVM uses of it. Empty where the log cannot be read.
pub fn said_of_hyperv() -> Vec<String> {
    let Ok(mut log) = File::open("/dev/kmsg") else { return Vec::new() };
    // It has no end, but more to come.
    if rustix::io::ioctl_fionbio(&log, true).is_err() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    // Each read gives one record: what it is, then a semicolon, then the line.
    let mut record = [0; 8192];
    while let Ok(length @ 1..) = log.read(&mut record) {
        let text = String::from_utf8_lossy(&record[..length]).into_owned();
        let line = text.split_once(';').map(|(_, line)| line.lines().next().unwrap_or_default());
        lines.extend(line.filter(|line| line.contains("Hyper-V")).map(str::to_owned));
    }
    lines
}

/// Switches the machine off.
pub fn power_off() {
    // Until the last byte has left the serial port.
    let _ = termios::tcdrain(io::stdout());
    let _ = reboot(RebootCommand::PowerOff);
    // The kernel panics when its first process ends.
    loop {
        thread::sleep(Duration::MAX);
    }
}
