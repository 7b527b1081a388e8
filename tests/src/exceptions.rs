// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions as results: an instruction that may fault is attempted, and what it raised is told.
//!
//! [`attempt!`](crate::attempt) wraps one piece of assembly. An exception in it is recorded and execution goes on behind it, so that a
//! program reads `msr::write(..)?` where the CPU would have it die. Without an attempt, #DB and #BP are traced as
//! events (see [`crate::interrupts`]) and return, as NMIs always do; any other exception ends the program with a failure.

use crate::control;
use crate::idt::Frame;
use crate::interrupts;
use crate::verdict;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// #DE, divide error.
pub const DIVIDE_ERROR: u8 = 0;
/// #DB, debug.
pub const DEBUG: u8 = 1;
/// The non-maskable interrupt.
pub const NMI: u8 = 2;
/// #BP, breakpoint.
pub const BREAKPOINT: u8 = 3;
/// #OF, overflow.
pub const OVERFLOW: u8 = 4;
/// #UD, invalid opcode.
pub const INVALID_OPCODE: u8 = 6;
/// #NM, device not available.
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
/// #NP, segment not present.
pub const SEGMENT_NOT_PRESENT: u8 = 11;
/// #SS, stack-segment fault.
pub const STACK_SEGMENT: u8 = 12;
/// #GP, general protection.
pub const GENERAL_PROTECTION: u8 = 13;
/// #PF, page fault.
pub const PAGE_FAULT: u8 = 14;

/// One exception, as the handler saw it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code; zero where the vector has none.
    pub error_code: u64,
    /// The saved instruction pointer.
    pub rip: u64,
    /// CR2 in the handler; for a page fault the address that was touched.
    pub cr2: u64,
}

impl Exception {
    /// Vector and error code: what most programs compare.
    #[must_use]
    pub fn code(&self) -> (u8, u64) {
        (self.vector, self.error_code)
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vector, error_code, rip, cr2 } = self;
        write!(f, "exception {vector} (error code {error_code:#x}, rip {rip:#x}, cr2 {cr2:#x})")
    }
}

/// #GP(0), as a result of [`code`] shows it.
pub const GP0: Result<(), (u8, u64)> = Err((GENERAL_PROTECTION, 0));

/// An outcome reduced to vector and error code, for comparison.
pub fn code<T>(outcome: Result<T, Exception>) -> Result<(), (u8, u64)> {
    outcome.map(|_| ()).map_err(|exception| exception.code())
}

/// Where the armed attempt goes on after an exception; 0 while none is armed. Only [`attempt!`](crate::attempt) writes it.
#[doc(hidden)]
pub static LANDING: AtomicU64 = AtomicU64::new(0);

/// The vector that the last attempt raised, or [`NOTHING`].
static VECTOR: AtomicU64 = AtomicU64::new(NOTHING);
static ERROR_CODE: AtomicU64 = AtomicU64::new(0);
static RIP: AtomicU64 = AtomicU64::new(0);
static CR2: AtomicU64 = AtomicU64::new(0);

const NOTHING: u64 = u64::MAX;

/// Executes `$body` (a string of assembly, operands as for `asm!`) and gives `Result<(), Exception>`.
///
/// It is unsafe for the same reasons as `asm!`. An exception leaves RSP as it was at the faulting instruction, so the
/// body must not push before it.
#[macro_export]
macro_rules! attempt {
    ($body:expr $(, $($operands:tt)*)?) => {{
        core::arch::asm!(
            "lea {landing}, [rip + 77f]",
            "mov [rip + {armed}], {landing}",
            $body,
            "77:",
            "mov qword ptr [rip + {armed}], 0",
            landing = out(reg) _,
            armed = sym $crate::exceptions::LANDING,
            $($($operands)*)?
        );
        $crate::exceptions::take()
    }};
}

/// What the attempt that has just ended raised.
#[doc(hidden)]
pub fn take() -> Result<(), Exception> {
    match VECTOR.swap(NOTHING, Relaxed) {
        NOTHING => Ok(()),
        vector => Err(Exception {
            vector: vector as u8,
            error_code: ERROR_CODE.load(Relaxed),
            rip: RIP.load(Relaxed),
            cr2: CR2.load(Relaxed),
        }),
    }
}

/// The handler of the vectors below 32.
pub(crate) fn raised(frame: &mut Frame) {
    let landing = LANDING.load(Relaxed);
    if frame.vector == u64::from(NMI) {
        interrupts::traced(NMI, frame.rip);
    } else if landing != 0 {
        VECTOR.store(frame.vector, Relaxed);
        ERROR_CODE.store(frame.error_code, Relaxed);
        RIP.store(frame.rip, Relaxed);
        CR2.store(control::cr2(), Relaxed);
        frame.rip = landing;
        frame.rflags &= !control::RFLAGS_TF;
    } else if frame.vector == u64::from(DEBUG) || frame.vector == u64::from(BREAKPOINT) {
        interrupts::traced(frame.vector as u8, frame.rip);
    } else {
        let cr2 = control::cr2();
        verdict::fail(format_args!("no exception expected, saw one: {frame:x?}, cr2 {cr2:#x}"));
    }
}
