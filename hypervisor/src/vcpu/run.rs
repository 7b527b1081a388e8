// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run loop: into the guest, out again, and what has to be done between.

// UNSAFETY: enters guests.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::cpu::attention::Attention;
use crate::cpu::attention::AttentionWord;
use crate::cpu::hardware;
use crate::cpu::local_apic::LocalApic;
use crate::cpu::per_cpu;
use crate::mmu::Coherence;
use crate::mmu::Counter;
use crate::mmu::flush::Generation;
use crate::mmu::flush::Root;
use crate::schedule::board::Board;
use crate::vcpu::Vcpu;
use crate::vcpu::end::End;
use crate::vcpu::exit_counts::ExitCounts;
use crate::vcpu::exits;
use crate::vcpu::exits::exception;
use crate::vcpu::exits::exception::Whose;
use crate::vcpu::guest::Guest;
use crate::vcpu::linear_flush::LinearFlush;
use crate::vcpu::state::State;
use crate::vcpu::virtual_cpu::not_ours;
use crate::vm::Vm;
use crate::vm::machine::Machine;
use crate::vm::post::Post;
use crate::vmx::entry;
use crate::vmx::exit::ExitReason;
use crate::vmx::processor::Invept;
use crate::vmx::processor::Processor;
use core::mem;
use evmcs::VmInstructionError;
use evmcs::field;

/// How long a vCPU may run.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Until this, in the machine's time.
    pub until: Option<u64>,
    /// No other vCPU is on this CPU, so that mail can only be for this one.
    pub alone: bool,
}

/// Why a vCPU has stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others may run, or there is something to attend to. It would go on.
    Turn,
    /// It waits in a loop for another vCPU, which should run.
    Yields,
    /// It halts, waits for a start-up IPI, or is held.
    Waits,
    /// Its guest sends it to the next CPU.
    Goes,
    /// Its machine has ended.
    Ended,
}

/// Why the guest is not entered.
enum Stop {
    Left(Left),
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Left> for Stop {
    fn from(left: Left) -> Self {
        Self::Left(left)
    }
}

impl Vcpu {
    /// Runs the guest on this CPU until there is a reason to leave.
    pub fn run(&mut self, cpu: &mut Cpu, board: &Board, turn: Turn) -> Left {
        self.arrive(cpu, &board.coherence);
        self.vm.wakes(self.index);
        let Cpu { number, slot, processor, apic, .. } = cpu;
        let machine = &self.vm.machine;
        if self.index == 0 {
            if machine.posts.take_work() {
                machine.work();
            }
            serve_devices(machine, apic);
        }
        let Post { linear_flush, exits, .. } = machine.posts.of(self.index);
        linear_flush.begin_run(*number);
        let mut runner = Runner {
            place: Place {
                number: *number,
                attention: board.cpus.attention(*number),
                coherence: &board.coherence,
                root: machine.memory.root(),
                exits: &exits.0,
            },
            processor,
            apic,
            linear_flush,
            vm: &self.vm,
            vpid: self.vpid.number(),
            turn,
            deadline: None,
            timed: None,
        };
        let vmcs = self.vmcs.activate(slot).unwrap_or_else(not_ours);
        let (frame, state) = (&mut *self.frame, &mut self.state);
        let left = per_cpu::serving(true, || runner.run(&mut Guest { vmcs, frame, state, machine }));
        linear_flush.end_run();
        self.deadline = runner.deadline;
        left
    }
}

/// Where a vCPU runs, as others are shown it. Each entry and exit uses all of it: by value, so that it is seen to stay the same.
#[derive(Clone, Copy)]
struct Place<'a> {
    number: CpuNumber,
    attention: &'a AttentionWord,
    coherence: &'a Coherence,
    root: &'a Root,
    exits: &'a ExitCounts,
}

impl Place<'_> {
    /// From here on who changes guest memory waits for this CPU, and who wants its attention interrupts it. The INVEPT that it owes
    /// first, if it does.
    #[inline(always)]
    fn show_away(self) -> Option<Generation> {
        self.attention.mark_away();
        self.coherence.occupancy.enter(self.number, self.root)
    }

    /// This CPU is out of the guest: nobody waits for it from here on.
    #[inline(always)]
    fn show_back(self) {
        self.coherence.occupancy.leave(self.number);
        self.attention.come_back();
    }

    fn count(self, counter: Counter) {
        self.coherence.counters.count(self.number, counter);
    }
}

/// What of its CPU and its machine a running vCPU uses.
struct Runner<'a> {
    place: Place<'a>,
    processor: &'a Processor,
    apic: &'a mut LocalApic,
    /// What other vCPUs ask of this one.
    linear_flush: &'a LinearFlush,
    vm: &'a Vm,
    vpid: u16,
    turn: Turn,
    /// When a timer of the guest is due, or the machine's time is over.
    deadline: Option<u64>,
    /// The exit that is being timed, and since when.
    timed: Option<(ExitReason, u64)>,
}

impl Runner<'_> {
    /// Goes round until there is a reason to stop.
    // By itself, as are the handlers: the less is in one function, the more of it is in registers.
    #[inline(never)]
    fn run(&mut self, guest: &mut Guest<'_>) -> Left {
        let place = self.place;
        self.go_away(place);
        loop {
            if let Err(left) = self.round(place, guest) {
                return left;
            }
            self.go_away(place);
        }
    }

    /// From here on this CPU counts as in the guest, and has nothing in its TLB that the root's tables have taken away before.
    #[inline(always)]
    fn go_away(&self, place: Place<'_>) {
        if let Some(generation) = place.show_away() {
            self.drop_guest_physical(generation);
        }
    }

    /// Once into the guest, where this CPU counts as being already, and what its exit asks for.
    #[inline(always)]
    fn round(&mut self, place: Place<'_>, guest: &mut Guest<'_>) -> Result<(), Left> {
        let asked = guest.state.attention | guest.state.glance || !place.attention.look().is_empty();
        if asked && let Err(stop) = self.prepare(guest) {
            place.show_back();
            return Err(match stop {
                Stop::Left(left) => left,
                Stop::End(end) => self.end(end),
            });
        }
        // SAFETY: the VMCS is current, its host state is this CPU's and of this frame, and its tables lead to the
        // guest's own memory alone.
        let entered = unsafe { entry::enter(guest.frame, guest.vmcs.launched()) };
        place.show_back();
        if let Err(failure) = entered {
            return Err(self.end(entry_failed(guest, failure)));
        }
        let reason = ExitReason::from_field(guest.vmcs.note_exit());
        #[cfg(feature = "measure")]
        guest.state.shares.note(reason, guest.frame.share());
        if place.exits.count(reason) {
            self.time(guest, reason);
        }
        match reason {
            ExitReason::EXCEPTION_OR_NMI | ExitReason::EXTERNAL_INTERRUPT => self.take_event(guest, reason),
            reason => exits::handle(guest, reason).map_err(|end| self.end(end)),
        }
    }

    /// Ends the machine. Nobody waits for this CPU any more: it is out of the guest.
    #[cold]
    fn end(&self, end: End) -> Left {
        self.vm.end(end);
        Left::Ended
    }

    /// What the root's tables have taken away since this CPU looked last is dropped.
    #[cold]
    fn drop_guest_physical(&self, generation: Generation) {
        let Place { number, root, .. } = self.place;
        self.processor.invept(Invept::SingleContext { pointer: root.pointer() });
        root.credit(number, generation);
        self.place.count(Counter::InveptSingle);
    }

    /// The time from here to the next [`Self::prepare`] is that of this exit.
    #[cold]
    fn time(&mut self, guest: &mut Guest<'_>, reason: ExitReason) {
        guest.state.glance = true;
        self.timed = Some((reason, hardware::tsc()));
    }

    /// What must be done before an entry, now and then: mail, flush, timer, HLT, events. Others wait for this CPU meanwhile,
    /// so it touches no guest memory and waits for nobody.
    #[cold]
    fn prepare(&mut self, guest: &mut Guest<'_>) -> Result<(), Stop> {
        if let Some((reason, start)) = self.timed.take() {
            self.place.exits.note_time(reason, hardware::tsc().saturating_sub(start));
        }
        if mem::take(&mut guest.state.glance) {
            let nothing_else = |state: &State| !state.attention && self.place.attention.look().is_empty();
            if nothing_else(guest.state) && mem::take(&mut guest.state.timer_changed) {
                self.arm(guest);
            }
            if nothing_else(guest.state) {
                return Ok(());
            }
        }
        self.attend(guest)
    }

    /// The rest of that, if there is more than to arm a timer.
    #[inline(never)]
    fn attend(&mut self, guest: &mut Guest<'_>) -> Result<(), Stop> {
        self.look_at_what_is_asked()?;
        if self.vm.has_ended() {
            return Err(Left::Ended.into());
        }
        if self.vm.is_held() {
            return Err(Left::Waits.into());
        }
        self.check_limit(guest)?;
        guest.take_mail()?;
        guest.see_wires()?;
        if guest.index() == 0 && guest.machine.posts.is_work_asked() {
            // Devices touch guest memory, and take their time.
            return Err(Left::Turn.into());
        }
        guest.see_msr_bitmap();
        let asked = self.linear_flush.owed();
        if mem::take(&mut guest.state.flush_linear) || asked.is_some() {
            self.drop_linear();
        }
        asked.into_iter().for_each(|request| self.linear_flush.meet(request));
        if mem::take(&mut guest.state.flush_guest_physical) {
            self.drop_guest_physical(self.place.root.generation());
        }
        let machines_changed = guest.index() == 0 && guest.machine.chipset.take_deadline_changed();
        if mem::take(&mut guest.state.timer_changed) || machines_changed {
            self.arm(guest);
        }
        if mem::take(&mut guest.state.moves_on) {
            return Err(Left::Goes.into());
        }
        self.stay_awake(guest)?;
        guest.deliver_events();
        Ok(())
    }

    /// What others ask of this CPU is for the scheduler, unless it can only be mail for this vCPU.
    fn look_at_what_is_asked(&self) -> Result<(), Stop> {
        let asked = self.place.attention.look();
        match () {
            () if asked.is_empty() => Ok(()),
            () if asked == Attention::MAIL && self.turn.alone => {
                self.place.attention.clear(Attention::MAIL);
                Ok(())
            }
            () => Err(Left::Turn.into()),
        }
    }

    /// Leaves if the guest has nothing to do, or nothing but to wait for another vCPU.
    fn stay_awake(&self, guest: &mut Guest<'_>) -> Result<(), Stop> {
        if !guest.is_awake() {
            if guest.waits_for_others() && self.vm.waits_in_vain(guest.index()) {
                return Err(End::HaltedForEver { rip: guest.vmcs.read(field::GUEST_RIP) }.into());
            }
            return Err(Left::Waits.into());
        }
        if mem::take(&mut guest.state.yields) && !self.turn.alone {
            return Err(Left::Yields.into());
        }
        Ok(())
    }

    /// Translations of the guest's own tables are dropped on this CPU.
    #[cold]
    fn drop_linear(&self) {
        self.processor.invvpid_single(self.vpid);
        self.place.count(Counter::InvvpidSingle);
    }

    /// An event has come that may be this CPU's own.
    #[inline(never)]
    fn take_event(&mut self, guest: &mut Guest<'_>, reason: ExitReason) -> Result<(), Left> {
        if reason == ExitReason::EXTERNAL_INTERRUPT {
            hardware::take_interrupts();
            return self.after_interrupt(guest);
        }
        match exception::whose(guest) {
            Whose::Nmi => hardware::take_nmi(),
            Whose::MachineCheck => panic!("machine check while a guest ran"),
            Whose::Guest(information) => exception::reflect(guest, information),
        }
        Ok(())
    }

    /// An interrupt of this CPU has come: a timer, or somebody who asks for attention.
    fn after_interrupt(&mut self, guest: &mut Guest<'_>) -> Result<(), Left> {
        if self.apic.may_have_fired() {
            guest.state.change_timer();
            if guest.index() == 0 {
                serve_devices(guest.machine, self.apic);
            }
        }
        if self.turn.until.is_some_and(|until| until <= self.apic.timeline().now()) {
            return Err(Left::Turn);
        }
        Ok(())
    }

    fn check_limit(&self, guest: &Guest<'_>) -> Result<(), End> {
        let over = self.vm.limit.filter(|limit| limit.deadline <= self.apic.timeline().now());
        over.map_or(Ok(()), |limit| {
            Err(End::TimeLimit { seconds: limit.seconds.get(), rip: guest.vmcs.read(field::GUEST_RIP) })
        })
    }

    /// Raises the guest's timer interrupt if it is due, and sets this CPU's timer for when it will be, or for what else this
    /// CPU has to do: the timers of devices are the first vCPU's.
    fn arm(&mut self, guest: &mut Guest<'_>) {
        let now = guest.state.tsc.now();
        // What has come of it is to be delivered.
        guest.state.attention |= guest.state.apic.expire(now);
        let due = guest.state.timer_deadline(now);
        let devices = if guest.index() == 0 { guest.machine.next_deadline() } else { None };
        self.deadline = due.into_iter().chain(devices).chain(self.vm.limit.map(|limit| limit.deadline)).min();
        self.apic.set_timer(self.deadline.into_iter().chain(self.turn.until).min());
    }
}

/// The first vCPU's CPU does what the timers of devices have due, out of the guest: what they send finds nobody away.
fn serve_devices(machine: &Machine, apic: &LocalApic) {
    let now = apic.timeline().now();
    if machine.next_deadline().is_some_and(|deadline| deadline <= now) {
        machine.expire(now);
    }
}

#[cold]
fn entry_failed(guest: &Guest<'_>, failure: entry::EntryFailure) -> End {
    let number = || VmInstructionError(guest.vmcs.read(field::VM_INSTRUCTION_ERROR));
    End::EntryFailed { error: (!failure.is_invalid()).then(number) }
}
