// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a guest's access to its local APIC is answered with #GP(0).

use core::fmt;

/// An access that the architecture refuses, or that we do. The guest gets #GP(0) and nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneralProtection {
    /// An x2APIC MSR was accessed outside x2APIC mode (SDM vol. 3, "x2APIC Register Availability").
    NotInX2apicMode,
    /// There is no such x2APIC MSR, or not for this direction: a write to a read-only one, a read of a
    /// write-only one (SDM vol. 3, "x2APIC Register Address Space").
    NoSuchRegister(u32),
    /// These reserved bits were set (SDM vol. 3, "Reserved Bit Checking").
    ReservedBits(u64),
    /// IA32_APIC_BASE: no way leads from the mode of the APIC to the written EN and EXTD (SDM vol. 3, "x2APIC
    /// State Transitions").
    IllegalTransition,
    /// IA32_APIC_BASE: another page was asked for. The architecture has this; we do not.
    Relocation(u64),
}

impl fmt::Display for GeneralProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInX2apicMode => {
                f.write_str("x2APIC MSR accessed in xAPIC mode; set IA32_APIC_BASE.EXTD first")
            }
            Self::NoSuchRegister(index) => {
                write!(f, "x2APIC MSR {index:#x} cannot be accessed in this direction")
            }
            Self::ReservedBits(bits) => write!(f, "reserved bits {bits:#x} were set; write them as zero"),
            Self::IllegalTransition => {
                f.write_str("IA32_APIC_BASE: illegal change of EN and EXTD; disable the APIC in between")
            }
            Self::Relocation(base) => {
                write!(
                    f,
                    "IA32_APIC_BASE: the APIC cannot be moved to {base:#x}; leave it at its reset address"
                )
            }
        }
    }
}

impl core::error::Error for GeneralProtection {}
