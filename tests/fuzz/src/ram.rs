// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory of which only what is written is kept: a target runs thousands of times a second.

use std::cell::RefCell;
use std::ops::Range;

use hypervisor::mmu::GuestMemory;
use hypervisor::mmu::GuestPhysical;
use hypervisor::mmu::Unbacked;

/// Reads as zeros where nothing was written.
#[derive(Debug)]
pub struct Ram {
    ranges: Vec<Range<u64>>,
    written: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl Ram {
    /// RAM in these ranges.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self { ranges: ranges.into_iter().collect(), written: RefCell::default() }
    }

    /// What was written, in the order in which it was.
    #[must_use]
    pub fn written(&self) -> Vec<Range<u64>> {
        self.written.borrow().iter().map(|(start, bytes)| *start..*start + bytes.len() as u64).collect()
    }

    fn check(&self, address: GuestPhysical, length: usize) -> Result<(), Unbacked> {
        let end = address.0.checked_add(length as u64);
        let is_backed = |end| self.ranges.iter().any(|range| range.start <= address.0 && end <= range.end);
        if length == 0 || end.is_some_and(is_backed) { Ok(()) } else { Err(Unbacked { address }) }
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.check(address, buffer.len())?;
        buffer.fill(0);
        let wanted = address.0..address.0 + buffer.len() as u64;
        for (start, bytes) in self.written.borrow().iter() {
            let common = wanted.start.max(*start)..wanted.end.min(start + bytes.len() as u64);
            if !common.is_empty() {
                let within = |start: u64| (common.start - start) as usize..(common.end - start) as usize;
                buffer[within(wanted.start)].copy_from_slice(&bytes[within(*start)]);
            }
        }
        Ok(())
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.check(address, bytes.len())?;
        self.written.borrow_mut().push((address.0, bytes.to_vec()));
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
