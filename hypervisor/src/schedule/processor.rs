// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop of one physical CPU: takes vCPUs in, lets them run in turn, gives some away to CPUs that are idle, and sleeps;
//! and its end.

use crate::console;
use crate::console::shell::Ground;
use crate::console::shell::Shell;
use crate::console::shell::Wish;
use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::cpu::attention::Attention;
use crate::cpu::hardware;
use crate::cpu::hardware::tsc_in_order;
use crate::cpu::migration;
use crate::cpu::migration::Arrival;
use crate::cpu::timekeeper::Time;
use crate::hyperv::L0Clock;
use crate::schedule::board::Board;
use crate::schedule::queue::Queue;
use crate::schedule::queue::Sleeper;
use crate::schedule::queue::Taken;
use crate::start::WhenDone;
use crate::vcpu::Vcpu;
use crate::vcpu::run::Left;
use crate::vcpu::run::Turn;
use crate::vm::life::Life;
use alloc::boxed::Box;
use log::info;
use log::warn;

/// Runs vCPUs on this CPU until the machine's work is done.
pub fn run(cpu: Cpu, board: &'static Board) -> ! {
    Processor { queue: Queue::new(board.slice), cpu, board, manager: None }.run()
}

/// As [`run`], on the CPU that manages the virtual machines.
pub fn manage(cpu: Cpu, board: &'static Board, life: Life, when_done: WhenDone) -> ! {
    console::use_interrupts();
    board.cpus.notify(cpu.number, Attention::MANAGE);
    let manager = Some(Manager { life, shell: Shell::default(), when_done });
    Processor { queue: Queue::new(board.slice), cpu, board, manager }.run()
}

/// The machine's work is done: every CPU lets go of what it holds, this one last.
pub fn finish(cpu: Cpu, board: &Board, when_done: WhenDone) -> ! {
    board.retire_others(cpu.number);
    cpu.retire();
    when_done.stop()
}

struct Processor {
    cpu: Cpu,
    board: &'static Board,
    queue: Queue<Box<Vcpu>>,
    manager: Option<Manager>,
}

/// What one CPU has beside vCPUs: the machine as a whole.
struct Manager {
    life: Life,
    shell: Shell,
    when_done: WhenDone,
}

impl Manager {
    /// Sees to what has come up, and to what is typed. Whether the machine's work is done.
    fn manage(&mut self, asked: Attention, now: u64, board: &'static Board) -> bool {
        let Self { life, shell, when_done } = self;
        let manages = asked.contains(Attention::MANAGE) || life.deadline().is_some_and(|at| at <= now);
        let finished = manages && !life.manage(board) && !when_done.waits();
        // What came while nobody could take it, or was left by a machine that has ended, is for the one that runs now.
        if manages || asked.contains(Attention::INPUT) {
            let wish = shell.receive(&mut Ground { life, board, hyperv: when_done.hyperv() });
            if wish == Wish::PowerOff {
                when_done.power_off();
                life.end_all(board);
            }
        }
        finished
    }
}

/// What a CPU does next.
enum Next {
    /// It runs vCPUs, or sleeps.
    GoOn,
    /// All virtual machines have ended.
    Finish(WhenDone),
    /// Another CPU has said so.
    Retire,
}

impl Processor {
    fn run(mut self) -> ! {
        let mut current: Option<Taken<Box<Vcpu>>> = None;
        loop {
            match self.attend() {
                Next::GoOn => {}
                Next::Finish(when_done) => finish(self.cpu, self.board, when_done),
                Next::Retire => {
                    self.cpu.retire();
                    self.board.has_retired();
                    hardware::stop()
                }
            }
            self.queue.wake(self.now());
            if let Some(taken) = current.take_if(|taken| self.queue.has_better(taken)) {
                self.queue.put_back(taken);
            }
            match current.take().or_else(|| self.queue.take_next()) {
                Some(taken) => {
                    self.share();
                    current = self.let_run(taken);
                }
                None => self.sleep(),
            }
        }
    }

    /// Does what others have asked of this CPU.
    fn attend(&mut self) -> Next {
        let asked = self.board.cpus.attention(self.cpu.number).take();
        if asked.contains(Attention::TIME) {
            let time = match &self.manager {
                Some(manager) => change_time(self.board, manager.when_done.l0_clock()),
                None => self.board.time.await_change(),
            };
            self.cpu.apic.follow(time);
        }
        if asked.contains(Attention::HANDED_OVER) {
            for vcpu in self.board.take_inbox(self.cpu.number) {
                self.queue.add(vcpu);
            }
        }
        if asked.contains(Attention::RETIRE) {
            return Next::Retire;
        }
        let now = self.now();
        let Some(manager) = &mut self.manager else { return Next::GoOn };
        let finished = manager.manage(asked, now, self.board);
        match self.manager.take_if(|_| finished) {
            Some(manager) => Next::Finish(manager.when_done),
            None => Next::GoOn,
        }
    }

    /// Gives a CPU that has nothing to run one of those that would have to wait here; and one that has fewer vCPUs one of them, so
    /// that all get a like share.
    fn share(&mut self) {
        // Only a CPU for which there is something is claimed: it could not be given back, for it may have come to work meanwhile.
        while self.queue.has_for_others(|vcpu| vcpu.may_move()) {
            let me = self.cpu.number;
            let Some(to) = self.board.claim_idle().or_else(|| self.board.less_loaded_than(me)) else {
                return;
            };
            let Some(vcpu) = self.queue.take_for_others(|vcpu| vcpu.may_move()) else { return };
            self.send(vcpu, to);
        }
    }

    /// Lets go of a vCPU and hands it over.
    fn send(&mut self, mut vcpu: Box<Vcpu>, to: CpuNumber) {
        vcpu.leave(&mut self.cpu);
        self.board.left(self.cpu.number);
        self.board.hand_over(vcpu, to);
    }

    /// Runs one until somebody else's turn has come or it cannot go on. Gives it back if it would go on.
    fn let_run(&mut self, mut taken: Taken<Box<Vcpu>>) -> Option<Taken<Box<Vcpu>>> {
        if !taken.item.is_loaded()
            && let Some(other) = self.queue.iter_mut().find(|vcpu| vcpu.is_loaded())
        {
            other.unload();
        }
        let start = self.now();
        let slice_end = (self.queue.runnable() > 0).then(|| start.saturating_add(self.board.slice));
        let budget_end = taken.item.budget().map(|budget| start.saturating_add(budget.left(start)));
        let ends = [slice_end, budget_end, self.queue.deadline(), self.management_deadline()];
        let until = ends.into_iter().flatten().min();
        let turn = Turn { until, alone: self.queue.is_empty() };
        let left = taken.item.run(&mut self.cpu, self.board, turn);
        let now = self.now();
        self.queue.charge(&mut taken, now.saturating_sub(start), now);
        match left {
            Left::Turn => return Some(taken),
            Left::Yields => self.queue.yield_to_others(taken),
            Left::Waits => self.queue.wait(taken),
            Left::Goes => match self.board.next_after(self.cpu.number) {
                next if next == self.cpu.number => return Some(taken),
                next => self.send(taken.item, next),
            },
            Left::Ended => self.end(taken.item),
        }
        None
    }

    /// Its virtual machine has ended, and with it the vCPU. Who manages machines is told once nothing of it is left here.
    fn end(&mut self, vcpu: Box<Vcpu>) {
        self.board.left(self.cpu.number);
        vcpu.retire(&mut self.cpu, &self.board.coherence.counters);
        self.board.cpus.notify(CpuNumber::BOOT, Attention::MANAGE);
    }

    /// When there will be something to do for the virtual machines, if this CPU manages them.
    fn management_deadline(&self) -> Option<u64> {
        self.manager.as_ref().and_then(|manager| manager.life.deadline())
    }

    /// The machine's time.
    fn now(&self) -> u64 {
        self.cpu.apic.timeline().now()
    }

    /// Waits for an interrupt: a deadline of those that wait here, or somebody who asks for attention.
    fn sleep(&mut self) {
        let me = self.cpu.number;
        self.cpu.apic.set_timer(self.queue.deadline().into_iter().chain(self.management_deadline()).min());
        self.board.show_idle(me, true);
        let attention = self.board.cpus.attention(me);
        if attention.go_away().is_empty() {
            hardware::wait_for_interrupt();
        }
        attention.come_back();
        self.board.show_idle(me, false);
        // Whoever runs next sets it.
        let _ = self.cpu.apic.may_have_fired();
    }
}

/// The machine below us may have been migrated, or a guest program wants it to look like that: all stand still, and then go on with
/// the TSC as it is now.
fn change_time(board: &Board, l0_clock: &L0Clock) -> Time {
    let pretended = board.cpus.pretended_rate();
    let mut arrival = None;
    let time = board.time.change(board.cpus.ask_to_stand_still(), |before| {
        let after = match pretended {
            Some(rate @ (numerator, denominator)) => {
                board.cpus.forget_pretended_rate(rate);
                let timeline = migration::pretend(numerator, denominator, before, tsc_in_order());
                Time { timeline: timeline.unwrap_or(before), apic_timer_hz: None }
            }
            None => arrival.insert(migration::arrive(l0_clock, board.hz, before, tsc_in_order)).time,
        };
        console::log::follow(after.timeline);
        after
    });
    if let Some(arrival) = arrival {
        report(&arrival);
    }
    time
}

fn report(arrival: &Arrival) {
    let Arrival { tsc_hz, emulation, .. } = arrival;
    match (emulation, tsc_hz.map(|hz| hz / 1_000_000)) {
        (Err(reason), _) => {
            warn!("this machine was migrated; the TSC is slow, for L0 still plays it: {reason}");
        }
        (Ok(()), Some(mhz)) => {
            info!(
                "this machine was migrated; its TSC is at {mhz} MHz now, and guests' clocks go on as before"
            );
        }
        (Ok(()), None) => {
            warn!(
                "this machine was migrated; L0 does not tell its TSC's rate, which is taken for that before"
            );
        }
    }
}
