// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that translate: each with a TLB keyed by VPID, PCID and EP4TA, and under them perhaps an L0 with a shadow.
//!
//! Nothing is dropped but by a flush that covers it. What is used is checked against who owns the page by then, which loom
//! also does by causality: a page is released *after* its last use, or it is an error.

use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::flush::GuestMappingFlush;
use crate::mmu::lock::Mutex;
use crate::mmu::watch::Watch;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex as Plain;
use std::vec::Vec;

/// Guest-physical frames of 4 KiB that a model's tables translate, from 0 on.
pub(in crate::mmu::flush) const FRAMES: u64 = 4;

/// What a leaf entry, or anything made from it, leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) page: usize,
    pub(super) write: bool,
}

impl Leaf {
    const NOT_PRESENT: u64 = 0;

    fn from_entry(entry: u64) -> Option<Self> {
        (entry != Self::NOT_PRESENT).then_some(Self { page: (entry >> 2) as usize, write: entry & 2 != 0 })
    }

    fn entry(self) -> u64 {
        (self.page as u64) << 2 | u64::from(self.write) << 1 | 1
    }
}

/// Guest-physical translations: by EP4TA and frame.
type GuestPhysicals = BTreeMap<(u64, u64), Leaf>;

/// What tags a combined translation: VPID, PCID, EP4TA, and the linear page.
type CombinedTag = (u16, u16, u64, u64);

/// What one CPU has cached.
#[derive(Debug, Default)]
struct Tlb {
    guest_physical: GuestPhysicals,
    /// With the frame, which flushes by guest-physical address go by.
    combined: BTreeMap<CombinedTag, (u64, Leaf)>,
}

impl Tlb {
    fn drop_physical(&mut self, ep4ta: u64, covers: impl Fn(u64) -> bool) {
        self.guest_physical.retain(|&(tag, frame), _| tag != ep4ta || !covers(frame));
        self.combined.retain(|&(_, _, tag, _), &mut (frame, _)| tag != ep4ta || !covers(frame));
    }
}

/// How L0 ends a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mmu::flush) enum Outcome {
    /// It does it.
    Done,
    /// It flushes the first so many frames of the list, or of the space, and then fails.
    Fails { after: u64 },
}

/// A page of memory: whose it is, by guest-physical frame, and whether writes are allowed.
#[derive(Debug, Default)]
struct Page {
    owner: Plain<Option<(u64, bool)>>,
    uses: Watch,
}

/// All CPUs, what is under them, and memory.
#[derive(Debug)]
pub(in crate::mmu::flush) struct Hardware {
    /// By root: a table of leaves.
    tables: Vec<[AtomicU64; FRAMES as usize]>,
    tlbs: PerCpu<Mutex<Tlb>>,
    /// What an L0 derived from our tables, for all CPUs; none on bare metal.
    shadow: Option<Mutex<GuestPhysicals>>,
    pages: Vec<Page>,
    last_page: Plain<usize>,
    /// How the next hypercalls end; when there are no more, well.
    outcomes: Plain<VecDeque<Outcome>>,
    /// Lists with this frame fail.
    refused: Plain<Option<u64>>,
    hypercalls: Plain<Vec<(u64, Option<PageRanges>)>>,
    cpus: usize,
}

impl Hardware {
    pub(super) fn new(tables: usize, pages: usize, cpus: usize, nested: bool) -> Self {
        Self {
            tables: (0..tables)
                .map(|_| [const { Leaf::NOT_PRESENT }; FRAMES as usize].map(AtomicU64::new))
                .collect(),
            tlbs: PerCpu::new(|_| Mutex::new(Tlb::default())),
            shadow: nested.then(|| Mutex::new(GuestPhysicals::new())),
            pages: (0..pages).map(|_| Page::default()).collect(),
            last_page: Plain::default(),
            outcomes: Plain::default(),
            refused: Plain::default(),
            hypercalls: Plain::default(),
            cpus,
        }
    }

    pub(super) fn table_address(table: usize) -> u64 {
        (table as u64 + 1) << 12
    }

    pub(in crate::mmu::flush) fn plan(&self, outcomes: &[Outcome]) {
        self.outcomes.lock().unwrap().extend(outcomes);
    }

    pub(in crate::mmu::flush) fn refuse(&self, frame: u64) {
        *self.refused.lock().unwrap() = Some(frame);
    }

    /// The hypercalls since the last time that it was asked: address of the root, and list.
    pub(in crate::mmu::flush) fn take_hypercalls(&self) -> Vec<(u64, Option<PageRanges>)> {
        core::mem::take(&mut self.hypercalls.lock().unwrap())
    }

    /// Writes an entry.
    pub(super) fn write_entry(&self, table: usize, frame: u64, leaf: Option<Leaf>) {
        let entry = leaf.map_or(Leaf::NOT_PRESENT, Leaf::entry);
        self.tables[table][frame as usize].store(entry, Ordering::Release);
    }

    pub(super) fn read_entry(&self, table: usize, frame: u64) -> Option<Leaf> {
        Leaf::from_entry(self.tables[table][frame as usize].load(Ordering::Relaxed))
    }

    pub(super) fn read_by_address(&self, ep4ta: u64, frame: u64) -> Option<Leaf> {
        self.read_entry((ep4ta >> 12) as usize - 1, frame)
    }

    /// Gives a page to a frame, or takes it away; of nobody else's concern only when nobody uses it any more.
    pub(super) fn own(&self, page: usize, owner: Option<(u64, bool)>) {
        self.pages[page].uses.released();
        *self.pages[page].owner.lock().unwrap() = owner;
    }

    /// A page that was nobody's, and not lately anybody's, for a frame.
    pub(super) fn take_page(&self, frame: u64) -> usize {
        let mut last = self.last_page.lock().unwrap();
        let free = |&page: &usize| self.pages[page].owner.lock().unwrap().is_none();
        let others = (1..=self.pages.len()).map(|further| (*last + further) % self.pages.len());
        *last = others.into_iter().find(free).expect("the model has pages enough");
        self.own(*last, Some((frame, true)));
        *last
    }

    /// The guest on `cpu` reads or writes the linear page that its tables map to `frame`. `false`: an EPT violation.
    pub(super) fn access(&self, cpu: CpuNumber, tag: CombinedTag, frame: u64, write: bool) -> bool {
        let mut tlb = self.tlbs[cpu].lock();
        let leaf = match tlb.combined.get(&tag) {
            Some(&(_, leaf)) => leaf,
            None => {
                let Some(leaf) = self.walk(&mut tlb, tag.2, frame) else { return false };
                tlb.combined.insert(tag, (frame, leaf));
                leaf
            }
        };
        if write && !leaf.write {
            return false;
        }
        let page = &self.pages[leaf.page];
        page.uses.used();
        let owner = *page.owner.lock().unwrap();
        let allowed = owner.is_some_and(|(of, writable)| of == frame && (writable || !write));
        assert!(allowed, "stale use on {cpu}: frame {frame} by {tag:x?}, {leaf:?} is {owner:?} by now");
        true
    }

    /// A walk of the tables, after all caches.
    fn walk(&self, tlb: &mut Tlb, ep4ta: u64, frame: u64) -> Option<Leaf> {
        if let Some(&leaf) = tlb.guest_physical.get(&(ep4ta, frame)) {
            return Some(leaf);
        }
        let leaf = match &self.shadow {
            None => self.read_by_address(ep4ta, frame)?,
            Some(shadow) => {
                let mut shadow = shadow.lock();
                match shadow.get(&(ep4ta, frame)) {
                    Some(&leaf) => leaf,
                    None => {
                        let leaf = self.read_by_address(ep4ta, frame)?;
                        shadow.insert((ep4ta, frame), leaf);
                        leaf
                    }
                }
            }
        };
        tlb.guest_physical.insert((ep4ta, frame), leaf);
        Some(leaf)
    }

    /// INVEPT, single context: this CPU's, and the shadow that its L0 derived.
    pub(super) fn invept(&self, cpu: CpuNumber, ep4ta: u64) {
        let mut tlb = self.tlbs[cpu].lock();
        self.drop_shadow(ep4ta, |_| true);
        tlb.drop_physical(ep4ta, |_| true);
    }

    /// INVVPID, single context.
    pub(super) fn invvpid(&self, cpu: CpuNumber, vpid: u16) {
        self.tlbs[cpu].lock().combined.retain(|&(tag, ..), _| tag != vpid);
    }

    /// The guest's INVLPG.
    pub(super) fn invlpg(&self, cpu: CpuNumber, tag: CombinedTag) {
        self.tlbs[cpu].lock().combined.remove(&tag);
    }

    fn drop_shadow(&self, ep4ta: u64, covers: impl Fn(u64) -> bool) {
        if let Some(shadow) = &self.shadow {
            shadow.lock().retain(|&(tag, frame), _| tag != ep4ta || !covers(frame));
        }
    }

    /// L0 drops what it derived, and then what CPUs made of that: the other way round they would read it again.
    fn flush_everywhere(&self, ep4ta: u64, covers: impl Fn(u64) -> bool) {
        self.drop_shadow(ep4ta, &covers);
        for cpu in CpuNumber::all().take(self.cpus) {
            self.tlbs[cpu].lock().drop_physical(ep4ta, &covers);
        }
    }

    fn hypercall(&self, root: u64, list: Option<PageRanges>) -> Result<(), Status> {
        self.hypercalls.lock().unwrap().push((root, list.clone()));
        let outcome = self.outcomes.lock().unwrap().pop_front().unwrap_or(Outcome::Done);
        let listed = |frame: u64| match &list {
            None => true,
            Some(ranges) => ranges.clone().any(|range| {
                let span = range.as_simple();
                (span.first_page..span.first_page + span.pages).contains(&frame)
            }),
        };
        let refused = list.is_some() && self.refused.lock().unwrap().is_some_and(listed);
        match outcome {
            Outcome::Done if !refused => {
                self.flush_everywhere(root, listed);
                Ok(())
            }
            Outcome::Done => Err(Status::ACCESS_DENIED),
            Outcome::Fails { after } => {
                let reached: Vec<u64> =
                    (0..FRAMES).filter(|&frame| listed(frame)).take(after as usize).collect();
                if !reached.is_empty() {
                    self.flush_everywhere(root, |frame| reached.contains(&frame));
                }
                Err(Status::INVALID_PARAMETER)
            }
        }
    }
}

impl GuestMappingFlush for Arc<Hardware> {
    fn flush_space(&self, root: u64) -> Result<(), Status> {
        self.hypercall(root, None)
    }

    fn flush_list(&self, root: u64, ranges: PageRanges) -> Result<(), Status> {
        self.hypercall(root, Some(ranges))
    }
}
