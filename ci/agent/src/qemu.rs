// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU while it runs: its console, its monitor, which tells when its machine is at its end, and what KVM counts for it.

use std::fs;
use std::io;
use std::io::PipeReader;
use std::io::PipeWriter;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;

use agent::protocol::Counters;
use agent::protocol::End;

use crate::tsc;

/// Where KVM keeps what it counts: a folder for each machine, named after its process.
const DEBUGFS: &str = "/sys/kernel/debug/kvm";

/// A machine that is at its end waits with it until it was looked at.
const OPTIONS: [&str; 4] = ["-no-reboot", "-no-shutdown", "-serial", "stdio"];

/// A QEMU that is running. Dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    process: Child,
    /// The host's TSC when it was started.
    started_at: u64,
    /// What it and its machine print.
    pub output: PipeReader,
    /// What is typed to its machine. Never blocks.
    pub input: PipeWriter,
    monitor: Monitor,
}

/// QEMU's monitor (QMP), which speaks in lines.
#[derive(Debug)]
enum Monitor {
    /// QEMU will connect to this.
    Awaited(Socket),
    /// It has, and has begun to say this line.
    Connected(UnixStream, String),
    /// It has ended, or is about to.
    Closed,
}

impl Qemu {
    /// Starts `command`, to which the options that the agent needs are added.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let socket = Socket::bind()?;
        let (output, prints) = io::pipe()?;
        let (typed, input) = io::pipe()?;
        rustix::io::ioctl_fionbio(&input, true)?;
        let mut command = Command::new(program);
        command.args(arguments).args(OPTIONS).arg("-qmp").arg(format!("unix:{}", socket.path.display()));
        command.stdin(typed).stdout(prints.try_clone()?).stderr(prints);
        // `command`, which ends with this function, holds the writing ends of the output: while it does, that has no end.
        let started_at = tsc::now();
        let process = command.spawn()?;
        Ok(Self { process, started_at, output, input, monitor: Monitor::Awaited(socket) })
    }

    /// What can be read when the monitor has something to say, while it is open.
    pub fn monitor(&self) -> Option<BorrowedFd<'_>> {
        match &self.monitor {
            Monitor::Awaited(socket) => Some(socket.listener.as_fd()),
            Monitor::Connected(stream, _) => Some(stream.as_fd()),
            Monitor::Closed => None,
        }
    }

    /// Listens to the monitor, and gives the reason why the machine is at its end, once it is.
    pub fn listen(&mut self) -> io::Result<Option<String>> {
        match &mut self.monitor {
            Monitor::Awaited(socket) => {
                let mut stream = socket.listener.accept()?.0;
                order(&mut stream, "qmp_capabilities");
                self.monitor = Monitor::Connected(stream, String::new());
            }
            Monitor::Connected(stream, heard) => {
                let mut buffer = [0; 1024];
                let length = stream.read(&mut buffer).unwrap_or_default();
                if length == 0 {
                    self.monitor = Monitor::Closed;
                    return Ok(None);
                }
                heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
                let whole: String = heard.drain(..heard.rfind('\n').map_or(0, |end| end + 1)).collect();
                return Ok(whole.lines().find_map(end_reason).map(str::to_owned));
            }
            Monitor::Closed => {}
        }
        Ok(None)
    }

    /// Has it end by itself.
    pub fn quit(&mut self) {
        if let Monitor::Connected(stream, _) = &mut self.monitor {
            order(stream, "quit");
        }
    }

    /// What KVM has counted for this machine so far; and with that [`Counters::STARTED_AT`] and [`Counters::TSC_ZERO_AT`].
    pub fn counters(&self) -> Counters {
        let mut counters = counters_of(self.process.id(), Path::new(DEBUGFS)).unwrap_or_default();
        counters.0.insert(Counters::STARTED_AT.into(), self.started_at);
        counters
    }

    /// Waits for its end.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn order(monitor: &mut UnixStream, command: &str) {
    // One that is gone needs no orders.
    let _ = writeln!(monitor, r#"{{"execute":"{command}"}}"#);
}

/// The reason in a line like `{"timestamp": …, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`. After a crash that
/// the guest reports, QEMU pauses the machine for good.
fn end_reason(line: &str) -> Option<&str> {
    if line.contains(r#""event": "GUEST_PANICKED""#) {
        return Some(End::GUEST_PANIC);
    }
    let (_, rest) = line.split_once(r#""event": "SHUTDOWN""#)?;
    let (_, rest) = rest.split_once(r#""reason": ""#)?;
    Some(rest.split_once('"')?.0)
}

fn counters_of(process: u32, debugfs: &Path) -> io::Result<Counters> {
    let prefix = format!("{process}-");
    let mut counters = Counters::default();
    for folder in fs::read_dir(debugfs)?.flatten() {
        if !folder.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        for file in fs::read_dir(folder.path())?.flatten() {
            // Some are histograms, and some are folders of virtual CPUs.
            let count = fs::read_to_string(file.path()).ok().and_then(|text| text.trim().parse().ok());
            if let Some(count) = count.filter(|count| *count != 0) {
                counters.0.insert(file.file_name().to_string_lossy().into_owned(), count);
            }
        }
        let offset = fs::read_to_string(folder.path().join("vcpu0/tsc-offset")).unwrap_or_default();
        if let Ok(offset) = offset.trim().parse::<i64>() {
            counters.0.insert(Counters::TSC_ZERO_AT.into(), offset.cast_unsigned().wrapping_neg());
        }
    }
    Ok(counters)
}

/// A socket that QEMU connects its monitor to, in a place of this process' own.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn bind() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("satori-agent-{}", std::process::id()));
        let listener = UnixListener::bind(&path)?;
        Ok(Self { path, listener })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_that_of_a_shutdown_or_a_crash() {
        let event = r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(end_reason(event), Some("guest-reset"));
        assert_eq!(end_reason(r#"{"event": "STOP"}"#), None);
        let event =
            r#"{"event": "GUEST_PANICKED", "data": {"action": "pause", "info": {"type": "hyper-v"}}}"#;
        assert_eq!(end_reason(event), Some(End::GUEST_PANIC));
    }

    #[test]
    fn counters_are_those_of_this_process_alone() {
        let folder = std::env::temp_dir().join(format!("satori-counters-{}", std::process::id()));
        for (machine, exits) in [("12-9", "5\n"), ("123-9", "7\n")] {
            fs::create_dir_all(folder.join(machine).join("vcpu0")).unwrap();
            fs::write(folder.join(machine).join("exits"), exits).unwrap();
            fs::write(folder.join(machine).join("nmi_exits"), "0\n").unwrap();
            fs::write(folder.join(machine).join("histogram"), "1 2 3\n").unwrap();
            fs::write(folder.join(machine).join("vcpu0").join("tsc-offset"), "-70\n").unwrap();
        }
        let counters = counters_of(12, &folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
        let expected = [("exits".to_owned(), 5), (Counters::TSC_ZERO_AT.to_owned(), 70)];
        assert_eq!(counters, Counters(expected.into()));
    }
}
