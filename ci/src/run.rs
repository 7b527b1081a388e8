// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x run`: Satori with one guest on one of the lab's machines, and this terminal as its console.

use std::io::ErrorKind;
use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::bundle::OnReboot;
use crate::guest;
use crate::guest::GuestOptions;
use crate::image::BUNDLE;
use crate::interrupt::Interrupted;
use crate::lab::Console;
use crate::lab::HyperV;
use crate::lab::Keyboard;
use crate::lab::KvmHost;
use crate::lab::Launch;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::lab::Received;
use crate::signs::Signs;
use crate::signs::Watch;
use crate::terminal;
use crate::terminal::Keys;
use crate::terminal::RawMode;
use crate::terminal::Request;
use crate::terminal::Unasked;
use crate::workshop::Workshop;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// Exit status when the time was up, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;

/// Once the machine has powered off, the emulator has nothing left to do but to end.
const TIME_TO_END: Duration = Duration::from_secs(30);

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
    /// Print what the machine prints, and read no input; a reboot of the guest ends the run.
    #[arg(long)]
    pub headless: bool,
    /// End the machine after this many seconds, with exit status 124.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

impl Options {
    /// Who sits in front of it expects a reboot to be one; who waits for its end does not wait for ever.
    fn on_reboot(&self) -> OnReboot {
        if self.headless { OnReboot::End } else { OnReboot::Restart }
    }
}

/// How a run ended, when nothing went wrong with it.
enum Ending {
    /// By the guest's own wish, with this exit status.
    Done(u8),
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
    let image = guest::image(workshop, &options.guest, options.cpus, options.on_reboot(), &folder)?;
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
    match converse(workshop, console, options.headless, &guest::ready_when(&options.guest), deadline) {
        Ok(Ending::Done(status)) => Ok(status),
        Ok(Ending::Quit) => Ok(0),
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
            Received::Nothing if signs.stopped() => return signs.verdict().map(Ending::Done),
            Received::Nothing => {}
            Received::End => {
                session.wait_for_power_off(TIME_TO_END)?;
                return signs.verdict().map(Ending::Done);
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
    use clap::Parser;

    #[derive(Parser)]
    struct Run {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_reboot_ends_a_run_that_nobody_sits_in_front_of() {
        let on_reboot = |words: &[&str]| {
            let words = ["run"].iter().chain(words);
            Run::try_parse_from(words).unwrap().options.on_reboot()
        };
        assert_eq!(on_reboot(&[]), OnReboot::Restart);
        assert_eq!(on_reboot(&["--headless"]), OnReboot::End);
    }
}
