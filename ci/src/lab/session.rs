// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that is running: what it prints, what is typed to it, and how it ended.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::anyhow;
use tempfile::TempDir;

use crate::interrupt::Interrupt;
use crate::interrupt::Running;
use crate::lab::console::Console;
use crate::lab::console::Keyboard;
use crate::lab::console::Received;
use crate::workshop::Workshop;

/// The emulator's log, in the session's folder.
pub(super) const EMULATOR_LOG: &str = "bochs.log";

/// A link to the CD, in the session's folder.
pub(super) const CD: &str = "image.iso";

/// All that the machine printed, in the session's folder.
const TRANSCRIPT: &str = "serial.txt";

/// What names of sessions' folders begin with, and those of folders that were kept.
const PREFIX: &str = "lab-";
const KEPT_PREFIX: &str = "lab-failed-";

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
    /// What was received and not yet consumed by [`Console::expect`] or [`Console::line`].
    unread: Vec<u8>,
    transcript: File,
    emulator: Option<Running>,
    folder: TempDir,
    interrupt: Interrupt,
}

impl Session {
    /// A folder for a session's files.
    pub(super) fn folder(workshop: &Workshop) -> Result<TempDir> {
        let target = workshop.target();
        fs::create_dir_all(&target)?;
        Ok(tempfile::Builder::new().prefix(PREFIX).tempdir_in(target)?)
    }

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

    /// An interrupt ends the emulator, too; it is no end of the machine's own.
    fn end(&self) -> Result<Received> {
        self.interrupt.check()?;
        Ok(Received::End)
    }

    /// Ends the session and keeps its files, with the CD that it booted from, under `target/`.
    ///
    /// # Errors
    /// When they cannot be moved there.
    pub fn keep_files(mut self) -> Result<std::path::PathBuf> {
        drop(self.emulator.take());
        let folder = self.folder.path();
        let cd = folder.join(CD);
        if cd.exists() {
            let copy = folder.join("image.copy");
            fs::copy(&cd, &copy)?;
            fs::rename(copy, cd)?;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().replacen(PREFIX, KEPT_PREFIX, 1);
        let kept = folder.with_file_name(name);
        fs::rename(self.folder.keep(), &kept)?;
        Ok(kept)
    }

    fn powered_off(&self) -> bool {
        self.log_lines().iter().any(|line| line.contains("PANIC") && line.contains(POWERED_OFF))
    }

    fn log_lines(&self) -> Vec<String> {
        lines(&self.folder.path().join(EMULATOR_LOG))
    }

    fn end_of(&self, file: &str) -> String {
        let lines = lines(&self.folder.path().join(file));
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Console for Session {
    fn receive(&mut self, within: Duration) -> Result<Received> {
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

    fn keyboard(&self) -> Result<Keyboard> {
        Ok(Keyboard { line: self.serial.try_clone()?, except: None })
    }

    fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.unread
    }

    fn last_lines(&self) -> String {
        self.end_of(TRANSCRIPT)
    }

    fn ended_before(&self, what: &str) -> anyhow::Error {
        if self.powered_off() {
            return anyhow!(
                "the machine powered off before {what}; the last lines were:\n{}",
                self.last_lines()
            );
        }
        let explanation = self.explanation().unwrap_or_else(|| self.end_of(EMULATOR_LOG));
        anyhow!("the machine ended before {what}; {explanation}")
    }

    fn wait_for_power_off(&mut self, within: Duration) -> Result<()> {
        self.wait_for_end(within)?;
        // It closes the port as the last but one of what it does.
        if let Some(emulator) = self.emulator.take() {
            emulator.wait()?;
        }
        if self.powered_off() { Ok(()) } else { Err(self.ended_before("powering off")) }
    }

    fn explanation(&self) -> Option<String> {
        let lines = self.log_lines();
        let telling = |line: &&String| {
            line.contains("VMENTER FAIL") || line.contains("PANIC") && !line.contains(POWERED_OFF)
        };
        let shown: Vec<&str> = lines.iter().filter(telling).take(SHOWN_LINES).map(String::as_str).collect();
        (!shown.is_empty()).then(|| format!("the emulator's log says:\n{}", shown.join("\n")))
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
