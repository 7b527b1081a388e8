// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of virtual machines: those that the manifest declares are started, watched, and reported when they end.

use crate::console;
use crate::console::attachment::Attached;
use crate::console::attachment::Attachment;
use crate::console::guest_output::GuestOutput;
use crate::devices::exerciser::Window;
use crate::memory::FRAME;
use crate::memory::PAGE_2M;
use crate::memory::frames;
use crate::schedule::board::Board;
use crate::vcpu::Vcpu;
use crate::vm::Offer;
use crate::vm::Place;
use crate::vm::Vm;
use crate::vm::VmError;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::MANIFEST;
use crate::vm::manifest::Manifest;
use crate::vm::manifest::Start;
use crate::vm::manifest::VmConfig;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use log::error;
use log::info;

/// Bytes that are left beside a VM's memory: for its vCPUs, and for growth of the heap, which ends in a panic if there are none.
const RESERVE: u64 = 4 << 20;
/// For so many bytes of RAM one more is set aside for tables: each 2 MiB may need one that maps it and one that records it.
const RAM_TO_TABLES: u64 = PAGE_2M / (2 * FRAME);
/// How many exit reasons a report names.
const REASONS_NAMED: usize = 6;

/// A machine that is about to run, and its vCPUs.
type Started = (Arc<Vm>, Vec<Box<Vcpu>>);

/// All virtual machines. One CPU has it, and manages them between the turns of its vCPUs.
#[derive(Debug)]
pub struct Life {
    bundle: Bundle<'static>,
    offer: Offer<'static>,
    start: Start,
    /// What is still to be started.
    waiting: VecDeque<VmConfig>,
    /// What runs. The first gets what is typed.
    running: Vec<Arc<Vm>>,
}

impl Life {
    /// The virtual machines of a bundle; `None` if there is nothing that could be started.
    pub fn new(archive: &'static [u8], offer: Offer<'static>) -> Option<Self> {
        let bundle = Bundle::parse(archive).inspect_err(|reason| error!("bundle: {reason}")).ok()?;
        let text = bundle.file(MANIFEST).inspect_err(|reason| error!("bundle: {reason}")).ok()?;
        let manifest = Manifest::parse(text);
        for reason in &manifest.errors {
            error!("{reason}");
        }
        let Manifest { start, vms, .. } = manifest;
        Some(Self { bundle, offer, start, waiting: vms.into(), running: Vec::new() })
    }

    /// Reports those that have ended, and starts what is to be started. Whether there is anything left to do.
    pub fn manage(&mut self, board: &'static Board) -> bool {
        // Each vCPU has its machine: when nobody else has it, all are gone, and its memory is free with it.
        for vm in self.running.extract_if(.., |vm| Arc::get_mut(vm).is_some()) {
            report(&vm, board);
        }
        let mut started = Vec::new();
        while self.start == Start::Together || self.running.is_empty() {
            // With a CPU for each vCPU of all that start now, none has to move.
            let to_start = if self.start == Start::Together { self.waiting.len() } else { 1 };
            let vcpus: u32 = self.waiting.iter().take(to_start).map(|config| config.vcpus).sum();
            let several = self.running.len() + to_start > 1;
            let Some(config) = self.waiting.pop_front() else { break };
            let pinned = board.has_room_for(started.len() + vcpus as usize);
            match self.start(&config, several, pinned, board) {
                Ok((vm, vcpus)) => {
                    self.running.push(vm);
                    started.extend(vcpus);
                }
                // One that cannot start does not keep others from it.
                Err(reason) => error!("vm {}: not started: {reason}", config.name),
            }
        }
        // Only now: this CPU serves none of them while it makes the next machine.
        for vcpu in started {
            board.hand_over(vcpu, board.least_loaded());
        }
        !self.running.is_empty()
    }

    /// Gives what has been typed to the machine that started first.
    pub fn receive_input(&self) {
        if let Some(vm) = self.running.first() {
            vm.machine.receive(console::read_byte);
        }
    }

    fn start(
        &self,
        config: &VmConfig,
        several: bool,
        pinned: bool,
        board: &'static Board,
    ) -> Result<Started, VmError> {
        let free = frames::free_bytes();
        let free_mib = free_for_ram(free, config.exerciser) >> 20;
        if u64::from(config.memory_mib) > free_mib {
            return Err(VmError::TooLarge { asked_mib: config.memory_mib, free_mib });
        }
        let attached = if several { Attached::ToNone } else { Attached::ToWhatRuns };
        let output = GuestOutput::new(&config.name, 0, Arc::new(Attachment::new(attached)));
        let now = board.time.now();
        let place = Place { coherence: &board.coherence, neighbours: board.cpus, output, pinned, now };
        let (vm, entry) = Vm::new(config, &self.bundle, &self.offer, place)?;
        let vm = Arc::new(vm);
        let vcpus = (0..config.vcpus as usize).map(|index| {
            let vpid = board.vpids.take().ok_or(VmError::NoVpid)?;
            Ok(Box::new(Vcpu::new(&vm, index, entry, vpid, pinned)?))
        });
        let vcpus = vcpus.collect::<Result<Vec<_>, VmError>>()?;
        report_start(&vm, free);
        Ok((vm, vcpus))
    }
}

/// Bytes of RAM that a VM can have.
fn free_for_ram(free: u64, exerciser: bool) -> u64 {
    let windows = if exerciser { 2 * Window::BYTES } else { 0 };
    free.saturating_sub(RESERVE + windows) / (RAM_TO_TABLES + 1) * RAM_TO_TABLES
}

fn report_start(vm: &Vm, free_before: u64) {
    let memory = &vm.machine.memory;
    let (bytes, most) = (memory.bytes(), memory.set_aside_bytes());
    // Others give memory back meanwhile.
    let own = free_before.saturating_sub(frames::free_bytes() + bytes + most);
    info!(
        "vm {}: started: {} MiB, {} KiB of tables for them so far and {} at most, {} KiB of Satori's own",
        vm.name,
        bytes.div_ceil(1 << 20),
        memory.held_bytes() >> 10,
        most >> 10,
        own >> 10
    );
}

fn report(vm: &Vm, board: &Board) {
    let name = &vm.name;
    vm.machine.output.finish(console::write_guest);
    if let Some(end) = vm.outcome() {
        info!("vm {name}: ended: {end}");
    }
    info!("vm {name}: {}", exits(vm));
    info!("vm {name}: flushes: {}", board.coherence.counters);
    #[cfg(feature = "measure")]
    info!("vm {name}: our own share in ticks: {}", vm.shares.lock());
}

/// "1234 exits: IO_INSTRUCTION 1000, HLT 234".
fn exits(vm: &Vm) -> String {
    let exits = vm.exits();
    let total: u64 = exits.iter().map(|(_, exits)| exits.count).sum();
    let mut text = alloc::format!("{total} exits");
    let mut separator = ": ";
    for (reason, exits) in exits.iter().take(REASONS_NAMED) {
        // A string takes everything.
        let _ = write!(text, "{separator}{reason:?} {}", exits.count);
        separator = ", ";
    }
    text
}
