// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C: everything that was started ends, then whoever waited for it sees why.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use rustix::process::Pid;
use rustix::process::Signal;

/// Exit status of a tool that was interrupted, as shells give it for SIGINT (128 + 2).
pub const EXIT_STATUS: u8 = 130;

/// One request may come as several signals: to the process, and to its group. Only one that comes later is impatience.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// Whether this process was asked to end, and the children that must end with it. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    interrupted: Option<Instant>,
    children: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Group(Pid),
    Process(Pid),
}

/// The error of everything that was under way when the process was asked to end.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP: the first one ends the children, which ends the
    /// work; one that comes a second or more later ends this process where it stands.
    ///
    /// # Errors
    /// When called twice in one process.
    pub fn install() -> Result<Self> {
        let interrupt = Self::default();
        let seen_by_handler = interrupt.clone();
        ctrlc::set_handler(move || seen_by_handler.raise()).context("cannot take over Ctrl-C")?;
        Ok(interrupt)
    }

    /// Ends the work under way if the process was asked to end.
    ///
    /// # Errors
    /// [`Interrupted`], if it was.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.state().interrupted.is_some() { Err(Interrupted) } else { Ok(()) }
    }

    /// Starts `command` in a process group of its own, so that its descendants end with it.
    ///
    /// # Errors
    /// When it cannot be started, or when the process was asked to end.
    pub fn spawn(&self, command: &mut Command) -> Result<Running> {
        self.start(command.process_group(0), Target::Group)
    }

    /// Starts `command` in our own process group, so that it may ask for a password on the terminal.
    ///
    /// # Errors
    /// As [`Interrupt::spawn`].
    pub fn spawn_in_foreground(&self, command: &mut Command) -> Result<Running> {
        self.start(command, Target::Process)
    }

    fn start(&self, command: &mut Command, target: fn(Pid) -> Target) -> Result<Running> {
        // Locked throughout: a child is either refused or known to the handler, never missed by it.
        let mut state = self.state();
        if state.interrupted.is_some() {
            return Err(Interrupted.into());
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let target = target(Pid::from_child(&child));
        state.children.push(target);
        drop(state);
        Ok(Running { child, target, interrupt: self.clone() })
    }

    fn raise(&self) {
        let mut state = self.state();
        if let Some(first) = state.interrupted {
            if first.elapsed() >= TIME_TO_END {
                state.children.iter().for_each(|child| child.signal(Signal::KILL));
                std::process::exit(i32::from(EXIT_STATUS));
            }
            return;
        }
        state.interrupted = Some(Instant::now());
        state.children.iter().for_each(|child| child.signal(Signal::TERM));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn signal(self, signal: Signal) {
        // It may have ended by itself, or belong to root: either way there is nothing more to do here.
        let _ = match self {
            Self::Group(pid) => rustix::process::kill_process_group(pid, signal),
            Self::Process(pid) => rustix::process::kill_process(pid, signal),
        };
    }
}

/// A child process that ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    target: Target,
    interrupt: Interrupt,
}

impl Running {
    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Interrupted`], if that is why it ended.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        self.interrupt.check()?;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.target.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        let target = self.target;
        self.interrupt.state().children.retain(|child| *child != target);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_ends_with_its_descendants_when_interrupted() {
        let interrupt = Interrupt::default();
        let script = "sleep 20 & echo started; wait";
        let mut running =
            interrupt.spawn(Command::new("sh").args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut output = running.child().stdout.take().unwrap();
        output.read_exact(&mut [0; "started\n".len()]).unwrap();
        let interrupted = Instant::now();
        interrupt.raise();
        assert!(running.wait().unwrap_err().is::<Interrupted>());
        // Whoever is left holds the pipe open.
        output.read_to_end(&mut Vec::new()).unwrap();
        assert!(interrupted.elapsed() < Duration::from_secs(10), "a descendant outlived the interrupt");
    }

    #[test]
    fn nothing_starts_after_an_interrupt() {
        let interrupt = Interrupt::default();
        interrupt.raise();
        assert!(interrupt.spawn(&mut Command::new("true")).unwrap_err().is::<Interrupted>());
    }

    #[test]
    fn a_dropped_child_is_ended() {
        let interrupt = Interrupt::default();
        let running = interrupt.spawn(Command::new("sleep").arg("1000")).unwrap();
        let pid = Pid::from_child(&running.child);
        drop(running);
        assert!(rustix::process::test_kill_process(pid).is_err());
        assert!(interrupt.state().children.is_empty());
    }
}
