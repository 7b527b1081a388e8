// SPDX-License-Identifier: MIT OR Apache-2.0
//! One row of the report: a feature, and why it is not in use.

use super::Feature;
use super::Missing;
use super::Obstacle;
use core::fmt;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// What it is about.
    pub feature: Feature,
    /// Why it is not in use, or `None` where it is.
    pub why_not: Option<WhyNot>,
}

/// Why a feature is not in use.
#[derive(Clone, Copy, Debug)]
pub enum WhyNot {
    /// L0 does not offer it.
    NotOffered(Missing),
    /// L0 offers it, but it is of no use without this other one, which we cannot use.
    Needs(Feature),
    /// The operator has switched it off.
    SwitchedOff,
    /// L0 offers it, but did not let us use it when we tried.
    Refused {
        /// On which CPU, where every one has to have it.
        cpu: Option<u32>,
        /// What went wrong.
        obstacle: Obstacle,
    },
    /// Nothing is in the way, but this version does not know how to use it.
    NotUsedByThisVersion,
    /// Nothing is in the way, but nobody has tried, or not yet.
    NotTried,
}

impl Capability {
    /// Whether L0 offers the feature.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        !matches!(self.why_not, Some(WhyNot::NotOffered(_)))
    }

    /// Whether we use it.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        self.why_not.is_none()
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(missing) => write!(f, "not offered: {missing}"),
            Self::Needs(feature) => write!(f, "needs {}", feature.name()),
            Self::SwitchedOff => f.write_str("switched off"),
            Self::Refused { cpu: None, obstacle } => write!(f, "refused: {obstacle}"),
            Self::Refused { cpu: Some(cpu), obstacle } => write!(f, "refused on CPU {cpu}: {obstacle}"),
            Self::NotUsedByThisVersion => f.write_str("not used by this version"),
            Self::NotTried => f.write_str("not tried"),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_or_no = |yes| if yes { "yes" } else { "no" };
        let [offered, in_use] = [self.is_offered(), self.is_in_use()].map(yes_or_no);
        write!(f, "{:<36} {offered:<8} {in_use:<7}", self.feature.name())?;
        self.why_not.map_or(Ok(()), |why_not| write!(f, " {why_not}"))
    }
}
