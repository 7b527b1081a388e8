// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM exit tells: its reason, and the qualification of those reasons that have one.

use bitfield_struct::bitfield;
use core::fmt;
use hyperv_bindings::assist_page;

const _: () = assert!(ExitReason::TRAP_AFTER_FLUSH.0 == assist_page::TRAP_AFTER_FLUSH);

/// Basic exit reason (SDM vol. 3, appendix C), or the one that an L0 made up. An open set: a reason that has no name here is data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExitReason(u32);

/// What of the VMCS's exit reason tells reasons apart: the basic reason in bits 15:0, and bit 28, by which an L0's own reason differs
/// from a basic one.
///
/// Of a processor, bit 28 says "pending MTF VM exit". It is set only in the VMCS of an SMM-transfer monitor (SDM vol. 3,
/// "Basic VM-Exit Information"), which Satori is not: with it, what comes is none of the processor's reasons.
const TELLING: u32 = 0xffff | 1 << 28;

macro_rules! exit_reasons {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl ExitReason {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }

        impl fmt::Debug for ExitReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other @ ..=0xffff) => write!(f, "exit reason {other}"),
                    Self(other) => write!(f, "exit reason {other:#x}"),
                }
            }
        }
    };
}

exit_reasons! {
    /// An exception of the guest that the exception bitmap names, or an NMI.
    EXCEPTION_OR_NMI = 0,
    /// An interrupt for us.
    EXTERNAL_INTERRUPT = 1,
    /// The guest has no way to go on.
    TRIPLE_FAULT = 2,
    /// INIT was sent to this CPU.
    INIT_SIGNAL = 3,
    /// The guest can take an interrupt now.
    INTERRUPT_WINDOW = 7,
    /// An NMI can be delivered now.
    NMI_WINDOW = 8,
    /// The guest switches tasks by hardware.
    TASK_SWITCH = 9,
    /// CPUID.
    CPUID = 10,
    /// GETSEC.
    GETSEC = 11,
    /// HLT.
    HLT = 12,
    /// INVD.
    INVD = 13,
    /// RDPMC.
    RDPMC = 15,
    /// RDTSC.
    RDTSC = 16,
    /// RSM.
    RSM = 17,
    /// VMCALL.
    VMCALL = 18,
    /// VMCLEAR.
    VMCLEAR = 19,
    /// VMLAUNCH.
    VMLAUNCH = 20,
    /// VMPTRLD.
    VMPTRLD = 21,
    /// VMPTRST.
    VMPTRST = 22,
    /// VMREAD.
    VMREAD = 23,
    /// VMRESUME.
    VMRESUME = 24,
    /// VMWRITE.
    VMWRITE = 25,
    /// VMXOFF.
    VMXOFF = 26,
    /// VMXON.
    VMXON = 27,
    /// MOV to or from a control register.
    CONTROL_REGISTER = 28,
    /// IN, OUT and their string forms.
    IO_INSTRUCTION = 30,
    /// RDMSR.
    RDMSR = 31,
    /// WRMSR.
    WRMSR = 32,
    /// Entry failed: the guest's state is not one that can be.
    INVALID_GUEST_STATE = 33,
    /// Entry failed while loading MSRs.
    MSR_LOADING = 34,
    /// MWAIT.
    MWAIT = 36,
    /// MONITOR.
    MONITOR = 39,
    /// PAUSE, or a loop of it.
    PAUSE = 40,
    /// Entry failed with a machine check.
    MACHINE_CHECK = 41,
    /// The guest has set its task priority below the TPR threshold.
    TPR_BELOW_THRESHOLD = 43,
    /// The guest touched a register of the local APIC that the processor does not play.
    APIC_ACCESS = 44,
    /// The guest has ended the handling of an interrupt of which somebody waits to hear.
    VIRTUALIZED_EOI = 45,
    /// The guest has written to a register of the local APIC, and what comes of that is ours.
    APIC_WRITE = 56,
    /// An EPT entry does not allow the access.
    EPT_VIOLATION = 48,
    /// An EPT entry is malformed.
    EPT_MISCONFIGURATION = 49,
    /// INVEPT.
    INVEPT = 50,
    /// RDTSCP.
    RDTSCP = 51,
    /// INVVPID.
    INVVPID = 53,
    /// WBINVD or WBNOINVD.
    WBINVD = 54,
    /// XSETBV.
    XSETBV = 55,
    /// VMFUNC.
    VMFUNC = 59,
    /// SEAMCALL, which exits whatever the privilege.
    SEAMCALL = 76,
    /// TDCALL, which exits whatever the privilege.
    TDCALL = 77,
    /// L0 has flushed for the guest, at its call, while the partition assist page asked for an exit after that (TLFS, "Direct Virtual
    /// Flush"). The call is done, RIP is behind it. Its low half is that of an EPT misconfiguration.
    TRAP_AFTER_FLUSH = 0x1000_0031,
    /// No reason, but where they are counted: all that have no counter of their own.
    OTHERS = 0xffff,
}

impl ExitReason {
    /// The reason that the VMCS's exit reason tells, without what it says beside that.
    #[must_use]
    pub const fn from_field(field: u32) -> Self {
        Self(field & TELLING)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Exit qualification of an APIC access (SDM vol. 3, "Exit Qualification for APIC-Access VM Exits from Linear Accesses and
/// Guest-Physical Accesses").
#[bitfield(u64)]
pub struct ApicAccessQualification {
    /// Where in the page, for a linear access.
    #[bits(12)]
    pub offset: u64,
    /// How it was touched: one of [`ApicAccessQualification::READ`] and its like.
    #[bits(4)]
    pub kind: u8,
    #[bits(48)]
    __: u64,
}

impl ApicAccessQualification {
    /// A data read by an instruction.
    pub const READ: u8 = 0;
    /// A data write by an instruction.
    pub const WRITE: u8 = 1;
}

/// Exit qualification of an I/O instruction (SDM vol. 3, "Exit Qualification for I/O Instructions").
#[bitfield(u64)]
pub struct IoQualification {
    /// Bytes less one: 0, 1 or 3.
    #[bits(3)]
    pub size_less_one: u8,
    /// IN rather than OUT.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeated: bool,
    /// The port is in the instruction rather than in DX.
    pub immediate: bool,
    #[bits(9)]
    __: u16,
    /// The port.
    pub port: u16,
    __: u32,
}

/// Exit qualification of a control register access (SDM vol. 3, "Exit Qualification for Control-Register Accesses").
#[bitfield(u64)]
pub struct ControlRegisterQualification {
    /// Which control register.
    #[bits(4)]
    pub register: u8,
    /// 0 MOV to it, 1 MOV from it, 2 CLTS, 3 LMSW.
    #[bits(2)]
    pub access: u8,
    #[bits(2)]
    __: u8,
    /// The other operand of a MOV, by its number in instructions.
    #[bits(4)]
    pub general_register: u8,
    #[bits(52)]
    __: u64,
}

/// Exit qualification of an EPT violation (SDM vol. 3, "Exit Qualification for EPT Violations").
#[bitfield(u64)]
pub struct EptQualification {
    /// A read.
    pub read: bool,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    #[bits(4)]
    __: u8,
    /// The guest-linear address is known.
    pub linear_valid: bool,
    /// The access was to that address's translation, not to one of the guest's page tables.
    pub final_access: bool,
    #[bits(3)]
    __: u8,
    /// An IRET that it interrupted had unblocked NMIs already.
    pub nmi_unblocking: bool,
    #[bits(51)]
    __: u64,
}

/// VM-entry interruption information, VM-exit interruption information and IDT-vectoring information share their shape
/// (SDM vol. 3, "VM-Entry Controls for Event Injection", "Information for VM Exits Due to Vectored Events", "Information for VM Exits That Occur During Event Delivery").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventInformation {
    /// Vector.
    pub vector: u8,
    /// See [`event`].
    #[bits(3)]
    pub kind: u8,
    /// An error code goes with it.
    pub error_code: bool,
    /// For an NMI at exit: unblocked by IRET.
    pub nmi_unblocking: bool,
    #[bits(18)]
    __: u32,
    /// The rest means something.
    pub valid: bool,
}

/// Kinds of events in [`EventInformation`].
pub mod event {
    /// External interrupt.
    pub const EXTERNAL_INTERRUPT: u8 = 0;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Exception that the CPU raised.
    pub const HARDWARE_EXCEPTION: u8 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM vol. 3, "Basic VM-Exit Information": entry failure, VMX root operation, enclave mode, bus lock, shadow stack.
    #[test]
    fn what_a_processor_says_beside_the_reason_is_left_out() {
        for beside in [31, 29, 27, 26, 25].map(|bit| 1 << bit) {
            assert_eq!(ExitReason::from_field(beside | 10), ExitReason::CPUID);
            assert_eq!(ExitReason::from_field(beside | 49), ExitReason::EPT_MISCONFIGURATION);
        }
        assert_eq!(ExitReason::from_field(!(1 << 28)).number(), 0xffff);
    }

    #[test]
    fn a_trap_after_a_flush_is_no_ept_misconfiguration() {
        let trap = ExitReason::from_field(0x1000_0031);
        assert_eq!(trap, ExitReason::TRAP_AFTER_FLUSH);
        assert_ne!(trap, ExitReason::EPT_MISCONFIGURATION);
        assert_eq!(ExitReason::from_field(0x31), ExitReason::EPT_MISCONFIGURATION);
        assert_eq!(format!("{trap:?}"), "TRAP_AFTER_FLUSH");
    }

    #[test]
    fn another_reason_that_an_l0_makes_up_is_none_of_the_processors() {
        let made_up = ExitReason::from_field(0x1000_000a);
        assert_ne!(made_up, ExitReason::CPUID);
        assert_eq!(
            format!("{made_up:?} {:?}", ExitReason::from_field(78)),
            "exit reason 0x1000000a exit reason 78"
        );
    }
}
