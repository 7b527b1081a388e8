// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small guest's memory that somebody changes while a device looks at it, and that counts how often it does.

use std::cell::Cell;
use std::cell::RefCell;

use hypervisor::mmu::GuestMemory;
use hypervisor::mmu::GuestPhysical;
use hypervisor::mmu::Unbacked;

/// From address 0 on.
#[derive(Debug)]
pub struct Restless {
    bytes: RefCell<Vec<u8>>,
    changes: RefCell<Vec<[u8; 4]>>,
    accesses: Cell<usize>,
}

impl Restless {
    /// So many bytes, which begin with `content`. At each access the last of `changes` is made: two bytes that say where,
    /// and two that are put there.
    #[must_use]
    pub fn new(size: usize, content: &[u8], changes: Vec<[u8; 4]>) -> Self {
        let mut bytes = content[..content.len().min(size)].to_vec();
        bytes.resize(size, 0);
        Self { bytes: bytes.into(), changes: changes.into(), accesses: Cell::new(0) }
    }

    /// How often it was read or written since this was asked last.
    pub fn take_accesses(&self) -> usize {
        self.accesses.take()
    }

    /// Puts `bytes` where there is room for them.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.borrow_mut().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn change(&self) {
        self.accesses.set(self.accesses.get() + 1);
        let change = self.changes.borrow_mut().pop();
        if let Some([low, high, word @ ..]) = change {
            let at = usize::from(u16::from_le_bytes([low, high])) % self.bytes.borrow().len();
            self.put(at, &word);
        }
    }
}

impl GuestMemory for Restless {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.change();
        let bytes = self.bytes.borrow();
        let start = usize::try_from(address.0).map_err(|_| Unbacked { address })?;
        let end = start.checked_add(buffer.len()).ok_or(Unbacked { address })?;
        buffer.copy_from_slice(bytes.get(start..end).ok_or(Unbacked { address })?);
        Ok(())
    }

    fn write(&self, address: GuestPhysical, new: &[u8]) -> Result<(), Unbacked> {
        self.change();
        let mut bytes = self.bytes.borrow_mut();
        let start = usize::try_from(address.0).map_err(|_| Unbacked { address })?;
        let end = start.checked_add(new.len()).ok_or(Unbacked { address })?;
        bytes.get_mut(start..end).ok_or(Unbacked { address })?.copy_from_slice(new);
        Ok(())
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        let equal = u64::from_le_bytes(bytes) == current;
        if equal {
            self.write(address, &new.to_le_bytes())?;
        }
        Ok(equal)
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        act(self);
    }
}
