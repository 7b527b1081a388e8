// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of processors with VMX, as far as VMCSs go (SDM Vol. 3C, *Software Use of Virtual-Machine Control Structures*).
//!
//! Each CPU keeps the VMCSs that it has loaded to itself until VMCLEAR, and knows nothing of what others keep.

use super::Entry;
use super::Outcome;
use super::Page;
use super::View;
use super::check_launch_state;
use super::fit;
use super::is_exit_information;
use super::is_guest_state;
use super::writable;
use crate::VM_ENTRY_FAILURE;
use crate::field::VM_EXIT_REASON;
use crate::instructions::Failed;
use crate::instructions::VmFail;
use crate::instructions::VmInstructionError;
use crate::instructions::VmcsInstructions;
use crate::region::VmcsPointer;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The revision identifier of the model's VMCSs.
pub(crate) const REVISION: u32 = 0x2A;

/// A VMCS as it is in memory or in a processor.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    fields: HashMap<u16, u64>,
    launched: bool,
}

/// What the CPUs share. A region that no VMCLEAR has seen is in no defined state, and not here.
pub(crate) type Memory = Rc<RefCell<HashMap<VmcsPointer, State>>>;

/// One CPU in VMX root operation.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    memory: Memory,
    loaded: HashMap<VmcsPointer, State>,
    current: Option<VmcsPointer>,
    /// How many of the four instructions were executed.
    executed: Cell<u32>,
}

impl Processor {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self { memory: Rc::clone(memory), ..Self::default() }
    }

    pub(crate) fn executed(&self) -> u32 {
        self.executed.get()
    }

    fn current_mut(&mut self) -> Option<&mut State> {
        self.loaded.get_mut(&self.current?)
    }

    fn count(&self) {
        self.executed.set(self.executed.get() + 1);
    }
}

impl Entry for Processor {
    fn enter(
        &mut self,
        resume: bool,
        msr_bitmap: u64,
        outcome: Outcome,
        guest: &dyn Fn(u16) -> u64,
    ) -> Result<View, VmFail> {
        let vmcs = self.current_mut().ok_or(VmFail::Invalid)?;
        check_launch_state(vmcs.launched, resume)?;
        let value_of = |encoding| (encoding, vmcs.fields.get(&encoding).copied().unwrap_or(0));
        let view = View { fields: writable().map(|field| value_of(field.encoding)).collect(), msr_bitmap };
        let reason = match outcome {
            Outcome::VmFail => return Err(VmFail::Valid(VmInstructionError::INVALID_CONTROL_FIELDS)),
            Outcome::EntryFailure => VM_ENTRY_FAILURE | 33,
            Outcome::Exit => {
                vmcs.launched = true;
                for field in writable().filter(|field| is_guest_state(field.encoding)) {
                    vmcs.fields.insert(field.encoding, fit(field.encoding, guest(field.encoding)));
                }
                10
            }
        };
        vmcs.fields.insert(VM_EXIT_REASON.encoding(), reason.into());
        Ok(view)
    }
}

impl VmcsInstructions for Processor {
    fn vmread(&self, encoding: u16) -> Result<u64, Failed> {
        self.count();
        let vmcs = self.current.and_then(|current| self.loaded.get(&current)).ok_or(Failed)?;
        Ok(vmcs.fields.get(&encoding).copied().unwrap_or(0))
    }

    fn vmwrite(&mut self, encoding: u16, value: u64) -> Result<(), Failed> {
        self.count();
        let vmcs = self.current_mut().ok_or(Failed)?;
        if is_exit_information(encoding) {
            return Err(Failed);
        }
        vmcs.fields.insert(encoding, value);
        Ok(())
    }

    /// With a current VMCS, the model refuses writes to what is read-only, and nothing else.
    fn failure(&self) -> VmFail {
        match self.current {
            Some(_) => VmFail::Valid(VmInstructionError::VMWRITE_READ_ONLY_COMPONENT),
            None => VmFail::Invalid,
        }
    }

    fn vmclear(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail> {
        self.count();
        let mut memory = self.memory.borrow_mut();
        let in_memory = memory.entry(vmcs).or_default();
        if let Some(loaded) = self.loaded.remove(&vmcs) {
            *in_memory = loaded;
        }
        in_memory.launched = false;
        self.current = self.current.filter(|&current| current != vmcs);
        Ok(())
    }

    fn vmptrld(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail> {
        self.count();
        if Page::at(vmcs.address()).read(0, 4) != u64::from(REVISION) {
            return Err(VmFail::Invalid);
        }
        if !self.loaded.contains_key(&vmcs) {
            let state = self.memory.borrow().get(&vmcs).cloned().expect("VMPTRLD without a VMCLEAR before");
            self.loaded.insert(vmcs, state);
        }
        self.current = Some(vmcs);
        Ok(())
    }
}
