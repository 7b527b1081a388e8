// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for tests of flushing: TLBs and an L0 that keep all that nobody flushed, and memory that knows whose it is.

mod hardware;
mod machine;

pub(super) use hardware::FRAMES;
pub(super) use hardware::Outcome;
pub(super) use machine::Machine;
pub(super) use machine::Setup;
pub(super) use machine::Vcpu;
pub(super) use machine::cpu;
