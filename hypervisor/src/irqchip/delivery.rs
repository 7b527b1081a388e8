// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets a message, of all local APICs of a virtual machine (SDM vol. 3, "Determining IPI Destination").

use super::DeliveryMode;
use super::Destination;
use super::Message;
use super::local_apic::Address;

/// How many vCPUs a virtual machine has at most.
pub const MAX_VCPUS: usize = 64;

/// Some vCPUs of a virtual machine, by index. As an iterator it gives them in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recipients(u64);

impl Recipients {
    /// One bit for each vCPU.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The one at this position, in ascending order, of those that are there.
    fn nth_alone(mut self, position: u32) -> Self {
        for _ in 0..position {
            self.next();
        }
        Self(self.0 & self.0.wrapping_neg())
    }
}

impl Iterator for Recipients {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let index = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(index)
    }
}

/// Who gets `message`, of the vCPUs whose local APICs have these `addresses`, in the order of their indices; those beyond
/// [`MAX_VCPUS`] get nothing. `sender` is the vCPU that sends it, `None` for an I/O APIC.
///
/// There is no system-management mode and no 8259A: what is for them is for nobody.
#[must_use]
pub fn recipients(
    message: Message,
    sender: Option<usize>,
    addresses: impl IntoIterator<Item = Address>,
) -> Recipients {
    let excluded = sender.filter(|_| message.destination == Destination::EveryoneElse);
    let takers = addresses
        .into_iter()
        .take(MAX_VCPUS)
        .enumerate()
        .filter(|&(index, address)| Some(index) != excluded && address.takes(message));
    match message.delivery {
        DeliveryMode::Smi | DeliveryMode::ExtInt => Recipients::default(),
        DeliveryMode::LowestPriority => least_busy(message.vector, takers),
        DeliveryMode::Fixed | DeliveryMode::Nmi | DeliveryMode::Init | DeliveryMode::StartUp => {
            takers.fold(Recipients::default(), with)
        }
    }
}

/// The one whose processor priority is in the lowest class ("Lowest Priority Delivery Mode").
///
/// The manual leaves the choice among equals to the chipset. Here the vector chooses: devices spread over the vCPUs, each
/// stays where its data is cached, and senders need not share a turn.
fn least_busy(vector: u8, takers: impl Iterator<Item = (usize, Address)>) -> Recipients {
    let mut lowest = u8::MAX;
    let mut equals = Recipients::default();
    for taker in takers {
        let class = taker.1.priority_class();
        if class < lowest {
            lowest = class;
            equals = Recipients::default();
        }
        if class == lowest {
            equals = with(equals, taker);
        }
    }
    let count = equals.0.count_ones().max(1);
    equals.nth_alone(u32::from(vector) % count)
}

fn with(recipients: Recipients, (index, _): (usize, Address)) -> Recipients {
    Recipients(recipients.0 | 1 << index)
}

#[cfg(test)]
mod tests;
