// SPDX-License-Identifier: MIT OR Apache-2.0
//! A multiboot kernel gets all that was given, finds all tables, asks fw_cfg, and ends with a status.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::acpi;
use tests::acpi::half;
use tests::catalogue;
use tests::fw_cfg;
use tests::multiboot;
use tests::multiboot::field;
use tests::multiboot::string;
use tests::physical;
use tests::ports;
use tests::say;
use tests::start_info::RAM;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::fail;

tests::multiboot_program!(run);

const MEMORY: u64 = (catalogue::MEMORY_MIB as u64) << 20;
const DEBUG_EXIT: u16 = 0xf4;

/// Conventional memory that nothing was loaded to.
const FREE: u64 = 0x8_0000;

fn run() {
    expect_eq("EAX at the entry", multiboot::magic(), multiboot::MAGIC);
    the_information_is_complete();
    the_memory_map_is_what_fw_cfg_says();
    the_modules_are_whole();
    let rsdp = the_rsdp_leads_to_the_same_tables_both_ways();
    let table = |signature: &[u8; 4]| {
        acpi::named_by_rsdt(half(rsdp + 16).into())
            .find(|table| acpi::signature(*table) == *signature)
            .unwrap_or_else(|| fail(format_args!("the RSDT names no {}", signature.escape_ascii())))
    };
    the_fadt_has_ports_that_work(table(b"FACP"));
    the_madt_has_the_pins_of_a_pc(table(b"APIC"));
    the_mcfg_leads_to_the_same_host_bridge_as_the_ports(table(b"MCFG"));
    smbios_tells_of_the_memory();
    fw_cfg_answers_by_ports();
    fw_cfg_answers_by_dma();
    say!("about to end");
    ports::out_u8(DEBUG_EXIT, catalogue::MULTIBOOT_EXIT_VALUE);
    fail("after a write to isa-debug-exit: expected the end, saw the next instruction");
}

fn the_information_is_complete() {
    let flags = field(multiboot::FLAGS);
    for (bit, what) in [(0, "memory"), (2, "a command line"), (3, "modules"), (6, "a map"), (9, "a name")] {
        expect(format_args!("the information has {what}"), flags & 1 << bit != 0);
    }
    expect_eq("KiB of lower memory", field(multiboot::MEM_LOWER), 639);
    expect_eq("KiB of upper memory", field(multiboot::MEM_UPPER), (MEMORY >> 10) as u32 - 1024);
    expect("the loader is Satori", string(field(multiboot::BOOT_LOADER_NAME)).eq(*b"Satori"));
    let mut words = string(field(multiboot::CMDLINE));
    expect("the kernel's name comes first", words.by_ref().take_while(|byte| *byte != b' ').count() > 0);
    expect("then come its words", words.eq(catalogue::MULTIBOOT_WORDS.bytes()));
}

fn the_memory_map_is_what_fw_cfg_says() {
    let usable = || multiboot::memory_map().filter(|region| region.kind == RAM);
    expect_eq("the end of RAM", usable().map(|region| region.range.end).max(), Some(MEMORY));
    expect(
        "the firmware's area is not for use",
        usable().all(|region| region.range.end <= 0xe_0000 || region.range.start >= 0x10_0000),
    );
    let (key, bytes) = file(b"etc/e820");
    let mut entries = 0;
    for (number, region) in (0..).zip(multiboot::memory_map()) {
        expect_eq("DMA of the memory map", fw_cfg::dma_read(key, bytes, FREE + 0x100, FREE), 0);
        let entry = FREE + 0x100 + 20 * number;
        let [start, size] = [0, 8].map(|offset| physical::read_unaligned(entry + offset));
        let seen = (start, size, half(entry + 16));
        expect_eq(
            "an entry of etc/e820",
            seen,
            (region.range.start, region.range.end - region.range.start, region.kind),
        );
        entries += 1;
    }
    expect_eq("bytes of etc/e820", bytes, 20 * entries);
}

/// Key and size of a file of fw_cfg.
fn file(name: &[u8]) -> (u16, u32) {
    const DIRECTORY: u16 = 0x19;
    const ENTRY: u64 = 64;
    let count = (fw_cfg::number(DIRECTORY, 4) as u32).swap_bytes();
    let bytes = 4 + ENTRY as u32 * count;
    expect_eq("DMA of the directory", fw_cfg::dma_read(DIRECTORY, bytes, FREE + 0x1000, FREE), 0);
    for entry in (0..u64::from(count)).map(|number| FREE + 0x1004 + ENTRY * number) {
        let byte = |offset| physical::read::<u8>(entry + offset);
        if (8..).map(byte).zip(name).all(|(seen, expected)| seen == *expected) {
            return (u16::from_be_bytes([byte(4), byte(5)]), half(entry).swap_bytes());
        }
    }
    fail(format_args!("fw_cfg has no file {}", name.escape_ascii()))
}

fn the_modules_are_whole() {
    let contents: [&[u8]; 2] = [include_bytes!("../guest.ld"), include_bytes!("../build.rs")];
    expect_eq("modules", multiboot::modules().count(), contents.len());
    for ((module, content), (name, words)) in
        multiboot::modules().zip(contents).zip(catalogue::MULTIBOOT_MODULES)
    {
        let range = module.range.clone();
        expect(format_args!("{name} starts a page"), range.start.is_multiple_of(4096));
        expect_eq(format_args!("bytes of {name}"), range.end - range.start, content.len() as u64);
        expect(format_args!("{name} is whole"), range.map(physical::read::<u8>).eq(content.iter().copied()));
        let mut string = string(module.string);
        expect("a module's name comes first", string.by_ref().take_while(|byte| *byte != b' ').count() > 0);
        expect(format_args!("the words of {name}"), string.eq(words.bytes()));
    }
}

fn the_rsdp_leads_to_the_same_tables_both_ways() -> u64 {
    let Some(rsdp) = acpi::rsdps().next() else { fail("no RSDP is where systems look for it") };
    expect_eq("the RSDP's revision", physical::read::<u8>(rsdp + 15), 2);
    expect_eq("the sum of all of the RSDP", acpi::sum(rsdp, 36), 0);
    let (rsdt, xsdt) = (u64::from(half(rsdp + 16)), physical::read_unaligned(rsdp + 24));
    expect_eq("the RSDT's signature", acpi::signature(rsdt), *b"RSDT");
    expect_eq("the XSDT's signature", acpi::signature(xsdt), *b"XSDT");
    expect("RSDT and XSDT name the same", acpi::named_by_rsdt(rsdt).eq(acpi::named_by_xsdt(xsdt)));
    for table in [rsdt, xsdt].into_iter().chain(acpi::named_by_xsdt(xsdt)) {
        let signature = acpi::signature(table);
        let signature = signature.escape_ascii();
        expect_eq(format_args!("the sum of {signature}"), acpi::sum(table, acpi::length(table)), 0);
    }
    rsdp
}

fn the_fadt_has_ports_that_work(fadt: u64) {
    let dsdt = u64::from(half(fadt + 40));
    expect_eq("the DSDT's signature", acpi::signature(dsdt), *b"DSDT");
    expect_eq("the sum of the DSDT", acpi::sum(dsdt, acpi::length(dsdt)), 0);
    let facs = u64::from(half(fadt + 36));
    expect_eq("the FACS's signature", acpi::signature(facs), *b"FACS");
    expect("the FACS is at a multiple of 64", facs.is_multiple_of(64));
    expect_eq("HW_REDUCED_ACPI", half(fadt + 112) & 1 << 20, 0);
    let (control, timer) = (half(fadt + 64) as u16, half(fadt + 76) as u16);
    expect("PM1 control says SCI_EN", ports::in_u16(control) & 1 != 0);
    let first = ports::in_u32(timer);
    expect("the PM timer goes on", (0..1000).any(|_| ports::in_u32(timer) != first));
    expect_eq("the reset register", (half(fadt + 120), physical::read::<u8>(fadt + 128)), (0xcf9, 6));
}

fn the_madt_has_the_pins_of_a_pc(madt: u64) {
    expect_eq("PCAT_COMPAT", half(madt + 40), 1);
    let (mut processors, mut overrides) = (0, 0);
    let mut entry = madt + 44;
    while entry < madt + acpi::length(madt) {
        let byte = |offset| physical::read::<u8>(entry + offset);
        match byte(0) {
            0 => processors += 1,
            2 if byte(3) == 0 => expect_eq("the GSI of IRQ 0", half(entry + 4), 2),
            2 if byte(3) == 9 => expect_eq("flags of IRQ 9", byte(8), 0xd),
            _ => {}
        }
        overrides += u32::from(byte(0) == 2);
        entry += u64::from(byte(1).max(2));
    }
    expect_eq("processors and overrides", (processors, overrides), (1, 2));
}

fn the_mcfg_leads_to_the_same_host_bridge_as_the_ports(mcfg: u64) {
    let ecam = physical::read_unaligned(mcfg + 44);
    let by_memory: u32 = physical::read(ecam);
    ports::out_u32(0xcf8, 0x8000_0000);
    expect_eq("the host bridge", by_memory, ports::in_u32(0xcfc));
    expect("there is one", by_memory as u16 != 0xffff);
}

fn smbios_tells_of_the_memory() {
    let anchor = |address: &u64| (0..5).map(|at| physical::read::<u8>(address + at)).eq(*b"_SM3_");
    let Some(entry_point) = (0xf_0000..0x10_0000).step_by(16).find(anchor) else { fail("no SMBIOS") };
    expect_eq("the sum of the entry point", acpi::sum(entry_point, 24), 0);
    let mut structure = physical::read_unaligned(entry_point + 16);
    let end = structure + u64::from(half(entry_point + 12));
    let mut devices = 0;
    while physical::read::<u8>(structure) != 127 {
        expect("SMBIOS ends in its bounds", structure < end);
        if physical::read::<u8>(structure) == 17 {
            expect_eq("MiB of memory", half(structure + 12) as u16, catalogue::MEMORY_MIB as u16);
            devices += 1;
        }
        structure += u64::from(physical::read::<u8>(structure + 1));
        while half(structure) as u16 != 0 {
            structure += 1;
        }
        structure += 2;
    }
    expect_eq("memory devices", devices, 1);
}

fn fw_cfg_answers_by_ports() {
    expect_eq("fw_cfg's signature", fw_cfg::number(0x00, 4), u32::from_le_bytes(*b"QEMU").into());
    expect_eq("what it can", fw_cfg::number(0x01, 4), 3);
    expect_eq("bytes of RAM", fw_cfg::number(0x03, 8), MEMORY);
    expect_eq("CPUs", (fw_cfg::number(0x05, 2), fw_cfg::number(0x0f, 2)), (1, 1));
    let words = catalogue::MULTIBOOT_WORDS;
    expect_eq("bytes of the command line", fw_cfg::number(0x14, 4), words.len() as u64 + 1);
    expect_eq("an item that is not there", fw_cfg::number(0x7fff, 8), 0);
}

fn fw_cfg_answers_by_dma() {
    expect_eq("the signature of DMA", fw_cfg::dma_signature(), *b"QEMU CFG");
    physical::write(FREE + 0x108, u64::MAX);
    expect_eq("DMA of the CPUs", fw_cfg::dma_read(0x05, 4, FREE + 0x108, FREE), 0);
    expect_eq("CPUs", physical::read::<u64>(FREE + 0x108), 0xffff_ffff_0000_0001);
    let nowhere = fw_cfg::dma_read(0x05, 4, 0xd000_0000, FREE);
    expect_eq("DMA to where no memory is", nowhere, fw_cfg::ERROR);
}
