// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts that a device sends by writing to memory (SDM vol. 3, "Message Signalled Interrupts").

use super::DeliveryMode;
use super::Destination;
use super::Message;
use super::Trigger;
use super::message::BROADCAST_8_BIT;
use super::message::FIRST_LEGAL_VECTOR;
use bitfield_struct::bitfield;

/// The message address register.
#[bitfield(u64)]
struct MessageAddress {
    #[bits(2)]
    _ignored: u8,
    logical: bool,
    redirection_hint: bool,
    _reserved: u8,
    destination: u8,
    #[bits(44)]
    base: u64,
}

/// What the base of an address is that leads to local APICs.
const TO_LOCAL_APICS: u64 = 0xFEE;

/// The message data register.
#[bitfield(u32)]
struct MessageData {
    vector: u8,
    #[bits(3)]
    delivery_mode_bits: u8,
    #[bits(4)]
    _ignored: u8,
    level: bool,
    #[bits(16)]
    _reserved: u16,
}

impl Message {
    /// What a device sends that writes `data` to `address`; `None` where no local APIC would accept it: another address, a
    /// reserved delivery mode, or a vector that belongs to exceptions.
    #[must_use]
    pub fn from_write(address: u64, data: u32) -> Option<Self> {
        let (address, data) = (MessageAddress::from(address), MessageData::from(data));
        let delivery = delivery_mode(address, data)?;
        let legal = !delivery.carries_vector() || data.vector() >= FIRST_LEGAL_VECTOR;
        if address.base() != TO_LOCAL_APICS || !legal {
            return None;
        }
        let level = data.level() && delivery.carries_vector();
        let trigger = if level { Trigger::Level } else { Trigger::Edge };
        Some(Self { destination: destination(address), delivery, vector: data.vector(), trigger })
    }
}

/// Devices start no processors. A hint to redirect counts among several, which only logical destinations name.
fn delivery_mode(address: MessageAddress, data: MessageData) -> Option<DeliveryMode> {
    match DeliveryMode::from_bits(data.delivery_mode_bits())? {
        DeliveryMode::StartUp => None,
        DeliveryMode::Fixed if address.redirection_hint() && address.logical() => {
            Some(DeliveryMode::LowestPriority)
        }
        mode => Some(mode),
    }
}

fn destination(address: MessageAddress) -> Destination {
    match (address.logical(), address.destination()) {
        (false, BROADCAST_8_BIT) => Destination::Everyone,
        (false, id) => Destination::Physical(u32::from(id)),
        (true, address) => Destination::Logical(u32::from(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: u64 = 0xFEE0_0000;

    #[test]
    fn address_and_data_mean_what_the_manual_says() {
        let plain = Message {
            destination: Destination::Physical(3),
            delivery: DeliveryMode::Fixed,
            vector: 0x41,
            trigger: Trigger::Edge,
        };
        assert_eq!(Message::from_write(BASE | 3 << 12, 0x41), Some(plain));
        let level = Message { trigger: Trigger::Level, ..plain };
        assert_eq!(Message::from_write(BASE | 3 << 12, 0xc041), Some(level));
        let everyone = Message { destination: Destination::Everyone, ..plain };
        assert_eq!(Message::from_write(BASE | 0xff << 12, 0x41), Some(everyone));
        let logical = Message { destination: Destination::Logical(0xff), ..plain };
        assert_eq!(Message::from_write(BASE | 0xff << 12 | 1 << 2, 0x41), Some(logical));
        let one_of_them = Message { delivery: DeliveryMode::LowestPriority, ..logical };
        assert_eq!(Message::from_write(BASE | 0xff << 12 | 3 << 2, 0x41), Some(one_of_them));
        assert_eq!(
            Message::from_write(BASE | 3 << 12 | 1 << 3, 0x41),
            Some(plain),
            "a hint that hints at none"
        );
        let nmi = Message { delivery: DeliveryMode::Nmi, vector: 0, ..plain };
        assert_eq!(Message::from_write(BASE | 3 << 12, 0x400), Some(nmi));
    }

    #[test]
    fn what_no_local_apic_accepts_is_lost() {
        for (address, data) in [
            (BASE, 0x0f),
            (BASE, 0x341),
            (BASE, 0x641),
            (0xFED0_0000, 0x41),
            (0, 0x41),
            (1 << 32 | BASE, 0x41),
        ] {
            assert_eq!(Message::from_write(address, data), None, "{data:#x} to {address:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_write_sends_a_start_up_or_a_vector_of_exceptions(address: u64, data: u32) {
            let near = BASE | address & 0xf_ffff;
            if let Some(message) = Message::from_write(near, data) {
                prop_assert!(message.delivery != DeliveryMode::StartUp);
                prop_assert!(!message.delivery.carries_vector() || message.vector >= 16);
            }
        }
    }
}
