// SPDX-License-Identifier: MIT OR Apache-2.0
//! The physical CPU's local APIC: end of interrupt, messages to other CPUs, and the timer that stands for guests' timers.

// UNSAFETY: writes the APIC's registers.
#![expect(unsafe_code)]

use crate::cpu::clock::Clock;
use crate::cpu::hardware;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::cpu::hardware::tsc;
use crate::cpu::interrupt_command::Message;
use crate::cpu::timekeeper::Time;
use crate::cpu::timeline::Timeline;
use crate::cpu::vector;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::memory::address_space;
use core::arch::x86_64::__cpuid;
use core::fmt;
use spin::Once;
use x86_64::VirtAddr;

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// The interrupt command register in x2APIC mode, all 64 bits of it.
const X2APIC_INTERRUPT_COMMAND: u32 = 0x830;
/// Bits of IA32_APIC_BASE: on, and in x2APIC mode.
const ENABLE: u64 = 1 << 11;
const X2APIC_MODE: u64 = 1 << 10;

/// A register, by its offset in the page of xAPIC mode; the MSR of x2APIC mode follows from it (SDM vol. 3, "x2APIC
/// Register Address Space").
#[derive(Clone, Copy)]
struct Register(u32);

const ID: Register = Register(0x20);
const TASK_PRIORITY: Register = Register(0x80);
const END_OF_INTERRUPT: Register = Register(0xb0);
const SPURIOUS_VECTOR: Register = Register(0xf0);
const IN_SERVICE: Register = Register(0x100);
const INTERRUPT_COMMAND_LOW: Register = Register(0x300);
const INTERRUPT_COMMAND_HIGH: Register = Register(0x310);
const LVT_TIMER: Register = Register(0x320);
const LVT_PERFORMANCE: Register = Register(0x340);
const LVT_LINT0: Register = Register(0x350);
const LVT_LINT1: Register = Register(0x360);
const LVT_ERROR: Register = Register(0x370);
const INITIAL_COUNT: Register = Register(0x380);
const CURRENT_COUNT: Register = Register(0x390);
const DIVIDE_CONFIGURATION: Register = Register(0x3e0);

const MASKED: u32 = 1 << 16;
const TSC_DEADLINE_MODE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;
/// Of the interrupt command register in xAPIC mode: the last message is still to be sent.
const SEND_PENDING: u32 = 1 << 12;
/// Reads of that bit before the bus is taken for dead: far more than a message takes.
const PATIENCE: u32 = 1_000_000;
/// Vectors that firmware can have left in service.
const VECTORS: u32 = 256;

/// How the registers are reached: the same for every CPU, as [`turn_on`] brings each to the same mode.
static FACE: Once<Face> = Once::new();

/// How registers are reached.
#[derive(Clone, Copy, Debug)]
enum Face {
    /// By MSRs.
    X2Apic,
    /// In a page, mapped at this address.
    XApic(VirtAddr),
}

impl Face {
    fn read(self, register: Register) -> u32 {
        match self {
            Self::X2Apic => NativeMsrs.read(0x800 + register.0 / 16) as u32,
            // SAFETY: a register of the page that `enable` mapped, uncached.
            Self::XApic(page) => unsafe { (page + u64::from(register.0)).as_ptr::<u32>().read_volatile() },
        }
    }

    fn write(self, register: Register, value: u32) {
        match self {
            // SAFETY: the CPU has the registers that are named above, and the values are such that they take. What they
            // raise are interrupts, for which there are handlers.
            Self::X2Apic => unsafe { NativeMsrs.write(0x800 + register.0 / 16, u64::from(value)) },
            // SAFETY: as for `read`, and as just above.
            Self::XApic(page) => unsafe {
                (page + u64::from(register.0)).as_mut_ptr::<u32>().write_volatile(value);
            },
        }
    }
}

/// Ticks by which a deadline's interrupt may come early, where what is below plays the timer. Setting it once more does no harm.
const EARLY: u64 = 10_000;

/// How the timer is told when to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// By the value of the TSC.
    Deadline,
    /// By a count of its own ticks, of which there are so many in 2^32 ticks of the machine's time.
    OneShot { ticks: u64 },
}

/// The local APIC of the CPU that made it.
#[derive(Debug)]
pub struct LocalApic {
    face: Face,
    timer: Timer,
    clock: Clock,
    /// How the TSC and the machine's time go together.
    timeline: Timeline,
    /// The deadline that is set, so that setting the same again costs nothing.
    armed: Option<u64>,
}

/// Why a local APIC could not be turned on.
#[derive(Clone, Copy, Debug)]
pub enum ApicError {
    /// No frame for the tables that map it.
    Memory(OutOfFrames),
    /// It has no x2APIC mode, in which those of the other CPUs are.
    NoX2Apic,
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::NoX2Apic => write!(f, "it has no x2APIC, and the boot CPU has"),
        }
    }
}

impl LocalApic {
    /// Turns the APIC on, in x2APIC mode where there is one, with its own pins, counters and errors masked. The thermal entry
    /// stays firmware's: it may be how firmware cools the machine.
    pub fn enable(clock: Clock) -> Result<Self, ApicError> {
        const X2APIC: u32 = 1 << 21;
        const DEADLINE: u32 = 1 << 24;
        let features = __cpuid(1).ecx;
        let face = match FACE.get() {
            Some(&face) => face,
            None => {
                let face = find_face(features & X2APIC != 0).map_err(ApicError::Memory)?;
                *FACE.call_once(|| face)
            }
        };
        if matches!(face, Face::X2Apic) && features & X2APIC == 0 {
            return Err(ApicError::NoX2Apic);
        }
        turn_on(face);
        for entry in [LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR] {
            face.write(entry, MASKED);
        }
        face.write(TASK_PRIORITY, 0);
        face.write(SPURIOUS_VECTOR, 1 << 8 | u32::from(vector::SPURIOUS));
        end_all_interrupts(face);
        let timer = if features & DEADLINE != 0 {
            face.write(LVT_TIMER, TSC_DEADLINE_MODE | u32::from(vector::TIMER));
            // In xAPIC mode a deadline could else overtake it (SDM vol. 3, "TSC-Deadline Mode").
            hardware::fence_memory();
            Timer::Deadline
        } else {
            face.write(DIVIDE_CONFIGURATION, DIVIDE_BY_1);
            let ticks = match clock.apic_timer_hz() {
                Some(hz) => ticks_at(hz, clock),
                None => measure_ticks(face, clock),
            };
            face.write(LVT_TIMER, u32::from(vector::TIMER));
            Timer::OneShot { ticks }
        };
        Ok(Self { face, timer, clock, timeline: Timeline::AT_START, armed: None })
    }

    /// This CPU's APIC id.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self.face {
            Face::X2Apic => self.face.read(ID),
            Face::XApic(_) => self.face.read(ID) >> 24,
        }
    }

    /// How this CPU's TSC and the machine's time go together.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The TSC has been exchanged for another: time goes on like this. What was set before is to be set again.
    pub fn follow(&mut self, time: Time) {
        self.timeline = time.timeline;
        self.armed = None;
        if let (Timer::OneShot { ticks }, Some(hz)) = (&mut self.timer, time.apic_timer_hz) {
            *ticks = ticks_at(hz, self.clock);
        }
    }

    /// Raises [`vector::TIMER`] once the machine's time is past `deadline`, or never. Replaces what was set before.
    pub fn set_timer(&mut self, deadline: Option<u64>) {
        if self.armed != deadline {
            self.armed = deadline;
            self.arm(deadline);
        }
    }

    /// After interrupts have been taken: whether the timer may have fired, so that it has to be set again.
    #[must_use]
    pub fn may_have_fired(&mut self) -> bool {
        let fired = match (self.timer, self.armed) {
            (_, None) => false,
            (Timer::Deadline, Some(deadline)) => deadline <= self.timeline.now().saturating_add(EARLY),
            // It can be early: its ticks are coarser.
            (Timer::OneShot { .. }, Some(_)) => true,
        };
        if fired {
            self.armed = None;
        }
        fired
    }

    fn arm(&self, deadline: Option<u64>) {
        match (self.timer, deadline) {
            (Timer::Deadline, deadline) => {
                // Zero would mean "never"; one is as long past.
                let value = deadline.map_or(0, |time| self.timeline.deadline(time).max(1));
                // SAFETY: the CPU has it, as CPUID says, and it takes any value.
                unsafe { NativeMsrs.write(IA32_TSC_DEADLINE, value) };
            }
            (Timer::OneShot { .. }, None) => self.face.write(INITIAL_COUNT, 0),
            (Timer::OneShot { ticks }, Some(deadline)) => {
                let wait =
                    (u128::from(deadline.saturating_sub(self.timeline.now())) * u128::from(ticks)) >> 32;
                self.face.write(INITIAL_COUNT, wait.clamp(1, u128::from(u32::MAX)) as u32);
            }
        }
    }
}

/// x2APIC's MSRs, or the page of xAPIC mode, mapped.
fn find_face(x2apic: bool) -> Result<Face, OutOfFrames> {
    const PAGE: u64 = 0xf_ffff_ffff_f000;
    if x2apic {
        return Ok(Face::X2Apic);
    }
    address_space::map_device(NativeMsrs.read(IA32_APIC_BASE) & PAGE, FRAME).map(Face::XApic)
}

/// Goes to the mode of `face`, step by step as the transitions allow (SDM vol. 3, "x2APIC State Transitions").
fn turn_on(face: Face) {
    let base = NativeMsrs.read(IA32_APIC_BASE) | ENABLE;
    // SAFETY: every CPU has it; on and, for x2APIC mode, from there are legal transitions.
    unsafe {
        NativeMsrs.write(IA32_APIC_BASE, base);
        if matches!(face, Face::X2Apic) {
            NativeMsrs.write(IA32_APIC_BASE, base | X2APIC_MODE);
        }
    }
}

/// Ends what firmware left in service, which would hold back all that is no more urgent.
fn end_all_interrupts(face: Face) {
    let in_service = || (0..8).any(|word| face.read(Register(IN_SERVICE.0 + 16 * word)) != 0);
    for _ in 0..VECTORS {
        if !in_service() {
            return;
        }
        face.write(END_OF_INTERRUPT, 0);
    }
}

/// Tells this CPU's APIC that the interrupt in service is done.
pub fn end_of_interrupt() {
    if let Some(face) = FACE.get() {
        face.write(END_OF_INTERRUPT, 0);
    }
}

/// Interrupts a CPU of ours, by its APIC id, with a vector of ours. Stores before it are seen by the handler.
pub fn send_interrupt(apic_id: u32, vector: u8) {
    send(apic_id, Message::Interrupt(vector));
}

/// Sends a CPU of ours, by its APIC id, a non-maskable interrupt.
pub fn send_nmi(apic_id: u32) {
    send(apic_id, Message::Nmi);
}

/// Makes another CPU wait for its start, whatever it does.
///
/// # Safety
/// It is none that runs our code, and not this one.
pub unsafe fn send_init(apic_id: u32) {
    send(apic_id, Message::Init);
}

/// Starts a CPU that waits for it, in real mode, at the beginning of a page.
///
/// # Safety
/// The page holds code that keeps to its own memory.
pub unsafe fn send_start_up(apic_id: u32, page: u8) {
    send(apic_id, Message::StartUp(page));
}

/// Whether there is a CPU with that id that messages can reach: xAPIC mode has eight bits for it.
#[must_use]
pub fn reaches(apic_id: u32) -> bool {
    match FACE.get() {
        Some(Face::X2Apic) => Message::Nmi.x2apic(apic_id).is_some(),
        Some(Face::XApic(_)) => Message::Nmi.xapic(apic_id).is_some(),
        None => false,
    }
}

/// Sends a message. With interrupts off, so that nothing comes between the two writes that it takes in xAPIC mode.
fn send(apic_id: u32, message: Message) {
    match FACE.get() {
        Some(face @ Face::XApic(_)) => {
            let Some((high, low)) = message.xapic(apic_id) else { return };
            wait_until_sent(*face);
            face.write(INTERRUPT_COMMAND_HIGH, high);
            face.write(INTERRUPT_COMMAND_LOW, low);
        }
        Some(Face::X2Apic) => {
            let Some(command) = message.x2apic(apic_id) else { return };
            // SAFETY: barriers, and a register that every CPU in this mode has, with a value without reserved bits. This
            // WRMSR does not wait for earlier stores by itself (SDM vol. 3, "x2APIC Register Address Space").
            unsafe {
                core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
                NativeMsrs.write(X2APIC_INTERRUPT_COMMAND, command);
            }
        }
        None => {}
    }
}

/// Until the message before this one has left. A bus that is stuck does not hold us.
fn wait_until_sent(face: Face) {
    let sent = |_| {
        core::hint::spin_loop();
        face.read(INTERRUPT_COMMAND_LOW) & SEND_PENDING == 0
    };
    let _ = (0..PATIENCE).any(sent);
}

/// Ticks of an APIC timer of `hz` in 2^32 ticks of the machine's time.
fn ticks_at(hz: u64, clock: Clock) -> u64 {
    ((u128::from(hz) << 32) / u128::from(clock.tsc_hz())) as u64
}

/// Ticks of the APIC timer in 2^32 ticks of the TSC, measured over 10 ms.
fn measure_ticks(face: Face, clock: Clock) -> u64 {
    face.write(LVT_TIMER, MASKED);
    face.write(INITIAL_COUNT, u32::MAX);
    let start = tsc();
    while tsc() - start < clock.tsc_hz() / 100 {}
    let (passed, count) = (tsc() - start, face.read(CURRENT_COUNT));
    face.write(INITIAL_COUNT, 0);
    ((u128::from(u32::MAX - count) << 32) / u128::from(passed)) as u64
}
