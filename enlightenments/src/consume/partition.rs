// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the partition as a whole tells L0: who we are, and where the hypercall page goes.

use super::Capabilities;
use super::Feature;
use super::MsrRefused;
use super::Obstacle;
use super::SyntheticMsrs;
use super::leftovers;
use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::msr::GUEST_OS_ID;
use hyperv_bindings::msr::GuestOsId;
use hyperv_bindings::msr::HYPERCALL;
use hyperv_bindings::msr::Hypercall;
use hyperv_bindings::msr::OpenSourceOs;

/// Who we are: open source, and of no system that Microsoft has allotted a number to, which is 0.
const SATORI: GuestOsId = GuestOsId::new()
    .with_open_source(true)
    .with_os(OpenSourceOs(0))
    .with_version(number(env!("CARGO_PKG_VERSION_MAJOR")) << 16 | number(env!("CARGO_PKG_VERSION_MINOR")))
    .with_build(number(env!("CARGO_PKG_VERSION_PATCH")) as u16);

const fn number(decimal: &str) -> u32 {
    match u32::from_str_radix(decimal, 10) {
        Ok(number) => number,
        Err(_) => panic!("versions are numbers"),
    }
}

/// A partition that L0 knows as ours, and whose hypercall page is in place.
///
/// It says so to L0 until it [leaves](Self::leave), and another kernel that is started before that finds the page in its memory.
#[derive(Debug)]
#[must_use = "L0 keeps the hypercall page in place until the partition leaves"]
pub struct Partition(());

impl Partition {
    /// Names us to L0 and has it put the hypercall page at the guest-physical address `hypercall_page`
    /// (TLFS, "Establishing the Hypercall Interface").
    ///
    /// On the first CPU, before anything else of the interface is in use: what an earlier kernel left enabled is taken away here,
    /// so it is to be called where hypercalls are not to be used, too. The page is an overlay, so that memory of ours below it
    /// cannot be seen and is to be left unused.
    ///
    /// # Errors
    /// When hypercalls are not to be used, or L0 does not let us. Then there is no hypercall page and L0 knows of no guest.
    ///
    /// # Panics
    /// If the address is not that of a page.
    pub fn join(
        msrs: &impl SyntheticMsrs,
        capabilities: &Capabilities,
        hypercall_page: u64,
    ) -> Result<Self, Obstacle> {
        assert!(hypercall_page.is_multiple_of(PAGE_SIZE as u64), "the hypercall page is a whole page");
        leftovers::clear_of_partition(msrs, capabilities);
        if !capabilities.get(Feature::HypercallPage).is_offered() {
            return Err(Obstacle::NotTried);
        }
        let joined = match capabilities.may_use(Feature::HypercallPage) {
            true => identify(msrs).and_then(|()| place(msrs, hypercall_page / PAGE_SIZE as u64)),
            false => Err(Obstacle::NotTried),
        };
        let partition = Self(());
        match joined {
            Ok(()) => Ok(partition),
            Err(obstacle) => {
                // What it finds in the way then is no news: the obstacle says more.
                let _ = partition.leave(msrs);
                Err(obstacle)
            }
        }
    }

    /// Takes the hypercall page away, and then our name. On any CPU, when no other one will make a hypercall any more.
    ///
    /// # Errors
    /// When L0 has the page in place still, or knows us still.
    pub fn leave(self, msrs: &impl SyntheticMsrs) -> Result<(), Obstacle> {
        // A page that is locked stays. Then it is the name that takes it away, without which there are no hypercalls.
        let _ = displace(msrs);
        msrs.write(GUEST_OS_ID, 0)?;
        match Hypercall::from_bits(msrs.read(HYPERCALL)?).enabled() {
            true => Err(Obstacle::NotTaken { msr: HYPERCALL }),
            false => Ok(()),
        }
    }
}

fn identify(msrs: &impl SyntheticMsrs) -> Result<(), Obstacle> {
    msrs.write(GUEST_OS_ID, SATORI.into_bits())?;
    match msrs.read(GUEST_OS_ID)? == SATORI.into_bits() {
        true => Ok(()),
        false => Err(Obstacle::NotTaken { msr: GUEST_OS_ID }),
    }
}

fn place(msrs: &impl SyntheticMsrs, page_number: u64) -> Result<(), Obstacle> {
    let found = Hypercall::from_bits(msrs.read(HYPERCALL)?);
    if !found.locked() {
        msrs.write(HYPERCALL, found.with_enabled(true).with_page_number(page_number).into_bits())?;
    }
    let taken = Hypercall::from_bits(msrs.read(HYPERCALL)?);
    match taken.enabled() && taken.page_number() == page_number {
        true => Ok(()),
        false if taken.locked() => Err(Obstacle::Locked),
        false => Err(Obstacle::NotTaken { msr: HYPERCALL }),
    }
}

fn displace(msrs: &impl SyntheticMsrs) -> Result<(), MsrRefused> {
    let found = Hypercall::from_bits(msrs.read(HYPERCALL).unwrap_or(0));
    msrs.write(HYPERCALL, found.with_enabled(false).with_page_number(0).into_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::model::ModelL0;

    const PAGE: u64 = 0x1000;
    const LINUX: u64 = 0x8100_0006_0C00_0000;

    /// How L0 is bent, and what is to come of it.
    type Refusal = (fn(&ModelL0), Obstacle);

    /// An L0 that offers everything, and the page of ours for hypercalls.
    fn l0() -> ModelL0 {
        let l0 = ModelL0::everything();
        let _ = l0.page(PAGE);
        l0
    }

    fn join(l0: &ModelL0) -> Result<Partition, Obstacle> {
        Partition::join(&l0.cpu(0), &l0.capabilities(), PAGE)
    }

    fn refused(msr: u32) -> Obstacle {
        Obstacle::Refused(MsrRefused { msr })
    }

    #[test]
    fn name_is_open_source_of_no_system_with_a_number() {
        assert_eq!(SATORI.into_bits() >> 56, 0x80);
        let version = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap());
        let [major, minor, patch]: [u64; 3] = version.collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(SATORI.into_bits() << 16 >> 16, major << 32 | minor << 16 | patch);
    }

    #[test]
    fn name_comes_before_the_page_and_goes_after_it() {
        let l0 = l0();
        join(&l0).unwrap().leave(&l0.cpu(0)).unwrap();
        let [id, none] = [SATORI.into_bits(), 0];
        let expected = [(GUEST_OS_ID, id), (HYPERCALL, PAGE | 1), (HYPERCALL, 0), (GUEST_OS_ID, none)];
        assert_eq!(l0.msrs.written(), expected);
    }

    #[test]
    fn refusal_of_any_access_is_reported_and_nothing_stays_enabled() {
        let refusals: [Refusal; 6] = [
            (|l0| l0.msrs.refuse_writes(0, GUEST_OS_ID), refused(GUEST_OS_ID)),
            (|l0| l0.msrs.refuse_reads(0, GUEST_OS_ID), refused(GUEST_OS_ID)),
            (|l0| l0.msrs.forget_writes(0, GUEST_OS_ID), Obstacle::NotTaken { msr: GUEST_OS_ID }),
            (|l0| l0.msrs.refuse_writes(0, HYPERCALL), refused(HYPERCALL)),
            (|l0| l0.msrs.refuse_reads(0, HYPERCALL), refused(HYPERCALL)),
            (|l0| l0.msrs.forget_writes(0, HYPERCALL), Obstacle::NotTaken { msr: HYPERCALL }),
        ];
        for (refuse, obstacle) in refusals {
            let l0 = l0();
            refuse(&l0);
            assert_eq!(join(&l0).unwrap_err(), obstacle);
            assert_eq!(l0.msrs.enabled(), []);
        }
    }

    #[test]
    fn page_of_an_earlier_kernel_is_moved() {
        let l0 = l0();
        l0.leave(0, GUEST_OS_ID, LINUX);
        l0.leave(0, HYPERCALL, 0x5001);
        let partition = join(&l0).unwrap();
        assert_eq!(l0.msrs.value(0, HYPERCALL), PAGE | 1);
        assert_eq!(l0.msrs.value(0, GUEST_OS_ID), SATORI.into_bits());
        assert_eq!(partition.leave(&l0.cpu(0)), Ok(()));
        assert_eq!(l0.msrs.enabled(), []);
    }

    #[test]
    fn page_that_is_locked_elsewhere_is_refused_and_goes_with_the_name() {
        for locked in [0x5003, 0x5002, PAGE | 2] {
            let l0 = l0();
            l0.leave(0, GUEST_OS_ID, LINUX);
            l0.leave(0, HYPERCALL, locked);
            assert_eq!(join(&l0).unwrap_err(), Obstacle::Locked);
            assert_eq!(l0.msrs.enabled(), []);
        }
    }

    #[test]
    fn page_that_is_locked_where_we_want_it_is_used() {
        let l0 = l0();
        l0.leave(0, GUEST_OS_ID, LINUX);
        l0.leave(0, HYPERCALL, PAGE | 3);
        let partition = join(&l0).unwrap();
        assert_eq!(partition.leave(&l0.cpu(0)), Ok(()));
        assert_eq!(l0.msrs.enabled(), []);
    }

    #[test]
    fn reserved_bits_are_written_as_they_were_read() {
        let l0 = l0();
        l0.leave(0, HYPERCALL, 0xA50);
        let partition = join(&l0).unwrap();
        assert_eq!(l0.msrs.value(0, HYPERCALL), PAGE | 0xA51);
        partition.leave(&l0.cpu(0)).unwrap();
        assert_eq!(l0.msrs.value(0, HYPERCALL), 0xA50);
    }

    #[test]
    fn page_that_l0_does_not_take_away_is_reported() {
        let l0 = l0();
        let partition = join(&l0).unwrap();
        l0.msrs.refuse_writes(0, HYPERCALL);
        l0.msrs.forget_writes(0, GUEST_OS_ID);
        assert_eq!(partition.leave(&l0.cpu(0)), Err(Obstacle::NotTaken { msr: HYPERCALL }));
    }

    #[test]
    #[should_panic(expected = "whole page")]
    fn half_a_page_is_no_hypercall_page() {
        let l0 = l0();
        let _ = Partition::join(&l0.cpu(0), &l0.capabilities(), PAGE + 0x800);
    }
}
