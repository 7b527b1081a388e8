// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place for a current VMCS that each CPU has.

use crate::assist_page::AssistPage;
use crate::instructions::VmcsInstructions;
use crate::native::NativeInstructions;
use crate::region::VmcsPointer;
use crate::vmcs::Backing;
use core::fmt;

/// A CPU's place for the current VMCS (SDM Vol. 3C, *Software Use of Virtual-Machine Control Structures*).
///
/// Activating a VMCS borrows it, so that no two are active on a CPU at once. A slot takes VMCSs of one
/// [backing](Backing): L0 refuses VMPTRLD while an enlightened VMCS is in use, so a CPU uses one kind or the other.
#[derive(Debug)]
pub struct VmcsSlot<I = NativeInstructions> {
    pub(crate) cpu: u32,
    pub(crate) instructions: I,
    pub(crate) assist_page: Option<AssistPage>,
    pub(crate) current: Option<VmcsPointer>,
    /// How many VMCSs are resident here, the current one included.
    pub(crate) residents: u32,
}

impl<I: VmcsInstructions> VmcsSlot<I> {
    /// The slot of CPU number `cpu` for ordinary VMCSs. No two slots have the same number.
    pub fn native(cpu: u32, instructions: I) -> Self {
        Self { cpu, instructions, assist_page: None, current: None, residents: 0 }
    }

    /// The slot of CPU number `cpu` for enlightened VMCSs. No two slots have the same number.
    pub fn enlightened(cpu: u32, instructions: I, assist_page: AssistPage) -> Self {
        Self { cpu, instructions, assist_page: Some(assist_page), current: None, residents: 0 }
    }

    /// Makes a native slot one for enlightened VMCSs, once it is known that every CPU has an assist page.
    ///
    /// # Errors
    /// [`StillResident`]: ordinary VMCSs have to be released first.
    ///
    /// # Panics
    /// It is one already: a fault of our own.
    pub fn enlighten(&mut self, assist_page: AssistPage) -> Result<(), StillResident> {
        assert!(self.assist_page.is_none(), "CPU {} takes enlightened VMCSs already", self.cpu);
        self.check_empty()?;
        self.assist_page = Some(assist_page);
        Ok(())
    }

    /// Which VMCSs the slot takes.
    pub fn backing(&self) -> Backing {
        if self.assist_page.is_some() { Backing::Enlightened } else { Backing::Native }
    }

    /// Ends the use of VMCSs on this CPU, as before VMXOFF or before another kernel starts: the VP assist page no
    /// longer names any, nor lets guests call L0 directly. Every VMCS that is resident here has to be released first.
    ///
    /// # Errors
    /// [`StillResident`], with how many VMCSs have to be released there first.
    pub fn retire(&mut self) -> Result<(), StillResident> {
        self.check_empty()?;
        // Not earlier, when the current VMCS is released: L0 tells an enlightened VMCS from an ordinary one by
        // EnlightenVmEntry alone, and a VMCLEAR of one that is resident but not current would write into its page.
        if let Some(assist_page) = &mut self.assist_page {
            assist_page.withdraw();
        }
        Ok(())
    }

    fn check_empty(&self) -> Result<(), StillResident> {
        match self.residents {
            0 => Ok(()),
            residents => Err(StillResident { cpu: self.cpu, residents }),
        }
    }
}

impl VmcsSlot {
    /// How many VMREADs and VMWRITEs were executed on this CPU, those that failed included. With enlightened VMCSs
    /// alone it stays where it is.
    pub fn vmcs_accesses(&self) -> u64 {
        self.instructions.accesses()
    }
}

/// A CPU could not stop using VMCSs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillResident {
    /// The CPU's number.
    pub cpu: u32,
    /// How many VMCSs have to be released there.
    pub residents: u32,
}

impl fmt::Display for StillResident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} still holds {} VMCS(s): release them there first", self.cpu, self.residents)
    }
}

impl core::error::Error for StillResident {}
