// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bit in a CPUID leaf by which L0 offers something.

use super::HyperV;
use core::fmt;
use hyperv_bindings::cpuid::Features;
use hyperv_bindings::cpuid::NestedVirtualization;
use hyperv_bindings::cpuid::Recommendations;

/// Where a bit lies, for the report, and the typed field that decides. A test makes sure that they are the same.
#[derive(Clone, Copy, Debug)]
pub struct Bit {
    /// The leaf.
    pub leaf: u32,
    /// The register.
    pub register: Register,
    /// The bit's number in the register.
    pub number: u32,
    field: Field,
}

/// A register that CPUID returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

type Field = fn(&HyperV) -> bool;

impl Bit {
    /// Whether L0 sets it.
    #[must_use]
    pub fn is_set(&self, hyperv: &HyperV) -> bool {
        (self.field)(hyperv)
    }
}

impl fmt::Display for Bit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let register = match self.register {
            Register::Eax => "EAX",
            Register::Ebx => "EBX",
            Register::Ecx => "ECX",
            Register::Edx => "EDX",
        };
        write!(f, "{:#X}.{register}[{}]", self.leaf, self.number)
    }
}

/// A privilege of the partition.
pub(super) const fn privilege(number: u32, field: Field) -> Bit {
    Bit { leaf: Features::LEAF, register: Register::Eax, number, field }
}

/// A feature that is no privilege.
pub(super) const fn miscellaneous(number: u32, field: Field) -> Bit {
    Bit { leaf: Features::LEAF, register: Register::Edx, number, field }
}

/// A piece of advice.
pub(super) const fn hint(number: u32, field: Field) -> Bit {
    Bit { leaf: Recommendations::LEAF, register: Register::Eax, number, field }
}

/// A nested enlightenment.
pub(super) const fn nested(number: u32, field: Field) -> Bit {
    Bit { leaf: NestedVirtualization::LEAF, register: Register::Eax, number, field }
}

/// A field that the enlightened VMCS has beyond the usual ones.
pub(super) const fn nested_vmcs(number: u32, field: Field) -> Bit {
    Bit { leaf: NestedVirtualization::LEAF, register: Register::Ebx, number, field }
}
