// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries and exits, on a processor that is played: in a process VMLAUNCH and VMRESUME raise #UD, and the handler of the signal that
//! comes of it does what a processor does.

use super::*;
use core::ffi::c_int;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;
use std::sync::Mutex;
use zerocopy::transmute;

#[test]
fn each_number_names_its_register_and_four_names_none() {
    let mut registers = Registers { rbx: 3, rbp: 5, r15: 15, ..Registers::default() };
    assert_eq!([0, 3, 5, 15].map(|number| registers.slot(number).copied()), [0, 3, 5, 15].map(Some));
    assert_eq!(registers.slot(4), None);
    *registers.slot_mut(7).unwrap() = 7;
    assert_eq!(registers, Registers { rbx: 3, rbp: 5, rdi: 7, r15: 15, ..Registers::default() });
}

/// The guest's registers, as they are in the frame.
const ORDER: [c_int; COUNT] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

const CARRY: u64 = 1 << 0;
const ZERO: u64 = 1 << 6;
const VMLAUNCH: [u8; 3] = [0x0f, 0x01, 0xc2];
const VMRESUME: [u8; 3] = [0x0f, 0x01, 0xc3];

/// What the processor does, and what it has seen.
struct Played {
    /// The flags that it fails with; else it exits.
    fails: Option<u64>,
    host_rsp: u64,
    instruction: [u8; 3],
    registers: [u64; COUNT],
}

/// The one that is asked for.
static PLAYED: AtomicPtr<Played> = AtomicPtr::new(ptr::null_mut());
/// There is one handler in a process.
static TURN: Mutex<()> = Mutex::new(());

const OF_GUEST: [u64; COUNT] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// What the guest has in its registers at its exit.
const AT_EXIT: [u64; COUNT] = [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35];

extern "C" fn play(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's, and the one of whoever has its turn.
    let (context, played) =
        unsafe { (&mut *context.cast::<libc::ucontext_t>(), &mut *PLAYED.load(Ordering::Relaxed)) };
    let registers = &mut context.uc_mcontext.gregs;
    let at = registers[libc::REG_RIP as usize] as *const [u8; 3];
    // SAFETY: it has just been executed.
    played.instruction = unsafe { at.read() };
    played.registers = ORDER.map(|register| registers[register as usize] as u64);
    if let Some(flags) = played.fails {
        let kept = registers[libc::REG_EFL as usize] & !(CARRY | ZERO) as i64;
        registers[libc::REG_EFL as usize] = kept | flags as i64;
        registers[libc::REG_RIP as usize] += 3;
        return;
    }
    for (register, value) in ORDER.into_iter().zip(AT_EXIT) {
        registers[register as usize] = value as i64;
    }
    // SDM vol. 3, "Loading Host RIP, RSP, RFLAGS, and SSP".
    registers[libc::REG_EFL as usize] = 2;
    registers[libc::REG_RSP as usize] = played.host_rsp as i64;
    registers[libc::REG_RIP as usize] = host_rip() as i64;
}

/// Enters a guest on that processor.
fn enters(launched: bool, fails: Option<u64>) -> (Result<(), EntryFailure>, Played, Box<EntryFrame>) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut frame = Box::new(EntryFrame { registers: transmute!(OF_GUEST), ..EntryFrame::default() });
    let mut played = Played { fails, host_rsp: frame.host_rsp(), instruction: [0; 3], registers: [0; COUNT] };
    PLAYED.store(&raw mut played, Ordering::Relaxed);
    let mut stack = vec![0_u8; 1 << 16];
    // SAFETY: the handler has a stack of its own, since the frame is none that has room; both are there while it is used.
    let entered = unsafe {
        let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        let (mut old_stack, mut old_action) = (core::mem::zeroed(), core::mem::zeroed());
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = play as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaltstack(&raw const stack, &raw mut old_stack), 0);
        assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, &raw mut old_action), 0);
        let entered = enter(&mut frame, launched);
        libc::sigaction(libc::SIGILL, &raw const old_action, ptr::null_mut());
        libc::sigaltstack(&raw const old_stack, ptr::null_mut());
        entered
    };
    (entered, played, frame)
}

#[test]
#[cfg_attr(miri, ignore = "is assembly")]
fn the_guest_has_its_registers_and_the_frame_has_them_after_the_exit() {
    for (launched, instruction) in [(false, VMLAUNCH), (true, VMRESUME)] {
        let (entered, played, frame) = enters(launched, None);
        assert_eq!((entered, played.instruction), (Ok(()), instruction));
        assert_eq!(played.registers, OF_GUEST);
        assert_eq!(frame.registers, transmute!(AT_EXIT));
    }
}

/// SDM vol. 3, "Conventions": VMfailInvalid and VMfailValid. Of neither the guest's registers are the worse.
#[test]
#[cfg_attr(miri, ignore = "is assembly")]
fn an_entry_that_fails_is_told_from_an_exit() {
    for launched in [false, true] {
        for (flags, is_invalid) in [(CARRY, true), (ZERO, false)] {
            let (entered, played, frame) = enters(launched, Some(flags));
            assert_eq!(entered.map_err(EntryFailure::is_invalid), Err(is_invalid));
            assert_eq!(played.registers, OF_GUEST);
            assert_eq!(frame.registers, transmute!(OF_GUEST));
        }
    }
}
