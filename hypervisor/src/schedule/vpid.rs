// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual-processor identifiers: each vCPU has its own for as long as it lives (SDM vol. 3, "Virtual-Processor Identifiers (VPIDs)").
//!
//! One that is given back is given out again. What CPUs still hold under it is dropped when its new vCPU arrives there.

use alloc::vec::Vec;
use core::num::NonZeroU16;
use spin::Mutex;

/// Those that are free.
#[derive(Debug, Default)]
pub struct Vpids(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    /// Given out once and given back.
    returned: Vec<NonZeroU16>,
    /// How many were given out for the first time.
    used: u16,
}

/// One that a vCPU has; given back when it is dropped.
#[derive(Debug)]
pub struct Vpid {
    number: NonZeroU16,
    pool: &'static Vpids,
}

impl Vpids {
    /// One that no vCPU has; `None` when 65,535 have one. Zero is the hypervisor's own.
    pub fn take(&'static self) -> Option<Vpid> {
        let mut free = self.0.lock();
        let number = match free.returned.pop() {
            Some(number) => number,
            None => {
                free.used = free.used.checked_add(1)?;
                NonZeroU16::new(free.used)?
            }
        };
        Some(Vpid { number, pool: self })
    }
}

impl Vpid {
    /// What the VMCS and INVVPID take.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number.get()
    }
}

impl Drop for Vpid {
    fn drop(&mut self) {
        self.pool.0.lock().returned.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_vcpus_have_the_same_and_what_is_given_back_comes_again() {
        let vpids: &'static Vpids = Box::leak(Box::default());
        let held: Vec<_> = core::iter::from_fn(|| vpids.take()).collect();
        let numbers: BTreeSet<_> = held.iter().map(Vpid::number).collect();
        assert_eq!((numbers.len(), numbers.contains(&0)), (65_535, false));
        drop(held);
        assert!(vpids.take().is_some());
    }
}
