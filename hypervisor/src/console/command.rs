// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operator can ask Satori for, a line each.

use crate::vm::course::Verb;
use core::fmt;

/// What the commands are, for who does not know.
pub const HELP: &str = "\
help                    this
vm list                 every VM, and where it is in its life
vm start NAME           starts it
vm stop NAME            presses its power button, and kills it if it does not end
vm pause NAME           has it stand still
vm resume NAME          lets it go on
vm reset NAME           ends it and starts it again, as its reset button
vm kill NAME            ends it at once
attach NAME             shows what it prints and gives it what is typed; Ctrl-A d detaches
stats [NAME]            exits by reason, flushes, memory
memory                  who has how much
enlightenments          what the Hyper-V below offers, what of it is in use, and why not the rest
log                     Satori's last lines
power-off               kills all VMs and powers the machine off
Ctrl-A d comes back here from a VM, Ctrl-A Ctrl-A sends one Ctrl-A.";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// An empty line.
    Nothing,
    /// What there is.
    Help,
    /// All VMs.
    List,
    /// Something is to be done with a VM.
    Change(Verb, &'a str),
    /// The console goes to that VM.
    Attach(&'a str),
    /// What happened how often, in all VMs or one.
    Stats(Option<&'a str>),
    /// Who has how much memory.
    Memory,
    /// What L0 offers.
    Enlightenments,
    /// Satori's own last lines.
    Log,
    /// The end.
    PowerOff,
}

/// A line that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misunderstood<'a> {
    /// There is no such command.
    Command(&'a str),
    /// `vm` is followed by nothing that is done with VMs.
    Verb(Option<&'a str>),
    /// It wants a VM's name.
    NoName,
    /// More words than it takes.
    Extra(&'a str),
}

impl fmt::Display for Misunderstood<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const VERBS: &str = "list, start, stop, pause, resume, reset, kill";
        match self {
            Self::Command(word) => write!(
                f,
                "there is no command {word:?}; there are help, vm, attach, stats, memory, enlightenments, log, power-off"
            ),
            Self::Verb(Some(word)) => write!(f, "there is no \"vm {word}\"; there are {VERBS}"),
            Self::Verb(None) => write!(f, "say which: vm followed by one of {VERBS}"),
            Self::NoName => f.write_str("say which VM; \"vm list\" tells the names"),
            Self::Extra(word) => write!(f, "{word:?} is one word more than it takes"),
        }
    }
}

impl<'a> Command<'a> {
    /// Reads a line.
    pub fn parse(line: &'a str) -> Result<Self, Misunderstood<'a>> {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { return Ok(Self::Nothing) };
        let mut name = || words.next().ok_or(Misunderstood::NoName);
        let command = match first {
            "help" | "?" => Self::Help,
            "vm" => match name().ok() {
                Some("list") => Self::List,
                Some("start") => Self::Change(Verb::Start, name()?),
                Some("stop") => Self::Change(Verb::Stop, name()?),
                Some("pause") => Self::Change(Verb::Pause, name()?),
                Some("resume") => Self::Change(Verb::Resume, name()?),
                Some("reset") => Self::Change(Verb::Reset, name()?),
                Some("kill") => Self::Change(Verb::Kill, name()?),
                other => return Err(Misunderstood::Verb(other)),
            },
            "attach" => Self::Attach(name()?),
            "stats" => Self::Stats(name().ok()),
            "memory" => Self::Memory,
            "enlightenments" => Self::Enlightenments,
            "log" => Self::Log,
            "power-off" | "quit" => Self::PowerOff,
            other => return Err(Misunderstood::Command(other)),
        };
        match words.next() {
            Some(extra) => Err(Misunderstood::Extra(extra)),
            None => Ok(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood_however_it_is_spaced() {
        for (line, command) in [
            ("", Command::Nothing),
            ("  \t ", Command::Nothing),
            ("help", Command::Help),
            (" vm  list ", Command::List),
            ("vm start a", Command::Change(Verb::Start, "a")),
            ("vm stop a", Command::Change(Verb::Stop, "a")),
            ("vm pause a", Command::Change(Verb::Pause, "a")),
            ("vm resume a", Command::Change(Verb::Resume, "a")),
            ("vm reset a", Command::Change(Verb::Reset, "a")),
            ("vm kill linux-2", Command::Change(Verb::Kill, "linux-2")),
            ("attach list", Command::Attach("list")),
            ("stats", Command::Stats(None)),
            ("stats a", Command::Stats(Some("a"))),
            ("memory", Command::Memory),
            ("enlightenments", Command::Enlightenments),
            ("log", Command::Log),
            ("power-off", Command::PowerOff),
            ("quit", Command::PowerOff),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_there_is() {
        for (line, told) in [
            ("reboot", "there is no command \"reboot\"; there are help, vm, "),
            ("vm", "say which: vm followed by one of list, start, "),
            ("vm shoot a", "there is no \"vm shoot\"; there are list, start, "),
            ("vm start", "say which VM; "),
            ("attach", "say which VM; "),
            ("vm start a b", "\"b\" is one word more than it takes"),
            ("help me", "\"me\" is one word more"),
        ] {
            let error = Command::parse(line).expect_err("it is no command").to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for line in HELP.lines().filter(|line| !line.starts_with("Ctrl-A")) {
            let words = line.split("  ").next().unwrap_or_default().replace("[NAME]", "NAME");
            assert!(Command::parse(&words).is_ok(), "{words:?}");
        }
    }
}
