// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls of a guest: which processors are to flush, or what is wrong with the call (TLFS, "Hypercall Interface").
//!
//! Whatever a call names, all linear translations of a processor are flushed: more than was asked for is always right, and
//! one INVVPID is cheaper than any list. So address space and ranges are not even read.

use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::hypercall::CallCode;
use hyperv_bindings::hypercall::FlushFlags;
use hyperv_bindings::hypercall::FlushVirtualAddress;
use hyperv_bindings::hypercall::FlushVirtualAddressEx;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::MAX_BANKS;
use hyperv_bindings::hypercall::ResultValue;
use hyperv_bindings::hypercall::Status;
use hyperv_bindings::hypercall::VpSet;
use hyperv_bindings::hypercall::VpSetError;
use hyperv_bindings::hypercall::VpSetFormat;
use hyperv_bindings::hypercall::VpSetHeader;

/// Quad words of input that XMM0 to XMM5 hold.
pub const XMM_WORDS: usize = 12;
/// Those of a fast call: RDX and R8 come first.
const FAST_WORDS: usize = 2 + XMM_WORDS;
/// Those of the longest fixed header.
const FIXED_WORDS: usize = size_of::<FlushVirtualAddressEx>() / 8;

/// What is in the registers of who calls, by their names in 64-bit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// RCX: what is called, and how.
    pub value: InputValue,
    /// RDX: the address of the input, or the first quad word of it.
    pub input: u64,
    /// R8: the address of the output, or the second quad word of the input.
    pub output: u64,
}

/// Who calls: memory and registers beyond those of [`Call`].
pub trait Caller {
    /// Reads quad words from a guest-physical address that is a multiple of eight; they lie in one page.
    fn read(&self, address: u64, words: &mut [u64]) -> Result<(), Unreadable>;

    /// XMM0 to XMM5, the low half of each first; `None` where input in them is not offered.
    fn xmm(&mut self) -> Option<[u64; XMM_WORDS]>;
}

/// There is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The call raises #UD in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidOpcode;

/// Virtual processors, by VP index, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processors(pub u64);

impl Processors {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// All of the partition, however many there are.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether a processor is one of them.
    #[must_use]
    pub const fn has(self, vp_index: u32) -> bool {
        vp_index < u64::BITS && self.0 >> vp_index & 1 != 0
    }
}

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who is to flush before the call returns.
    pub flush: Processors,
    /// What the call then returns in RAX.
    pub result: ResultValue,
}

/// Judges a call.
pub fn answer(call: Call, caller: &mut impl Caller) -> Result<Answer, InvalidOpcode> {
    match processors(call, caller) {
        Ok(flush) => {
            // All elements of a list are done at once, whichever was the first.
            let result = ResultValue::new().with_reps_completed(call.value.rep_count());
            Ok(Answer { flush, result })
        }
        Err(Fault::Status(status)) => {
            Ok(Answer { flush: Processors::NONE, result: ResultValue::new().with_status(status) })
        }
        Err(Fault::InvalidOpcode) => Err(InvalidOpcode),
    }
}

/// Why nothing is flushed.
enum Fault {
    Status(Status),
    InvalidOpcode,
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// A list of ranges follows the headers.
    list: bool,
    /// The processors come as a set ("Ex"), not as a mask.
    set: bool,
}

impl Kind {
    fn of(code: CallCode) -> Result<Self, Status> {
        match code {
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE => Ok(Self { list: false, set: false }),
            CallCode::FLUSH_VIRTUAL_ADDRESS_LIST => Ok(Self { list: true, set: false }),
            CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX => Ok(Self { list: false, set: true }),
            CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX => Ok(Self { list: true, set: true }),
            _ => Err(Status::INVALID_HYPERCALL_CODE),
        }
    }

    /// Quad words of the fixed header.
    fn fixed(self) -> usize {
        if self.set { FIXED_WORDS } else { size_of::<FlushVirtualAddress>() / 8 }
    }

    /// Whether such a call can have that input value.
    fn check(self, value: InputValue) -> Result<(), Status> {
        let reserved = value.into_bits() & InputValue::RESERVED != 0 || value.nested();
        let reps = if self.list {
            value.rep_start() < value.rep_count()
        } else {
            value.rep_count() | value.rep_start() == 0
        };
        let header = self.set || value.variable_header_size() == 0;
        if reserved || !reps || !header { Err(Status::INVALID_HYPERCALL_INPUT) } else { Ok(()) }
    }

    fn check_flags(self, flags: FlushFlags) -> Result<(), Status> {
        let defined = FlushFlags::new()
            .with_all_processors(true)
            .with_all_virtual_address_spaces(true)
            .with_non_global_mappings_only(!self.list)
            .with_extended_range_format(true);
        if flags.into_bits() & !defined.into_bits() == 0 { Ok(()) } else { Err(Status::INVALID_PARAMETER) }
    }
}

/// Who is to flush.
fn processors(call: Call, caller: &mut impl Caller) -> Result<Processors, Fault> {
    let value = call.value;
    let kind = Kind::of(value.code())?;
    kind.check(value)?;
    let variable = usize::from(value.variable_header_size());
    let all = kind.fixed() + variable + usize::from(value.rep_count());
    let input = Input::of(call, all, caller)?;
    let mut fixed = [0; FIXED_WORDS];
    input.read(caller, 0, &mut fixed[..kind.fixed()])?;
    let [_, flags, members, valid_banks_mask] = fixed;
    let flags = FlushFlags::from_bits(flags);
    kind.check_flags(flags)?;
    let named = if kind.set {
        let header = VpSetHeader { format: VpSetFormat(members), valid_banks_mask };
        let mut banks = [0; MAX_BANKS];
        let banks = banks.get_mut(..variable).ok_or(Status::INVALID_HYPERCALL_INPUT)?;
        input.read(caller, kind.fixed(), banks)?;
        in_set(header, banks)?
    } else {
        in_mask(members)
    };
    Ok(if flags.all_processors() { Processors::ALL } else { named })
}

/// Nobody is everybody: old systems mean that, KVM takes it for that, and it does no harm.
fn in_mask(mask: u64) -> Processors {
    if mask == 0 { Processors::ALL } else { Processors(mask) }
}

fn in_set(header: VpSetHeader, banks: &[u64]) -> Result<Processors, Status> {
    match VpSet::decode(header, banks) {
        Ok(VpSet::All) => Ok(Processors::ALL),
        Ok(VpSet::Sparse(set)) => {
            let members = (0..u64::BITS).filter(|&vp_index| set.contains(vp_index));
            Ok(Processors(members.fold(0, |mask, vp_index| mask | 1 << vp_index)))
        }
        Err(VpSetError::Size { .. }) => Err(Status::INVALID_HYPERCALL_INPUT),
        Err(VpSetError::Format(_)) => Err(Status::INVALID_PARAMETER),
    }
}

/// Where the input is.
enum Input {
    Registers([u64; FAST_WORDS]),
    Memory { address: u64 },
}

impl Input {
    /// Where the input of so many quad words is.
    fn of(call: Call, words: usize, caller: &mut impl Caller) -> Result<Self, Fault> {
        if call.value.fast() {
            let xmm = caller.xmm().ok_or(Fault::InvalidOpcode)?;
            if words > FAST_WORDS {
                return Err(Status::INVALID_HYPERCALL_INPUT.into());
            }
            let mut registers = [call.input, call.output, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            registers[2..].copy_from_slice(&xmm);
            return Ok(Self::Registers(registers));
        }
        let address = call.input;
        let offset = (address % PAGE_SIZE as u64) as usize;
        if !address.is_multiple_of(8) || offset + 8 * words > PAGE_SIZE {
            return Err(Status::INVALID_ALIGNMENT.into());
        }
        Ok(Self::Memory { address })
    }

    /// Reads from quad word number `first` on; there are as many.
    fn read(&self, caller: &impl Caller, first: usize, words: &mut [u64]) -> Result<(), Status> {
        match self {
            Self::Registers(registers) => words.copy_from_slice(&registers[first..first + words.len()]),
            Self::Memory { address } => caller
                .read(address + 8 * first as u64, words)
                .map_err(|Unreadable| Status::INVALID_HYPERCALL_INPUT)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
