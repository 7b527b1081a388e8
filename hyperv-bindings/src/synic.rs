// SPDX-License-Identifier: MIT OR Apache-2.0
//! The synthetic interrupt controller: its message page, event flags page and registers
//! (TLFS, "Inter-Partition Communication").

use crate::PAGE_SIZE;
use crate::layout::assert_layout;
use crate::open_set::open_set;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Synthetic interrupt sources per virtual processor; each has a slot in either page.
pub const INTERRUPT_SOURCES: usize = 16;

/// Bytes of payload that a message can carry.
pub const MAX_PAYLOAD: usize = 240;

/// Event flags per interrupt source.
pub const EVENT_FLAGS: u16 = 2048;

/// The page that [`SIMP`](crate::msr::SIMP) places. The hypervisor writes it at any time.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct MessagePage {
    /// One message per interrupt source.
    pub slots: [Message; INTERRUPT_SOURCES],
}

assert_layout!(MessagePage, 4096, { slots: 0 });
const _: () = assert!(align_of::<MessagePage>() == PAGE_SIZE);

/// A message (TLFS, `HV_MESSAGE`). The slot is free while the type is [`MessageType::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Message {
    /// What the message is.
    pub message_type: MessageType,
    /// Bytes of the payload in use, as the sender says; see [`Self::payload`].
    pub payload_size: u8,
    /// Whether more follow.
    pub flags: MessageFlags,
    /// Reserved.
    pub reserved: u16,
    /// The sending partition, or the port, by the type of the message.
    pub origin: u64,
    /// The payload, of which `payload_size` bytes mean something.
    pub payload_buffer: [u8; MAX_PAYLOAD],
}

assert_layout!(Message, 256, {
    message_type: 0,
    payload_size: 4,
    flags: 5,
    reserved: 6,
    origin: 8,
    payload_buffer: 16,
});

impl Message {
    /// The bytes in use, or `None` where the size is more than a message can carry.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload_buffer.get(..usize::from(self.payload_size))
    }
}

/// The type of a message. Those with bit 31 set come from the hypervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct MessageType(pub u32);

open_set! {
    MessageType(u32);
    /// There is no message in the slot.
    NONE = 0, "none";
    /// An access to a guest-physical address that is not mapped.
    UNMAPPED_GPA = 0x8000_0000, "unmapped GPA";
    /// An access to a guest-physical address that is intercepted.
    GPA_INTERCEPT = 0x8000_0001, "GPA intercept";
    /// A synthetic timer has expired; the payload is a [`TimerExpired`](crate::stimer::TimerExpired).
    TIMER_EXPIRED = 0x8000_0010, "timer expired";
    /// A VP register has a value that it cannot have.
    INVALID_VP_REGISTER_VALUE = 0x8000_0020, "invalid VP register value";
    /// A triple fault.
    UNRECOVERABLE_EXCEPTION = 0x8000_0021, "unrecoverable exception";
    /// Something that is not supported.
    UNSUPPORTED_FEATURE = 0x8000_0022, "unsupported feature";
}

/// The flags of a message.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MessageFlags {
    /// More are queued: write [`EOM`](crate::msr::EOM) once the slot is free.
    pub message_pending: bool,
    #[bits(7)]
    __: u8,
}

/// The page that [`SIEFP`](crate::msr::SIEFP) places. The hypervisor sets flags in it at any time.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct EventFlagsPage {
    /// One set of flags per interrupt source.
    pub slots: [EventFlags; INTERRUPT_SOURCES],
}

assert_layout!(EventFlagsPage, 4096, { slots: 0 });
const _: () = assert!(align_of::<EventFlagsPage>() == PAGE_SIZE);

/// The 2048 event flags of one interrupt source (TLFS, `HV_SYNIC_EVENT_FLAGS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct EventFlags(pub [u8; 256]);

impl EventFlags {
    /// Whether flag `number` is set; one that there is not is not set.
    #[must_use]
    pub fn is_set(&self, number: u16) -> bool {
        self.0.get(usize::from(number / 8)).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }
}

/// [`SCONTROL`](crate::msr::SCONTROL).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct SynicControl {
    /// Messages and events may be delivered to this processor.
    pub enabled: bool,
    #[bits(63)]
    __: u64,
}

/// [`SINT0`](crate::msr::SINT0) to SINT15. After reset a source is masked, and its value is 0x10000.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InterruptSource {
    /// The vector, 16 to 255; another one is a #GP.
    pub vector: u8,
    __: u8,
    /// No interrupt is delivered.
    pub masked: bool,
    /// The interrupt is over as soon as it is delivered: the guest must not do an EOI.
    pub auto_eoi: bool,
    /// The source counts as unmasked, but no interrupt is generated.
    pub polling: bool,
    #[bits(45)]
    __: u64,
}

#[cfg(test)]
mod tests {
    use super::EventFlags;
    use super::Message;
    use zerocopy::FromZeros;

    #[test]
    fn payload_larger_than_a_message_is_refused() {
        let mut message = Message::new_zeroed();
        message.payload_size = 240;
        assert_eq!(message.payload().map(<[u8]>::len), Some(240));
        message.payload_size = 241;
        assert_eq!(message.payload(), None);
    }

    #[test]
    fn flags_count_from_the_lowest_bit_of_the_first_byte() {
        let mut flags = EventFlags([0; 256]);
        flags.0[1] = 0x80;
        flags.0[255] = 0x80;
        let set: Vec<u16> = (0..=u16::MAX).filter(|number| flags.is_set(*number)).collect();
        assert_eq!(set, [15, 2047]);
    }
}
