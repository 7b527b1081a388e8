// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs of the machine that are ours: who is there, and how each is told something.

use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::cpu::attention::Attention;
use crate::cpu::attention::AttentionWord;
use crate::cpu::number::Padded;
use crate::cpu::number::current;
use crate::mmu::Kick;
use crate::vm::post::Neighbours;
use core::fmt;
use core::hint;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use spin::Once;

/// Raises [`vector::KICK`](crate::cpu::vector::KICK) on the CPU with an APIC id.
pub type SendKick = fn(apic_id: u32);

/// All CPUs that run our code; there is one of these in the machine.
pub struct Cpus {
    places: PerCpu<Padded<Place>>,
    count: AtomicUsize,
    send_kick: SendKick,
    /// A rate of the TSC that is to be pretended, if not zero: numerator and denominator, in 32 bits each.
    pretended_rate: AtomicU64,
}

/// What the others know of a CPU.
#[derive(Debug, Default)]
struct Place {
    apic_id: AtomicU32,
    attention: AttentionWord,
}

impl Cpus {
    /// The boot CPU alone, with its APIC id.
    #[must_use]
    pub fn new(boot_apic_id: u32, send_kick: SendKick) -> Self {
        let cpus = Self {
            places: PerCpu::default(),
            count: AtomicUsize::new(0),
            send_kick,
            pretended_rate: AtomicU64::new(0),
        };
        cpus.add(boot_apic_id);
        cpus
    }

    /// The number that the next CPU gets; `None` if there is no place for more.
    #[must_use]
    pub fn next(&self) -> Option<CpuNumber> {
        CpuNumber::new(self.count())
    }

    /// Adds a CPU that runs as [`Self::next`] said. By the boot CPU alone, on the way up.
    ///
    /// # Panics
    /// If there is no place for it: a fault of our own.
    pub fn add(&self, apic_id: u32) {
        let number = self.next().expect("no more CPUs are started than there are places");
        self.places[number].0.apic_id.store(apic_id, Ordering::Relaxed);
        self.count.store(number.index() + 1, Ordering::Release);
    }

    /// How many there are. Their numbers begin with 0 and have no gaps.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Those that are there, each with its APIC id.
    pub fn iter(&self) -> impl Iterator<Item = (CpuNumber, u32)> {
        let places = self.places.iter().take(self.count());
        places.map(|(number, place)| (number, place.0.apic_id.load(Ordering::Relaxed)))
    }

    /// The word of a CPU, for that CPU itself.
    #[inline]
    #[must_use]
    pub fn attention(&self, cpu: CpuNumber) -> &AttentionWord {
        &self.places[cpu].0.attention
    }

    /// Tells a CPU to look at something; whatever was written before is seen by it. It notices before it next goes to a
    /// guest or halts, or is made to come back from there.
    pub fn notify(&self, cpu: CpuNumber, bits: Attention) {
        if self.attention(cpu).set(bits) {
            self.kick(cpu);
        }
    }

    /// Has all other CPUs stand still for a change of the time; gives their number.
    pub fn ask_to_stand_still(&self) -> usize {
        let others = self.iter().filter(|&(cpu, _)| cpu != current());
        others.inspect(|&(cpu, _)| self.notify(cpu, Attention::TIME)).count()
    }

    /// The rate of the TSC that is to be pretended, if one is. It has been, once [`Self::forget_pretended_rate`] was told.
    #[must_use]
    pub fn pretended_rate(&self) -> Option<(u32, u32)> {
        let rate = self.pretended_rate.load(Ordering::Acquire);
        (rate != 0).then_some(((rate >> 32) as u32, rate as u32))
    }

    /// That rate is pretended.
    pub fn forget_pretended_rate(&self, (numerator, denominator): (u32, u32)) {
        let done = u64::from(numerator) << 32 | u64::from(denominator);
        // If there is another by now, that one is still to come.
        let _ = self.pretended_rate.compare_exchange(done, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Interrupts a CPU, unless it is this one: it leaves its guest soon, or wakes. Comes back at once.
    pub fn kick(&self, cpu: CpuNumber) {
        if cpu != current() {
            (self.send_kick)(self.places[cpu].0.apic_id.load(Ordering::Relaxed));
        }
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Kick for &'static Cpus {
    fn kick(&self, cpu: CpuNumber) {
        Cpus::kick(self, cpu);
    }

    fn relax(&self) {
        hint::spin_loop();
    }

    fn cpus(&self) -> usize {
        self.count()
    }
}

impl Neighbours for Cpus {
    fn notify(&self, cpu: CpuNumber) {
        Self::notify(self, cpu, Attention::MAIL);
    }

    fn is_away(&self, cpu: CpuNumber) -> bool {
        self.attention(cpu).is_away()
    }

    fn ask_for_input(&self) {
        Self::notify(self, CpuNumber::BOOT, Attention::INPUT);
    }

    fn pretend_rate(&self, numerator: u32, denominator: u32) {
        self.pretended_rate.store(u64::from(numerator) << 32 | u64::from(denominator), Ordering::Release);
        Self::notify(self, CpuNumber::BOOT, Attention::TIME);
    }

    fn is_rate_pending(&self) -> bool {
        self.pretended_rate().is_some()
    }

    fn count(&self) -> usize {
        Self::count(self)
    }
}

/// All CPUs, for handlers of interrupts, which get nothing handed.
static KNOWN: Once<&'static Cpus> = Once::new();

/// From here on [`known`] gives these.
pub fn know(cpus: &'static Cpus) {
    KNOWN.call_once(|| cpus);
}

/// All CPUs, once they are known; until then there is only the one that boots.
#[must_use]
pub fn known() -> Option<&'static Cpus> {
    KNOWN.get().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;

    std::thread_local! {
        static KICKED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    fn three() -> Cpus {
        let cpus = Cpus::new(7, |apic_id| KICKED.with_borrow_mut(|kicked| kicked.push(apic_id)));
        cpus.add(3);
        cpus.add(0x100);
        cpus
    }

    fn cpu(number: usize) -> CpuNumber {
        CpuNumber::new(number).unwrap()
    }

    #[test]
    fn numbers_have_no_gaps_and_apic_ids_are_what_they_are() {
        assert!(three().iter().eq([(cpu(0), 7), (cpu(1), 3), (cpu(2), 0x100)]));
    }

    #[test]
    fn only_another_cpu_that_is_away_is_interrupted() {
        let cpus = three();
        for number in 0..3 {
            cpus.notify(cpu(number), Attention::MAIL);
        }
        KICKED.with_borrow(|kicked| assert!(kicked.is_empty()));
        for number in 0..2 {
            let _ = cpus.attention(cpu(number)).go_away();
        }
        for number in 0..3 {
            cpus.notify(cpu(number), Attention::MAIL);
        }
        KICKED.with_borrow(|kicked| assert_eq!(kicked[..], [3]));
        assert!(cpus.iter().all(|(cpu, _)| cpus.attention(cpu).take() == Attention::MAIL));
    }
}
