// SPDX-License-Identifier: MIT OR Apache-2.0
//! RESET, INIT and start-up IPI: one table of what each field of the VMCS becomes (SDM vol. 3, "Processor States Following
//! Power-up, Reset, or INIT"), and the rest of a vCPU.
//!
//! | state                                                  | RESET                     | INIT             |
//! |--------------------------------------------------------|---------------------------|------------------|
//! | segment and general registers, RIP, RFLAGS, DR7        | `SEGMENTS`, `FIELDS`      | the same         |
//! | CR3, CR4, EFER, interruptibility, event to be injected | `FIELDS`                  | the same         |
//! | CR0                                                    | ET, CD and NW             | ET; CD, NW kept  |
//! | CR2, DR0 to DR3, DR6                                   | `ProcessorState::reset`   | the same         |
//! | x87, SSE and what else XSAVE covers; XCR0              | `ProcessorState::reset`   | kept             |
//! | PAT, SYSENTER, DEBUGCTL and all MSRs but EFER          | `FIELDS` and both resets  | kept             |
//! | TSC, TSC_ADJUST, MISC_ENABLE                           | `State::reset`            | kept             |
//! | local APIC                                             | `LocalApic::reset`        | IA32_APIC_BASE kept |
//! | exception and NMI that wait, HLT                       | forgotten                 | the same         |
//! | linear mappings                                        | dropped                   | dropped          |
//!
//! A guest has no MTRRs, no MPX, no IA32_XSS and no system-management mode, which the manual names too. The TPR
//! threshold goes with the local APIC.

use self::AtInit::AsReset;
use self::AtInit::Kept;
use self::Value::Bits32;
use self::Value::Bits64;
use crate::architecture::cr0;
use crate::architecture::efer;
use crate::architecture::rflags;
use crate::vcpu::cpuid::Current;
use crate::vcpu::end::End;
use crate::vcpu::exits::control_register::CR0_OWNED;
use crate::vcpu::exits::control_register::CR4_OWNED;
use crate::vcpu::exits::control_register::effective_cr0;
use crate::vcpu::exits::control_register::effective_cr4;
use crate::vcpu::guest::Guest;
use crate::vcpu::msr_policy::PAT_AT_RESET;
use crate::vcpu::segment;
use crate::vcpu::segment::Segment;
use crate::vcpu::segment::SegmentRegister;
use crate::vcpu::state::Activity;
use crate::vmx::entry::Registers;
use evmcs::Active;
use evmcs::Field;
use evmcs::controls::EntryControls;
use evmcs::field;

/// What INIT does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtInit {
    /// The same as RESET.
    AsReset,
    /// Nothing.
    Kept,
}

/// A field, and its value after RESET.
#[derive(Clone, Copy)]
enum Value {
    Bits32(Field<u32>, u32),
    Bits64(Field<u64>, u64),
}

/// Control registers and segments are below: they take more than a value.
const FIELDS: [(Value, AtInit); 24] = [
    (Bits64(field::GUEST_RIP, 0xfff0), AsReset),
    (Bits64(field::GUEST_RSP, 0), AsReset),
    (Bits64(field::GUEST_RFLAGS, rflags::FIXED), AsReset),
    (Bits64(field::GUEST_DR7, 0x400), AsReset),
    (Bits64(field::GUEST_GDTR_BASE, 0), AsReset),
    (Bits32(field::GUEST_GDTR_LIMIT, 0xffff), AsReset),
    (Bits64(field::GUEST_IDTR_BASE, 0), AsReset),
    (Bits32(field::GUEST_IDTR_LIMIT, 0xffff), AsReset),
    (Bits64(field::GUEST_PDPTE0, 0), AsReset),
    (Bits64(field::GUEST_PDPTE1, 0), AsReset),
    (Bits64(field::GUEST_PDPTE2, 0), AsReset),
    (Bits64(field::GUEST_PDPTE3, 0), AsReset),
    // Active: HLT and the wait for a start-up IPI are ours, see `Activity`.
    (Bits32(field::GUEST_ACTIVITY_STATE, 0), AsReset),
    (Bits32(field::GUEST_INTERRUPTIBILITY_STATE, 0), AsReset),
    (Bits64(field::GUEST_PENDING_DEBUG_EXCEPTIONS, 0), AsReset),
    (Bits32(field::VM_ENTRY_INTERRUPTION_INFORMATION, 0), AsReset),
    // No shadow VMCS (SDM vol. 3, "Guest Non-Register State").
    (Bits64(field::VMCS_LINK_POINTER, u64::MAX), AsReset),
    (Bits64(field::CR0_GUEST_HOST_MASK, CR0_OWNED), AsReset),
    (Bits64(field::CR4_GUEST_HOST_MASK, CR4_OWNED), AsReset),
    (Bits64(field::GUEST_IA32_PAT, PAT_AT_RESET), Kept),
    (Bits64(field::GUEST_IA32_DEBUGCTL, 0), Kept),
    (Bits32(field::GUEST_IA32_SYSENTER_CS, 0), Kept),
    (Bits64(field::GUEST_IA32_SYSENTER_ESP, 0), Kept),
    (Bits64(field::GUEST_IA32_SYSENTER_EIP, 0), Kept),
];

const DATA: Segment = Segment { selector: 0, base: 0, limit: 0xffff, rights: 0x93 };

/// The reset vector is 16 bytes below 4 GiB. TR is busy, since VM entry takes no other.
const SEGMENTS: [(SegmentRegister, Segment); 8] = [
    (segment::CS, Segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, rights: 0x9b }),
    (segment::SS, DATA),
    (segment::DS, DATA),
    (segment::ES, DATA),
    (segment::FS, DATA),
    (segment::GS, DATA),
    (segment::LDTR, Segment { rights: 0x82, ..DATA }),
    (segment::TR, Segment { rights: 0x8b, ..DATA }),
];

impl Guest<'_> {
    /// RESET, as a vCPU is also made. Reads nothing of what was before. The guest's TSC was zero at `started_at` in
    /// the machine's time, which is one for all vCPUs of a virtual machine.
    ///
    /// The bootstrap processor is at the reset vector, the others wait for a start-up IPI.
    pub fn reset(&mut self, started_at: u64) {
        self.state.reset(started_at);
        self.state.tsc.write_offset(&mut self.vmcs);
        self.write_fields(|_| true);
        self.start_over(cr0::CD | cr0::NW | cr0::ET);
    }

    /// INIT: the bootstrap processor goes to the reset vector, the others wait for a start-up IPI.
    pub fn init(&mut self) {
        let kept = self.vmcs.read(field::CR0_READ_SHADOW) & (cr0::CD | cr0::NW);
        self.state.init();
        self.write_fields(|at_init| at_init == AsReset);
        self.start_over(kept | cr0::ET);
    }

    /// INIT has come. For the bootstrap processor that is the end of the machine: there is no firmware at the reset vector
    /// that could go on from there, since kernels are loaded without any.
    #[cold]
    pub fn take_init(&mut self) -> Result<(), End> {
        self.init();
        if self.state.apic.is_bootstrap() { Err(End::Init) } else { Ok(()) }
    }

    /// A start-up IPI has come, which means something only to a vCPU that waits for one (SDM vol. 3, "MP Initialization
    /// Protocol Algorithm"). `page` is the number of the 4 KiB page where it starts, in real mode.
    #[cold]
    pub fn start_up(&mut self, page: u8) {
        if self.state.activity != Activity::WaitForSipi {
            return;
        }
        self.vmcs.write(field::GUEST_CS_SELECTOR, u16::from(page) << 8);
        self.vmcs.write(field::GUEST_CS_BASE, u64::from(page) << 12);
        self.vmcs.write(field::GUEST_RIP, 0);
        self.state.activity = Activity::Running;
        self.state.attention = true;
    }

    /// What RESET and INIT have alike, but for the fields of the table.
    fn start_over(&mut self, cr0: u64) {
        for (register, segment) in SEGMENTS {
            register.write(&mut self.vmcs, segment);
        }
        write_mode(&mut self.vmcs, Mode { cr0, cr3: 0, cr4: 0, efer: 0 });
        self.settle_apic();
        let version = self.machine.cpuid.answer(1, 0, || Current {
            osxsave: false,
            xcr0: self.state.processor.xcr0(),
            apic_id: self.state.apic.id(),
        });
        self.frame.registers = Registers { rdx: u64::from(version.eax), ..Registers::default() };
    }

    fn write_fields(&mut self, which: impl Fn(AtInit) -> bool) {
        for (value, _) in FIELDS.into_iter().filter(|&(_, at_init)| which(at_init)) {
            match value {
                Bits32(field, value) => self.vmcs.write(field, value),
                Bits64(field, value) => self.vmcs.write(field, value),
            }
        }
    }
}

/// What decides in which mode a processor is, as the guest sees it.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
}

/// Writes it, with what goes with it: read shadows, and the VM-entry control that has to agree with LMA.
pub fn write_mode(vmcs: &mut Active<'_>, mode: Mode) {
    vmcs.write(field::GUEST_CR0, effective_cr0(mode.cr0));
    vmcs.write(field::CR0_READ_SHADOW, mode.cr0);
    vmcs.write(field::GUEST_CR3, mode.cr3);
    vmcs.write(field::GUEST_CR4, effective_cr4(mode.cr4));
    vmcs.write(field::CR4_READ_SHADOW, mode.cr4);
    vmcs.write(field::GUEST_IA32_EFER, mode.efer);
    let controls = EntryControls::from_bits(vmcs.read(field::VM_ENTRY_CONTROLS));
    let long_mode = mode.efer & efer::LMA != 0;
    vmcs.write(field::VM_ENTRY_CONTROLS, controls.with_ia32e_mode_guest(long_mode).into_bits());
}

#[cfg(test)]
mod tests;
