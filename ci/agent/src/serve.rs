// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run after the other: QEMU's output goes to the lab, what the lab types goes to QEMU.

use std::io;
use std::io::Read;
use std::io::Write;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use agent::protocol::Counters;
use agent::protocol::END_RUN;
use agent::protocol::End;
use agent::protocol::FRAME;
use agent::protocol::Frame;
use agent::protocol::OF_L1;
use agent::protocol::Request;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;

use crate::host;
use crate::marks::MarksFor;
use crate::marks::Output;
use crate::qemu::Qemu;
use crate::tell;

/// While this many bytes wait for QEMU to take them, no more are read.
const MOST_WAITING: usize = 4096;

/// QEMU prints one byte at a time. Waiting for more spares the emulated KVM host a good part of its work.
const TIME_FOR_MORE: Duration = Duration::from_millis(10);

/// Serves the lab until it is gone.
pub fn serve() -> io::Result<()> {
    tell(&Frame::Ready)?;
    while let Some(line) = next_request()? {
        let request = parse(&line)?;
        tell(&Frame::Begin)?;
        let end = carry_out(&request, MarksFor::ThisHost)?;
        tell(&Frame::End(end))?;
    }
    Ok(())
}

/// Carries out all `requests`, one after the other, for the host that runs the machine that this one is in.
pub fn serve_file(requests: &str) -> io::Result<()> {
    host::said_of_hyperv().iter().try_for_each(|line| tell_below(&format!("kernel: {line}")))?;
    for line in requests.lines() {
        let end = carry_out(&parse(line)?, MarksFor::HostBelow)?;
        tell_below(&format!("run ended: {}", end.cause))?;
    }
    Ok(())
}

fn parse(line: &str) -> io::Result<Request> {
    Request::parse(line).ok_or_else(|| io::Error::other(format!("no request: {line:?}")))
}

fn tell_below(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{OF_L1}{line}")
}

fn carry_out(request: &Request, marks_for: MarksFor) -> io::Result<End> {
    match Qemu::start(&request.command) {
        Ok(qemu) => Run::of(qemu, request.time_limit, marks_for).follow(),
        Err(error) => Ok(End { cause: one_word(&error.to_string()), counters: Counters::default() }),
    }
}

/// The next request, without what was typed to a machine that had ended by then; `None` when the lab is gone.
fn next_request() -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while rustix::io::read(io::stdin(), &mut byte)? != 0 {
        match byte[0] {
            FRAME => line = vec![FRAME],
            b'\n' if !line.is_empty() => return Ok(Some(String::from_utf8_lossy(&line[1..]).into_owned())),
            byte if !line.is_empty() => line.push(byte),
            _ => {}
        }
    }
    Ok(None)
}

fn one_word(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("-")
}

/// A run that is under way.
struct Run {
    qemu: Qemu,
    deadline: Instant,
    output: Output,
    /// What QEMU has not taken yet of what was typed.
    waiting: Vec<u8>,
    /// How it ended, once it is known; QEMU may still have something to print.
    end: Option<End>,
}

/// What there is to do.
struct Ready {
    typed: bool,
    takes: bool,
    printed: bool,
    monitor: bool,
}

impl Run {
    fn of(qemu: Qemu, time_limit: Duration, marks_for: MarksFor) -> Self {
        let deadline = Instant::now() + time_limit;
        Self { qemu, deadline, output: Output::new(marks_for), waiting: Vec::new(), end: None }
    }

    fn follow(mut self) -> io::Result<End> {
        loop {
            let ready = self.wait()?;
            if ready.monitor
                && let Some(cause) = self.qemu.listen()?
            {
                let counters = self.qemu.counters();
                self.end.get_or_insert(End { cause, counters });
                self.qemu.quit();
            }
            if ready.typed && !self.take_typed()? {
                return Ok(self.ended_by(End::REQUEST));
            }
            if Instant::now() >= self.deadline {
                return Ok(self.ended_by(End::TIME_LIMIT));
            }
            if ready.takes || !self.waiting.is_empty() {
                self.type_waiting();
            }
            if ready.printed && !self.pass_output()? {
                let status = self.qemu.wait()?.code();
                let cause = status.map_or_else(|| "signal".to_owned(), |code| format!("exit-{code}"));
                return Ok(self.end.unwrap_or(End { cause, counters: Counters::default() }));
            }
        }
    }

    /// The end of a run whose QEMU is killed. The first cause is the one that counts.
    fn ended_by(self, cause: &str) -> End {
        let counters = self.qemu.counters();
        self.end.unwrap_or(End { cause: cause.to_owned(), counters })
    }

    fn wait(&self) -> io::Result<Ready> {
        let stdin = io::stdin();
        let wanted = |wanted: bool, flags| if wanted { flags } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(&stdin, wanted(self.waiting.len() < MOST_WAITING, PollFlags::IN)),
            PollFd::new(&self.qemu.input, wanted(!self.waiting.is_empty(), PollFlags::OUT)),
            PollFd::new(&self.qemu.output, PollFlags::IN),
        ];
        fds.extend(self.qemu.monitor().map(|monitor| PollFd::from_borrowed_fd(monitor, PollFlags::IN)));
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        poll(&mut fds, Some(&timeout))?;
        let ready = |at: usize| fds.get(at).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
        Ok(Ready { typed: ready(0), takes: ready(1), printed: ready(2), monitor: ready(3) })
    }

    /// Takes what was typed; `false` when the run is to end.
    fn take_typed(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 256];
        let length = rustix::io::read(io::stdin(), &mut buffer)?;
        let typed = &buffer[..length];
        self.waiting.extend_from_slice(typed);
        Ok(length != 0 && !typed.contains(&END_RUN))
    }

    fn type_waiting(&mut self) {
        match self.qemu.input.write(&self.waiting) {
            Ok(length) => drop(self.waiting.drain(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It is at its end, and takes no more.
            Err(_) => self.waiting.clear(),
        }
    }

    /// Passes on what QEMU has printed; `false` when nothing more is to come.
    fn pass_output(&mut self) -> io::Result<bool> {
        thread::sleep(TIME_FOR_MORE);
        let mut buffer = [0; 4096];
        let length = self.qemu.output.read(&mut buffer)?;
        let counters = || self.qemu.counters();
        let (passed, answered) = self.output.pass(&buffer[..length], counters);
        self.waiting.extend(std::iter::repeat_n(b'\n', answered));
        let mut lab = io::stdout().lock();
        lab.write_all(&passed)?;
        lab.flush()?;
        Ok(length != 0)
    }
}
