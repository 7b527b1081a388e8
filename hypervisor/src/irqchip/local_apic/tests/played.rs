// SPDX-License-Identifier: MIT OR Apache-2.0
//! A local APIC that the processor plays is to its guest and its machine as one that software plays, whatever comes
//! (SDM vol. 3, "APIC Virtualization and Virtual Interrupts").

use super::*;
use crate::irqchip::local_apic::Delivery;
use crate::irqchip::local_apic::Part;
use crate::irqchip::local_apic::register::Register;
use crate::memory::Frames;
use proptest::prelude::*;

/// The processor, with what the VMCS tells it, and the page.
struct Played {
    apic: LocalApic,
    requesting: u8,
    servicing: u8,
    eoi_exits: [u64; 4],
}

impl Played {
    fn new() -> Self {
        let apic = at_reset(0).in_frame(Frames::one().expect("the host has memory"), Part::Whole);
        Self { apic, requesting: 0, servicing: 0, eoi_exits: [0; 4] }
    }

    fn register(&self, offset: u64) -> Register {
        Register::at_offset(offset).expect("there is one")
    }

    fn get(&self, offset: u64) -> u32 {
        self.apic.page.get(self.register(offset))
    }

    fn set(&self, offset: u64, value: u32) {
        self.apic.page.set(self.register(offset), value);
    }

    fn flip(&self, set: u64, vector: u8) {
        let offset = set + u64::from(vector / 32) * 16;
        self.set(offset, self.get(offset) ^ 1 << (vector % 32));
    }

    fn highest(&self, set: u64) -> u8 {
        let words = (0..8_u8).rev().map(|word| (word, self.get(set + u64::from(word) * 16)));
        let highest = words.filter_map(|(word, bits)| Some(word * 32 + bits.checked_ilog2()? as u8)).next();
        highest.unwrap_or(0)
    }

    /// What is done before each entry.
    fn enter(&mut self) {
        if self.apic.take_changed_requests() {
            [self.requesting, self.servicing] = self.apic.interrupt_status().to_le_bytes();
        }
        if self.apic.take_changed_ends() {
            self.eoi_exits = self.apic.eoi_exits();
        }
    }

    /// "Virtual-Interrupt Delivery".
    fn deliver(&mut self) -> Option<u8> {
        self.enter();
        let priority = (self.get(TPR) as u8 & 0xF0).max(self.servicing & 0xF0);
        let vector = self.requesting;
        (vector & 0xF0 > priority).then(|| {
            self.flip(IRR, vector);
            self.flip(ISR, vector);
            self.servicing = vector;
            self.requesting = self.highest(IRR);
            vector
        })
    }

    /// A write of the guest's to its page: "APIC-Write Emulation", "EOI Virtualization", "Self-IPI Virtualization".
    fn write(&mut self, offset: u64, value: u32) -> Effect {
        self.enter();
        match offset {
            EOI => return self.end_of_interrupt(),
            TPR => self.set(TPR, value & 0xFF),
            ICR_HIGH => self.set(ICR_HIGH, value & 0xFF00_0000),
            ICR_LOW if value & !0xFF == 1 << 18 && value & 0xF0 != 0 => {
                self.set(ICR_LOW, value);
                if self.get(IRR + u64::from(value as u8 / 32) * 16) & 1 << (value % 32) == 0 {
                    self.flip(IRR, value as u8);
                }
                self.requesting = self.requesting.max(value as u8);
            }
            _ => {
                self.set(offset, value);
                return self.apic.written(offset, 0);
            }
        }
        Effect::None
    }

    fn end_of_interrupt(&mut self) -> Effect {
        let vector = self.servicing;
        if vector == 0 {
            return Effect::None;
        }
        self.flip(ISR, vector);
        self.servicing = self.highest(ISR);
        let exits = self.eoi_exits[usize::from(vector / 64)] & 1 << (vector % 64) != 0;
        if exits { Effect::EndOfInterrupt { vector } } else { Effect::None }
    }
}

/// What comes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Request(u8, Trigger),
    Write(u64, u32),
    /// The delivery takes place, or is cut short.
    Deliver {
        cut_short: bool,
    },
    Init,
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop::sample::select(vec![
        LDR,
        DFR,
        ESR,
        ICR_HIGH,
        LVT_TIMER,
        LVT_LINT0,
        LVT_ERROR,
        INITIAL_COUNT,
        DIVIDE,
        ID,
    ]);
    let trigger = prop::sample::select(vec![Trigger::Edge, Trigger::Level]);
    // Interrupts to itself have vectors of their own: the processor does not note that they are edge triggered.
    prop_oneof![
        6 => (0x40_u8..0x80, trigger).prop_map(|(vector, trigger)| Step::Request(vector, trigger)),
        2 => (0x80_u32..0x90).prop_map(|vector| Step::Write(ICR_LOW, 1 << 18 | vector)),
        1 => (0x100_u32..0x1000).prop_map(|command| Step::Write(ICR_LOW, command)),
        4 => Just(Step::Write(EOI, 0)),
        2 => (0_u32..0xA0).prop_map(|priority| Step::Write(TPR, priority)),
        2 => prop::sample::select(vec![0x1FF, 0x11FF]).prop_map(|value| Step::Write(SVR, value)),
        2 => (offset, any::<u32>()).prop_map(|(offset, value)| Step::Write(offset, value)),
        6 => any::<bool>().prop_map(|cut_short| Step::Deliver { cut_short }),
        1 => Just(Step::Init),
    ]
}

fn take(apic: &mut LocalApic) -> Option<u8> {
    let vector = apic.pending()?;
    apic.acknowledge(vector);
    Some(vector)
}

/// All that can be read, but the processor priority, and the last command: what a processor shows of them is its own affair.
fn shown(apic: &LocalApic) -> Vec<Option<u32>> {
    let registers = (0..0x40).filter(|number| ![PPR, ICR_LOW].contains(&(number * 16)));
    registers
        .filter_map(|number| Register::at_offset(number * 16))
        .map(|register| apic.read(register, 0))
        .collect()
}

/// The page shows what stands elsewhere as it is.
fn page_is_true(played: &Played) -> bool {
    [ID, VERSION, LDR, DFR, SVR, ESR, LVT_TIMER, LVT_LINT0, LVT_LINT1, LVT_ERROR, INITIAL_COUNT, DIVIDE]
        .into_iter()
        .all(|offset| Some(played.get(offset)) == played.apic.read(played.register(offset), 0))
}

proptest! {
    #[test]
    fn agrees_with_one_that_software_plays(steps in prop::collection::vec(step(), 1..200)) {
        let mut played = Played::new();
        let mut apic = at_reset(0);
        for step in [Step::Write(SVR, 0x1FF)].into_iter().chain(steps) {
            match step {
                Step::Request(vector, trigger) => {
                    let message = fixed(vector, trigger);
                    prop_assert_eq!(played.apic.accept(message), apic.accept(message));
                }
                Step::Write(offset, value) => {
                    prop_assert_eq!(played.write(offset, value), apic.mmio_write(offset, value, 0), "{:?}", step);
                }
                Step::Deliver { cut_short } => {
                    let vector = played.deliver();
                    prop_assert_eq!(vector, take(&mut apic));
                    if let Some(vector) = vector.filter(|_| cut_short) {
                        played.apic.take_back(vector);
                        apic.take_back(vector);
                    }
                }
                Step::Init => {
                    for apic in [&mut played.apic, &mut apic] {
                        apic.init();
                        let _ = apic.mmio_write(SVR, 0x1FF, 0);
                    }
                }
            }
            prop_assert!(page_is_true(&played), "after {:?}", step);
            prop_assert_eq!(shown(&played.apic), shown(&apic), "after {:?}", step);
            prop_assert_eq!(played.apic.pending(), apic.pending(), "after {:?}", step);
            prop_assert_eq!(played.apic.address(), apic.address());
        }
    }
}

/// "Self-IPI Virtualization": the processor leaves those to software that no interrupt can have.
#[test]
fn an_illegal_vector_to_itself_in_x2apic_mode_is_an_error() {
    let mut played = Played::new();
    let _ = played.write(SVR, 0x1FF);
    let base = played.apic.base();
    let _ = played.apic.set_base(base | 1 << 10).expect("xAPIC mode leads to x2APIC mode");
    assert!(played.apic.is_played_by_msrs());
    played.set(SELF_IPI, 0x0F);
    assert_eq!(played.apic.written(SELF_IPI, 0), Effect::None);
    let _ = played.apic.wrmsr(0x828, 0, 0);
    assert_eq!(played.apic.rdmsr(0x828, 0), Ok(1 << 5));
    assert_eq!(played.apic.pending(), None);
}

/// SDM vol. 3, "Spurious-Interrupt Vector Register", bit 12: it counts when the interrupt ends, not when it came.
#[test]
fn who_hears_of_an_end_of_interrupt_is_settled_when_it_ends() {
    for (before, after) in [(0x1FF, 0x11FF), (0x11FF, 0x1FF)] {
        let mut played = Played::new();
        let _ = played.write(SVR, before);
        assert_eq!(played.apic.accept(fixed(0x50, Trigger::Level)), Delivery::Interrupt);
        assert_eq!(played.deliver(), Some(0x50));
        let _ = played.write(SVR, after);
        let heard = played.write(EOI, 0) == Effect::EndOfInterrupt { vector: 0x50 };
        assert_eq!(heard, after == 0x1FF);
    }
}
