// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serial port of a machine that runs Satori: what it prints, and what is typed to it.

use std::io;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

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

/// For a thread that types.
#[derive(Debug)]
pub struct Keyboard {
    pub(super) line: TcpStream,
    /// What ends a run instead of being typed, if anything does.
    pub(super) except: Option<u8>,
}

impl Keyboard {
    /// Types all of `bytes`.
    ///
    /// Nothing typed gets lost for being typed fast: the emulated port takes a byte only when it has room. But an
    /// operating system that sets up the port empties it.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn types(&mut self, bytes: &[u8]) -> io::Result<()> {
        let typed: Vec<u8> = bytes.iter().copied().filter(|byte| Some(*byte) != self.except).collect();
        self.line.write_all(&typed)
    }
}

/// A machine that is running, as its serial port shows it.
pub trait Console {
    /// Waits, at most this long, for the next bytes that the machine prints.
    ///
    /// # Errors
    /// When we were interrupted.
    fn receive(&mut self, within: Duration) -> Result<Received>;

    /// The other end of the serial port.
    ///
    /// # Errors
    /// When the system is out of file descriptors.
    fn keyboard(&self) -> Result<Keyboard>;

    /// What was received and not yet consumed by [`Console::expect`] or [`Console::line`].
    fn unread(&mut self) -> &mut Vec<u8>;

    /// The last lines that the machine printed.
    fn last_lines(&self) -> String;

    /// What would be said of its end before it did `what`.
    fn ended_before(&self, what: &str) -> anyhow::Error;

    /// Waits for the machine to power itself off.
    ///
    /// # Errors
    /// When it has not `within` that time, or when it ended in any other way.
    fn wait_for_power_off(&mut self, within: Duration) -> Result<()>;

    /// Waits for the machine's end, however it comes, and keeps what is printed meanwhile.
    ///
    /// # Errors
    /// When it has not come `within` that time.
    fn wait_for_end(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread().extend(bytes),
                Received::Nothing => bail!("the machine did not power off in {} s", within.as_secs()),
                Received::End => return Ok(()),
            }
        }
    }

    /// What explains a failure beside what the machine printed: VM entries that failed, and the emulator's own end.
    fn explanation(&self) -> Option<String>;

    /// Types `text`.
    ///
    /// # Errors
    /// When the machine has ended.
    fn send(&mut self, text: &str) -> Result<()> {
        self.keyboard()?.types(text.as_bytes()).context("the machine has ended")
    }

    /// Reads on until the machine has printed `text`, and gives all that it printed up to the end of it.
    ///
    /// # Errors
    /// When it ends before, or has not printed it after `within`.
    fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = find(self.unread(), text.as_bytes()) {
                return Ok(take(self.unread(), at + text.len()));
            }
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread().extend(bytes),
                Received::Nothing => bail!(
                    "no {text:?} after {} s; the last lines were:\n{}",
                    within.as_secs(),
                    self.last_lines()
                ),
                Received::End => return Err(self.ended_before(&format!("{text:?}"))),
            }
        }
    }

    /// The next whole line that the machine prints, without its end; `None` when it has ended.
    ///
    /// # Errors
    /// When none came `within` that time.
    fn line(&mut self, within: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = find(self.unread(), b"\n") {
                return Ok(Some(take(self.unread(), at + 1).trim_end_matches(['\n', '\r']).to_owned()));
            }
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Bytes(bytes) => self.unread().extend(bytes),
                Received::Nothing => bail!("no line for {} s", within.as_secs()),
                Received::End => return Ok(None),
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Takes the first `length` bytes.
fn take(unread: &mut Vec<u8>, length: usize) -> String {
    let rest = unread.split_off(length);
    String::from_utf8_lossy(&std::mem::replace(unread, rest)).into_owned()
}
