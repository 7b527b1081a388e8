// SPDX-License-Identifier: MIT OR Apache-2.0
//! The KVM host of the leg `kvm`: booted once, in the emulator unless this machine is one itself, and then QEMU with
//! Satori in it, one run after the other.

use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use agent::frames::Part;
use agent::frames::Splitter;
use agent::protocol::END_RUN;
use agent::protocol::End;
use agent::protocol::FRAME;
use agent::protocol::Frame;
use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use tempfile::TempDir;

use crate::cargo;
use crate::image;
use crate::image::Grub;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::lab::Session;
use crate::lab::console::Console;
use crate::lab::console::Keyboard;
use crate::lab::console::Received;
use crate::lab::launch::Launch;
use crate::progress::Step;
use crate::setup::archive::Archive;
use crate::setup::kvm_host;
use crate::setup::packages;
use crate::workshop::Workshop;

/// For firmware, GRUB and Linux, on this machine's clock.
const TIME_TO_BOOT: Duration = Duration::from_secs(300);

/// For QEMU to be killed, or to be started.
const TIME_TO_TURN: Duration = Duration::from_secs(60);

/// Memory for Linux and QEMU, in MiB, beside that of QEMU's machine and the first file system, of which there are two copies
/// while it is unpacked.
const OWN_MEMORY_MIB: u32 = 256;

/// With less, Linux gives QEMU's machine no large pages: 512 MiB beside the kernel and the packed file system.
const LARGE_PAGES_MIB: u32 = 768;

/// Where the emulated host has what it is to run.
pub(super) const PAYLOAD: &str = "/payload";

/// The kernel's command line. No speculation's mitigations: there is none in the emulator, and the figures of others are
/// without. No checks of the kernel of itself, which take a third of the time. Only what is fatal is printed on the port that
/// guests share. Pages are zeroed and copied by string instructions of eight bytes, as on all processors of the last fifteen years: the
/// emulated one has them, but not the bit of IA32_MISC_ENABLE that Linux takes for the sign, and without them a page takes a half more.
pub(super) const COMMAND_LINE: &str = "console=ttyS0,115200 nokaslr mitigations=off tsc=reliable no_timer_check loglevel=2 \
    rodata=off cryptomgr.notests audit=0 apparmor=0 setcpuid=rep_good";

/// GRUB's modules for [`configuration`].
const GRUB_MODULES: &str = "linux serial terminfo terminal";

/// A Linux with KVM, and an agent in it that runs QEMU.
#[derive(Debug)]
pub struct KvmHost {
    session: Session,
    /// What it boots from where it is emulated.
    cd: Option<TempDir>,
    /// Where it has what it is to run.
    payload: String,
    splitter: Splitter,
    parts: VecDeque<Part>,
    /// Whether a run was started whose end has not come.
    under_way: bool,
}

impl KvmHost {
    /// Has a KVM host run what is in the folder `payload`, in machines with `memory_mib` at most. Where this machine is
    /// no KVM host itself, one with one CPU is booted in the emulator.
    ///
    /// Call it from a thread that outlives the host: the emulator ends with that thread. The folder must outlive it, too.
    ///
    /// # Errors
    /// When a part of it cannot be had, or it does not boot.
    pub fn boot(workshop: &Workshop, payload: &Path, memory_mib: u32) -> Result<Self> {
        if !this_machine_is_one() {
            return Self::boot_emulated(workshop, payload, memory_mib, 1);
        }
        packages::bring_qemu(workshop)?;
        Self::ready(start_agent(workshop)?, None, std::path::absolute(payload)?.display().to_string())
    }

    /// The same in the emulator, whatever this machine is, so that figures are instruction counts; with so many CPUs, each of which
    /// takes as much longer.
    ///
    /// # Errors
    /// As [`KvmHost::boot`].
    pub fn boot_emulated(workshop: &Workshop, payload: &Path, memory_mib: u32, cpus: u32) -> Result<Self> {
        let (session, cd) = emulate(workshop, payload, memory_mib, cpus)?;
        Self::ready(session, Some(cd), PAYLOAD.to_owned())
    }

    /// Waits until the agent is ready.
    fn ready(session: Session, cd: Option<TempDir>, payload: String) -> Result<Self> {
        let mut host = Self {
            session,
            cd,
            payload,
            splitter: Splitter::default(),
            parts: VecDeque::new(),
            under_way: false,
        };
        let step = Step::start("booting the KVM host");
        let frame = host.next_frame(TIME_TO_BOOT).context("the KVM host did not boot")?;
        ensure!(frame == Frame::Ready, "the KVM host is not ready, but says: {frame}");
        step.done();
        Ok(host)
    }

    /// Whether it is emulated, so that figures are instruction counts.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.cd.is_some()
    }

    /// Starts QEMU, and ends the run before.
    ///
    /// # Errors
    /// When the host has ended, or the run before does not end.
    pub fn run(&mut self, launch: &Launch) -> Result<Run<'_>> {
        if self.under_way {
            self.session.keyboard()?.line.write_all(&[END_RUN])?;
            let frame = self.next_frame(TIME_TO_TURN).context("the run before does not end")?;
            ensure!(matches!(frame, Frame::End(_)), "instead of its end, the run before has: {frame}");
            self.under_way = false;
        }
        let mut line = vec![FRAME];
        writeln!(line, "{}", launch.request(&self.payload))?;
        self.session.keyboard()?.line.write_all(&line).context("the KVM host has ended")?;
        let frame = self.next_frame(TIME_TO_TURN).context("QEMU was not started")?;
        ensure!(frame == Frame::Begin, "instead of starting QEMU, the KVM host says: {frame}");
        self.under_way = true;
        Ok(Run { host: self, unread: Vec::new(), end: None })
    }

    /// Ends it, and keeps its files.
    ///
    /// # Errors
    /// As [`Session::keep_files`].
    pub fn keep_files(self) -> Result<std::path::PathBuf> {
        self.session.keep_files()
    }

    /// Waits for the next frame. What comes before is nobody's any more.
    fn next_frame(&mut self, within: Duration) -> Result<Frame> {
        let deadline = Instant::now() + within;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Some(Part::Frame(Frame::Failed(why))) => bail!(why),
                Some(Part::Frame(frame)) => return Ok(frame),
                Some(Part::Output(_)) => {}
                None => bail!(
                    "nothing for {} s; the last lines were:\n{}",
                    within.as_secs(),
                    self.session.last_lines()
                ),
            }
        }
    }

    /// What comes next, if anything does within that time.
    fn receive(&mut self, within: Duration) -> Result<Option<Part>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            match self.session.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.parts.extend(self.splitter.split(&bytes)),
                Received::Nothing => return Ok(None),
                Received::End => return Err(self.session.ended_before("the run was over")),
            }
        }
    }
}

/// Whether KVM is here for us, on a processor whose VMX our machines can have, too.
fn this_machine_is_one() -> bool {
    let nests = fs::read_to_string("/sys/module/kvm_intel/parameters/nested").unwrap_or_default();
    matches!(nests.trim(), "Y" | "1") && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Starts the agent here.
fn start_agent(workshop: &Workshop) -> Result<Session> {
    let agent = cargo::build_agent(workshop)?;
    let folder = Session::folder(workshop)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback network")?;
    let serial = TcpStream::connect(listener.local_addr()?)?;
    let its_end = OwnedFd::from(listener.accept()?.0);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(agent).stdin(its_end.try_clone()?).stdout(its_end);
    let agent = workshop.interrupt.spawn(&mut command)?;
    Session::new(serial, agent, folder, workshop.interrupt.clone())
}

/// Boots a KVM host in the emulator.
fn emulate(workshop: &Workshop, payload: &Path, memory_mib: u32, cpus: u32) -> Result<(Session, TempDir)> {
    let folder = Session::folder(workshop)?;
    let iso = folder.path().join("kvm-host.iso");
    let host = kvm_host::file_system(workshop)?.finish()?;
    let payload = archive_of(payload)?.finish()?;
    let step = Step::start("making the KVM host's CD");
    let grub = Grub { modules: GRUB_MODULES, configuration: &configuration() };
    image::write_cd(workshop, &iso, grub, |boot| {
        fs::write(boot.join("host"), &host)?;
        fs::write(boot.join("payload"), &payload)?;
        image::copy(&kvm_host::kernel(workshop)?.bzimage, &boot.join("vmlinuz"))
    })?;
    step.done();
    let memory_mib = host_memory_mib(memory_mib, host.len() + payload.len())?;
    let machine = Machine { iso, processor: Processor::default(), cpus, memory_mib };
    Ok((machine.boot(workshop)?, folder))
}

fn configuration() -> String {
    format!(
        "serial --unit=0 --speed=115200
terminfo serial dumb
terminal_output console serial
linux /boot/vmlinuz {COMMAND_LINE}
initrd /boot/host /boot/payload
boot
"
    )
}

/// What a KVM host needs of memory, in MiB, for machines with so much, if its first file system has so many bytes.
pub(super) fn host_memory_mib(machines_mib: u32, files: usize) -> Result<u32> {
    let files_mib = u32::try_from(files >> 20)?;
    Ok((machines_mib + 2 * files_mib + OWN_MEMORY_MIB).max(LARGE_PAGES_MIB))
}

/// The files of a folder, for the host's [`PAYLOAD`].
fn archive_of(folder: &Path) -> Result<Archive> {
    let mut archive = Archive::default();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = format!("{PAYLOAD}/{}", entry.file_name().display());
        archive.file(path.trim_start_matches('/'), &fs::read(entry.path())?)?;
    }
    Ok(archive)
}

/// QEMU with Satori in it, on a KVM host.
#[derive(Debug)]
pub struct Run<'a> {
    host: &'a mut KvmHost,
    unread: Vec<u8>,
    end: Option<End>,
}

impl Run<'_> {
    /// How it ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

impl Console for Run<'_> {
    fn receive(&mut self, within: Duration) -> Result<Received> {
        if self.end.is_some() {
            return Ok(Received::End);
        }
        Ok(match self.host.receive(within)? {
            Some(Part::Output(bytes)) => Received::Bytes(bytes),
            Some(Part::Frame(Frame::End(end))) => {
                self.host.under_way = false;
                self.end = Some(end);
                Received::End
            }
            Some(Part::Frame(frame)) => bail!("in the midst of a run, the KVM host says: {frame}"),
            None => Received::Nothing,
        })
    }

    fn keyboard(&self) -> Result<Keyboard> {
        Ok(Keyboard { except: Some(END_RUN), ..self.host.session.keyboard()? })
    }

    fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.unread
    }

    fn last_lines(&self) -> String {
        self.host.session.last_lines()
    }

    fn ended_before(&self, what: &str) -> anyhow::Error {
        let cause = self.end.as_ref().map_or("not at all", |end| &end.cause);
        anyhow!("QEMU ended ({cause}) before {what}; the last lines were:\n{}", self.last_lines())
    }

    fn wait_for_power_off(&mut self, within: Duration) -> Result<()> {
        self.wait_for_end(within)?;
        let powered_off = self.end.as_ref().is_some_and(|end| end.cause == End::POWER_OFF);
        if powered_off { Ok(()) } else { Err(self.ended_before("powering off")) }
    }

    fn explanation(&self) -> Option<String> {
        self.host.session.explanation()
    }
}
