// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flush protocol under loom: histories in which nothing stale is ever used, and for each rule one that shows it broken.
//!
//! The code is the real one, from `Roots::flush` to `Residence`; TLBs, tables and L0 are the model's. In each history CPU 0
//! takes something away; a vCPU runs on CPU 1, and wherever it goes to.

mod guest_physical;
mod linear;
mod remote;
mod reused;

use super::model::Setup;
use crate::mmu::explore::Preemptions;

/// On bare metal.
const BARE: Setup = Setup { cpus: 3, nested: false, by_l0: false, threads: true };
/// Nested, but L0 does not flush for us.
const NESTED: Setup = Setup { nested: true, ..BARE };
/// L0 flushes for us.
const BY_L0: Setup = Setup { by_l0: true, ..NESTED };

/// Two threads can be explored whole, if they are short.
const ALL: Preemptions = None;
const MANY: Preemptions = Some(4);
/// For three threads.
const FEW: Preemptions = Some(2);
