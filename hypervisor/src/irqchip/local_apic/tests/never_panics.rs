// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a guest writes wherever and whenever, the APIC stays sound.

use super::*;
use crate::irqchip::local_apic::LocalSource;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Access {
    ReadPage(u64),
    WritePage(u64, u32),
    ReadMsr(u32),
    WriteMsr(u32, u64),
    SetBase(u64),
    SetCr8(u64),
    SetDeadline(u64),
    Accept(u8, DeliveryMode, bool),
    Signal(LocalSource),
    Take,
    Expire,
    Init,
}

/// Mostly what a guest would say, at times anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0_u64..0x100, any::<u32>().prop_map(u64::from), Just(0), Just(u64::MAX)]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![8 => (0_u64..0x41).prop_map(|number| number * 16), 1 => 0_u64..0x1000, 1 => any::<u64>()]
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0x7FF_u32..0x841, 1 => any::<u32>()]
}

fn base() -> impl Strategy<Value = u64> {
    prop_oneof![Just(BASE_DISABLED), Just(BASE_XAPIC), Just(BASE_X2APIC), any::<u64>()]
}

fn access() -> impl Strategy<Value = Access> {
    let source = prop::sample::select(vec![
        LocalSource::Timer,
        LocalSource::Thermal,
        LocalSource::Performance,
        LocalSource::Lint0,
        LocalSource::Lint1,
        LocalSource::Error,
    ]);
    let delivery = (0_u8..8).prop_filter_map("reserved", DeliveryMode::from_bits);
    prop_oneof![
        2 => offset().prop_map(Access::ReadPage),
        4 => (offset(), value()).prop_map(|(offset, value)| Access::WritePage(offset, value as u32)),
        2 => Just(Access::WritePage(SVR, 0x1FF)),
        2 => index().prop_map(Access::ReadMsr),
        4 => (index(), value()).prop_map(|(index, value)| Access::WriteMsr(index, value)),
        2 => Just(Access::WriteMsr(0x80F, 0x1FF)),
        1 => base().prop_map(Access::SetBase),
        1 => value().prop_map(Access::SetCr8),
        1 => value().prop_map(Access::SetDeadline),
        2 => (any::<u8>(), delivery, any::<bool>()).prop_map(|(v, d, l)| Access::Accept(v, d, l)),
        1 => source.prop_map(Access::Signal),
        2 => Just(Access::Take),
        2 => Just(Access::Expire),
        1 => Just(Access::Init),
    ]
}

/// Performs `access`. What it leads to elsewhere is of no interest here.
fn perform(apic: &mut LocalApic, access: Access, now: u64) {
    match access {
        Access::ReadPage(offset) => {
            apic.mmio_read(offset, now);
        }
        Access::WritePage(offset, value) => {
            let _ = apic.mmio_write(offset, value, now);
        }
        Access::ReadMsr(index) => {
            let _ = apic.rdmsr(index, now);
        }
        Access::WriteMsr(index, value) => {
            let _ = apic.wrmsr(index, value, now);
        }
        Access::SetBase(value) => {
            let _ = apic.set_base(value);
        }
        Access::SetCr8(value) => {
            let _ = apic.set_cr8(value);
        }
        Access::SetDeadline(value) => {
            let _ = apic.set_tsc_deadline(value, now);
        }
        Access::Accept(vector, delivery, level) => {
            let trigger = if level { Trigger::Level } else { Trigger::Edge };
            let _ = apic.accept(Message { delivery, ..fixed(vector, trigger) });
        }
        Access::Signal(source) => {
            let _ = apic.signal(source);
        }
        Access::Take => {
            if let Some(vector) = apic.pending() {
                apic.acknowledge(vector);
            }
        }
        Access::Expire => _ = apic.expire(now),
        Access::Init => apic.init(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_sequence_of_accesses_is_survived(
        id in any::<u32>(),
        input_tick in 1_u32..,
        steps in prop::collection::vec((access(), prop_oneof![0_u64..1000, any::<u64>()]), 0..100),
    ) {
        let mut apic = LocalApic::new(id, false, NonZeroU32::new(input_tick).unwrap());
        let mut now = 0_u64;
        for (access, later) in steps {
            now = now.wrapping_add(later);
            perform(&mut apic, access, now);
            prop_assert!(apic.pending().is_none_or(|vector| vector >= 16));
            apic.expire(now);
            prop_assert!(apic.next_deadline().is_none_or(|deadline| deadline > now || now == u64::MAX));
        }
    }
}
