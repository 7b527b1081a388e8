// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the exerciser's commands do to the machine.

use crate::cpu::CpuNumber;
use crate::devices::exerciser::Command;
use crate::devices::exerciser::Exerciser;
use crate::devices::exerciser::Refused;
use crate::devices::exerciser::Window;
use crate::memory::FRAME;
use crate::mmu::GuestPhysical;
use crate::mmu::slots::Content;
use crate::mmu::space::GuestSpace;
use crate::vcpu::state::State;
use crate::vm::machine::Machine;
use alloc::sync::Arc;
use core::ops::Range;
use spin::Mutex;

/// The exerciser of a machine.
#[derive(Debug)]
pub struct Exercise {
    /// Its registers, and the command that is to be executed.
    registers: Mutex<(Exerciser, Option<Command>)>,
    alpha: Arc<Ram>,
    beta: Arc<Ram>,
}
