// SPDX-License-Identifier: MIT OR Apache-2.0
//! A crash is reported as far as L0 takes it.

use super::super::time::model::ModelMsrs;
use super::*;

const CRASH_CTL: u32 = 0x4000_0105;
const NOTIFY: u64 = 1 << 63;
const MESSAGE: u64 = 1 << 62;

const TEXT: CrashText = CrashText { address: 0x20_0000, length: 100 };

/// What is read from the control tells what L0 takes.
fn l0(offers: u64) -> ModelMsrs {
    (0x4000_0100..CRASH_CTL).fold(ModelMsrs::default().with(CRASH_CTL, offers), |msrs, msr| msrs.with(msr, 0))
}

#[test]
fn parameters_come_first_and_the_control_last() {
    let msrs = l0(NOTIFY | MESSAGE);
    assert_eq!(report(&msrs, [1, 2, 3], TEXT), Ok(Reported::WithText));
    let writes = [
        (0x4000_0100, 1),
        (0x4000_0101, 2),
        (0x4000_0102, 3),
        (0x4000_0103, TEXT.address),
        (0x4000_0104, 100),
        (CRASH_CTL, NOTIFY | MESSAGE),
    ];
    assert_eq!(msrs.writes(), writes);
}

#[test]
fn an_l0_that_takes_no_text_is_promised_none() {
    let msrs = l0(NOTIFY);
    assert_eq!(report(&msrs, [1, 2, 3], TEXT), Ok(Reported::ParametersAlone));
    assert_eq!(msrs.writes().last(), Some(&(CRASH_CTL, NOTIFY)));
}

#[test]
fn an_l0_that_takes_no_reports_is_left_alone() {
    let msrs = l0(MESSAGE);
    assert_eq!(report(&msrs, [1, 2, 3], TEXT), Err(NotReported::NotTaken));
    assert_eq!(msrs.writes(), []);
}

#[test]
fn refusal_is_told_and_nothing_more_is_tried() {
    let refused = |msr| Err(NotReported::Refused(MsrRefused { msr }));
    assert_eq!(report(&ModelMsrs::default(), [0; 3], TEXT), refused(CRASH_CTL));
    let without_parameters = ModelMsrs::default().with(CRASH_CTL, NOTIFY | MESSAGE);
    assert_eq!(report(&without_parameters, [0; 3], TEXT), refused(0x4000_0100));
    assert_eq!(without_parameters.writes(), [], "what is not complete is not announced");
}

#[test]
fn text_ends_with_its_page() {
    for (address, length, told) in
        [(0x1000, 5000, 4096), (0x1ffc, 100, 4), (0x1000, usize::MAX, 4096), (0x1f00, 0, 0)]
    {
        let msrs = l0(NOTIFY | MESSAGE);
        let _ = report(&msrs, [0; 3], CrashText { address, length });
        assert_eq!(msrs.get(0x4000_0104), told);
    }
}
