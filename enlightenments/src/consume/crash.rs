// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic of ours is told to L0, for its log (TLFS, "Guest Crash Enlightenment").

use super::MsrRefused;
use super::SyntheticMsrs;
use core::fmt;
use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::msr;
use hyperv_bindings::msr::CRASH_PARAMETERS;
use hyperv_bindings::msr::CrashControl;

/// Text in memory that L0 reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashText {
    /// Its guest-physical address.
    pub address: u64,
    /// Its length in bytes. What goes beyond the page in which it begins is not reported.
    pub length: usize,
}

/// What L0 was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Parameters and text.
    WithText,
    /// The parameters alone; L0 takes no text.
    ParametersAlone,
}

/// Why L0 was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReported {
    /// L0 answers an access with #GP.
    Refused(MsrRefused),
    /// L0 says that it takes no reports.
    NotTaken,
}

impl From<MsrRefused> for NotReported {
    fn from(refused: MsrRefused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for NotReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::NotTaken => f.write_str("L0 takes no reports of crashes"),
        }
    }
}

impl core::error::Error for NotReported {}

/// Whether L0 takes reports, and with a text or without, to be known before there is something to report.
///
/// # Errors
/// Where it takes none.
pub fn takes(msrs: &impl SyntheticMsrs) -> Result<Reported, NotReported> {
    let offered = CrashControl::from_bits(msrs.read(msr::CRASH_CTL)?);
    match (offered.crash_notify(), offered.crash_message()) {
        (false, _) => Err(NotReported::NotTaken),
        (true, true) => Ok(Reported::WithText),
        (true, false) => Ok(Reported::ParametersAlone),
    }
}

/// Reports a crash: three parameters of our own choice, and `text`. It is the last thing to do: L0 may end the machine at once.
///
/// # Errors
/// Where L0 takes no report.
pub fn report(
    msrs: &impl SyntheticMsrs,
    parameters: [u64; 3],
    text: CrashText,
) -> Result<Reported, NotReported> {
    let reported = takes(msrs)?;
    let [p0, p1, p2] = parameters;
    let in_page = PAGE_SIZE as u64 - text.address % PAGE_SIZE as u64;
    let length = in_page.min(text.length as u64);
    // Also where no text is taken, for whoever looks into memory afterwards.
    let all: [u64; CRASH_PARAMETERS as usize] = [p0, p1, p2, text.address, length];
    for (msr, value) in (msr::CRASH_P0..).zip(all) {
        msrs.write(msr, value)?;
    }
    let with_text = reported == Reported::WithText;
    let control = CrashControl::new().with_crash_notify(true).with_crash_message(with_text);
    msrs.write(msr::CRASH_CTL, control.into_bits())?;
    Ok(reported)
}

#[cfg(test)]
mod tests;
