// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which calls are taken, whom they flush, and what is said of all others.

use super::*;
use proptest::prelude::*;
use std::ops::Range;

/// A guest with memory in one place, all of its words the same where a test wrote nothing.
struct Model {
    memory: Vec<u64>,
    xmm: Option<[u64; XMM_WORDS]>,
}

/// Two pages of memory lie here.
const MEMORY: Range<u64> = 0x1000..0x3000;

impl Model {
    fn new() -> Self {
        Self { memory: vec![0; (MEMORY.end - MEMORY.start) as usize / 8], xmm: Some([0; XMM_WORDS]) }
    }

    fn with(words: &[u64]) -> Self {
        let mut model = Self::new();
        model.memory[..words.len()].copy_from_slice(words);
        model
    }
}

impl Caller for Model {
    fn read(&self, address: u64, words: &mut [u64]) -> Result<(), Unreadable> {
        let bytes = 8 * words.len() as u64;
        assert!(address.is_multiple_of(8) && (bytes == 0 || address / 4096 == (address + bytes - 1) / 4096));
        let first = address.checked_sub(MEMORY.start).ok_or(Unreadable)? as usize / 8;
        words.copy_from_slice(self.memory.get(first..first + words.len()).ok_or(Unreadable)?);
        Ok(())
    }

    fn xmm(&mut self) -> Option<[u64; XMM_WORDS]> {
        self.xmm
    }
}

const SPACE: u16 = 2;
const LIST: u16 = 3;
const SPACE_EX: u16 = 0x13;
const LIST_EX: u16 = 0x14;
const CALLS: [u16; 4] = [SPACE, LIST, SPACE_EX, LIST_EX];

const FAST: u64 = 1 << 16;
const ALL_PROCESSORS: u64 = 1;
const NON_GLOBAL: u64 = 4;
const EXTENDED: u64 = 8;

fn reps(count: u64) -> u64 {
    count << 32
}

fn banks(count: u64) -> u64 {
    count << 17
}

/// A call with its input in memory: who flushes, or the status.
fn call(value: u64, words: &[u64]) -> Result<Processors, u64> {
    call_at(value, MEMORY.start, &mut Model::with(words))
}

fn call_at(value: u64, address: u64, caller: &mut Model) -> Result<Processors, u64> {
    let call = Call { value: InputValue::from_bits(value), input: address, output: 0 };
    told(value, answer(call, caller).expect("no exception"))
}

/// A call with its input in registers.
fn fast(value: u64, words: &[u64]) -> Result<Processors, u64> {
    let mut all = [0; FAST_WORDS];
    all[..words.len()].copy_from_slice(words);
    let mut model = Model::new();
    model.xmm = all[2..].try_into().ok();
    let call = Call { value: InputValue::from_bits(value | FAST), input: all[0], output: all[1] };
    told(value, answer(call, &mut model).expect("no exception"))
}

/// As the interface has it: RAX is all zero but for the status, or for the elements of the list.
fn told(value: u64, answer: Answer) -> Result<Processors, u64> {
    let rax = answer.result.into_bits();
    if answer.result.status() == Status::SUCCESS {
        assert_eq!(rax, value & 0xfff << 32);
        Ok(answer.flush)
    } else {
        assert_eq!(answer.flush, Processors::NONE);
        Err(rax)
    }
}

#[test]
fn a_mask_names_who_flushes() {
    for mask in [1, 0b1010, 1 << 63, u64::MAX] {
        assert_eq!(call(SPACE.into(), &[0xcc3, 0, mask]), Ok(Processors(mask)));
        assert_eq!(call(u64::from(LIST) | reps(2), &[0xcc3, 0, mask, 0x5000, 0x7003]), Ok(Processors(mask)));
    }
}

#[test]
fn an_empty_mask_means_everybody_and_so_does_the_flag() {
    assert_eq!(call(SPACE.into(), &[0, 0, 0]), Ok(Processors::ALL));
    assert_eq!(call(SPACE.into(), &[0, ALL_PROCESSORS, 1]), Ok(Processors::ALL));
    assert_eq!(call(u64::from(LIST) | reps(1), &[0, ALL_PROCESSORS, 1, 0]), Ok(Processors::ALL));
    assert_eq!(call(SPACE_EX.into(), &[0, ALL_PROCESSORS, 0, 0]), Ok(Processors::ALL));
}

#[test]
fn a_set_names_who_flushes_and_banks_beyond_the_first_have_nobody() {
    let set = |format, mask: u64, contents: &[u64]| {
        let value = u64::from(SPACE_EX) | banks(contents.len() as u64);
        call(value, &[&[0, 0, format, mask], contents].concat())
    };
    assert_eq!(set(0, 1, &[0b110]), Ok(Processors(0b110)));
    assert_eq!(set(0, 0b11, &[0b110, u64::MAX]), Ok(Processors(0b110)));
    assert_eq!(set(0, 0b10, &[u64::MAX]), Ok(Processors::NONE));
    assert_eq!(set(0, 0, &[]), Ok(Processors::NONE), "an empty set is nobody");
    assert_eq!(set(0, u64::MAX, &[5; 64]), Ok(Processors(5)));
    assert_eq!(set(1, 0, &[]), Ok(Processors::ALL));
    assert_eq!(set(1, 0b11, &[0, 0]), Ok(Processors::ALL), "its banks are passed over");
    assert_eq!(set(2, 1, &[0b110]), Err(5));
    for found in [0, 2, 65, 1023] {
        let value = u64::from(SPACE_EX) | banks(found);
        let expected = if found > 508 { 4 } else { 3 };
        assert_eq!(call(value, &[0, 0, 0, 1, 1]), Err(expected), "{found} banks for one bit");
    }
}

#[test]
fn unknown_codes_have_status_2_whatever_else_is_wrong() {
    for code in (0..=u16::MAX).filter(|code| !CALLS.contains(code)) {
        assert_eq!(call_at(u64::from(code) | 1 << 63, 1, &mut Model::new()), Err(2), "{code:#x}");
    }
}

#[test]
fn reserved_bits_of_the_input_value_and_calls_for_another_hypervisor_have_status_3() {
    for bit in (27..=31).chain(44..48).chain(60..64) {
        for code in CALLS {
            let reps = if code == LIST || code == LIST_EX { reps(1) } else { 0 };
            call(u64::from(code) | reps, &[0; 8]).unwrap();
            assert_eq!(call(u64::from(code) | reps | 1 << bit, &[0; 8]), Err(3), "{code:#x}, bit {bit}");
        }
    }
}

#[test]
fn only_lists_have_elements_and_only_sets_have_a_variable_header() {
    for code in [SPACE, SPACE_EX] {
        assert_eq!(call(u64::from(code) | reps(1), &[0; 8]), Err(3));
        assert_eq!(call(u64::from(code) | 1 << 48, &[0; 8]), Err(3), "where to start");
    }
    for code in [LIST, LIST_EX] {
        assert_eq!(call(code.into(), &[0; 8]), Err(3), "an empty list");
        assert_eq!(call(u64::from(code) | reps(3) | 3 << 48, &[0; 8]), Err(3), "a start behind the end");
        call(u64::from(code) | reps(3) | 2 << 48, &[0; 8]).unwrap();
    }
    for code in [u64::from(SPACE), u64::from(LIST) | reps(1)] {
        assert_eq!(call(code | banks(1), &[0; 8]), Err(3));
    }
}

#[test]
fn input_is_aligned_and_in_one_page() {
    let space = |address| call_at(SPACE.into(), address, &mut Model::new());
    for offset in 1..8 {
        assert_eq!(space(MEMORY.start + offset), Err(4));
    }
    space(MEMORY.start + 4096 - 24).unwrap();
    assert_eq!(space(MEMORY.start + 4096 - 16), Err(4));
    let list = |code: u16, count| call_at(u64::from(code) | reps(count), MEMORY.start, &mut Model::new());
    assert!(list(LIST, 509).is_ok() && list(LIST_EX, 508).is_ok());
    assert_eq!((list(LIST, 510), list(LIST_EX, 509), list(LIST, 4095)), (Err(4), Err(4), Err(4)));
}

#[test]
fn input_where_no_memory_is_has_status_3() {
    for address in [0, MEMORY.end, 1 << 40, u64::MAX - 4095] {
        assert_eq!(call_at(SPACE.into(), address, &mut Model::new()), Err(3), "{address:#x}");
    }
}

#[test]
fn unknown_flags_have_status_5() {
    for code in [u64::from(SPACE), u64::from(LIST) | reps(1), SPACE_EX.into(), u64::from(LIST_EX) | reps(1)] {
        for bit in 4..64 {
            assert_eq!(call(code, &[0, 1 << bit, 0, 0, 0]), Err(5), "bit {bit}");
        }
        call(code, &[0, EXTENDED | 2 | ALL_PROCESSORS, 0, 0, 0]).unwrap();
    }
    for (code, taken) in [(u64::from(SPACE), true), (u64::from(LIST) | reps(1), false)] {
        assert_eq!(call(code, &[0, NON_GLOBAL, 0, 0]).is_ok(), taken);
    }
    assert_eq!(call(u64::from(LIST_EX) | reps(1), &[0, NON_GLOBAL, 0, 0, 0]), Err(5));
}

#[test]
fn fast_input_comes_in_fourteen_words_at_most() {
    assert_eq!(fast(SPACE.into(), &[0, 0, 0b10]), Ok(Processors(0b10)));
    assert_eq!(fast(u64::from(LIST) | reps(11), &[0, 0, 0b10]), Ok(Processors(0b10)));
    assert_eq!(fast(u64::from(LIST) | reps(12), &[0, 0, 0b10]), Err(3));
    let set = |code, banks_and_reps| fast(u64::from(LIST_EX) | code | banks_and_reps, &[0, 0, 0, 1, 0b100]);
    assert_eq!(set(banks(1), reps(9)), Ok(Processors(0b100)));
    assert_eq!(set(banks(1), reps(10)), Err(3));
    assert_eq!(fast(u64::from(SPACE_EX) | banks(10), &[0, 0, 0, 0x3ff, 0b100]), Ok(Processors(0b100)));
    assert_eq!(fast(u64::from(SPACE_EX) | banks(1023), &[0, 0, 0, 1]), Err(3));
}

#[test]
fn xmm_input_that_is_not_offered_is_an_invalid_opcode() {
    let mut model = Model::new();
    model.xmm = None;
    let value = |bits| Call { value: InputValue::from_bits(bits), input: MEMORY.start, output: 0 };
    assert_eq!(answer(value(u64::from(SPACE) | FAST), &mut model), Err(InvalidOpcode));
    answer(value(SPACE.into()), &mut model).unwrap();
}

/// Numbers as guests have them that are not quite right.
fn any_value() -> impl Strategy<Value = u64> {
    let known = (prop::sample::select(CALLS.to_vec()), any::<bool>(), 0..70_u64, 0..520_u64, 0..4_u64);
    prop_oneof![
        any::<u64>(),
        known.prop_map(|(code, fast, header, count, start)| {
            u64::from(code) | if fast { FAST } else { 0 } | banks(header) | reps(count) | start << 48
        }),
    ]
}

fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..16_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Never a panic and never an access across a page, and a call that fails flushes nobody.
    #[test]
    fn whatever_a_guest_has_in_registers_and_memory_there_is_an_answer(
        value in any_value(),
        input in prop_oneof![any::<u64>(), 0x0ff0..0x3010_u64, (0..0x400_u64).prop_map(|word| 0x1000 + 8 * word)],
        output: u64,
        start in prop::collection::vec(any_word(), 80),
        xmm in prop::option::of(prop::array::uniform12(any_word())),
    ) {
        let mut model = Model { xmm, ..Model::with(&start) };
        let call = Call { value: InputValue::from_bits(value), input, output };
        match answer(call, &mut model) {
            Ok(answer) => drop(told(value, answer)),
            Err(InvalidOpcode) => prop_assert!(call.value.fast() && xmm.is_none()),
        }
    }

    /// What is asked for is done, whichever way it is asked for.
    #[test]
    fn the_same_input_means_the_same_in_memory_and_in_registers(
        value in any_value(),
        words in prop::collection::vec(any_word(), FAST_WORDS),
    ) {
        let value = value & !FAST;
        let in_registers = fast(value, &words);
        if in_registers.is_ok() {
            prop_assert_eq!(in_registers, call(value, &words));
        }
    }
}
