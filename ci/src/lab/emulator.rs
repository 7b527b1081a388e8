// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated machine: Bochs, with the first serial port on a socket of ours.

use std::fs;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::interrupt::Running;
use crate::lab::Session;
use crate::lab::session::CD;
use crate::lab::session::EMULATOR_LOG;
use crate::setup::bochs;
use crate::setup::packages;
use crate::setup::packages::BIOS;
use crate::setup::packages::VGA_BIOS;
use crate::workshop::Workshop;

/// The most memory that the emulator's machine can have, in MiB. With more it swaps, and what it then runs goes wrong.
pub const LARGEST_MACHINE_MIB: u32 = 2048;

/// How long the emulator may take until it opens the serial port.
const TIME_TO_CONNECT: Duration = Duration::from_secs(30);

/// A machine that is switched off.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The CD that it boots from.
    pub iso: PathBuf,
    /// Its CPU's model.
    pub processor: Processor,
    /// How many CPUs it has.
    pub cpus: u32,
    /// Its memory, in MiB.
    pub memory_mib: u32,
}

/// A model of CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processor {
    /// With EPT, VPID, unrestricted guest, VMCS shadowing and the preemption timer. Its TSC ticks as it says; those of
    /// later models do not.
    #[default]
    Haswell,
    /// Haswell, but without x2APIC and without a TSC deadline, as in some clouds.
    WithoutX2Apic,
    /// Haswell, but without VMX.
    WithoutVmx,
    /// An old one, with VMX but without EPT; given the x2APIC of later ones.
    WithoutEpt,
}

impl Processor {
    /// For the emulator's configuration.
    fn model(self) -> &'static str {
        match self {
            Self::Haswell => "corei7_haswell_4770",
            Self::WithoutX2Apic => "corei7_haswell_4770, exclude_features=\"x2apic,tsc_deadline\"",
            Self::WithoutVmx => "corei7_haswell_4770, exclude_features=vmx",
            Self::WithoutEpt => "core2_penryn_t9600, add_features=x2apic",
        }
    }
}

impl Machine {
    /// Switches it on. Call it from a thread that outlives the session: the emulator ends with that thread.
    ///
    /// # Errors
    /// When the emulator cannot be had or does not start.
    pub fn boot(&self, workshop: &Workshop) -> Result<Session> {
        ensure!(
            self.memory_mib <= LARGEST_MACHINE_MIB,
            "the emulator's machine would need {} MiB and can have {LARGEST_MACHINE_MIB}: give the guest {} MiB less",
            self.memory_mib,
            self.memory_mib - LARGEST_MACHINE_MIB
        );
        packages::bring(workshop)?;
        let bochs = bochs::bring(workshop)?;
        let folder = Session::folder(workshop)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback network")?;
        let iso = std::path::absolute(&self.iso)?;
        // The configuration knows no quoting; with this link, no path of ours appears in it.
        symlink(&iso, folder.path().join(CD))?;
        fs::write(folder.path().join("bochsrc"), self.configuration(listener.local_addr()?.port()))?;

        // If we are killed in a way that leaves us no time to end it, the kernel ends it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(bochs).args(["-q", "-f", "bochsrc"]);
        let output = File::create(folder.path().join("bochs.out"))?;
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut emulator = workshop.interrupt.spawn(&mut command)?;
        let serial = connect(&listener, workshop, &mut emulator).with_context(|| {
            let said = fs::read_to_string(folder.path().join("bochs.out")).unwrap_or_default();
            format!("the emulator did not start: {}", telling_line(&said))
        })?;
        Session::new(serial, emulator, folder, workshop.interrupt.clone())
    }

    /// The TSC ticks once per instruction, at `ips`. Time follows it from a fixed start, so that a run repeats exactly.
    fn configuration(&self, serial_port: u16) -> String {
        let Self { cpus, memory_mib, .. } = self;
        let model = self.processor.model();
        format!(
            "cpu: model={model}, count={cpus}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
megs: {memory_mib}
romimage: file={BIOS}
vgaromimage: file={VGA_BIOS}
display_library: nogui
ata0-master: type=cdrom, path={CD}, status=inserted
boot: cdrom
com1: enabled=1, mode=socket-client, dev={}:{serial_port}
log: {EMULATOR_LOG}
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
clock: sync=none, time0=1000000000
",
            Ipv4Addr::LOCALHOST
        )
    }
}

/// Why the emulator did not start: its panic, or else the last line of what it said that has words.
fn telling_line(said: &str) -> &str {
    let has_words = |line: &&str| line.contains(char::is_alphanumeric);
    let panic = said.lines().find(|line| line.contains("PANIC"));
    panic.or_else(|| said.lines().rfind(has_words)).unwrap_or_default()
}

/// Waits for the emulator to open its serial port.
fn connect(listener: &TcpListener, workshop: &Workshop, emulator: &mut Running) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + TIME_TO_CONNECT;
    loop {
        match listener.accept() {
            Ok((serial, _)) => {
                serial.set_nonblocking(false)?;
                serial.set_nodelay(true)?;
                return Ok(serial);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        workshop.interrupt.check()?;
        if let Some(status) = emulator.child().try_wait()? {
            bail!("it ended at once ({status})");
        }
        if Instant::now() > deadline {
            bail!("it did not open its serial port");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_tells_is_no_ruler() {
        let said =
            "Bochs x86 Emulator\n=====\n000p[      ] >>PANIC<< bochsrc:1: no such model\nthe end\n=====\n";
        assert_eq!(telling_line(said), "000p[      ] >>PANIC<< bochsrc:1: no such model");
        assert_eq!(telling_line("Bochs x86 Emulator\ncannot load it\n=====\n"), "cannot load it");
        assert_eq!(telling_line(""), "");
    }
}
