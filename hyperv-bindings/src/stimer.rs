// SPDX-License-Identifier: MIT OR Apache-2.0
//! The synthetic timers: their configuration MSR, and the message that one sends when it expires (TLFS, "Timers").

use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Timers per virtual processor.
pub const TIMERS: u32 = 4;

/// The configuration of one timer.
///
/// Its count is in 100 ns: the time of expiry of a one-shot timer, the period of a periodic one; 0 stops it.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TimerConfig {
    /// The timer runs. A one-shot timer clears this when it expires.
    pub enabled: bool,
    /// It starts again each time.
    pub periodic: bool,
    /// An expiry that comes late may be left out.
    pub lazy: bool,
    /// Writing a count other than 0 sets `enabled`.
    pub auto_enable: bool,
    /// The vector that is asserted in direct mode.
    pub apic_vector: u8,
    /// Assert an interrupt on expiry; send no message.
    pub direct_mode: bool,
    #[bits(3)]
    __: u8,
    /// The synthetic interrupt source that gets the message. 0 disables the timer, but for direct mode.
    #[bits(4)]
    pub sint: u8,
    #[bits(44)]
    __: u64,
}

/// The payload of a [`TIMER_EXPIRED`](crate::synic::MessageType::TIMER_EXPIRED) message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TimerExpired {
    /// Which of the four timers.
    pub timer_index: u32,
    /// Reserved.
    pub reserved: u32,
    /// When it was due, in 100 ns of reference time.
    pub expiration_time: u64,
    /// When the message was delivered, in 100 ns of reference time.
    pub delivery_time: u64,
}

assert_layout!(TimerExpired, 24, { timer_index: 0, reserved: 4, expiration_time: 8, delivery_time: 16 });
