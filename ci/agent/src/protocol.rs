// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: lines of the agent's own, which begin with a byte that no guest's output has, and the lab's requests.
//!
//! Between runs the agent takes one request, a line. During a run all bytes but [`END_RUN`] go to QEMU's serial port, and what
//! that prints comes back, with `?` in the place of [`FRAME`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Begins a frame, wherever the guest's output stood (ASCII's "record separator"); a line feed ends it.
pub const FRAME: u8 = 0x1e;

/// Ends the run that is under way. No text in UTF-8 has this byte.
pub const END_RUN: u8 = 0xff;

/// Where a KVM host in a machine of QEMU's has its requests, each a line, if it has them with it. It carries them out without
/// frames, then powers off. Its counters at marks come before the mark, which is for the agent of the host below.
pub const REQUESTS: &str = "/requests";

/// What the lines begin with by which such a host tells of itself.
pub const OF_L1: &str = "L1 ";

/// Between the arguments of a request (ASCII's "unit separator").
const SEPARATOR: char = '\x1f';

/// What the lab asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// After this long, on the KVM host's clock, QEMU is killed.
    pub time_limit: Duration,
    /// QEMU's program and its arguments. None has a line feed or ASCII's "unit separator".
    pub command: Vec<String>,
}

/// What the agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// It waits for its first request.
    Ready,
    /// QEMU was started.
    Begin,
    /// QEMU has ended.
    End(End),
    /// The KVM host cannot be had as it is to be, for this reason.
    Failed(String),
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Why, in one word: [`End::TIME_LIMIT`], [`End::REQUEST`], what QEMU names the cause of its machine's shutdown, or its
    /// exit status where it ended without one.
    pub cause: String,
    /// What KVM counted for this machine, by the names in its debugfs; nothing where that could not be read.
    pub counters: Counters,
}

/// KVM's counters for one virtual machine that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub BTreeMap<String, u64>);

impl End {
    /// The cause that QEMU names when its machine powered itself off.
    pub const POWER_OFF: &str = "guest-shutdown";
    /// It has reported a crash of its own.
    pub const GUEST_PANIC: &str = "guest-panic";
    /// The cause when the time was up.
    pub const TIME_LIMIT: &str = "time-limit";
    /// The cause when the lab asked for it.
    pub const REQUEST: &str = "request";
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time_limit.as_secs())?;
        self.command.iter().try_for_each(|word| write!(f, "{SEPARATOR}{word}"))
    }
}

impl Request {
    /// Reads a request, without the line's end.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(SEPARATOR);
        let time_limit = Duration::from_secs(words.next()?.parse().ok()?);
        let command: Vec<String> = words.map(str::to_owned).collect();
        (!command.is_empty()).then_some(Self { time_limit, command })
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Begin => f.write_str("begin"),
            Self::End(End { cause, counters }) => write!(f, "end {cause} {counters}"),
            Self::Failed(why) => write!(f, "failed {}", why.replace('\n', " ")),
        }
    }
}

impl Frame {
    /// Reads a frame, without [`FRAME`] and without the line's end.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "ready" => Self::Ready,
            "begin" => Self::Begin,
            "failed" => Self::Failed(rest.to_owned()),
            "end" => {
                let (cause, counters) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::End(End { cause: cause.to_owned(), counters: Counters::parse(counters) })
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Counters {
    /// As `exits 12, nested_run 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separators = [""].into_iter().chain(std::iter::repeat(", "));
        separators
            .zip(&self.0)
            .try_for_each(|(separator, (name, count))| write!(f, "{separator}{name} {count}"))
    }
}

impl Counters {
    /// The KVM host's TSC when QEMU was started, which is no counter of KVM's.
    pub const STARTED_AT: &str = "started-at";
    /// The host's TSC when that of QEMU's machine was 0, which is none either.
    pub const TSC_ZERO_AT: &str = "tsc-zero-at";

    /// Reads what [`Display`](fmt::Display) writes, and leaves out what is no counter.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let counter = |item: &str| {
            let (name, count) = item.split_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        Self(text.split(", ").filter_map(counter).collect())
    }

    /// The counter `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back() {
        let command = ["qemu-system-x86_64", "-append", "a b=c,d", ""].map(str::to_owned).to_vec();
        let request = Request { time_limit: Duration::from_secs(7), command };
        assert_eq!(Request::parse(&request.to_string()), Some(request));
        assert!(["", "7", "x\x1fqemu"].iter().all(|line| Request::parse(line).is_none()));
    }

    #[test]
    fn frames_read_back() {
        let counters = Counters([("exits".to_owned(), 12), ("nested_run".to_owned(), 4)].into());
        let with = End { cause: End::POWER_OFF.into(), counters };
        let without = End { cause: "exit-1".into(), counters: Counters::default() };
        let failed = Frame::Failed("no KVM here".into());
        for frame in [Frame::Ready, Frame::Begin, Frame::End(with), Frame::End(without), failed] {
            assert_eq!(Frame::parse(&frame.to_string()), Some(frame));
        }
        assert!(["", "ending", "else"].iter().all(|line| Frame::parse(line).is_none()));
    }
}
