// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VMCS and its life cycle: released, resident on a CPU, active there.

use crate::active::Active;
use crate::instructions::VmFail;
use crate::instructions::VmcsInstructions;
use crate::mutation::Mutation;
use crate::region::VmcsRegion;
use crate::slot::VmcsSlot;
use core::fmt;
use core::mem::offset_of;
use hyperv_bindings::enlightened_vmcs::EnlightenedVmcs;
use hyperv_bindings::enlightened_vmcs::EnlightenmentsControl;
use hyperv_bindings::enlightened_vmcs::VERSION;

/// Offset of the clean fields, a `u32`.
pub(crate) const CLEAN_FIELDS: u16 = offset_of!(EnlightenedVmcs, clean_fields) as u16;

/// What holds the fields of a VMCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The processor: VMREAD and VMWRITE.
    Native,
    /// A page that L0 reads: the enlightened VMCS.
    Enlightened,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Enlightened => "enlightened",
        })
    }
}

/// What an enlightened VMCS holds beyond the fields of a VMCS (TLFS, HV_VMX_ENLIGHTENED_VMCS).
/// The default is to have L0 do nothing by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enlightenments {
    /// What L0 does without an exit to us.
    pub control: EnlightenmentsControl,
    /// Identity of the virtual processor in its VM, for direct virtual flush.
    pub vp_id: u32,
    /// Identity of the VM, for direct virtual flush.
    pub vm_id: u64,
    /// GPA of the VM's partition assist page, for direct virtual flush.
    pub partition_assist_page: u64,
}

/// Where a VMCS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Residence {
    /// On no CPU, and no processor has seen it yet.
    New,
    /// On no CPU. Its launch state is *clear*, its clean bits are zero.
    Released,
    /// On a CPU, which may hold parts of it that are not in memory.
    Resident { cpu: u32, launched: bool },
}

/// A VMCS: one virtual CPU's state for the processor, held by it or by an enlightened page.
///
/// It is *released* (on no CPU), *resident* on a CPU, or *active*, that is, current there. Only an [`Active`] one can be
/// read, written and entered. It moves to another CPU by [`release`](Self::release) on the one where it is.
#[derive(Debug)]
pub struct Vmcs {
    region: VmcsRegion,
    backing: Backing,
    residence: Residence,
}

impl Vmcs {
    /// An ordinary VMCS. `revision` is bits 30:0 of IA32_VMX_BASIC.
    pub fn native(mut region: VmcsRegion, revision: u32) -> Self {
        region.erase(revision);
        Self { region, backing: Backing::Native, residence: Residence::New }
    }

    /// An enlightened VMCS, version 1. `enlightenments` stay for its lifetime.
    pub fn enlightened(mut region: VmcsRegion, enlightenments: &Enlightenments) -> Self {
        let found: Option<u32> = Mutation::Mapping.is_made().then(|| region.enlightened().read(CLEAN_FIELDS));
        region.erase(VERSION);
        let page = region.enlightened();
        if let Some(found) = found {
            page.write(CLEAN_FIELDS, found);
        }
        page.write(
            offset_of!(EnlightenedVmcs, enlightenments_control) as u16,
            enlightenments.control.into_bits(),
        );
        page.write(offset_of!(EnlightenedVmcs, vp_id) as u16, enlightenments.vp_id);
        page.write(offset_of!(EnlightenedVmcs, vm_id) as u16, enlightenments.vm_id);
        page.write(
            offset_of!(EnlightenedVmcs, partition_assist_page) as u16,
            enlightenments.partition_assist_page,
        );
        // The page's clean bits are zero: the first entry reads everything.
        Self { region, backing: Backing::Enlightened, residence: Residence::New }
    }

    /// What holds its fields.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The number of the CPU where it is resident.
    pub fn resident_on(&self) -> Option<u32> {
        match self.residence {
            Residence::New | Residence::Released => None,
            Residence::Resident { cpu, .. } => Some(cpu),
        }
    }

    /// Whether it is the current VMCS of the slot's CPU.
    ///
    /// What L0 does for a guest on behalf of others, as with direct virtual flush, it does for those whose enlightened VMCS is
    /// current. So when one becomes current again, its virtual CPU may have missed flushes, though it was released by nobody.
    #[inline]
    pub fn is_current<I>(&self, slot: &VmcsSlot<I>) -> bool {
        slot.current == Some(self.region.pointer())
    }

    /// Makes it the current VMCS of the slot's CPU. If it is that already, no instruction is executed.
    ///
    /// Dropping the [`Active`] leaves it current, for the next time to be cheap.
    ///
    /// # Errors
    /// It is resident on another CPU, where [`release`](Self::release) has to be called first; or the slot takes the
    /// other backing; or VMCLEAR of a new VMCS or VMPTRLD failed.
    #[inline]
    pub fn activate<'a, I: VmcsInstructions>(
        &'a mut self,
        slot: &'a mut VmcsSlot<I>,
    ) -> Result<Active<'a, I>, VmcsError> {
        if !self.is_current(slot) {
            self.make_current(slot)?;
        }
        let Residence::Resident { launched, .. } = &mut self.residence else {
            unreachable!("the current VMCS of a CPU is resident there");
        };
        let page = match self.backing {
            Backing::Native => None,
            Backing::Enlightened => Some(self.region.enlightened()),
        };
        Ok(Active::new(page, launched, &mut slot.instructions))
    }

    #[cold]
    fn make_current<I: VmcsInstructions>(&mut self, slot: &mut VmcsSlot<I>) -> Result<(), VmcsError> {
        if let Some(cpu) = self.resident_on().filter(|&cpu| cpu != slot.cpu) {
            return Err(VmcsError::ResidentElsewhere { cpu, here: slot.cpu });
        }
        if self.backing != slot.backing() {
            return Err(VmcsError::OtherBacking { vmcs: self.backing, slot: slot.backing() });
        }
        let pointer = self.region.pointer();
        match &mut slot.assist_page {
            Some(_) if Mutation::Select.is_made() => {}
            Some(assist_page) => assist_page.select(pointer),
            None => {
                if self.residence == Residence::New {
                    slot.instructions.vmclear(pointer).map_err(VmcsError::Vmclear)?;
                }
                slot.instructions.vmptrld(pointer).map_err(VmcsError::Vmptrld)?;
            }
        }
        slot.current = Some(pointer);
        if self.resident_on().is_none() {
            self.residence = Residence::Resident { cpu: slot.cpu, launched: false };
            slot.residents += 1;
        }
        Ok(())
    }

    /// Takes it off the CPU where it is resident, which has to be the slot's. Whatever the processor or L0 holds of it
    /// is written back; the next entry, on any CPU, is a VMLAUNCH of which L0 reads every field.
    /// A VMCS that is released already stays so.
    ///
    /// # Errors
    /// It is resident on another CPU, or VMCLEAR failed; it is still resident then.
    pub fn release<I: VmcsInstructions>(&mut self, slot: &mut VmcsSlot<I>) -> Result<(), VmcsError> {
        let Some(cpu) = self.resident_on() else { return Ok(()) };
        if cpu != slot.cpu {
            return Err(VmcsError::ResidentElsewhere { cpu, here: slot.cpu });
        }
        let pointer = self.region.pointer();
        if !Mutation::ReleaseVmclears.is_made() {
            slot.instructions.vmclear(pointer).map_err(VmcsError::Vmclear)?;
        }
        if self.backing == Backing::Enlightened && !Mutation::ReleaseClears.is_made() {
            self.region.enlightened().write(CLEAN_FIELDS, 0_u32);
        }
        if slot.current == Some(pointer) {
            slot.current = None;
        }
        slot.residents -= 1;
        self.residence = Residence::Released;
        Ok(())
    }

    /// Gives the region back, as when the virtual CPU ends.
    ///
    /// # Errors
    /// The VMCS itself if it is resident on a CPU, which may still write to the region.
    pub fn into_region(self) -> Result<VmcsRegion, Self> {
        if self.resident_on().is_some() { Err(self) } else { Ok(self.region) }
    }
}

/// A VMCS could not be activated or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmcsError {
    /// It is resident on the CPU of number `cpu`, not `here`.
    ResidentElsewhere {
        /// Where it is.
        cpu: u32,
        /// Whose slot was given.
        here: u32,
    },
    /// The slot takes VMCSs of another backing.
    OtherBacking {
        /// The VMCS's backing.
        vmcs: Backing,
        /// What the slot takes.
        slot: Backing,
    },
    /// VMCLEAR failed.
    Vmclear(VmFail),
    /// VMPTRLD failed.
    Vmptrld(VmFail),
}

impl fmt::Display for VmcsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResidentElsewhere { cpu, here } => {
                write!(
                    f,
                    "the VMCS is resident on CPU {cpu}, not on CPU {here}: release it on CPU {cpu} first"
                )
            }
            Self::OtherBacking { vmcs, slot } => {
                write!(f, "the VMCS is {vmcs}, but this CPU uses {slot} ones: create it with that backing")
            }
            Self::Vmclear(fail) => write!(f, "VMCLEAR failed: {fail}; check the region and VMX operation"),
            Self::Vmptrld(fail) => {
                write!(f, "VMPTRLD failed: {fail}; check the region and its revision identifier")
            }
        }
    }
}

impl core::error::Error for VmcsError {}

#[cfg(test)]
mod tests;
