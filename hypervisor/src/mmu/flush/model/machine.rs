// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the run loop and the fault handler do, on the real protocol and the model's hardware.

use super::hardware::Hardware;
use super::hardware::Leaf;
use crate::cpu::CpuNumber;
use crate::mmu::Coherence;
use crate::mmu::Counter;
use crate::mmu::Kick;
use crate::mmu::flush::Pages;
use crate::mmu::flush::Provider;
use crate::mmu::flush::Root;
use crate::mmu::flush::Roots;
use crate::mmu::residence::Residence;
use crate::mmu::rule::Rule;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::Weak;
use std::vec::Vec;

/// Write-back tables of four levels, with accessed and dirty bits: what an EPT pointer has beside the address.
const ATTRIBUTES: u64 = 0x5e;

/// CPU number `number` of a model.
pub(in crate::mmu::flush) fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).expect("a model has few CPUs")
}

/// What a kick does.
#[derive(Debug)]
enum Kicked {
    /// Nothing: guests leave by themselves before long, on threads of their own.
    Nothing,
    /// The CPU leaves its guest at once: there is but one thread.
    Leaves(OnceLock<Weak<Coherence>>),
}

/// Who was kicked.
#[derive(Debug)]
pub(in crate::mmu::flush) struct Bell {
    kicked: Kicked,
    rung: Mutex<Vec<CpuNumber>>,
    cpus: usize,
}

impl Bell {
    /// The CPUs that were kicked since the last time that it was asked.
    pub(in crate::mmu::flush) fn take(&self) -> Vec<CpuNumber> {
        core::mem::take(&mut self.rung.lock().unwrap())
    }
}

impl Kick for Arc<Bell> {
    fn kick(&self, cpu: CpuNumber) {
        self.rung.lock().unwrap().push(cpu);
        if let Kicked::Leaves(machine) = &self.kicked {
            machine.get().and_then(Weak::upgrade).expect("it is made").occupancy.leave(cpu);
        }
    }

    fn relax(&self) {
        assert!(matches!(self.kicked, Kicked::Nothing), "the one thread waits for itself");
        #[cfg(feature = "loom")]
        loom::thread::yield_now();
        #[cfg(not(feature = "loom"))]
        std::thread::yield_now();
    }

    fn cpus(&self) -> usize {
        self.cpus
    }
}

/// How a model machine is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::mmu::flush) struct Setup {
    pub(in crate::mmu::flush) cpus: usize,
    /// There is an L0 with a shadow of our tables under us.
    pub(in crate::mmu::flush) nested: bool,
    /// It flushes for us.
    pub(in crate::mmu::flush) by_l0: bool,
    /// CPUs are driven by threads of their own, rather than all by one.
    pub(in crate::mmu::flush) threads: bool,
}

/// A machine with one VM.
#[derive(Debug)]
pub(in crate::mmu::flush) struct Machine {
    pub(in crate::mmu::flush) hardware: Arc<Hardware>,
    pub(in crate::mmu::flush) coherence: Arc<Coherence>,
    pub(in crate::mmu::flush) roots: Roots,
    pub(in crate::mmu::flush) bell: Arc<Bell>,
}

impl Machine {
    /// Tables that a model's roots can be made of.
    pub(in crate::mmu::flush) const TABLES: usize = 3;

    pub(in crate::mmu::flush) fn new(setup: Setup) -> Self {
        let Setup { cpus, nested, by_l0, threads } = setup;
        let hardware = Arc::new(Hardware::new(Self::TABLES, 12, cpus, nested));
        let kicked = if threads { Kicked::Nothing } else { Kicked::Leaves(OnceLock::new()) };
        let bell = Arc::new(Bell { kicked, rung: Mutex::default(), cpus });
        let provider =
            if by_l0 { Provider::HyperV(Box::new(Arc::clone(&hardware))) } else { Provider::Native };
        let coherence = Coherence::new(provider, Box::new(Arc::clone(&bell)));
        if let Kicked::Leaves(machine) = &bell.kicked {
            machine.set(Arc::downgrade(&coherence)).expect("it is set once");
        }
        let roots = Roots::new(Arc::clone(&coherence));
        Self { hardware, coherence, roots, bell }
    }

    /// A counter, over all CPUs.
    pub(in crate::mmu::flush) fn count(&self, counter: Counter) -> u64 {
        self.coherence.counters.sum(counter)
    }

    /// A root of one of the tables.
    pub(in crate::mmu::flush) fn root(&self, table: usize) -> Arc<Root> {
        self.roots.create(Hardware::table_address(table) | ATTRIBUTES)
    }

    /// Gives a frame that is not mapped a page of its own, in all these tables.
    pub(in crate::mmu::flush) fn map(&self, tables: &[usize], frame: u64) {
        let page = self.hardware.take_page(frame);
        for &table in tables {
            self.hardware.write_entry(table, frame, Some(Leaf { page, write: true }));
        }
    }

    /// Takes a frame's page away, by CPU `me`, and gives it back.
    pub(in crate::mmu::flush) fn zap(&self, me: CpuNumber, tables: &[usize], frame: u64, pages: Pages) {
        let mapped: Vec<_> =
            tables.iter().filter_map(|&table| self.hardware.read_entry(table, frame)).collect();
        for &table in tables {
            self.hardware.write_entry(table, frame, None);
        }
        let release = || {
            if let Some(leaf) = mapped.first() {
                self.hardware.own(leaf.page, None);
            }
        };
        if !Rule::ReleaseAfterFlush.kept() {
            release();
            return self.roots.flush(me, pages);
        }
        self.roots.flush(me, pages);
        release();
    }

    /// Takes the right to write away from a frame, by CPU `me`.
    pub(in crate::mmu::flush) fn protect(&self, me: CpuNumber, tables: &[usize], frame: u64, pages: Pages) {
        let mut page = None;
        for &table in tables {
            if let Some(leaf) = self.hardware.read_entry(table, frame) {
                page = Some(leaf.page);
                self.hardware.write_entry(table, frame, Some(Leaf { write: false, ..leaf }));
            }
        }
        self.roots.flush(me, pages);
        if let Some(page) = page {
            self.hardware.own(page, Some((frame, false)));
        }
    }

    /// Gives that right back: nothing was taken away, so nothing is flushed.
    pub(in crate::mmu::flush) fn unprotect(&self, tables: &[usize], frame: u64) {
        for &table in tables {
            if let Some(leaf) = self.hardware.read_entry(table, frame) {
                self.hardware.own(leaf.page, Some((frame, true)));
                self.hardware.write_entry(table, frame, Some(Leaf { write: true, ..leaf }));
            }
        }
    }

    /// Whether a frame has a page.
    pub(in crate::mmu::flush) fn is_mapped(&self, frame: u64) -> bool {
        self.hardware.read_entry(0, frame).is_some()
    }

    /// Brings a vCPU into its guest on `cpu`.
    pub(in crate::mmu::flush) fn enter(&self, vcpu: &mut Vcpu, cpu: CpuNumber) {
        if vcpu.residence.arrive(cpu) {
            self.coherence.counters.count(cpu, Counter::InvvpidSingle);
            self.hardware.invvpid(cpu, vcpu.vpid);
        }
        if let Some(sample) = self.coherence.occupancy.enter(cpu, &vcpu.root) {
            self.coherence.counters.count(cpu, Counter::InveptSingle);
            self.hardware.invept(cpu, vcpu.root.address());
            vcpu.root.credit(cpu, sample);
        }
        vcpu.on = cpu;
    }

    /// The exit.
    pub(in crate::mmu::flush) fn leave(&self, vcpu: &Vcpu) {
        self.coherence.occupancy.leave(vcpu.on);
    }

    /// The guest of a vCPU that is in it reads or writes a linear page. `false`: it is not mapped.
    pub(in crate::mmu::flush) fn access(&self, vcpu: &Vcpu, linear: u64, write: bool) -> bool {
        self.hardware.access(vcpu.on, vcpu.tag(linear), vcpu.tables[&linear], write)
    }

    /// An access whose fault, if there is one, is handled: where the entry permits the access, it is spurious, and a local INVEPT
    /// makes it succeed.
    pub(in crate::mmu::flush) fn access_or_fault(&self, vcpu: &Vcpu, linear: u64, write: bool) {
        let permitted = || {
            let leaf = self.hardware.read_by_address(vcpu.root.address(), vcpu.tables[&linear]);
            leaf.is_some_and(|leaf| leaf.write || !write)
        };
        if !self.access(vcpu, linear, write) && permitted() {
            let sample = vcpu.root.generation();
            self.hardware.invept(vcpu.on, vcpu.root.address());
            vcpu.root.credit(vcpu.on, sample);
            assert!(self.access(vcpu, linear, write), "an INVEPT leaves nothing to fault on");
        }
    }

    /// The guest of a vCPU that is in it maps a linear page to another frame, and flushes it where it is.
    pub(in crate::mmu::flush) fn remap(&self, vcpu: &mut Vcpu, linear: u64, frame: u64) {
        vcpu.tables.insert(linear, frame);
        self.hardware.invlpg(vcpu.on, vcpu.tag(linear));
    }

    /// Enters, reads linear pages, and leaves.
    pub(in crate::mmu::flush) fn run(&self, vcpu: &mut Vcpu, cpu: CpuNumber, linear: &[u64]) {
        self.enter(vcpu, cpu);
        for &linear in linear {
            self.access(vcpu, linear, false);
        }
        self.leave(vcpu);
    }

    /// Goes to another CPU, and does there what [`run`](Self::run) does.
    pub(in crate::mmu::flush) fn migrate(&self, vcpu: &mut Vcpu, cpu: CpuNumber, linear: &[u64]) {
        vcpu.release();
        self.run(vcpu, cpu, linear);
    }

    /// The page of frame `from` becomes that of frame `to`, with nobody to flush it: nobody enters on that table again before it
    /// is another root's.
    pub(in crate::mmu::flush) fn move_page(&self, table: usize, from: u64, to: u64) {
        let leaf = self.hardware.read_entry(table, from).expect("the frame is mapped");
        self.hardware.write_entry(table, from, None);
        self.hardware.own(leaf.page, Some((to, true)));
        self.hardware.write_entry(table, to, Some(leaf));
    }

    /// The vCPU runs on another root from now on.
    pub(in crate::mmu::flush) fn load(&self, vcpu: &mut Vcpu, root: &Arc<Root>) {
        self.roots.load(vcpu.number, root);
        vcpu.root = Arc::clone(root);
    }
}

/// A vCPU, with its guest's tables: linear page to frame.
#[derive(Debug)]
pub(in crate::mmu::flush) struct Vcpu {
    number: usize,
    pub(in crate::mmu::flush) root: Arc<Root>,
    vpid: u16,
    residence: Residence,
    tables: BTreeMap<u64, u64>,
    /// Where it is, or was last.
    on: CpuNumber,
}

impl Vcpu {
    /// A new one, which loads its root; linear page n is frame n.
    pub(in crate::mmu::flush) fn new(machine: &Machine, number: usize, root: &Arc<Root>) -> Self {
        machine.roots.load(number, root);
        Self {
            number,
            root: Arc::clone(root),
            vpid: number as u16 + 1,
            residence: Residence::new(),
            tables: (0..super::FRAMES).map(|frame| (frame, frame)).collect(),
            on: CpuNumber::BOOT,
        }
    }

    /// Whether it ran on `cpu` last.
    pub(in crate::mmu::flush) fn was_last_on(&self, cpu: CpuNumber) -> bool {
        self.on == cpu
    }

    /// Its VMCS is released: it goes to another CPU.
    pub(in crate::mmu::flush) fn release(&mut self) {
        self.residence.release();
    }

    /// Its guest starts with other tables: `linear` is `frame`.
    pub(in crate::mmu::flush) fn boot_with(&mut self, linear: u64, frame: u64) {
        self.tables.insert(linear, frame);
    }

    fn tag(&self, linear: u64) -> (u16, u16, u64, u64) {
        const PCID: u16 = 0;
        (self.vpid, PCID, self.root.address(), linear)
    }
}
