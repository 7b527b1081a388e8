// SPDX-License-Identifier: MIT OR Apache-2.0
//! The course of a VM's life: what follows from what its operator asks, from how it ends, and from time.
//!
//! Decisions alone, in the machine's time; `life` carries them out.

mod refused;

pub use refused::Refused;

use crate::vcpu::end::End;
use crate::vm::Vm;
use crate::vm::manifest::OnReboot;
use crate::vm::manifest::Restart;
use crate::vm::manifest::VmConfig;
use alloc::sync::Arc;
use core::fmt;

/// The pause before a VM that has failed is started again, in seconds: it doubles with each failure, up to the longest.
const LONGEST_PAUSE_S: u64 = 60;
/// One that has run so long, in seconds, has not failed at its start: the pause is short again.
const SOUND_S: u64 = 60;

/// What an operator asks of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Let it begin.
    Start,
    /// Have its guest end it, by the power button; or end it when it has not for some time.
    Stop,
    /// Let it stand still.
    Pause,
    /// Let it go on.
    Resume,
    /// End it and let it begin again.
    Reset,
    /// End it now.
    Kill,
}

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not there.
    Stopped,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs stay out of the guest.
    Paused,
    /// Its power button was pressed.
    Stopping {
        /// Then it is killed, in the machine's time.
        kill_at: u64,
    },
    /// It was ended, and its vCPUs are about to leave.
    Ending {
        /// It starts again then.
        again: bool,
    },
    /// It has ended, and will be started again.
    Restarting {
        /// Then, in the machine's time.
        at: u64,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping { .. } => "stopping",
            Self::Ending { .. } => "ending",
            Self::Restarting { .. } => "restarting",
        })
    }
}

/// A VM of the manifest as the operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What the manifest says of it.
    pub config: &'a VmConfig,
    /// Where it is in its life.
    pub phase: Phase,
    /// How it ended when it did so last.
    pub last: Option<End>,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// The machine itself, while it is there. It is gone when its vCPUs are and nobody else has it: hold it weakly.
    pub vm: Option<&'a Arc<Vm>>,
}

/// What is to be done with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is to be made, and [`Course::has_started`] or [`Course::has_not_started`] follows.
    Make,
    /// Its power button is to be pressed.
    PressPowerButton,
    /// Its vCPUs are to stay out of the guest.
    Hold,
    /// They are to go on.
    Release,
    /// It is to be ended like this, and [`Course::has_ended`] follows.
    End(End),
    /// Nothing.
    Nothing,
}

/// The course of one VM's life so far.
#[derive(Debug)]
pub struct Course {
    restart: Restart,
    on_reboot: OnReboot,
    /// Ticks from a press of the power button to the end.
    patience: u64,
    /// Ticks of the machine's time in a second.
    hz: u64,
    phase: Phase,
    last: Option<End>,
    restarts: u32,
    /// Failures since it ran for long.
    failures: u32,
    started_at: u64,
    /// Ticks that making it took.
    making: u64,
}

impl Course {
    /// The VM is declared and has not been started; time ticks `hz` times a second.
    #[must_use]
    pub fn new(config: &VmConfig, hz: u64) -> Self {
        Self {
            restart: config.restart,
            on_reboot: config.on_reboot,
            patience: u64::from(config.stop_timeout_s).saturating_mul(hz),
            hz,
            phase: Phase::Stopped,
            last: None,
            restarts: 0,
            failures: 0,
            started_at: 0,
            making: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How it ended when it did so last.
    #[must_use]
    pub fn last(&self) -> Option<End> {
        self.last
    }

    /// How often it was started again by itself.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether there is something of it to wait for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// When [`Self::due`] will have something to do, in the machine's time.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Stopping { kill_at: at } | Phase::Restarting { at } => Some(at),
            _ => None,
        }
    }

    /// The operator asks for something.
    pub fn ask(&mut self, verb: Verb, now: u64) -> Result<Step, Refused> {
        let ended = |again| Phase::Ending { again };
        let (phase, step) = match (verb, self.phase) {
            (Verb::Start, Phase::Stopped | Phase::Restarting { .. }) => (Phase::Stopped, Step::Make),
            (Verb::Stop, Phase::Running) => {
                (Phase::Stopping { kill_at: now.saturating_add(self.patience) }, Step::PressPowerButton)
            }
            (Verb::Pause, Phase::Running) => (Phase::Paused, Step::Hold),
            (Verb::Resume, Phase::Paused) => (Phase::Running, Step::Release),
            (Verb::Reset, Phase::Running | Phase::Paused | Phase::Stopping { .. }) => {
                (ended(true), Step::End(End::Reset))
            }
            (Verb::Kill, Phase::Running | Phase::Paused | Phase::Stopping { .. }) => {
                (ended(false), Step::End(End::Killed))
            }
            // Its vCPUs are leaving already.
            (Verb::Stop | Verb::Kill, Phase::Ending { again: true }) => (ended(false), Step::Nothing),
            (Verb::Stop | Verb::Kill, Phase::Restarting { .. }) => (Phase::Stopped, Step::Nothing),
            (verb, phase) => return Err(Refused::Phase { verb, phase }),
        };
        self.phase = phase;
        Ok(step)
    }

    /// Time has come to `now`.
    pub fn due(&mut self, now: u64) -> Step {
        match self.phase {
            Phase::Stopping { kill_at } if kill_at <= now => {
                self.phase = Phase::Ending { again: false };
                Step::End(End::Killed)
            }
            // It stays in this phase until it is made or not: who is to start again tries again.
            Phase::Restarting { at } if at <= now => {
                self.restarts = self.restarts.saturating_add(1);
                Step::Make
            }
            _ => Step::Nothing,
        }
    }

    /// It was made, which took so many ticks, and starts at `now`.
    pub fn has_started(&mut self, now: u64, making: u64) {
        (self.phase, self.started_at, self.making) = (Phase::Running, now, making);
    }

    /// It could not be made. One that was to start again may be later, when others have given back what it needs.
    pub fn has_not_started(&mut self, now: u64) {
        let starts_again = matches!(self.phase, Phase::Restarting { .. }) && self.restart != Restart::Never;
        self.phase = match starts_again {
            true => Phase::Restarting { at: now.saturating_add(self.growing_pause()) },
            false => Phase::Stopped,
        };
    }

    /// Its vCPUs are gone.
    pub fn has_ended(&mut self, end: End, now: u64) {
        self.last = Some(end);
        let pause = match self.phase {
            Phase::Ending { again: true } => Some(0),
            Phase::Ending { again: false } | Phase::Stopping { .. } => None,
            _ => self.pause_after(end, now),
        };
        self.phase = match pause {
            Some(pause) => Phase::Restarting { at: now.saturating_add(pause) },
            None => Phase::Stopped,
        };
    }

    /// How long after it has ended by itself it starts again, in ticks; `None`: it does not.
    fn pause_after(&mut self, end: End, now: u64) -> Option<u64> {
        let reboots = matches!(end, End::Reset | End::TripleFault { .. });
        if reboots && self.on_reboot == OnReboot::Restart {
            // As a PC, without a pause but for this: who makes machines all the time for one that reboots all the time has half of
            // its time for the others.
            return Some(self.making);
        }
        let failed = !matches!(end, End::PoweredOff | End::Reset | End::DebugExit { .. });
        if now.saturating_sub(self.started_at) >= SOUND_S.saturating_mul(self.hz) {
            self.failures = 0;
        }
        match self.restart {
            Restart::Always => {}
            Restart::OnFailure if failed => {}
            _ => return None,
        }
        Some(self.growing_pause())
    }

    /// The pause after one failure more, in ticks.
    fn growing_pause(&mut self) -> u64 {
        let seconds = 1_u64.checked_shl(self.failures).map_or(LONGEST_PAUSE_S, |s| s.min(LONGEST_PAUSE_S));
        self.failures = self.failures.saturating_add(1);
        seconds.saturating_mul(self.hz)
    }
}

#[cfg(test)]
mod tests;
