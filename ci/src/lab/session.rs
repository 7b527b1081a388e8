// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that is running: what it prints, what is typed to it, and how it ended.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use tempfile::TempDir;

use crate::interrupt::Interrupt;
use crate::interrupt::Running;

/// The emulator's log, in the session's folder.
pub(super) const EMULATOR_LOG: &str = "bochs.log";

/// A link to the CD, in the session's folder.
pub(super) const CD: &str = "image.iso";

/// All that the machine printed, in the session's folder.
const TRANSCRIPT: &str = "serial.txt";

/// How the emulator names the end of a machine that powered itself off.
const POWERED_OFF: &str = "soft power off";

/// How long nothing may happen before we look whether we are to end.
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// How many lines of a log or of the machine's output an error shows.
const SHOWN_LINES: usize = 20;

/// A running machine. Dropping it switches the machine off and removes its files.
#[derive(Debug)]
pub struct Session {
    serial: TcpStream,
    /// What was received and not yet consumed by [`Session::expect`] or [`Session::line`].
    unread: Vec<u8>,
    transcript: File,
    emulator: Option<Running>,
    folder: TempDir,
    interrupt: Interrupt,
}

/// What came of waiting for the machine's output.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It printed this.
    Bytes(Vec<u8>),
    /// Nothing, in the time given.
    Nothing,
    /// It has ended.
    End,
}

impl Session {
    pub(super) fn new(
        serial: TcpStream,
        emulator: Running,
        folder: TempDir,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let transcript = File::create(folder.path().join(TRANSCRIPT))?;
        let unread = Vec::new();
        Ok(Self { serial, unread, transcript, emulator: Some(emulator), folder, interrupt })
    }

    /// The other end of the serial port, for a thread that types.
    ///
    /// Nothing typed gets lost for being typed fast: the emulated port takes a byte only when it has room. But an
    /// operating system that sets up the port empties it.
    ///
    /// # Errors
    /// When the system is out of file descriptors.
    pub fn keyboard(&self) -> Result<TcpStream> {
        Ok(self.serial.try_clone()?)
    }

    /// Types `text`.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.serial.write_all(text.as_bytes()).context("the machine has ended")
    }

    /// Waits, at most this long, for the next bytes that the machine prints.
    ///
    /// # Errors
    /// When we were interrupted.
    pub fn receive(&mut self, within: Duration) -> Result<Received> {
        let deadline = Instant::now() + within;
        let mut buffer = [0; 4096];
        loop {
            self.interrupt.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            self.serial.set_read_timeout(Some(left.clamp(Duration::from_millis(1), LONGEST_NAP)))?;
            match self.serial.read(&mut buffer) {
                Ok(0) => return self.end(),
                Ok(length) => {
                    self.transcript.write_all(&buffer[..length])?;
                    return Ok(Received::Bytes(buffer[..length].to_vec()));
                }
                Err(error) if is_timeout(&error) => {}
                // The emulator was killed with bytes of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return self.end(),
                Err(error) => return Err(error.into()),
            }
            if left.is_zero() {
                return Ok(Received::Nothing);
            }
        }
    }

    /// An interrupt ends the emulator, too; it is no end of the machine's own.
    fn end(&self) -> Result<Received> {
        self.interrupt.check()?;
        Ok(Received::End)
    }

    /// Reads on until the machine has printed `text`, and gives all that it printed up to the end of it.
    ///
    /// # Errors
    /// When it ends before, or has not printed it after `within`.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = find(&self.unread, text.as_bytes()) {
                let rest = self.unread.split_off(at + text.len());
                return Ok(String::from_utf8_lossy(&std::mem::replace(&mut self.unread, rest)).into_owned());
            }
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread.extend(bytes),
                Received::Nothing => bail!(
                    "no {text:?} after {} s; the last lines were:\n{}",
                    within.as_secs(),
                    self.last_lines(TRANSCRIPT)
                ),
                Received::End => return Err(self.ended_before(&format!("{text:?}"))),
            }
        }
    }

    /// The next whole line that the machine prints, without its end; `None` when it has ended.
    ///
    /// # Errors
    /// When none came `within` that time.
    pub fn line(&mut self, within: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(at + 1);
                let line = std::mem::replace(&mut self.unread, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()));
            }
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread.extend(bytes),
                Received::Nothing => bail!("no line for {} s", within.as_secs()),
                Received::End => return Ok(None),
            }
        }
    }

    /// Waits for the machine to power itself off.
    ///
    /// # Errors
    /// When it has not `within` that time, or when the emulator ended in any other way: the error then has what
    /// the emulator's log says about it.
    pub fn wait_for_power_off(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread.extend(bytes),
                Received::Nothing => bail!("the machine did not power off in {} s", within.as_secs()),
                Received::End => break,
            }
        }
        // It closes the port as the last but one of what it does.
        if let Some(emulator) = self.emulator.take() {
            emulator.wait()?;
        }
        if self.powered_off() { Ok(()) } else { Err(self.ended_before("powering off")) }
    }

    /// What the emulator's log says that explains a failure: VM entries that failed, and its own end.
    #[must_use]
    pub fn explanation(&self) -> Option<String> {
        let lines = self.log_lines();
        let telling = |line: &&String| {
            line.contains("VMENTER FAIL") || line.contains("PANIC") && !line.contains(POWERED_OFF)
        };
        let shown: Vec<&str> = lines.iter().filter(telling).take(SHOWN_LINES).map(String::as_str).collect();
        (!shown.is_empty()).then(|| format!("the emulator's log says:\n{}", shown.join("\n")))
    }

    /// Ends the session and keeps its files, with the CD that it booted from, under `target/`.
    ///
    /// # Errors
    /// When they cannot be moved there.
    pub fn keep_files(mut self) -> Result<std::path::PathBuf> {
        drop(self.emulator.take());
        let folder = self.folder.path();
        let copy = folder.join("image.copy");
        fs::copy(folder.join(CD), &copy)?;
        fs::rename(copy, folder.join(CD))?;
        let kept = folder.with_file_name(format!("lab-failed-{}", process::id()));
        fs::rename(self.folder.keep(), &kept)?;
        Ok(kept)
    }

    fn powered_off(&self) -> bool {
        self.log_lines().iter().any(|line| line.contains("PANIC") && line.contains(POWERED_OFF))
    }

    fn ended_before(&self, what: &str) -> anyhow::Error {
        if self.powered_off() {
            return anyhow!(
                "the machine powered off before {what}; the last lines were:\n{}",
                self.last_lines(TRANSCRIPT)
            );
        }
        let explanation = self.explanation().unwrap_or_else(|| self.last_lines(EMULATOR_LOG));
        anyhow!("the machine ended before {what}; {explanation}")
    }

    fn log_lines(&self) -> Vec<String> {
        lines(&self.folder.path().join(EMULATOR_LOG))
    }

    fn last_lines(&self, file: &str) -> String {
        let lines = lines(&self.folder.path().join(file));
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
