// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions as results: an instruction that may fault is attempted, and what it raised is told.
//!
//! [`attempt!`](crate::attempt) wraps one piece of assembly. An exception in it is recorded and execution goes on behind it, so that a
//! program reads `msr::write(..)?` where the CPU would have it die. Without an attempt, #DB and #BP are traced as
//! events (see [`crate::interrupts`]) and return, as NMIs always do; any other exception ends the program with a failure.

use crate::control;
use crate::idt::Frame;
use crate::interrupts;
use crate::processors;
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

/// The attempt that a vCPU is in, and what its last one raised.
struct Attempt {
    /// Where the armed attempt goes on after an exception; 0 while none is armed.
    landing: AtomicU64,
    /// The vector that the last attempt raised, or [`NOTHING`].
    vector: AtomicU64,
    error_code: AtomicU64,
    rip: AtomicU64,
    cr2: AtomicU64,
}

static ATTEMPTS: [Attempt; processors::MOST] = [const {
    Attempt {
        landing: AtomicU64::new(0),
        vector: AtomicU64::new(NOTHING),
        error_code: AtomicU64::new(0),
        rip: AtomicU64::new(0),
        cr2: AtomicU64::new(0),
    }
}; processors::MOST];

const NOTHING: u64 = u64::MAX;

fn attempt() -> &'static Attempt {
    &ATTEMPTS[processors::current()]
}

/// What [`attempt!`](crate::attempt) arms, and nothing else.
#[doc(hidden)]
#[must_use]
pub fn landing() -> *mut u64 {
    attempt().landing.as_ptr()
}

/// Executes `$body` (a string of assembly, operands as for `asm!`) and gives `Result<(), Exception>`.
///
/// It is unsafe for the same reasons as `asm!`. An exception leaves RSP as it was at the faulting instruction, so the
/// body must not push before it.
#[macro_export]
macro_rules! attempt {
    ($body:expr $(, $($operands:tt)*)?) => {{
        core::arch::asm!(
            "lea {landing}, [rip + 77f]",
            "mov [{armed}], {landing}",
            $body,
            "77:",
            "mov qword ptr [{armed}], 0",
            landing = out(reg) _,
            armed = in(reg) $crate::exceptions::landing(),
            $($($operands)*)?
        );
        $crate::exceptions::take()
    }};
}

/// What the attempt that has just ended raised.
#[doc(hidden)]
pub fn take() -> Result<(), Exception> {
    let attempt = attempt();
    match attempt.vector.swap(NOTHING, Relaxed) {
        NOTHING => Ok(()),
        vector => Err(Exception {
            vector: vector as u8,
            error_code: attempt.error_code.load(Relaxed),
            rip: attempt.rip.load(Relaxed),
            cr2: attempt.cr2.load(Relaxed),
        }),
    }
}

/// Runs `handler`, which may attempt something itself, in the middle of an attempt.
pub(crate) fn amid_attempt(handler: impl FnOnce()) {
    let attempt = attempt();
    let (landing, vector) = (attempt.landing.swap(0, Relaxed), attempt.vector.swap(NOTHING, Relaxed));
    handler();
    attempt.landing.store(landing, Relaxed);
    attempt.vector.store(vector, Relaxed);
}

/// The handler of the vectors below 32.
pub(crate) fn raised(frame: &mut Frame) {
    let attempt = attempt();
    let landing = attempt.landing.load(Relaxed);
    if frame.vector == u64::from(NMI) {
        interrupts::traced(NMI, frame.rip);
    } else if landing != 0 {
        attempt.vector.store(frame.vector, Relaxed);
        attempt.error_code.store(frame.error_code, Relaxed);
        attempt.rip.store(frame.rip, Relaxed);
        attempt.cr2.store(control::cr2(), Relaxed);
        frame.rip = landing;
        frame.rflags &= !control::RFLAGS_TF;
    } else if frame.vector == u64::from(DEBUG) || frame.vector == u64::from(BREAKPOINT) {
        interrupts::traced(frame.vector as u8, frame.rip);
    } else {
        let cr2 = control::cr2();
        verdict::fail(format_args!("no exception expected, saw one: {frame:x?}, cr2 {cr2:#x}"));
    }
}
