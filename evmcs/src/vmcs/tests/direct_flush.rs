// SPDX-License-Identifier: MIT OR Apache-2.0
//! Direct virtual flush reaches the *current* enlightened VMCS of each CPU. So a virtual CPU owes an INVVPID whenever its own
//! becomes current, even where it was all the time: without that it uses stale translations, and with it never.

use super::*;
use crate::field::VIRTUAL_PROCESSOR_IDENTIFIER;
use proptest::prelude::*;
use std::collections::HashMap;

const CPUS: usize = 2;
/// Of each VM.
const VCPUS: usize = 3;
const VMS: usize = 2;
/// Linear pages of a guest.
const PAGES: usize = 2;

/// When a virtual CPU does an INVVPID of its VPID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owes {
    /// When its VMCS becomes current.
    WhenCurrentAgain,
    /// When it comes from another CPU, or for the first time: enough while every flush is ours.
    OnArrival,
}

/// A virtual CPU.
struct VirtualCpu {
    vmcs: Vmcs,
    vm: usize,
    /// Where it was last.
    cpu: Option<usize>,
    /// For each page, the oldest version of its translation that may still be used.
    oldest: [u64; PAGES],
}

/// CPUs whose TLBs keep everything, an L0 that flushes for guests, and guests that change their page tables.
struct World {
    owes: Owes,
    slots: [VmcsSlot<L0>; CPUS],
    /// Linear translations: by VPID and page, the version.
    tlbs: [HashMap<(u64, usize), u64>; CPUS],
    vcpus: Vec<VirtualCpu>,
    /// By VM and page, the version of the guest's entry.
    tables: [[u64; PAGES]; VMS],
    /// The virtual CPU in its guest.
    on: [Option<usize>; CPUS],
}

/// A translation was used that a flush had taken away.
#[derive(Debug)]
struct Stale;

impl World {
    fn new(owes: Owes) -> Self {
        let slots = [0, 1].map(|cpu| {
            let page = Page::new();
            let mut assist_page = page.assist_page();
            assist_page.set_direct_hypercall(true);
            VmcsSlot::enlightened(cpu, L0::new(page), assist_page)
        });
        let vcpu = |number: usize| {
            let control = EnlightenmentsControl::new().with_nested_flush_virtual_hypercall(true);
            let (vm, vp_id) = (number / VCPUS, (number % VCPUS) as u32);
            let enlightenments =
                Enlightenments { control, vp_id, vm_id: vm as u64 + 7, partition_assist_page: 0 };
            let vmcs = Vmcs::enlightened(Page::new().region(), &enlightenments);
            VirtualCpu { vmcs, vm, cpu: None, oldest: [0; PAGES] }
        };
        Self {
            owes,
            slots,
            tlbs: Default::default(),
            vcpus: (0..VMS * VCPUS).map(vcpu).collect(),
            tables: [[0; PAGES]; VMS],
            on: [None; CPUS],
        }
    }

    /// It goes into its guest there, and stays in it. Whoever was in a guest there leaves it; its VMCS stays.
    fn enter(&mut self, vcpu: usize, cpu: usize) {
        self.leave(vcpu);
        let VirtualCpu { vmcs, cpu: home, .. } = &mut self.vcpus[vcpu];
        let arrives = *home != Some(cpu);
        if let Some(before) = home.filter(|_| arrives) {
            vmcs.release(&mut self.slots[before]).unwrap();
        }
        *home = Some(cpu);
        let slot = &mut self.slots[cpu];
        let owes = match self.owes {
            Owes::WhenCurrentAgain => !vmcs.is_current(slot),
            Owes::OnArrival => arrives,
        };
        let mut active = vmcs.activate(slot).unwrap();
        if active.read(VIRTUAL_PROCESSOR_IDENTIFIER) == 0 {
            active.write(VIRTUAL_PROCESSOR_IDENTIFIER, vcpu as u16 + 1);
        }
        let resume = active.launched();
        if owes {
            self.tlbs[cpu].retain(|&(vpid, _), _| vpid != vcpu as u64 + 1);
        }
        slot.instructions.enter(resume, 0, Outcome::Exit, &|_| 0).unwrap();
        vmcs.activate(slot).unwrap().note_exit();
        self.on[cpu] = Some(vcpu);
    }

    /// It leaves its guest; its VMCS stays what it is.
    fn leave(&mut self, vcpu: usize) {
        for on in &mut self.on {
            *on = on.filter(|&other| other != vcpu);
        }
    }

    /// Its VMCS is released where it is.
    fn release(&mut self, vcpu: usize) {
        self.leave(vcpu);
        let VirtualCpu { vmcs, cpu, .. } = &mut self.vcpus[vcpu];
        if let Some(before) = cpu.take() {
            vmcs.release(&mut self.slots[before]).unwrap();
        }
    }

    /// The guest on that CPU uses a page.
    fn access(&mut self, cpu: usize, page: usize) -> Result<(), Stale> {
        let Some(vcpu) = self.on[cpu] else { return Ok(()) };
        let now = self.tables[self.vcpus[vcpu].vm][page];
        let used = *self.tlbs[cpu].entry((vcpu as u64 + 1, page)).or_insert(now);
        if used < self.vcpus[vcpu].oldest[page] { Err(Stale) } else { Ok(()) }
    }

    /// The guest on that CPU changes the entry of a page, and has the virtual CPUs of `mask` flush it, by hypercall to L0.
    fn change(&mut self, cpu: usize, page: usize, mask: u64) {
        let Some(vcpu) = self.on[cpu] else { return };
        let vm = self.vcpus[vcpu].vm;
        self.tables[vm][page] += 1;
        let version = self.tables[vm][page];
        self.flush_directly(cpu, mask);
        for number in (0..VCPUS).filter(|number| mask & 1 << number != 0) {
            self.vcpus[vm * VCPUS + number].oldest[page] = version;
        }
    }

    /// What L0 does: it goes by what the enlightened VMCSs say that are current (TLFS, *Direct Virtual Flush*).
    fn flush_directly(&mut self, caller: usize, mask: u64) {
        let current = |slot: &VmcsSlot<L0>| slot.instructions.flushed_directly().map(Page::at);
        let vm_id = |page: Page| page.read(0x350, 8);
        let caller = current(&self.slots[caller]).expect("its guest runs");
        for (slot, tlb) in self.slots.iter().zip(&mut self.tlbs) {
            let Some(page) = current(slot).filter(|&page| vm_id(page) == vm_id(caller)) else { continue };
            assert_eq!(page.read(0x344, 4) & 1, 1, "the VMCS allows it, too");
            if mask >> page.read(0x348, 4) & 1 != 0 {
                let place = VIRTUAL_PROCESSOR_IDENTIFIER.place().expect("it has one");
                let vpid = page.read(place.offset().into(), 2);
                tlb.retain(|&(tag, _), _| tag != vpid);
            }
        }
    }
}

const ALL: u64 = (1 << VCPUS) - 1;

/// Two of a VM take turns on a CPU; while one is away the other changes a page.
fn taking_turns(owes: Owes) -> Result<(), Stale> {
    let mut world = World::new(owes);
    world.enter(0, 0);
    world.access(0, 0)?;
    world.enter(1, 0);
    world.change(0, 0, ALL);
    world.access(0, 0)?;
    world.enter(0, 0);
    world.access(0, 0)
}

/// One runs on another CPU, and the first one's CPU has gone over to another VM's.
fn away_for_another_vm(owes: Owes) -> Result<(), Stale> {
    let mut world = World::new(owes);
    world.enter(0, 0);
    world.access(0, 0)?;
    world.enter(VCPUS, 0);
    world.enter(1, 1);
    world.change(1, 0, ALL);
    world.enter(0, 0);
    world.access(0, 0)
}

#[test]
fn a_vcpu_whose_vmcs_was_not_current_uses_what_was_flushed_unless_it_flushes_for_itself() {
    for history in [taking_turns, away_for_another_vm] {
        assert!(history(Owes::OnArrival).is_err(), "the model shows nothing");
        history(Owes::WhenCurrentAgain).unwrap();
    }
}

/// It would be needless: L0 has reached it.
#[test]
fn a_vcpu_whose_vmcs_stayed_current_owes_nothing() {
    let mut world = World::new(Owes::WhenCurrentAgain);
    world.enter(0, 0);
    world.access(0, 0).unwrap();
    world.access(0, 1).unwrap();
    world.leave(0);
    world.enter(1, 1);
    world.change(1, 0, ALL);
    assert!(world.tlbs[0].is_empty(), "L0 has flushed it, though it was out of its guest");
    world.enter(0, 0);
    world.access(0, 0).unwrap();
    world.leave(0);
    world.enter(0, 0);
    assert_eq!(world.tlbs[0].len(), 1, "nobody has flushed again");
}

#[test]
fn a_vcpu_that_was_released_and_comes_back_uses_nothing_of_before() {
    let mut world = World::new(Owes::WhenCurrentAgain);
    world.enter(0, 0);
    world.access(0, 0).unwrap();
    world.release(0);
    world.enter(1, 1);
    world.change(1, 0, ALL);
    assert!(!world.tlbs[0].is_empty(), "nobody could flush it");
    world.enter(0, 0);
    world.access(0, 0).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Enter { vcpu: usize, cpu: usize },
    Leave { vcpu: usize },
    Release { vcpu: usize },
    Access { cpu: usize, page: usize },
    Change { cpu: usize, page: usize, mask: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (vcpu, cpu, page) = (0..VMS * VCPUS, 0..CPUS, 0..PAGES);
    let step = prop_oneof![
        5 => (vcpu.clone(), cpu.clone()).prop_map(|(vcpu, cpu)| Step::Enter { vcpu, cpu }),
        1 => vcpu.clone().prop_map(|vcpu| Step::Leave { vcpu }),
        1 => vcpu.prop_map(|vcpu| Step::Release { vcpu }),
        6 => (cpu.clone(), page.clone()).prop_map(|(cpu, page)| Step::Access { cpu, page }),
        2 => (cpu, page, 0..=ALL).prop_map(|(cpu, page, mask)| Step::Change { cpu, page, mask }),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn who_flushes_when_its_vmcs_becomes_current_never_uses_anything_stale(steps in steps()) {
        let mut world = World::new(Owes::WhenCurrentAgain);
        for step in steps {
            match step {
                Step::Enter { vcpu, cpu } => world.enter(vcpu, cpu),
                Step::Leave { vcpu } => world.leave(vcpu),
                Step::Release { vcpu } => world.release(vcpu),
                Step::Access { cpu, page } => world.access(cpu, page).expect("nothing stale is used"),
                Step::Change { cpu, page, mask } => world.change(cpu, page, mask),
            }
        }
    }
}
