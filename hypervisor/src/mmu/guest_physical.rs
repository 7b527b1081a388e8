// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest-physical addresses, and the one way in which software touches the memory behind them.

use core::fmt;

/// An address in a guest's physical address space. Any `u64` may come from a guest; none is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPhysical(pub u64);

impl GuestPhysical {
    /// The address `bytes` further on, or `None` where the address space ends before it.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}

impl fmt::Display for GuestPhysical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest-physical {:#x}", self.0)
    }
}

/// No RAM lies behind (part of) the range that was to be read or written; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbacked {
    /// The first address that has no RAM behind it.
    pub address: GuestPhysical,
}

impl fmt::Display for Unbacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory at {}", self.address)
    }
}

/// RAM of a guest, as software on its behalf sees it: loaders, devices, the instruction decoder.
///
/// Guests run on other CPUs meanwhile, so writing takes `&self`, and what was read may change at once: read a
/// structure once, then judge the copy. Two, four or eight bytes at a multiple of their number are read and written at once,
/// not in parts.
pub trait GuestMemory {
    /// Fills `buffer` with the bytes from `address` on.
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked>;

    /// Writes `bytes` from `address` on; either all of them or, where any is unbacked, none.
    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked>;

    /// Replaces the eight bytes at `address`, a multiple of eight, if they are `current`; tells whether they were. What
    /// another vCPU does meanwhile comes before or after, never between.
    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked>;

    /// Runs `act` once, for which many accesses cost less. What the guest is about to lose stays until that is over: `act` does
    /// not last long, and waits for no lock under which somebody might change a guest's memory.
    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory));
}
