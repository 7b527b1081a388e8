// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x run`: Satori with one guest on one of the lab's machines, and this terminal as its console.

use std::fs::File;
use std::io::ErrorKind;
use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tempfile::TempDir;

use crate::bundle::Manifest;
use crate::bundle::VirtualMachine;
use crate::cargo;
use crate::image::BUNDLE;
use crate::image::Bundle;
use crate::image::Image;
use crate::interrupt::Interrupted;
use crate::lab::Console;
use crate::lab::HyperV;
use crate::lab::Keyboard;
use crate::lab::KvmHost;
use crate::lab::Launch;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::lab::Received;
use crate::setup::debian;
use crate::setup::initramfs;
use crate::signs::Signs;
use crate::signs::Watch;
use crate::terminal;
use crate::terminal::Keys;
use crate::terminal::RawMode;
use crate::terminal::Request;
use crate::terminal::Unasked;
use crate::workshop::Workshop;

/// Exit status when the time was up, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;

/// The guest's name.
const NAME: &str = "linux";

/// Once the machine has powered off, the emulator has nothing left to do but to end.
const TIME_TO_END: Duration = Duration::from_secs(30);

/// What Linux is told unless somebody tells it otherwise: where its console is, and to end, not to wait, when it panics.
pub const KERNEL_COMMAND_LINE: &str = "console=ttyS0 panic=-1";

/// Which machine runs Satori.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Leg {
    /// The emulator's CPU with VMX, as if it were bare metal.
    Bare,
    /// A machine of QEMU's under KVM with Hyper-V's interface: on this machine's KVM if it can nest, else in the emulator.
    Kvm,
}

/// What is run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What Satori runs on.
    #[arg(long, value_enum, default_value = "bare")]
    pub leg: Leg,
    /// The guest.
    #[command(flatten)]
    pub guest: GuestOptions,
    /// What QEMU offers of Hyper-V's interface on the leg kvm: its hv-* flags with commas between them, or none
    /// [default: all that help].
    #[arg(long, value_name = "FLAGS")]
    pub hv: Option<HyperV>,
    /// CPUs of the machine that Satori runs on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=15))]
    pub cpus: u32,
    /// Print what the machine prints, and read no input.
    #[arg(long)]
    pub headless: bool,
    /// End the machine after this many seconds, with exit status 124.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// The guest, of a run or of an image.
#[derive(Clone, Debug, clap::Args)]
pub struct GuestOptions {
    /// Memory of the guest.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=2048))]
    pub memory: u32,
    /// Its virtual CPUs [default: as many as the machine's CPUs that --cpus gives, else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub vcpus: Option<u32>,
    /// The guest's kernel, an ELF file with a PVH note or a bzImage [default: Debian's vmlinux].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Its initial RAM disk [default: busybox with a shell; none with --kernel].
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Its command line [default: console=ttyS0 panic=-1; none with --kernel].
    #[arg(long, value_name = "STR")]
    pub append: Option<String>,
    /// Give it the device by which a guest program changes its own machine.
    #[arg(long)]
    pub exerciser: bool,
    /// Let it see Hyper-V's interface.
    #[arg(long)]
    pub hyperv: bool,
    /// More words for Satori's own command line.
    #[arg(long, value_name = "STR", default_value = "")]
    pub satori: String,
}

impl GuestOptions {
    /// Looks for the files that are named, before anything is built for them.
    ///
    /// # Errors
    /// When one is not there, cannot be read, or is no file.
    pub fn check(&self) -> Result<()> {
        [&self.kernel, &self.initrd].into_iter().flatten().try_for_each(|file| {
            let unreadable = || format!("cannot read {}", file.display());
            let metadata = File::open(file).and_then(|file| file.metadata()).with_context(unreadable)?;
            ensure!(metadata.is_file(), "{} is no file", file.display());
            Ok(())
        })
    }
}

/// How a run ended, when nothing went wrong with it.
enum Ending {
    Done,
    Quit,
    TimedOut,
}

/// Runs it, and gives the exit status.
///
/// # Errors
/// When something cannot be had or built, or the guest ended otherwise than by its own wish.
pub fn run(workshop: &Workshop, options: &Options) -> Result<u8> {
    let hyperv = match (options.leg, &options.hv) {
        (Leg::Bare, Some(_)) => bail!("--hv is for the leg kvm; on the leg bare no Hyper-V is below Satori"),
        (_, hyperv) => hyperv.clone().unwrap_or_default(),
    };
    options.guest.check()?;
    std::fs::create_dir_all(workshop.target())?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(workshop.target())?;
    let image = image(workshop, &options.guest, options.cpus, &folder)?;
    let memory_mib = image.machine_memory_mib()?;
    match options.leg {
        Leg::Bare => {
            let iso = folder.path().join("satori.iso");
            image.write(workshop, &iso)?;
            let machine = Machine { iso, processor: Processor::default(), cpus: options.cpus, memory_mib };
            let mut session = machine.boot(workshop)?;
            let status = conclude(workshop, options, &mut session);
            keep_if_failed(status, || session.keep_files())
        }
        Leg::Kvm => {
            let payload = folder.path().join("payload");
            std::fs::create_dir(&payload)?;
            let launch = Launch { hyperv, cpus: options.cpus, ..image.lay_out(&payload, BUNDLE)? };
            let mut host = KvmHost::boot(workshop, &payload, memory_mib)?;
            let status = conclude(workshop, options, &mut host.run(&launch)?);
            keep_if_failed(status, || host.keep_files())
        }
    }
}

/// Carries bytes both ways until the run has ended, and gives its exit status, unless it failed.
fn conclude(workshop: &Workshop, options: &Options, console: &mut impl Console) -> Result<u8> {
    // A time that no clock can tell never comes.
    let deadline =
        options.timeout.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    match converse(workshop, console, options.headless, &ready_when(&options.guest), deadline) {
        Ok(Ending::Done | Ending::Quit) => Ok(0),
        Ok(Ending::TimedOut) => {
            eprintln!("\nsatori: the {} s are up; ended", options.timeout.unwrap_or_default());
            if let Some(explanation) = console.explanation() {
                eprintln!("satori: {explanation}");
            }
            Ok(TIMED_OUT)
        }
        Err(error) => {
            workshop.interrupt.check()?;
            Err(error)
        }
    }
}

fn keep_if_failed(status: Result<u8>, keep: impl FnOnce() -> Result<PathBuf>) -> Result<u8> {
    match status {
        Err(error) if !error.is::<Interrupted>() => {
            Err(error.context(format!("the run failed (its files are in {})", keep()?.display())))
        }
        status => status,
    }
}

/// Satori and one guest, as `options` say, for a machine with `cpus` CPUs. What has to be made for it goes to `folder`.
///
/// # Errors
/// When something cannot be had or built.
pub fn image(workshop: &Workshop, options: &GuestOptions, cpus: u32, folder: &TempDir) -> Result<Image> {
    let guest =
        VirtualMachine { vcpus: options.vcpus.unwrap_or(cpus), ..guest(workshop, options, folder.path())? };
    Ok(Image {
        satori: cargo::build_satori(workshop)?,
        // Of two words that contradict each other Satori takes the first.
        command_line: format!("{} when-done=power-off", options.satori),
        bundle: Bundle::Of(Manifest::together(vec![guest])),
    })
}

fn guest(workshop: &Workshop, options: &GuestOptions, folder: &Path) -> Result<VirtualMachine> {
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => debian::linux(workshop)?.vmlinux,
    };
    let mut guest = VirtualMachine {
        initrd: options.initrd.clone(),
        command_line: options.append.clone(),
        exerciser: options.exerciser,
        hyperv: options.hyperv,
        ..VirtualMachine::new(NAME, options.memory, kernel)
    };
    if options.kernel.is_some() {
        return Ok(guest);
    }
    guest.command_line.get_or_insert_with(|| KERNEL_COMMAND_LINE.into());
    if guest.initrd.is_none() {
        let initrd = folder.join("initrd");
        std::fs::write(&initrd, initramfs::build(workshop, &[])?)?;
        guest.initrd = Some(initrd);
    }
    Ok(guest)
}

/// What the machine prints when its guest can take input that did not come from a human's fingers: the shell's
/// prompt, or for a guest that we know nothing about, Satori's word that it runs.
fn ready_when(options: &GuestOptions) -> String {
    let our_shell = options.kernel.is_none() && options.initrd.is_none();
    if our_shell { initramfs::PROMPT.into() } else { format!("vm {NAME}: started") }
}

/// How long nothing more comes once Satori has halted.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Carries bytes both ways until the machine or the operator ends it.
fn converse(
    workshop: &Workshop,
    session: &mut impl Console,
    headless: bool,
    ready: &str,
    deadline: Option<Instant>,
) -> Result<Ending> {
    let interactive = !headless && std::io::stdin().is_terminal();
    if interactive {
        eprintln!("satori: {}", terminal::HELP);
    }
    let _raw = if headless { None } else { RawMode::enter()? };
    let (mut requests, mut waiting) = (None, None);
    if interactive {
        requests = Some(type_keys(session.keyboard()?));
    } else if !headless {
        waiting = Some(Watch::new([ready.as_bytes()]));
    }
    let mut signs = Signs::default();
    let mut unasked = (!interactive).then(Unasked::default);
    let mut stdout = std::io::stdout().lock();
    loop {
        workshop.interrupt.check()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Ending::TimedOut);
        }
        match session.receive(if signs.stopped() { LAST_WORDS } else { Duration::from_millis(50) })? {
            Received::Bytes(bytes) => {
                signs.look(&bytes);
                let shown = unasked.as_mut().map(|unasked| unasked.shown(&bytes));
                if !show(&mut stdout, shown.as_ref().unwrap_or(&bytes))? {
                    return Ok(Ending::Quit);
                }
                if waiting.as_mut().is_some_and(|watch| watch.sees(&bytes)) {
                    waiting = None;
                    feed_standard_input(session.keyboard()?);
                }
            }
            Received::Nothing if signs.stopped() => return signs.verdict().map(|()| Ending::Done),
            Received::Nothing => {}
            Received::End => {
                session.wait_for_power_off(TIME_TO_END)?;
                return signs.verdict().map(|()| Ending::Done);
            }
        }
        match requests.as_ref().and_then(|requests| requests.try_recv().ok()) {
            Some(Request::Quit) => return Ok(Ending::Quit),
            Some(Request::Help) => eprintln!("\nsatori: {}", terminal::HELP),
            None => {}
        }
    }
}

/// Prints; the run ends, which is the `false`, when whoever reads our output is gone (`| head`).
fn show(stdout: &mut impl Write, bytes: &[u8]) -> Result<bool> {
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        shown => shown.map(|()| true).context("cannot print what the machine prints"),
    }
}

/// Types what comes from this terminal; what follows Ctrl-A comes out of the channel instead.
fn type_keys(mut keyboard: Keyboard) -> Receiver<Request> {
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        let mut keys = Keys::default();
        for_each_input(|bytes| {
            let (to_guest, request) = keys.typed(bytes);
            let told = request.is_none_or(|request| sender.send(request).is_ok());
            told && keyboard.types(&to_guest).is_ok()
        });
    });
    requests
}

/// Types what comes from a file or pipe. Its end is not the machine's.
fn feed_standard_input(mut keyboard: Keyboard) {
    thread::spawn(move || for_each_input(|bytes| keyboard.types(bytes).is_ok()));
}

/// Hands over standard input as it comes, until it ends or `take` wants no more.
fn for_each_input(mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 1024];
    loop {
        match std::io::stdin().read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if !take(&buffer[..length]) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = |initrd: PathBuf| GuestOptions {
            memory: 512,
            vcpus: None,
            kernel: None,
            initrd: Some(initrd),
            append: None,
            exerciser: false,
            hyperv: false,
            satori: String::new(),
        };
        let complaint = |file: PathBuf| options(file).check().unwrap_err().to_string();
        let shown = folder.path().display();
        assert_eq!(complaint(folder.path().into()), format!("{shown} is no file"));
        assert_eq!(complaint(folder.path().join("x")), format!("cannot read {shown}/x"));
        let file = folder.path().join("initrd");
        std::fs::write(&file, "").unwrap();
        options(file).check().unwrap();
    }
}
