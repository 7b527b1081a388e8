// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done when all virtual machines have ended: wait for the operator, power off, halt.

use super::PORTS;
use crate::acpi::PowerOff;
use crate::boot_info::BootInfo;
use crate::console;
use crate::cpu::power;
use crate::cpu::stop;
use crate::hyperv::HyperV;
use crate::hyperv::L0Clock;
use alloc::boxed::Box;
use log::info;

/// How the machine ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Not at all: the operator may start a virtual machine again.
    Wait,
    PowerOff,
    Halt,
    /// As if Satori had a fault, to see how that is reported.
    Panic,
}

/// What is to be done when all virtual machines have ended.
#[derive(Debug)]
pub struct WhenDone {
    /// What L0 was told, which is taken back.
    hyperv: Box<HyperV>,
    /// Whether the machine is to be powered off.
    end: Ending,
    power_off: Option<PowerOff>,
}

impl WhenDone {
    /// What the command line says.
    pub(super) fn new(boot: &BootInfo, hyperv: HyperV, power_off: Option<PowerOff>) -> Self {
        let end = match boot.option("when-done") {
            Some("power-off") => Ending::PowerOff,
            Some("halt") => Ending::Halt,
            Some("panic") => Ending::Panic,
            _ => Ending::Wait,
        };
        Self { hyperv: Box::new(hyperv), end, power_off }
    }

    /// What is below us.
    #[must_use]
    pub fn hyperv(&self) -> &HyperV {
        &self.hyperv
    }

    /// The machine is to be powered off, whatever the command line says.
    pub fn power_off(&mut self) {
        self.end = Ending::PowerOff;
    }

    /// Time as L0 tells it.
    #[must_use]
    pub fn l0_clock(&self) -> &L0Clock {
        self.hyperv.clock()
    }

    /// Whether the machine goes on.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self.end, Ending::Wait)
    }

    /// Does it. All other CPUs have let go of everything, and stop.
    pub fn stop(self) -> ! {
        console::use_no_interrupts();
        self.hyperv.leave();
        if let Ending::Panic = self.end {
            panic!("this is what when-done=panic asks for");
        }
        if let Ending::PowerOff = self.end {
            info!("powering off");
            console::flush();
            power::off(&PORTS, self.power_off);
            info!("this machine did not power off: its ACPI tables may not say how");
        }
        info!("halted");
        stop::all()
    }
}
