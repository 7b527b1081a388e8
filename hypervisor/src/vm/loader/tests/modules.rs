// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules: how many, with which strings, and for which kernels.

use super::*;

fn with_modules<'a>(kernel: &'a [u8], modules: &[(&'a [u8], &'a str)]) -> BootSource<'a> {
    let module = |&(content, command_line)| Module { file: File { name: "module", content }, command_line };
    BootSource { modules: modules.iter().map(module).collect(), ..source(kernel, None, "") }
}

fn refused(source: &BootSource<'_>) -> (String, Reason) {
    let error = load_into(&dirty_memory(), source).unwrap_err();
    (error.file, error.reason)
}

#[test]
fn pvh_kernels_get_modules_with_their_command_lines() {
    let (memory, kernel) = (dirty_memory(), pvh::kernel());
    let mut source = with_modules(&kernel, &[(&[1; 10], "first words"), (&[2; 4096], "")]);
    source.initrd = Some(File { name: "initrd", content: &[3] });
    load_into(&memory, &source).unwrap();
    let info = memory.bytes(0x2000, 56);
    assert_eq!(u32_at(&info, 12), 3);
    let list = memory.bytes(u64_at(&info, 16), 3 * 32);
    let modules: Vec<_> = list.chunks(32).map(|module| [0, 8, 16].map(|at| u64_at(module, at))).collect();
    let expected = [[0x3FF_F000, 1, 0], [0x3FF_E000, 10, 0xA000], [0x3FF_D000, 4096, 0]];
    assert_eq!(modules, expected);
    assert_eq!(memory.bytes(0xA000, 13), b"first words\0\xCC");
    assert_eq!(memory.bytes(0x3FF_E000, 11), [&[1; 10][..], &[0xCC]].concat());
}

#[test]
fn linux_takes_none_beside_its_initrd() {
    let kernel = bzimage::kernel();
    assert_eq!(refused(&with_modules(&kernel, &[(&[1], "")])), ("kernel".into(), Reason::NoModules));
}

#[test]
fn more_than_fit_are_refused() {
    let kernel = multiboot::elf();
    let modules = vec![(&[1u8; 4][..], "x"); 65];
    load_into(&dirty_memory(), &with_modules(&kernel, &modules[1..])).unwrap();
    assert_eq!(refused(&with_modules(&kernel, &modules)), ("kernel".into(), Reason::ManyModules(65)));
}

#[test]
fn strings_that_do_not_fit_are_refused() {
    let kernel = multiboot::elf();
    let words = "x".repeat(0x1FF8);
    // Each takes eight bytes more: the name, a blank, and the NUL.
    load_into(&dirty_memory(), &with_modules(&kernel, &[(&[1], &words), (&[1], &words)])).unwrap();
    let longer = words.clone() + "x";
    let (file, reason) = refused(&with_modules(&kernel, &[(&[1], &words), (&[1], &longer)]));
    assert_eq!(file, "module");
    assert_eq!(reason, Reason::LongModuleStrings { bytes: 0x4001, longest: 0x4000 });
    let (_, reason) = refused(&with_modules(&kernel, &[(&[1], "a\0b")]));
    assert_eq!(reason, Reason::NulInCommandLine);
}

#[test]
fn empty_ones_and_those_without_room_are_refused() {
    let kernel = multiboot::elf();
    assert_eq!(refused(&with_modules(&kernel, &[(&[], "")])), ("module".into(), Reason::Empty));
    let large = vec![1; 48 << 20];
    let (file, reason) = refused(&with_modules(&kernel, &[(&large, "")]));
    assert_eq!((file.as_str(), reason), ("module", Reason::NoRoom { bytes: 48 << 20, last: u64::MAX }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Kernel and modules are all there, at the end, as they were in their files.
    #[test]
    fn kernel_and_modules_never_overlap(
        sizes in prop::collection::vec(1usize..0x20_0000, 0..8),
        by_pvh in any::<bool>(),
    ) {
        let kernel = if by_pvh { pvh::kernel() } else { multiboot::elf() };
        let contents: Vec<_> =
            sizes.iter().enumerate().map(|(number, &size)| vec![number as u8 + 1; size]).collect();
        let modules: Vec<_> = contents.iter().map(|content| (content.as_slice(), "")).collect();
        let memory = dirty_memory();
        load_into(&memory, &with_modules(&kernel, &modules)).unwrap();
        prop_assert_eq!(&memory.bytes(pvh::CODE, 0x100), &kernel[pvh::CONTENT..pvh::CONTENT + 0x100]);
        prop_assert_eq!(&memory.bytes(pvh::DATA + 16, 99_984), &vec![0; 99_984]);
        let word = |at: u64, width: u64| {
            let bytes = memory.bytes(at, width as usize);
            bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
        };
        for (number, content) in contents.iter().enumerate() {
            let start = match by_pvh {
                true => word(word(0x2010, 8) + 32 * number as u64, 8),
                false => word(word(0x2018, 4) + 16 * number as u64, 4),
            };
            prop_assert!(start.is_multiple_of(4096));
            prop_assert_eq!(&memory.bytes(start, content.len()), content);
        }
    }
}
