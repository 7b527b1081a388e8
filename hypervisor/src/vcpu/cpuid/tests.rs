// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests see of CPUID, on hosts that have much, little, or nonsense.

use proptest::prelude::*;

use super::policy::Row;
use super::policy::Subleaves;
use super::*;

const OFFER_ALL: Offered = Offered { pcid: true, invpcid: true, rdtscp: true, xsaves: true };
const GHZ_3: u64 = 3_000_000_000;

fn profile(vcpus: u16, offered: Offered) -> Profile {
    Profile { vcpus, tsc_hz: GHZ_3, offered, hyperv: false }
}

fn result(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidResult {
    CpuidResult { eax, ebx, ecx, edx }
}

/// A server with AVX-512 that has every feature bit set, known or not.
fn rich(leaf: u32, subleaf: u32) -> CpuidResult {
    match (leaf, subleaf) {
        (0x0, _) => result(0x20, 0x756E_6547, 0x6C65_746E, 0x4965_6E69),
        (0x1, _) => result(0x0005_0654, 0xAB40_0800, u32::MAX, u32::MAX),
        (0x4, 0) => result(0x1C00_4121, 0x01C0_003F, 63, 0),
        (0x4, 2) => result(0x1C00_4143, 0x03C0_003F, 1023, 0),
        (0x4, 3) => result(0x1C03_C163, 0x0280_003F, 0x7FFF, 4),
        (0x4, _) => NOTHING,
        (0x7, 0) => result(2, u32::MAX, u32::MAX, u32::MAX),
        (0xD, 0) => result(0x0006_02E7, 2696, 2696, 0),
        (0xD, 2) => result(256, 576, 0, 0),
        (0xD, 3) => result(64, 960, 0, 0),
        (0xD, 4) => result(64, 1024, 0, 0),
        (0xD, 5) => result(64, 1088, 0, 0),
        (0xD, 6) => result(512, 1152, 0, 0),
        (0xD, 7) => result(1024, 1664, 0, 0),
        (0x8000_0000, _) => result(0x8000_0008, 0, 0, 0),
        (0x8000_0008, _) => result(0x0030_392E, 0x200, 0, 0),
        _ => result(u32::MAX, u32::MAX, u32::MAX, u32::MAX),
    }
}

/// A host of the barest kind: beyond its highest leaves it answers with rubbish, as processors do.
fn bare(leaf: u32, _: u32) -> CpuidResult {
    match leaf {
        0x0 => result(0x4, 1, 2, 3),
        0x1 => result(0x6_00, 0x0000_0800, 0, 0x1FF),
        0x4 => NOTHING,
        0x8000_0000 => result(0x8000_0001, 0, 0, 0),
        0x8000_0001 => result(0, 0, 1, 1 << 29),
        _ => result(u32::MAX, u32::MAX, u32::MAX, u32::MAX),
    }
}

fn current() -> Current {
    Current { osxsave: false, xcr0: xstate::X87, apic_id: 0 }
}

fn ask(table: &CpuidTable, leaf: u32, subleaf: u32) -> CpuidResult {
    table.answer(leaf, subleaf, current)
}

fn rich_table(vcpus: u16, offered: Offered) -> CpuidTable {
    CpuidTable::new(&rich, profile(vcpus, offered))
}

#[test]
fn policy_is_in_order_without_repetition() {
    let key = |row: &Row| (row.leaf, *computed::subleaves(row).start());
    assert!(POLICY.is_sorted_by(|a, b| key(a) < key(b)));
}

#[test]
fn forbidden_features_are_hidden_on_a_host_that_has_everything() {
    let table = rich_table(1, OFFER_ALL);
    let version = ask(&table, 0x1, 0);
    for (name, bit) in [("DTES64", 2), ("MONITOR", 3), ("DS-CPL", 4), ("VMX", 5), ("SMX", 6), ("EIST", 7)] {
        assert_eq!(version.ecx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in [("TM2", 8), ("xTPR", 14), ("PDCM", 15), ("DCA", 18)] {
        assert_eq!(version.ecx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in
        [("MCE", 7), ("MTRR", 12), ("MCA", 14), ("PSN", 18), ("DS", 21), ("ACPI", 22), ("TM", 29)]
    {
        assert_eq!(version.edx >> bit & 1, 0, "{name}");
    }
    let structured = ask(&table, 0x7, 0);
    for (name, bit) in
        [("SGX", 2), ("HLE", 4), ("RTM", 11), ("RDT-M", 12), ("MPX", 14), ("RDT-A", 15), ("PT", 25)]
    {
        assert_eq!(structured.ebx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in [("PKU", 3), ("OSPKE", 4), ("WAITPKG", 5), ("CET_SS", 7), ("LA57", 16), ("ENQCMD", 29)]
    {
        assert_eq!(structured.ecx >> bit & 1, 0, "{name}");
    }
    for (name, bit) in [("AMX", 24), ("IBRS", 26), ("STIBP", 27), ("ARCH_CAPABILITIES", 29), ("SSBD", 31)] {
        assert_eq!(structured.edx >> bit & 1, 0, "{name}");
    }
    assert_eq!(ask(&table, 0xD, 1).eax, 0b1111, "XFD stays hidden");
}

#[test]
fn leaves_without_a_policy_are_zero() {
    let table = rich_table(1, OFFER_ALL);
    for leaf in [0x3, 0x5, 0x8, 0x9, 0xA, 0xC, 0xE, 0xF, 0x10, 0x12, 0x14, 0x8000_0005] {
        assert_eq!(ask(&table, leaf, 0), NOTHING, "leaf {leaf:#x}");
        assert_eq!(ask(&table, leaf, 1), NOTHING, "leaf {leaf:#x}");
    }
}

#[test]
fn what_satori_emulates_is_there_on_a_host_that_lacks_it() {
    let table = CpuidTable::new(&bare, profile(1, Offered::default()));
    let version = ask(&table, 0x1, 0);
    assert_eq!(version.ecx, (1 << 21) | (1 << 24) | (1 << 31), "x2APIC, TSC-deadline, hypervisor");
    assert_ne!(version.edx & (1 << 9), 0, "APIC");
    assert_eq!(ask(&table, 0x6, 0), result(1 << 2, 0, 0, 0), "ARAT");
    assert_eq!(ask(&table, 0x7, 0), result(0, 1 << 1, 0, 0), "TSC_ADJUST");
}

#[test]
fn leaves_beyond_the_hosts_highest_are_not_taken_from_it() {
    let table = CpuidTable::new(&bare, profile(1, OFFER_ALL));
    assert_eq!(ask(&table, 0xD, 2), NOTHING);
    assert_eq!(ask(&table, 0x8000_0002, 0), NOTHING);
    assert_eq!(ask(&table, 0x8000_0007, 0), NOTHING);
    assert_eq!(table.supported_xcr0(), 0);
}

#[test]
fn features_that_need_a_control_follow_the_offer() {
    let with = rich_table(1, OFFER_ALL);
    let without = rich_table(1, Offered::default());
    let bits = |table: &CpuidTable| {
        [
            ask(table, 0x1, 0).ecx >> 17 & 1,
            ask(table, 0x7, 0).ebx >> 10 & 1,
            ask(table, 0x7, 0).ecx >> 22 & 1,
            ask(table, 0x8000_0001, 0).edx >> 27 & 1,
            ask(table, 0xD, 1).eax >> 3 & 1,
        ]
    };
    assert_eq!(bits(&with), [1; 5]);
    assert_eq!(bits(&without), [0; 5]);
}

/// Without the state in XCR0 the instructions are #UD, so no feature that needs it may be seen.
#[test]
fn vector_features_follow_the_state_that_the_host_can_save() {
    let limited_to = |xcr0: u32| {
        let host = move |leaf, subleaf| match (leaf, subleaf) {
            (0xD, 0) => result(xcr0, 0, 0, 0),
            _ => rich(leaf, subleaf),
        };
        CpuidTable::new(&host, profile(1, OFFER_ALL))
    };
    let seen = |table: &CpuidTable| {
        let avx = ask(table, 0x1, 0).ecx & 1 << 28 != 0;
        let avx512 = ask(table, 0x7, 0).ebx & 1 << 16 != 0;
        (avx, avx512)
    };
    assert_eq!(seen(&limited_to(0b1110_0111)), (true, true));
    assert_eq!(seen(&limited_to(0b0110_0111)), (true, false));
    assert_eq!(seen(&limited_to(0b1110_0011)), (false, false));
    assert_eq!(ask(&limited_to(0b0000_0011), 0x7, 1).eax, 0b111 << 10, "only fast strings are left");
}

#[test]
fn vendor_and_model_are_the_hosts() {
    let table = rich_table(1, OFFER_ALL);
    assert_eq!(ask(&table, 0x0, 0), result(0x16, 0x756E_6547, 0x6C65_746E, 0x4965_6E69));
    assert_eq!(ask(&table, 0x1, 0).eax, 0x0005_0654);
    assert_eq!(ask(&table, 0x8000_0008, 0), result(0x302E, 0, 0, 0), "46 bits physical, 48 linear");
}

#[test]
fn signature_reads_satori_twice() {
    let answer = ask(&rich_table(1, OFFER_ALL), 0x4000_0000, 0);
    let text: Vec<u8> = [answer.ebx, answer.ecx, answer.edx].into_iter().flat_map(u32::to_le_bytes).collect();
    assert_eq!((answer.eax, text.as_slice()), (0x4000_0000, b"SatoriSatori".as_slice()));
}

#[test]
fn out_of_range_leaves_answer_as_the_highest_basic_one() {
    let table = rich_table(1, OFFER_ALL);
    let highest = result(3000, 3000, 3000, 0);
    assert_eq!(ask(&table, 0x16, 0), highest);
    for leaf in [0x17, 0x1F, 0x3FFF_FFFF, 0x4000_0001, 0x4000_0100, 0x7FFF_FFFF, 0x8000_0009, u32::MAX] {
        assert_eq!(ask(&table, leaf, 7), highest, "leaf {leaf:#x}");
    }
}

#[test]
fn hyperv_is_seen_by_guests_of_vms_that_ask_for_it() {
    let table = |host| CpuidTable::new(host, Profile { hyperv: true, ..profile(2, OFFER_ALL) });
    let rich = table(&rich);
    assert_eq!(ask(&rich, 0x4000_0000, 0), result(0x4000_0005, 0x7263_694D, 0x666F_736F, 0x7648_2074));
    assert_eq!(ask(&rich, 0x4000_0001, 0).eax, 0x3123_7648);
    assert_eq!(ask(&rich, 0x4000_0006, 0), ask(&rich, 0x16, 0), "it is out of range");
    let offered = |table: &CpuidTable| {
        let features = ask(table, 0x4000_0003, 0);
        (features.eax >> 15 & 1, features.edx >> 4 & 1)
    };
    assert_eq!(offered(&rich), (1, 1), "invariant TSC, input in XMM registers");
    assert_eq!(offered(&table(&bare)), (0, 0), "neither of them is there");
    assert_eq!(rich.hyperv(), Some(Offering { invariant_tsc: true, xmm_input: true }));
    assert_eq!(rich_table(2, OFFER_ALL).hyperv(), None);
}

#[test]
fn single_vcpu_is_a_package_of_one_core_and_one_thread() {
    let table = rich_table(1, OFFER_ALL);
    assert_eq!(ask(&table, 0x1, 0).edx & 1 << 28, 0, "HTT");
    assert_eq!(ask(&table, 0x1, 0).ebx, 0x0001_0800);
    assert_eq!(ask(&table, 0x4, 0).eax, 0x121);
    assert_eq!(ask(&table, 0x4, 3).eax, 0x163);
    assert_eq!(ask(&table, 0xB, 0), result(0, 1, 0x100, 0));
    assert_eq!(ask(&table, 0xB, 1), result(0, 1, 0x201, 0));
}

#[test]
fn several_vcpus_are_cores_that_share_the_last_cache() {
    let table = rich_table(6, OFFER_ALL);
    assert_ne!(ask(&table, 0x1, 0).edx & 1 << 28, 0, "HTT");
    assert_eq!(ask(&table, 0x1, 0).ebx >> 16 & 0xFF, 8);
    assert_eq!(ask(&table, 0x4, 0).eax, 0x121 | 7 << 26);
    assert_eq!(ask(&table, 0x4, 2).eax, 0x143 | 7 << 26);
    assert_eq!(ask(&table, 0x4, 3).eax, 0x163 | 7 << 26 | 7 << 14);
    assert_eq!(ask(&table, 0x4, 4), NOTHING);
    assert_eq!(ask(&table, 0xB, 1), result(3, 6, 0x201, 0));
}

#[test]
fn numbers_too_large_for_their_fields_are_clipped() {
    let table = rich_table(u16::MAX, OFFER_ALL);
    assert_eq!(ask(&table, 0x1, 0).ebx >> 16 & 0xFF, 0xFF);
    assert_eq!(ask(&table, 0x4, 3).eax, 0x163 | 0x3F << 26 | 0xFFF << 14);
    assert_eq!(ask(&table, 0xB, 1), result(16, 0xFFFF, 0x201, 0));
}

#[test]
fn vcpu_bits_are_filled_in_when_asked_for() {
    let table = rich_table(2, OFFER_ALL);
    let now = || Current { osxsave: true, xcr0: xstate::X87, apic_id: 0x105 };
    assert_eq!(table.answer(0x1, 0, now).ebx >> 24, 0x05);
    assert_ne!(table.answer(0x1, 0, now).ecx & 1 << 27, 0, "OSXSAVE");
    assert_eq!(ask(&table, 0x1, 0).ecx & 1 << 27, 0, "OSXSAVE");
    assert_eq!(table.answer(0xB, 1, now), result(1, 2, 0x201, 0x105));
    assert_eq!(table.answer(0xB, 0x1234_5678, now), result(0, 0, 0x78, 0x105), "an invalid level");
}

#[test]
fn xsave_sizes_follow_xcr0() {
    let table = rich_table(1, OFFER_ALL);
    let with = |xcr0| move || Current { xcr0, ..current() };
    assert_eq!(ask(&table, 0xD, 0), result(0xE7, 576, 2688, 0));
    assert_eq!(table.answer(0xD, 0, with(0x07)).ebx, 832);
    assert_eq!(table.answer(0xD, 0, with(0xE7)).ebx, 2688);
    assert_eq!(table.answer(0xD, 1, with(0xE7)).ebx, 2432);
    assert_eq!(ask(&table, 0xD, 2), result(256, 576, 0, 0));
    assert_eq!(ask(&table, 0xD, 3), NOTHING, "MPX is not offered");
    assert_eq!(ask(&table, 0xD, 9), NOTHING, "nor are protection keys");
}

#[test]
fn no_compacted_size_without_compaction() {
    let host = |leaf, subleaf| match (leaf, subleaf) {
        (0xD, 1) => result(0b1001, 0, 0, 0),
        _ => rich(leaf, subleaf),
    };
    let size = |offered| ask(&CpuidTable::new(&host, profile(1, offered)), 0xD, 1).ebx;
    assert_eq!(size(OFFER_ALL), 576, "XSAVES compacts");
    assert_eq!(size(Offered::default()), 0, "XSAVEOPT alone does not");
}

#[test]
fn plain_leaves_do_not_ask_for_the_current_state() {
    let table = rich_table(1, OFFER_ALL);
    let answer = table.answer(0x8000_0001, 0, || unreachable!("read needlessly"));
    assert_ne!(answer, NOTHING);
}

/// What the policy says of a leaf, found by searching it.
fn by_search(table: &CpuidTable, profile: Profile, leaf: u32, subleaf: u32) -> CpuidResult {
    let last_hypervisor = if profile.hyperv { 0x4000_0005 } else { 0x4000_0000 };
    let in_range = leaf <= 0x16
        || (0x4000_0000..=last_hypervisor).contains(&leaf)
        || (0x8000_0000..=0x8000_0008).contains(&leaf);
    let leaf = if in_range { leaf } else { 0x16 };
    let row = POLICY.iter().find(|row| {
        row.leaf == leaf
            && (row.subleaves == Subleaves::Ignored || computed::subleaves(row).contains(&subleaf))
    });
    let inputs = Inputs::new(&rich, profile);
    let answer = row.map_or(NOTHING, |row| inputs.evaluate(row, subleaf));
    match leaf {
        0xB => CpuidResult { ecx: answer.ecx | subleaf & 0xFF, ..answer },
        0xD if subleaf < 2 => CpuidResult { ebx: ask(table, leaf, subleaf).ebx, ..answer },
        _ => answer,
    }
}

fn any_leaf() -> impl Strategy<Value = u32> {
    prop_oneof![0..0x30_u32, 0x4000_0000..0x4000_0010_u32, 0x8000_0000..0x8000_0010_u32, any::<u32>()]
}

proptest! {
    #[test]
    fn lookup_finds_what_a_search_of_the_policy_finds(
        leaf in any_leaf(), subleaf in prop_oneof![0..12_u32, any::<u32>()], hyperv: bool,
    ) {
        let profile = Profile { hyperv, ..profile(4, OFFER_ALL) };
        let table = CpuidTable::new(&rich, profile);
        prop_assert_eq!(ask(&table, leaf, subleaf), by_search(&table, profile, leaf, subleaf));
    }

    /// Whatever the host says, and whatever the guest asks.
    #[test]
    fn no_host_and_no_guest_makes_it_panic(
        seed: u32, vcpus: u16, tsc_hz: u64,
        leaf in any_leaf(), subleaf: u32, osxsave: bool, xcr0: u64, apic_id: u32, hyperv: bool,
    ) {
        let host = |leaf: u32, subleaf: u32| {
            let word = |n: u32| seed.rotate_left(leaf ^ n).wrapping_mul(subleaf | 1) ^ n;
            result(word(0) | 0x8000_0000, word(1), word(2), word(3))
        };
        let table = CpuidTable::new(&host, Profile { vcpus, tsc_hz, offered: OFFER_ALL, hyperv });
        table.answer(leaf, subleaf, || Current { osxsave, xcr0, apic_id });
    }

    #[test]
    fn crystal_clock_is_exact_where_the_tsc_fits(tsc_hz in 1..=u64::from(u32::MAX)) {
        let clock = CrystalClock::of(tsc_hz);
        prop_assert_eq!((u64::from(clock.hertz), clock.tsc_ticks), (tsc_hz, 1));
    }

    #[test]
    fn faster_tsc_is_told_low_by_less_than_the_ratio(tsc_hz in u64::from(u32::MAX) + 1..100_000_000_000) {
        let clock = CrystalClock::of(tsc_hz);
        let told = u64::from(clock.hertz) * u64::from(clock.tsc_ticks);
        prop_assert!(told <= tsc_hz && tsc_hz - told < u64::from(clock.tsc_ticks));
    }
}
