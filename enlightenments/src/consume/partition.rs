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
