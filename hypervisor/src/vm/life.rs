// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of virtual machines: those that the manifest declares are made, watched, started again, and reported when they end.

mod report;

use crate::console::attachment::Attached;
use crate::console::attachment::Attachment;
use crate::console::guest_output::GuestOutput;
use crate::console::rate_limit::RateLimit;
use crate::cpu::CpuNumber;
use crate::cpu::attention::Attention;
use crate::devices::exerciser::Window;
use crate::devices::switch::Switches;
use crate::memory::FRAME;
use crate::memory::PAGE_2M;
use crate::memory::frames;
use crate::schedule::board::Board;
use crate::vcpu::Share;
use crate::vcpu::Vcpu;
use crate::vcpu::end::End;
use crate::vm::Offer;
use crate::vm::Place;
use crate::vm::Vm;
use crate::vm::VmError;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::MANIFEST;
use crate::vm::course::Course;
use crate::vm::course::Entry;
use crate::vm::course::Phase;
use crate::vm::course::Refused;
use crate::vm::course::Step;
use crate::vm::course::Verb;
use crate::vm::devices;
use crate::vm::manifest::Manifest;
use crate::vm::manifest::Start;
use crate::vm::manifest::VmConfig;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use log::error;
use log::info;

/// Bytes that are left beside a VM's memory: for its vCPUs, and for growth of the heap, which ends in a panic if there are none.
const RESERVE: u64 = 4 << 20;
/// For so many bytes of RAM one more is set aside for tables: each 2 MiB may need one that maps it and one that records it.
const RAM_TO_TABLES: u64 = PAGE_2M / (2 * FRAME);

/// How often in a second it is told that a VM has ended and starts again.
const MOST_REPORTS: u32 = 16;

/// A vCPU that is about to run, and the CPU that its manifest wants it on.
type Placed = (Box<Vcpu>, Option<CpuNumber>);

/// All virtual machines. One CPU has it, and manages them between the turns of its vCPUs.
#[derive(Debug)]
pub struct Life {
    bundle: Bundle<'static>,
    offer: Offer<'static>,
    start: Start,
    /// What network cards are plugged into.
    switches: Switches,
    /// Which of them the console is attached to.
    attachment: Arc<Attachment>,
    /// In the manifest's order.
    vms: Vec<Declared>,
    /// Those that start by themselves and have not yet, by their index.
    waiting: VecDeque<usize>,
    /// See [`Self::deadline`].
    deadline: Option<u64>,
}

/// A VM of the manifest.
#[derive(Debug)]
struct Declared {
    config: VmConfig,
    course: Course,
    vm: Option<Arc<Vm>>,
    /// A guest may reboot as often as it likes: not each time is told.
    reports: RateLimit,
    /// Its last end was told, or it has not ended yet.
    is_told: bool,
}

impl Declared {
    /// Does with the machine what follows from the course of its life, but for making one.
    fn carry_out(&self, step: Step) {
        let Some(vm) = &self.vm else { return };
        match step {
            Step::PressPowerButton => vm.machine.press_power_button(),
            Step::Hold => vm.hold(),
            Step::Release => vm.release(),
            Step::End(end) => vm.end(end),
            Step::Make | Step::Nothing => {}
        }
    }

    /// Its vCPUs are gone: it is reported, and its memory given back.
    fn has_ended(&mut self, vm: Vm, now: u64, board: &Board) {
        self.course.has_ended(vm.outcome().unwrap_or(End::Stopped), now);
        let admitted = self.reports.admit(now);
        // The end that nothing follows is told in any case.
        self.is_told = admitted.is_some() || self.course.is_over();
        if !self.is_told {
            return;
        }
        report::end(&vm, admitted.unwrap_or_default(), board);
        drop(vm);
        let name = &self.config.name;
        report::memory(name);
        self.tell_restart(now, board);
    }

    fn tell_restart(&self, now: u64, board: &Board) {
        if let Phase::Restarting { at } = self.course.phase() {
            let ms = at.saturating_sub(now).saturating_mul(1000) / board.hz;
            info!("vm {}: starts again in {ms} ms", self.config.name);
        }
    }

    /// The machine, if its vCPUs are gone.
    fn take_ended(&mut self) -> Option<Vm> {
        // Each vCPU has it: when nobody else does, all are gone, and its memory is free with it.
        match Arc::try_unwrap(self.vm.take()?) {
            Ok(vm) => Some(vm),
            Err(vm) => {
                self.vm = Some(vm);
                None
            }
        }
    }
}

impl Life {
    /// The virtual machines of a bundle; none if it cannot be read.
    #[must_use]
    pub fn new(archive: Option<&'static [u8]>, offer: Offer<'static>) -> Self {
        let mut life = Self {
            bundle: Bundle::default(),
            offer,
            start: Start::Together,
            switches: Switches::new(),
            attachment: Arc::new(Attachment::new(Attached::ToWhatRuns)),
            vms: Vec::new(),
            waiting: VecDeque::new(),
            deadline: None,
        };
        match archive.map(Bundle::parse) {
            None => error!("no bundle: give the loader a tar with {MANIFEST} as a module"),
            Some(Err(reason)) => error!("bundle: {reason}"),
            Some(Ok(bundle)) => life.read(bundle),
        }
        life
    }

    fn read(&mut self, bundle: Bundle<'static>) {
        let text = match bundle.file(MANIFEST) {
            Ok(text) => text,
            Err(reason) => return error!("bundle: {reason}"),
        };
        let Manifest { start, vms, errors } = Manifest::parse(text);
        for reason in errors {
            error!("{reason}");
        }
        self.waiting = vms.iter().enumerate().filter(|(_, vm)| vm.autostart).map(|(at, _)| at).collect();
        let declared = |config| {
            let course = Course::new(&config, self.offer.tsc_hz);
            let reports = RateLimit::new(MOST_REPORTS, self.offer.tsc_hz);
            Declared { config, course, vm: None, reports, is_told: true }
        };
        self.vms = vms.into_iter().map(declared).collect();
        if start == Start::Together && self.vms.len() > 1 {
            self.attachment.set(Attached::ToNone);
        }
        (self.bundle, self.start) = (bundle, start);
    }

    /// Every VM of the manifest, in its order.
    pub fn vms(&self) -> impl Iterator<Item = Entry<'_>> {
        self.vms.iter().map(|declared| Entry {
            config: &declared.config,
            phase: declared.course.phase(),
            last: declared.course.last(),
            restarts: declared.course.restarts(),
            vm: declared.vm.as_ref(),
        })
    }

    /// What network cards are plugged into, with what has passed there.
    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Does what the operator asks of the VM of that name.
    pub fn apply(&mut self, name: &str, verb: Verb, board: &'static Board) -> Result<(), Refused> {
        let applied = self.apply_to(name, verb, board);
        self.look_ahead();
        applied
    }

    fn apply_to(&mut self, name: &str, verb: Verb, board: &'static Board) -> Result<(), Refused> {
        let at = self.vms.iter().position(|declared| declared.config.name == name);
        let Some(at) = at else {
            let known: Vec<_> = self.vms.iter().map(|declared| declared.config.name.as_str()).collect();
            return Err(Refused::Unknown { name: name.into(), known: known.join(", ") });
        };
        let step = self.vms[at].course.ask(verb, board.time.now())?;
        if step == Step::Make {
            self.waiting.retain(|&waiting| waiting != at);
            let made = self.make(at, false, board).map_err(Refused::NotMade)?;
            hand_over(made, board);
        } else {
            self.vms[at].carry_out(step);
        }
        // What was asked may leave nothing to wait for.
        board.cpus.notify(CpuNumber::BOOT, Attention::MANAGE);
        Ok(())
    }

    /// Reports those that have ended, and starts what is to be started. Whether there is anything left to wait for.
    pub fn manage(&mut self, board: &'static Board) -> bool {
        let goes_on = self.manage_all(board);
        self.look_ahead();
        goes_on
    }

    fn manage_all(&mut self, board: &'static Board) -> bool {
        let now = board.time.now();
        for declared in &mut self.vms {
            if let Some(vm) = declared.take_ended() {
                declared.has_ended(vm, now, board);
            }
        }
        let mut to_make = self.carry_out_due(now);
        loop {
            match self.start {
                Start::Together => to_make.extend(self.waiting.drain(..)),
                Start::InTurn if to_make.is_empty() && self.are_all_over() => {
                    to_make.extend(self.waiting.pop_front());
                }
                Start::InTurn => {}
            }
            if to_make.is_empty() {
                return !self.are_all_over();
            }
            self.make_all(&to_make, board);
            to_make.clear();
        }
    }

    /// Does what time has come for, and gives those that are to be made.
    fn carry_out_due(&mut self, now: u64) -> Vec<usize> {
        let mut to_make = Vec::new();
        for (at, declared) in self.vms.iter_mut().enumerate() {
            match declared.course.due(now) {
                Step::Make => to_make.push(at),
                step => declared.carry_out(step),
            }
        }
        to_make
    }

    fn are_all_over(&self) -> bool {
        self.vms.iter().all(|declared| declared.course.is_over())
    }

    /// When there will be something to manage though nobody says so, in the machine's time.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// It is asked for whenever the CPU halts and wakes, so all of them are asked only when any may have changed.
    fn look_ahead(&mut self) {
        self.deadline = self.vms.iter().filter_map(|declared| declared.course.deadline()).min();
    }

    /// Which of them the console is attached to.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Ends all of them, and starts none any more.
    pub fn end_all(&mut self, board: &Board) {
        self.waiting.clear();
        for declared in &mut self.vms {
            // One that has ended, or is about to, needs nothing.
            if let Ok(step) = declared.course.ask(Verb::Kill, board.time.now()) {
                declared.carry_out(step);
            }
        }
        self.look_ahead();
        board.cpus.notify(CpuNumber::BOOT, Attention::MANAGE);
    }

    /// Makes those, and lets them run.
    fn make_all(&mut self, to_make: &[usize], board: &'static Board) {
        // With a CPU for each vCPU of all that start now, none has to move.
        let vcpus: u32 = to_make.iter().map(|&at| self.vms[at].config.vcpus).sum();
        let alone = board.has_room_for(vcpus as usize);
        let mut made = Vec::new();
        for &at in to_make {
            match self.make(at, alone, board) {
                Ok(vcpus) => made.extend(vcpus),
                // One that cannot start does not keep others from it.
                Err(reason) => {
                    error!("vm {}: not started: {reason}", self.vms[at].config.name);
                    self.vms[at].tell_restart(board.time.now(), board);
                }
            }
        }
        // Only now: this CPU serves none of them while it makes the next machine.
        hand_over(made, board);
    }

    /// Makes one, of which the course of its life hears.
    fn make(&mut self, at: usize, alone: bool, board: &'static Board) -> Result<Vec<Placed>, VmError> {
        let before = board.time.now();
        let made = self.try_to_make(at, alone, board);
        let declared = &mut self.vms[at];
        match made {
            Ok((vm, vcpus)) => {
                let now = board.time.now();
                declared.course.has_started(now, now.saturating_sub(before));
                declared.vm = Some(vm);
                Ok(vcpus)
            }
            Err(reason) => {
                declared.course.has_not_started(board.time.now());
                Err(reason)
            }
        }
    }

    fn try_to_make(
        &self,
        at: usize,
        alone: bool,
        board: &'static Board,
    ) -> Result<(Arc<Vm>, Vec<Placed>), VmError> {
        let config = &self.vms[at].config;
        let cpus = cpus(config, board)?;
        let free = frames::free_bytes();
        let windows = if config.exerciser { 2 * Window::BYTES } else { 0 };
        let disks = devices::promised_bytes(config, &self.bundle)?;
        let free_mib = free_for_ram(free, disks.saturating_add(windows)) >> 20;
        if u64::from(config.memory_mib) > free_mib {
            return Err(VmError::TooLarge { asked_mib: config.memory_mib, free_mib });
        }
        let output = GuestOutput::new(&config.name, at, Arc::clone(&self.attachment));
        let now = board.time.now();
        // Who chooses CPUs may choose one for several vCPUs.
        let alone = alone && config.cpus.is_empty();
        let place = Place {
            coherence: &board.coherence,
            neighbours: board.cpus,
            output,
            pinned: alone,
            now,
            restarts: self.vms[at].course.restarts(),
            switches: &self.switches,
        };
        let (vm, entry) = Vm::new(config, &self.bundle, &self.offer, place)?;
        let vm = Arc::new(vm);
        let vcpus = cpus.into_iter().enumerate().map(|(index, cpu)| {
            let vpid = board.vpids.take().ok_or(VmError::NoVpid)?;
            let share = Share { pinned: alone || cpu.is_some(), budget: board.budget(config.cpu_percent) };
            Ok((Box::new(Vcpu::new(&vm, index, entry, vpid, share)?), cpu))
        });
        let vcpus = vcpus.collect::<Result<Vec<_>, VmError>>()?;
        if self.vms[at].is_told {
            let ticks = board.time.now().saturating_sub(now);
            report::start(&vm, free, ticks.saturating_mul(1_000_000) / board.hz);
        }
        Ok((vm, vcpus))
    }
}

/// Lets those run that were made: those first that have to be on a CPU, for the others go where there is room.
fn hand_over(mut made: Vec<Placed>, board: &Board) {
    made.sort_by_key(|(_, cpu)| cpu.is_none());
    for (vcpu, cpu) in made {
        board.hand_over(vcpu, cpu.unwrap_or_else(|| board.least_loaded()));
    }
}

/// The CPU of each vCPU, where the manifest says.
fn cpus(config: &VmConfig, board: &Board) -> Result<Vec<Option<CpuNumber>>, VmError> {
    let find = |number: u32| {
        let mut running = board.cpus.iter().map(|(cpu, _)| cpu);
        let found = running.find(|cpu| cpu.index() == number as usize);
        found.ok_or(VmError::NoCpu { number, count: board.cpus.count() })
    };
    (0..config.vcpus as usize).map(|vcpu| config.cpu_of(vcpu).map(find).transpose()).collect()
}

/// Bytes of RAM that a VM can have which needs so many more for its devices.
fn free_for_ram(free: u64, devices: u64) -> u64 {
    free.saturating_sub(RESERVE.saturating_add(devices)) / (RAM_TO_TABLES + 1) * RAM_TO_TABLES
}
