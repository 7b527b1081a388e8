// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model of an L0's synthetic MSRs: it has those that it is given, keeps of each the bits that it is told to, and refuses the rest.

// UNSAFETY: makes a page that is shared with nobody.
#![expect(unsafe_code)]

use crate::consume::MsrRefused;
use crate::consume::SharedPage;
use crate::consume::SyntheticMsrs;
use core::ptr::NonNull;
use std::alloc::Layout;
use std::alloc::alloc;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A register: what it holds, and which bits a write changes. `None` refuses writes.
#[derive(Clone, Copy, Debug)]
struct Register {
    value: u64,
    takes: Option<u64>,
}

#[derive(Debug, Default)]
pub(in crate::consume) struct ModelMsrs {
    registers: RefCell<BTreeMap<u32, Register>>,
    writes: RefCell<Vec<(u32, u64)>>,
}

impl ModelMsrs {
    /// The same, and an MSR that takes any value.
    pub(in crate::consume) fn with(self, msr: u32, value: u64) -> Self {
        self.taking(msr, value, u64::MAX)
    }

    /// The same, and an MSR of which a write changes those bits alone.
    pub(in crate::consume) fn taking(self, msr: u32, value: u64, mask: u64) -> Self {
        self.registers.borrow_mut().insert(msr, Register { value, takes: Some(mask) });
        self
    }

    /// The same, and an MSR that can be read alone.
    pub(in crate::consume) fn read_only(self, msr: u32, value: u64) -> Self {
        self.registers.borrow_mut().insert(msr, Register { value, takes: None });
        self
    }

    pub(in crate::consume) fn set(&self, msr: u32, value: u64) {
        self.registers.borrow_mut().get_mut(&msr).expect("it is there").value = value;
    }

    pub(in crate::consume) fn get(&self, msr: u32) -> u64 {
        self.registers.borrow()[&msr].value
    }

    /// What was written and taken, in order, since this was asked last.
    pub(in crate::consume) fn writes(&self) -> Vec<(u32, u64)> {
        self.writes.take()
    }
}

impl SyntheticMsrs for ModelMsrs {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        self.registers.borrow().get(&msr).map(|register| register.value).ok_or(MsrRefused { msr })
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        let mut registers = self.registers.borrow_mut();
        let register = registers.get_mut(&msr).ok_or(MsrRefused { msr })?;
        let takes = register.takes.ok_or(MsrRefused { msr })?;
        register.value = register.value & !takes | value & takes;
        self.writes.borrow_mut().push((msr, value));
        Ok(())
    }
}

/// A page at that guest-physical address, and where it is; it is never freed.
pub(in crate::consume) fn page(address: u64) -> (SharedPage, NonNull<u8>) {
    let layout = Layout::from_size_align(4096, 4096).expect("a page is a page");
    // SAFETY: not of size zero.
    let pointer = NonNull::new(unsafe { alloc(layout) }).expect("the host has memory");
    // SAFETY: a page of its own that stays; nobody is told of its address who would write to it.
    (unsafe { SharedPage::new(pointer, address) }, pointer)
}

/// L0 writes to the page.
pub(in crate::consume) fn l0_writes(page: NonNull<u8>, sequence: u32, scale: u64, offset: i64) {
    // SAFETY: inside of the page and aligned; tests have one thread.
    unsafe {
        page.cast::<u32>().write_volatile(sequence);
        page.add(8).cast::<u64>().write_volatile(scale);
        page.add(16).cast::<i64>().write_volatile(offset);
    }
}
