// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSRs: addresses, and every field of their contents.

use hyperv_bindings::msr::*;
use hyperv_bindings::stimer::TimerConfig;
use hyperv_bindings::synic::InterruptSource;
use hyperv_bindings::synic::SynicControl;

#[test]
fn addresses() {
    let pins = [
        (GUEST_OS_ID, 0x4000_0000),
        (HYPERCALL, 0x4000_0001),
        (VP_INDEX, 0x4000_0002),
        (RESET, 0x4000_0003),
        (VP_RUNTIME, 0x4000_0010),
        (TIME_REF_COUNT, 0x4000_0020),
        (REFERENCE_TSC, 0x4000_0021),
        (TSC_FREQUENCY, 0x4000_0022),
        (APIC_FREQUENCY, 0x4000_0023),
        (EOI, 0x4000_0070),
        (ICR, 0x4000_0071),
        (TPR, 0x4000_0072),
        (VP_ASSIST_PAGE, 0x4000_0073),
        (SCONTROL, 0x4000_0080),
        (SVERSION, 0x4000_0081),
        (SIEFP, 0x4000_0082),
        (SIMP, 0x4000_0083),
        (EOM, 0x4000_0084),
        (SINT0, 0x4000_0090),
        (STIMER0_CONFIG, 0x4000_00B0),
        (STIMER0_COUNT, 0x4000_00B1),
        (GUEST_IDLE, 0x4000_00F0),
        (CRASH_P0, 0x4000_0100),
        (CRASH_CTL, 0x4000_0105),
        (REENLIGHTENMENT_CONTROL, 0x4000_0106),
        (TSC_EMULATION_CONTROL, 0x4000_0107),
        (TSC_EMULATION_STATUS, 0x4000_0108),
        (TSC_INVARIANT_CONTROL, 0x4000_0118),
        (NESTED_VP_INDEX, 0x4000_1002),
        (NESTED_SCONTROL, 0x4000_1080),
        (NESTED_SVERSION, 0x4000_1081),
        (NESTED_SIEFP, 0x4000_1082),
        (NESTED_SIMP, 0x4000_1083),
        (NESTED_EOM, 0x4000_1084),
        (NESTED_SINT0, 0x4000_1090),
    ];
    for (address, published) in pins {
        assert_eq!(address, published);
    }
}

#[test]
fn numbered_registers_end_where_published() {
    assert_eq!([sint(0), sint(15), sint(16)], [Some(0x4000_0090), Some(0x4000_009F), None]);
    assert_eq!(
        [nested_sint(0), nested_sint(15), nested_sint(16)],
        [Some(0x4000_1090), Some(0x4000_109F), None]
    );
    assert_eq!(
        [0, 1, 3, 4].map(stimer_config),
        [Some(0x4000_00B0), Some(0x4000_00B2), Some(0x4000_00B6), None]
    );
    assert_eq!(
        [0, 1, 3, 4].map(stimer_count),
        [Some(0x4000_00B1), Some(0x4000_00B3), Some(0x4000_00B7), None]
    );
    assert_eq!([0, 4, 5].map(crash_parameter), [Some(0x4000_0100), Some(0x4000_0104), None]);
    assert_eq!([u32::MAX].map(stimer_count), [None]);
}

#[test]
fn guest_os_id() {
    assert_eq!(GuestOsId::new().with_build(0xFFFF).into_bits(), 0x0000_0000_0000_FFFF);
    assert_eq!(GuestOsId::new().with_version(0xFFFF_FFFF).into_bits(), 0x0000_FFFF_FFFF_0000);
    assert_eq!(GuestOsId::new().with_id(0xFF).into_bits(), 0x00FF_0000_0000_0000);
    assert_eq!(GuestOsId::new().with_os(OpenSourceOs(0x7F)).into_bits(), 0x7F00_0000_0000_0000);
    assert_eq!(GuestOsId::new().with_open_source(true).into_bits(), 0x8000_0000_0000_0000);
    let systems = [OpenSourceOs::LINUX, OpenSourceOs::FREEBSD, OpenSourceOs::XEN, OpenSourceOs::ILLUMOS];
    assert_eq!(systems.map(OpenSourceOs::into_bits), [1, 2, 3, 4]);
}

#[test]
fn pages_are_enabled_by_bit_0_and_placed_by_bits_63_12() {
    assert_eq!(Hypercall::new().with_enabled(true).into_bits(), 1 << 0);
    assert_eq!(Hypercall::new().with_locked(true).into_bits(), 1 << 1);
    assert_eq!(Hypercall::new().with_page_number(0xF_FFFF_FFFF_FFFF).into_bits(), 0xFFFF_FFFF_FFFF_F000);
    assert_eq!(OverlayPage::new().with_enabled(true).into_bits(), 1 << 0);
    assert_eq!(OverlayPage::new().with_page_number(0xF_FFFF_FFFF_FFFF).into_bits(), 0xFFFF_FFFF_FFFF_F000);
}

#[test]
fn reserved_bits_are_preserved() {
    let read = OverlayPage::from_bits(0xABC);
    assert_eq!(read.with_enabled(true).with_page_number(1).into_bits(), 0x1ABD);
    assert_eq!(Hypercall::from_bits(0xABC).with_page_number(1).into_bits(), 0x1ABC);
    assert_eq!(InterruptSource::from_bits(u64::MAX).with_masked(false).into_bits(), !(1 << 16));
}

#[test]
fn crash_control_fills_from_the_top() {
    assert_eq!(CrashControl::new().with_pre_os_id(7).into_bits(), 0b111 << 58);
    assert_eq!(CrashControl::new().with_no_crash_dump(true).into_bits(), 1 << 61);
    assert_eq!(CrashControl::new().with_crash_message(true).into_bits(), 1 << 62);
    assert_eq!(CrashControl::new().with_crash_notify(true).into_bits(), 1 << 63);
}

#[test]
fn live_migration_controls() {
    assert_eq!(ReenlightenmentControl::new().with_vector(0xFF).into_bits(), 0xFF);
    assert_eq!(ReenlightenmentControl::new().with_enabled(true).into_bits(), 1 << 16);
    assert_eq!(ReenlightenmentControl::new().with_target_vp(0xFFFF_FFFF).into_bits(), 0xFFFF_FFFF_0000_0000);
    assert_eq!(TscEmulationControl::new().with_enabled(true).into_bits(), 1);
    assert_eq!(TscEmulationStatus::new().with_in_progress(true).into_bits(), 1);
    assert_eq!(TscInvariantControl::new().with_invariant_tsc_exposed(true).into_bits(), 1);
}

#[test]
fn synic_registers() {
    assert_eq!(SynicControl::new().with_enabled(true).into_bits(), 1);
    assert_eq!(InterruptSource::new().with_vector(0xFF).into_bits(), 0xFF);
    assert_eq!(InterruptSource::new().with_masked(true).into_bits(), 0x1_0000);
    assert_eq!(InterruptSource::new().with_auto_eoi(true).into_bits(), 1 << 17);
    assert_eq!(InterruptSource::new().with_polling(true).into_bits(), 1 << 18);
}

#[test]
fn synthetic_timer_configuration() {
    let config = TimerConfig::new;
    assert_eq!(config().with_enabled(true).into_bits(), 1 << 0);
    assert_eq!(config().with_periodic(true).into_bits(), 1 << 1);
    assert_eq!(config().with_lazy(true).into_bits(), 1 << 2);
    assert_eq!(config().with_auto_enable(true).into_bits(), 1 << 3);
    assert_eq!(config().with_apic_vector(0xFF).into_bits(), 0xFF << 4);
    assert_eq!(config().with_direct_mode(true).into_bits(), 1 << 12);
    assert_eq!(config().with_sint(0xF).into_bits(), 0xF << 16);
}
