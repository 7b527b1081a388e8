// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry of the redirection table: what an interrupt line becomes (82093AA data sheet, "I/O Redirection
//! Table Registers").

use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::irqchip::message::BROADCAST_8_BIT;
use crate::irqchip::message::FIRST_LEGAL_VECTOR;
use bitfield_struct::bitfield;

/// What software wrote. The two read-only bits, delivery status and remote IRR, are zero here.
#[bitfield(u64)]
pub(super) struct RedirectionEntry {
    pub vector: u8,
    #[bits(3)]
    delivery_mode_bits: u8,
    logical: bool,
    _delivery_status: bool,
    _active_low: bool,
    _remote_irr: bool,
    level: bool,
    pub masked: bool,
    #[bits(39)]
    _reserved: u64,
    destination: u8,
}

impl RedirectionEntry {
    /// What reset leaves in every entry.
    pub(super) const RESET: Self = Self::new().with_masked(true);

    const LOW_WRITABLE: u64 = 0x0001_AFFF;
    const HIGH_WRITABLE: u64 = 0xFF00_0000_0000_0000;
    const REMOTE_IRR: u32 = 1 << 14;

    /// The low half as software reads it. An interrupt is delivered at once, so delivery status is idle.
    pub(super) fn low(self, remote_irr: bool) -> u32 {
        u64::from(self) as u32 | if remote_irr { Self::REMOTE_IRR } else { 0 }
    }

    /// The high half as software reads it.
    pub(super) fn high(self) -> u32 {
        (u64::from(self) >> 32) as u32
    }

    pub(super) fn with_low(self, low: u32) -> Self {
        Self::from(u64::from(self) & Self::HIGH_WRITABLE | u64::from(low) & Self::LOW_WRITABLE)
    }

    pub(super) fn with_high(self, high: u32) -> Self {
        Self::from(u64::from(self) & Self::LOW_WRITABLE | u64::from(high) << 32 & Self::HIGH_WRITABLE)
    }

    /// Whether an EOI follows. Only vectors have one: the other delivery modes are always edge triggered.
    pub(super) fn is_level_triggered(self) -> bool {
        self.level() && self.delivery_mode().is_some_and(DeliveryMode::carries_vector)
    }

    /// What the pin sends, or `None` where no local APIC would accept it: a reserved delivery mode, or a
    /// vector that belongs to exceptions.
    pub(super) fn message(self) -> Option<Message> {
        let delivery = self.delivery_mode()?;
        if delivery.carries_vector() && self.vector() < FIRST_LEGAL_VECTOR {
            return None;
        }
        let trigger = if self.is_level_triggered() { Trigger::Level } else { Trigger::Edge };
        Some(Message { destination: self.message_destination(), delivery, vector: self.vector(), trigger })
    }

    /// An I/O APIC starts no processors.
    fn delivery_mode(self) -> Option<DeliveryMode> {
        DeliveryMode::from_bits(self.delivery_mode_bits()).filter(|&mode| mode != DeliveryMode::StartUp)
    }

    fn message_destination(self) -> Destination {
        match (self.logical(), self.destination()) {
            (false, BROADCAST_8_BIT) => Destination::Everyone,
            (false, id) => Destination::Physical(u32::from(id)),
            (true, address) => Destination::Logical(u32::from(address)),
        }
    }
}
