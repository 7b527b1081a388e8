// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our own share of what exits cost, by reason: ticks of the TSC from an exit to the next entry, without what L0 adds.

use crate::vmx::exit::ExitReason;
use core::fmt;

/// Exit reasons that are told apart.
const REASONS: usize = 80;

/// The shares of one reason.
#[derive(Clone, Copy, Debug)]
struct Share {
    least: u64,
    sum: u64,
    exits: u64,
}

/// The shares of all reasons.
#[derive(Clone, Debug)]
pub struct Shares {
    by_reason: [Share; REASONS],
    /// The reason whose share the next entry ends.
    last: Option<ExitReason>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { by_reason: [Share { least: u64::MAX, sum: 0, exits: 0 }; REASONS], last: None }
    }
}

impl Shares {
    /// An exit for `reason`, when the last one's share was `ticks`.
    pub fn note(&mut self, reason: ExitReason, ticks: u64) {
        if let Some(last) = self.last.replace(reason) {
            self.add(last.number() as usize, Share { least: ticks, sum: ticks, exits: 1 });
        }
    }

    /// Adds those of another vCPU.
    pub fn add_all(&mut self, others: &Self) {
        others.by_reason.iter().enumerate().for_each(|(reason, &share)| self.add(reason, share));
    }

    fn add(&mut self, reason: usize, new: Share) {
        let Some(share) = self.by_reason.get_mut(reason) else { return };
        share.least = share.least.min(new.least);
        share.sum = share.sum.saturating_add(new.sum);
        share.exits += new.exits;
    }
}

impl fmt::Display for Shares {
    /// `CPUID least 250 mean 251, HLT least …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let occurred =
            (0..).map(ExitReason::from_field).zip(&self.by_reason).filter(|(_, share)| share.exits > 0);
        for (reason, share) in occurred {
            write!(f, "{separator}{reason:?} least {} mean {}", share.least, share.sum / share.exits)?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_to_the_exit_that_it_follows() {
        let mut shares = Shares::default();
        for (reason, ticks) in [(ExitReason::CPUID, 999), (ExitReason::HLT, 250), (ExitReason::CPUID, 70)] {
            shares.note(reason, ticks);
        }
        shares.note(ExitReason::CPUID, 260);
        let mut all = Shares::default();
        all.add_all(&shares);
        assert_eq!(all.to_string(), "CPUID least 250 mean 255, HLT least 70 mean 70");
    }
}
