// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a PC's chipset at their ports: timers, clock, power management, and the ways to reset.
//!
//! Those with timers leave in an atomic when they are due next, so that the CPU of the first vCPU, which serves them, learns it
//! without their locks. A device's lock is held while its interrupt line is told.

use super::debug_exit;
use super::pit;
use super::pit::Pit;
use super::power_management;
use super::power_management::PowerManagement;
use super::rate::Rate;
use super::reset_control;
use super::reset_control::ResetControl;
use super::rtc;
use super::rtc::Contents;
use super::rtc::Rtc;
use crate::irqchip::lines::InterruptLines;
use crate::irqchip::pic;
use crate::vm::post::Posts;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// What a guest asks for by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// To be off.
    PowerOff,
    /// To start anew.
    Reset,
    /// To end with a status.
    DebugExit {
        /// The status of QEMU's process.
        status: u8,
    },
}

/// What a chipset is made for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Ticks of the machine's time in a second.
    pub hz: u64,
    /// The machine's time.
    pub now: u64,
    /// Seconds since 1970, now.
    pub wall_clock: u64,
    /// What CMOS memory tells.
    pub contents: Contents,
    /// Whether there is QEMU's isa-debug-exit.
    pub debug_exit: bool,
}

/// A device with an interrupt line that rises by itself.
trait Timed {
    /// Its global system interrupt.
    const GSI: usize;
    /// The state of its line.
    fn interrupt_line(&self) -> bool;
    /// When its line may rise by itself, in the machine's time.
    fn next_deadline(&self) -> Option<u64>;
    /// Does what is due. Tells whether its line, if it was asserted, has fallen and risen meanwhile.
    fn expire(&mut self, now: u64) -> bool;
}

/// One of them, and when it is due.
#[derive(Debug)]
struct Watched<T> {
    device: Mutex<T>,
    /// `u64::MAX` while nothing is due.
    deadline: AtomicU64,
}

/// All of them.
#[derive(Debug)]
pub struct Chipset {
    posts: Arc<Posts>,
    lines: Arc<InterruptLines>,
    pit: Watched<Pit>,
    rtc: Watched<Rtc>,
    power_management: Watched<PowerManagement>,
    power_timer: Rate,
    reset_control: Mutex<ResetControl>,
    debug_exit: bool,
    /// Something is due earlier than it was, and nobody has armed a timer for that.
    deadline_changed: AtomicBool,
}

impl Chipset {
    /// The devices after RESET, of a machine with those vCPUs and interrupt lines.
    #[must_use]
    pub fn new(setup: Setup, posts: Arc<Posts>, lines: Arc<InterruptLines>) -> Self {
        let Setup { hz, now, wall_clock, contents, debug_exit } = setup;
        let power_management = PowerManagement::new(hz, now);
        Self {
            posts,
            lines,
            pit: Watched::new(Pit::new(hz)),
            rtc: Watched::new(Rtc::new(hz, now, wall_clock, contents)),
            power_timer: power_management.timer_rate(),
            power_management: Watched::new(power_management),
            reset_control: Mutex::default(),
            debug_exit,
            deadline_changed: AtomicBool::new(false),
        }
    }

    /// The power-management timer.
    #[inline]
    #[must_use]
    pub fn power_timer(&self, now: u64) -> u32 {
        self.power_timer.ticks(now) as u32
    }

    /// Reads a port; where no device is, all bits are one. `now` is the machine's time.
    #[inline]
    pub fn read(&self, port: u16, now: impl Fn() -> u64) -> u8 {
        match port {
            pit::FIRST..=pit::CONTROL => self.read_pit(port, now),
            _ => self.read_rarely(port, now),
        }
    }

    #[inline(never)]
    fn read_pit(&self, port: u16, now: impl Fn() -> u64) -> u8 {
        let mut pit = self.pit.device.lock();
        // Under the lock: who comes later comes at a later time.
        pit.read(port, now())
    }

    #[inline(never)]
    fn read_rarely(&self, port: u16, now: impl Fn() -> u64) -> u8 {
        if port == pit::PORT_B {
            return self.pit.device.lock().read_port_b(now());
        }
        let now = now();
        match port {
            rtc::INDEX | rtc::DATA => self.on(&self.rtc, |rtc| rtc.read(port, now)),
            power_management::STATUS..=power_management::LAST => {
                self.on(&self.power_management, |registers| registers.read(port, now))
            }
            _ if pic::has(port) => self.lines.read_pic(port),
            _ if reset_control::has(port) => self.reset_control.lock().read(port),
            debug_exit::FIRST..=debug_exit::LAST if self.debug_exit => 0,
            _ => u8::MAX,
        }
    }

    /// Writes to a port. `now` is the machine's time.
    pub fn write(&self, port: u16, value: u8, now: u64) -> Option<PowerEvent> {
        match port {
            pit::FIRST..=pit::CONTROL => self.on(&self.pit, |pit| pit.write(port, value, now)),
            pit::PORT_B => self.pit.device.lock().write_port_b(value, now),
            rtc::INDEX | rtc::DATA => self.on(&self.rtc, |rtc| rtc.write(port, value, now)),
            power_management::STATUS..=power_management::LAST => {
                let off = self.on(&self.power_management, |registers| registers.write(port, value, now));
                return off.then_some(PowerEvent::PowerOff);
            }
            _ if pic::has(port) => self.lines.write_pic(port, value),
            _ if reset_control::has(port) => {
                return self.reset_control.lock().write(port, value).then_some(PowerEvent::Reset);
            }
            debug_exit::FIRST..=debug_exit::LAST if self.debug_exit => {
                return Some(PowerEvent::DebugExit { status: debug_exit::status(value) });
            }
            _ => {}
        }
        None
    }

    /// The power button is pressed.
    pub fn press_power_button(&self) {
        self.on(&self.power_management, PowerManagement::press_power_button);
    }

    /// When [`Self::expire`] has something to do next, in the machine's time.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let deadlines = [&self.pit.deadline, &self.rtc.deadline, &self.power_management.deadline];
        let first = deadlines.map(|deadline| deadline.load(Ordering::Relaxed)).into_iter().min();
        first.filter(|&first| first != u64::MAX)
    }

    /// Does what is due.
    #[cold]
    pub fn expire(&self, now: u64) {
        self.expire_one(&self.pit, now);
        self.expire_one(&self.rtc, now);
        self.expire_one(&self.power_management, now);
    }

    /// Whether something is due earlier than [`Self::next_deadline`] said when this was asked last.
    #[inline]
    pub fn take_deadline_changed(&self) -> bool {
        self.deadline_changed.load(Ordering::Relaxed) && self.deadline_changed.swap(false, Ordering::Acquire)
    }

    fn expire_one<T: Timed>(&self, watched: &Watched<T>, now: u64) {
        if watched.deadline.load(Ordering::Relaxed) > now {
            return;
        }
        self.on(watched, |device| {
            if device.expire(now) {
                self.lines.set_line(T::GSI, false);
            }
        });
    }

    /// Does something to a device, and what follows: for its line, and for who serves its timer.
    fn on<T: Timed, R>(&self, watched: &Watched<T>, act: impl FnOnce(&mut T) -> R) -> R {
        let mut device = watched.device.lock();
        let result = act(&mut device);
        self.lines.set_line(T::GSI, device.interrupt_line());
        let deadline = device.next_deadline().unwrap_or(u64::MAX);
        // Under the lock: no older one is stored over it.
        let before = watched.deadline.swap(deadline, Ordering::Relaxed);
        drop(device);
        if deadline < before {
            self.deadline_changed.store(true, Ordering::Release);
            self.posts.nudge(0);
        }
        result
    }
}

impl<T> Watched<T> {
    fn new(device: T) -> Self {
        Self { device: Mutex::new(device), deadline: AtomicU64::new(u64::MAX) }
    }
}

impl Timed for Pit {
    const GSI: usize = pit::GSI;

    fn interrupt_line(&self) -> bool {
        self.interrupt_line()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.next_deadline()
    }

    fn expire(&mut self, now: u64) -> bool {
        self.expire(now)
    }
}

impl Timed for Rtc {
    const GSI: usize = rtc::GSI;

    fn interrupt_line(&self) -> bool {
        self.interrupt_line()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.next_deadline()
    }

    fn expire(&mut self, now: u64) -> bool {
        self.expire(now);
        false
    }
}

impl Timed for PowerManagement {
    const GSI: usize = power_management::GSI;

    fn interrupt_line(&self) -> bool {
        self.interrupt_line()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.next_deadline()
    }

    fn expire(&mut self, now: u64) -> bool {
        self.see_timer(now);
        false
    }
}

#[cfg(test)]
mod tests;
