// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a virtual machine ends: by its own wish, or because one of its vCPUs, or all of them, have no way to go on.

use crate::mmu::GuestPhysical;
use crate::vmx::exit::ExitReason;
use core::fmt;
use evmcs::VmInstructionError;

/// Why it ended. Each is an event of one VM; Satori goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest asked to be reset.
    Reset,
    /// The guest's interrupt table could not even take a double fault.
    TripleFault {
        /// Where it was.
        rip: u64,
    },
    /// The guest touched an address where neither memory nor a device is.
    Nothing {
        /// The address.
        address: GuestPhysical,
        /// "read", "write" or "fetch".
        access: &'static str,
        /// The instruction.
        rip: u64,
    },
    /// The guest was refused an access, again and again, that its tables allow.
    Refused {
        /// The address.
        address: GuestPhysical,
        /// "read", "write" or "fetch".
        access: &'static str,
        /// The instruction.
        rip: u64,
    },
    /// There is no memory left to back the guest's.
    OutOfMemory {
        /// The address that it used for the first time.
        address: GuestPhysical,
    },
    /// The guest used an instruction on a device's memory that is not one we play.
    Undecodable {
        /// The device's address.
        address: GuestPhysical,
        /// The instruction.
        rip: u64,
    },
    /// The guest halted with interrupts off: nothing can wake it.
    HaltedForEver {
        /// The HLT instruction.
        rip: u64,
    },
    /// The manifest's time limit is over.
    TimeLimit {
        /// The limit.
        seconds: u32,
        /// Where the guest was.
        rip: u64,
    },
    /// INIT came to the bootstrap processor. That starts it at the reset vector, where this machine has no firmware.
    Init,
    /// Another vCPU has brought the machine to its end.
    Stopped,
    /// The operator has ended it.
    Killed,
    /// VM entry found guest state that cannot be (SDM vol. 3, "VM-Entry Failures During or After Loading Guest State").
    InvalidGuestState {
        /// The exit qualification.
        qualification: u64,
        /// Where the guest was.
        rip: u64,
    },
    /// VM entry failed on what we gave it.
    EntryFailed {
        /// The number, if there was a VMCS to hold it.
        error: Option<VmInstructionError>,
    },
    /// An exit for which there is no handler.
    Unhandled {
        /// The reason.
        reason: ExitReason,
        /// The exit qualification.
        qualification: u64,
        /// Where the guest was.
        rip: u64,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PoweredOff => write!(f, "powered off"),
            Self::Reset => write!(f, "reset"),
            Self::TripleFault { rip } => write!(f, "triple fault at {rip:#x}"),
            Self::Nothing { address, access, rip } => {
                write!(f, "{access} of {address}, where neither memory nor a device is, at {rip:#x}")
            }
            Self::Refused { address, access, rip } => {
                write!(
                    f,
                    "{access} of {address} at {rip:#x} is refused by this CPU or by what is below, though our tables allow it"
                )
            }
            Self::OutOfMemory { address } => {
                write!(f, "no memory is left for {address}: give the machine more, or its VMs less")
            }
            Self::Undecodable { address, rip } => {
                write!(
                    f,
                    "the instruction at {rip:#x} touches a device at {address} in a way that is not supported"
                )
            }
            Self::HaltedForEver { rip } => write!(f, "halted with interrupts off at {rip:#x}"),
            Self::TimeLimit { seconds, rip } => write!(f, "time limit of {seconds} s reached at {rip:#x}"),
            Self::Init => {
                write!(f, "INIT was sent to the bootstrap processor, and no firmware is there to take it")
            }
            Self::Stopped => write!(f, "stopped"),
            Self::Killed => write!(f, "killed"),
            Self::InvalidGuestState { qualification, rip } => {
                write!(f, "VM entry refused the guest's state at {rip:#x} (qualification {qualification})")
            }
            Self::EntryFailed { error: Some(error) } => write!(f, "VM entry failed, {error}"),
            Self::EntryFailed { error: None } => write!(f, "VM entry failed: no current VMCS"),
            Self::Unhandled { reason, qualification, rip } => {
                write!(f, "{reason:?} at {rip:#x} (qualification {qualification:#x}) is not supported")
            }
        }
    }
}
