// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pins the types to the numbers that are published for the interface, written out here as literals.
//!
//! Both sides of the interface are built from these types, so one misreading in them would pass on both. Nothing here
//! is derived from a type: each expected value is a literal taken from the specification.

#[cfg(test)]
mod cpuid;
#[cfg(test)]
mod hypercall;
#[cfg(test)]
mod msr;
#[cfg(test)]
mod pages;
