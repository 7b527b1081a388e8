// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operator's side of the console: what is typed goes to the machine that the console is attached to, or is a command.
//!
//! Nothing is shown before something is typed. Each line gets one answer, whose lines stand together, and the last of them is
//! `ok` or begins with `error: `.

use crate::console;
use crate::console::answers;
use crate::console::answers::Memory;
use crate::console::attachment::Attached;
use crate::console::command::Command;
use crate::console::command::HELP;
use crate::console::keys::Key;
use crate::console::keys::Keys;
use crate::console::line::CLEAR;
use crate::console::line::Entered;
use crate::console::line::Line;
use crate::hyperv::HyperV;
use crate::memory::frames;
use crate::memory::heap;
use crate::schedule::board::Board;
use crate::vm::course::Entry;
use crate::vm::course::Phase;
use crate::vm::life::Life;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

/// Typed bytes that wait for a machine to take them.
const FOR_MACHINE: usize = 1 << 10;

/// What the commands work on.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The virtual machines.
    pub life: &'a mut Life,
    /// The CPUs.
    pub board: &'static Board,
    /// What is below us.
    pub hyperv: &'a HyperV,
}

/// What the operator asks of the machine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    GoOn,
    /// Its end, when all VMs have ended.
    PowerOff,
}

/// The shell, and how far something is typed.
#[derive(Debug)]
pub struct Shell {
    keys: Keys,
    line: Line,
    /// The prompt is shown.
    prompts: bool,
    /// The machine that was typed to last, by its place in the manifest, and what it has not taken yet.
    machine: Option<usize>,
    for_machine: VecDeque<u8>,
}

/// Who gets what is typed.
enum Listener {
    /// The machine at this place in the manifest.
    Machine(usize),
    /// A machine that is not there, but soon is again: what is typed meanwhile is for nobody.
    Nobody,
    Prompt,
}

impl Default for Shell {
    fn default() -> Self {
        let for_machine = VecDeque::with_capacity(FOR_MACHINE);
        Self { keys: Keys::default(), line: Line::default(), prompts: false, machine: None, for_machine }
    }
}

impl Shell {
    /// Takes what has been typed.
    pub fn receive(&mut self, ground: &mut Ground<'_>) -> Wish {
        if !console::guests_wait() {
            ground.life.vms().filter_map(|entry| entry.vm).for_each(|vm| vm.machine.release_output());
        }
        loop {
            self.feed(ground.life);
            let listener = listener(ground.life);
            if matches!(listener, Listener::Machine(_)) && self.for_machine.len() >= FOR_MACHINE {
                return Wish::GoOn;
            }
            let Some(byte) = console::read_byte() else { return Wish::GoOn };
            match (self.keys.typed(byte), listener) {
                (Key::Nothing, _) | (Key::Byte(_), Listener::Nobody) => {}
                (Key::Byte(byte), Listener::Machine(number)) => {
                    if self.machine.replace(number) != Some(number) {
                        self.for_machine.clear();
                    }
                    self.for_machine.push_back(byte);
                }
                (Key::Byte(byte), Listener::Prompt) => {
                    if self.typed(byte, ground) == Wish::PowerOff {
                        return Wish::PowerOff;
                    }
                }
                (Key::Detach, _) => {
                    ground.life.attachment().set(Attached::ToNone);
                    self.prompt(if self.prompts { CLEAR.into() } else { Vec::new() });
                }
            }
        }
    }

    /// Gives a machine what was typed to it, as far as it has room.
    fn feed(&mut self, life: &Life) {
        let Some(number) = self.machine else { return };
        match life.vms().nth(number).and_then(|entry| entry.vm) {
            // Also if there is nothing for it: it asks again and again until it is told so.
            Some(vm) => vm.machine.receive(|| self.for_machine.pop_front()),
            // It is gone, and with it who would have read that.
            None => {
                self.for_machine.clear();
                self.machine = None;
            }
        }
    }

    /// A byte for the prompt.
    fn typed(&mut self, byte: u8, ground: &mut Ground<'_>) -> Wish {
        let mut echo = Vec::new();
        if !self.prompts {
            self.line.show(&mut echo);
        }
        let Some(entered) = self.line.typed(byte, &mut echo) else {
            self.show(&echo);
            return Wish::GoOn;
        };
        // What is logged meanwhile comes before the answer.
        console::show(&echo, b"");
        self.prompts = false;
        let Ok(answer) = answer(entered, ground) else {
            console::show(b"ok\r\n", b"");
            return Wish::PowerOff;
        };
        let text = match answer {
            Ok(text) => text + "ok\n",
            Err(reason) => format!("error: {reason}\n"),
        };
        let text = text.replace('\n', "\r\n").into_bytes();
        match ground.life.attachment().get() {
            Attached::ToNone => self.prompt(text),
            Attached::To(number) => self.show_machine(text, ground.life, number),
            // Nothing runs that it could be attached to; what starts next gets it.
            Attached::ToWhatRuns => console::show(&text, b""),
        }
        Wish::GoOn
    }

    fn prompt(&mut self, mut text: Vec<u8>) {
        self.line.show(&mut text);
        self.show(&text);
    }

    fn show(&mut self, echo: &[u8]) {
        let mut line = Vec::new();
        self.line.show(&mut line);
        self.prompts = true;
        console::show(echo, &line);
    }

    /// The console is attached to a machine now: its last lines follow.
    fn show_machine(&mut self, mut text: Vec<u8>, life: &Life, number: usize) {
        if let Some(vm) = life.vms().nth(number).and_then(|entry| entry.vm) {
            text.extend(vm.machine.output.last_lines());
        }
        console::show(&text, b"");
    }
}

fn listener(life: &Life) -> Listener {
    let attachment = life.attachment();
    let found = match attachment.get() {
        Attached::ToNone => return Listener::Prompt,
        Attached::To(number) => life.vms().enumerate().nth(number),
        Attached::ToWhatRuns => life.vms().enumerate().find(|(_, entry)| entry.phase != Phase::Stopped),
    };
    match found {
        Some((number, Entry { vm: Some(_), .. })) => Listener::Machine(number),
        Some((_, Entry { phase: Phase::Restarting { .. }, .. })) => Listener::Nobody,
        _ => {
            if let Attached::To(_) = attachment.get() {
                attachment.set(Attached::ToNone);
            }
            Listener::Prompt
        }
    }
}

/// The end is asked for.
struct End;

/// Does what the line says, and tells what came of it.
fn answer(entered: Entered, ground: &mut Ground<'_>) -> Result<Result<String, String>, End> {
    let Entered::Line(line) = entered else { return Ok(Err("a line has no room for so much".into())) };
    let command = match Command::parse(&line) {
        Ok(command) => command,
        Err(reason) => return Ok(Err(reason.to_string())),
    };
    let Ground { life, board, hyperv } = ground;
    let memory = || Memory { free: frames::free_bytes(), heap: heap::used_bytes() };
    Ok(match command {
        Command::Nothing => Ok(String::new()),
        Command::Help => Ok(format!("{HELP}\n")),
        Command::List => Ok(answers::list(life.vms())),
        Command::Change(verb, name) => {
            life.apply(name, verb, board).map(|()| String::new()).map_err(|reason| reason.to_string())
        }
        Command::Attach(name) => attach(life, name),
        Command::Stats(name) => find(life, name).map(|()| {
            let vms = life.vms().filter(|entry| name.is_none_or(|name| name == entry.config.name));
            answers::stats(console::log::micros(), memory(), &board.coherence.counters, vms)
        }),
        Command::Memory => Ok(answers::memory(memory(), life.vms())),
        Command::Enlightenments => Ok(format!("{}\n", hyperv.table().trim_end())),
        Command::Log => Ok(console::log::kept()),
        Command::PowerOff => return Err(End),
    })
}

fn attach(life: &Life, name: &str) -> Result<String, String> {
    find(life, Some(name))?;
    let mut vms = life.vms().enumerate().filter(|(_, entry)| entry.config.name == name);
    match vms.next() {
        Some((number, Entry { vm: Some(_), .. })) => {
            life.attachment().set(Attached::To(number));
            Ok(format!("attached to {name}; Ctrl-A d detaches\n"))
        }
        _ => Err(format!("{name} does not run: \"vm start {name}\" starts it")),
    }
}

fn find(life: &Life, name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let mut names = life.vms().map(|entry| entry.config.name.as_str());
    if names.any(|other| other == name) {
        return Ok(());
    }
    Err(format!("there is no VM {name:?}: \"vm list\" tells those that there are"))
}
