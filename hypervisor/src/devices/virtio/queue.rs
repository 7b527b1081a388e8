// SPDX-License-Identifier: MIT OR Apache-2.0
//! A split virtqueue as the device sees it (virtio 1.2, 2.7, "Split Virtqueues").
//!
//! Its rings are in the guest's memory, where the driver changes them on other CPUs: each index is read once, and what it
//! says is checked before it is used.

mod chain;
mod descriptor;
#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

pub use chain::Chain;

use super::Broken;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::rule::Rule;
use descriptor::Table;

/// Feature VIRTIO_F_INDIRECT_DESC: a descriptor may lead to a table of them.
pub const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
/// Feature VIRTIO_F_EVENT_IDX: each side says by index when it wants to hear of the other.
pub const EVENT_INDEX: u64 = 1 << 29;

/// The most entries that any queue has.
const MOST: u16 = 1 << 15;

/// Where a ring has its index, and its first entry; the flags are at its beginning (virtio 1.2, 2.7.6 and 2.7.8).
const INDEX: u64 = 2;
const ENTRIES: u64 = 4;
/// Bytes of an entry of the ring of what is available, and of what is used.
const AVAILABLE_ENTRY: u64 = 2;
const USED_ENTRY: u64 = 8;
/// VIRTQ_AVAIL_F_NO_INTERRUPT, and VIRTQ_USED_F_NO_NOTIFY: the other side need not tell.
const NO_NEED: u16 = 1;

/// A part of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The table of descriptors.
    Descriptors,
    /// What the driver makes available.
    Driver,
    /// What the device has used.
    Device,
}

/// A split virtqueue.
#[derive(Debug)]
pub struct Queue {
    most: u16,
    size: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
    enabled: bool,
    indirect: bool,
    event_index: bool,
    /// Index of what is popped next.
    popped: u16,
    /// The driver's index, as it was seen last.
    available: u16,
    /// Index of what is used next, with what is not yet published.
    used: u16,
    /// The index that is published.
    published: u16,
    /// The index when it was asked last whether to interrupt.
    told: u16,
    /// At which of the driver's indices it notifies: what was written last.
    awaited: u16,
    /// It need not notify, by the flag.
    suppressed: bool,
}

impl Queue {
    /// As after RESET, with `most` entries at most.
    ///
    /// # Panics
    /// If that is no power of two, or beyond 32768: a fault of our own.
    #[must_use]
    pub fn new(most: u16) -> Self {
        assert!(most.is_power_of_two() && most <= MOST, "no queue has {most} entries");
        Self {
            most,
            size: most,
            descriptors: 0,
            driver: 0,
            device: 0,
            enabled: false,
            indirect: false,
            event_index: false,
            popped: 0,
            available: 0,
            used: 0,
            published: 0,
            told: 0,
            awaited: 0,
            suppressed: false,
        }
    }

    /// As after RESET.
    pub fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The driver chooses how many entries there are. Not heeded once it is enabled.
    pub fn set_size(&mut self, size: u16) -> Result<(), Broken> {
        if !size.is_power_of_two() || size > self.most {
            return Err(Broken::Size);
        }
        if !self.enabled {
            self.size = size;
        }
        Ok(())
    }

    /// Guest-physical address of an area.
    #[must_use]
    pub fn address(&self, area: Area) -> u64 {
        match area {
            Area::Descriptors => self.descriptors,
            Area::Driver => self.driver,
            Area::Device => self.device,
        }
    }

    /// The driver places an area. Not heeded once it is enabled; judged when it is.
    pub fn set_address(&mut self, area: Area, address: u64) {
        if self.enabled {
            return;
        }
        match area {
            Area::Descriptors => self.descriptors = address,
            Area::Driver => self.driver = address,
            Area::Device => self.device = address,
        }
    }

    /// Whether the driver has enabled it.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The driver enables it, having accepted `features`.
    pub fn enable(&mut self, features: u64) -> Result<(), Broken> {
        if self.enabled {
            return Ok(());
        }
        // With the place of the event index, whether that is used or not.
        let size = u64::from(self.size);
        let areas = [
            (self.descriptors, 16, 16 * size),
            (self.driver, 2, ENTRIES + AVAILABLE_ENTRY * size + 2),
            (self.device, 4, ENTRIES + USED_ENTRY * size + 2),
        ];
        for (address, alignment, bytes) in areas {
            if !address.is_multiple_of(alignment) {
                return Err(Broken::Alignment);
            }
            address.checked_add(bytes).ok_or(Broken::Memory)?;
        }
        self.indirect = features & INDIRECT_DESCRIPTORS != 0;
        self.event_index = features & EVENT_INDEX != 0;
        self.enabled = true;
        Ok(())
    }

    /// Takes what is available next into `chain`; `false`: nothing is. Nothing is allocated.
    pub fn pop(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        if self.popped == self.available && !self.look(memory)? {
            return Ok(false);
        }
        let head = read_u16(memory, self.available_entry(self.popped))?;
        chain.gather(memory, Table::of_queue(self.descriptors, self.size), head, self.indirect)?;
        self.popped = self.popped.wrapping_add(1);
        Ok(true)
    }

    /// As [`pop`](Self::pop), but where nothing is available the driver is asked to notify, and looked after again: `false` is a
    /// promise that it will.
    pub fn pop_or_await(&mut self, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        if self.popped == self.available && !self.await_notifications(memory)? {
            return Ok(false);
        }
        self.pop(memory, chain)
    }

    /// As if the last pop had not been. At most once for each, and before the next one.
    pub fn undo_pop(&mut self) {
        self.popped = self.popped.wrapping_sub(1);
    }

    /// Gives back what was popped as `chain`, and tells that so many bytes were written, from the first writable one on.
    pub fn push(&mut self, memory: &dyn GuestMemory, chain: &Chain, written: u32) -> Result<(), Broken> {
        self.stage(memory, chain, written)?;
        self.publish(memory)
    }

    /// As [`push`](Self::push), but the driver does not see it until [`publish`](Self::publish), with all that is staged.
    pub fn stage(&mut self, memory: &dyn GuestMemory, chain: &Chain, written: u32) -> Result<(), Broken> {
        if !self.enabled {
            return Ok(());
        }
        let entry = u64::from(chain.head()) | u64::from(written) << 32;
        let place = self.device + ENTRIES + USED_ENTRY * self.slot(self.used);
        memory.write(GuestPhysical(place), &entry.to_le_bytes())?;
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver what was staged.
    pub fn publish(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        if self.published != self.used {
            // Who sees the index sees the entries and the buffers.
            fence(Ordering::Release);
            write_u16(memory, self.device + INDEX, self.used)?;
            self.published = self.used;
        }
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was published since this was asked last.
    pub fn should_interrupt(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        let (before, now) = (self.told, self.published);
        if before == now {
            return Ok(false);
        }
        self.told = now;
        // The driver writes what it wants, and then looks at the index: one of the two sees the other.
        if Rule::FenceAfterUsed.kept() {
            fence(Ordering::SeqCst);
        }
        if self.event_index {
            let event = read_u16(memory, self.available_entries_end())?;
            return Ok(passes(event, before, now));
        }
        Ok(read_u16(memory, self.driver)? & NO_NEED == 0)
    }

    /// The driver need not notify until [`await_notifications`](Self::await_notifications). It may nevertheless.
    pub fn suppress_notifications(&mut self, memory: &dyn GuestMemory) -> Result<(), Broken> {
        // By index it notifies only of what is awaited.
        if self.enabled && !self.event_index && !self.suppressed {
            write_u16(memory, self.device, NO_NEED)?;
            self.suppressed = true;
        }
        Ok(())
    }

    /// Asks the driver to notify of what it makes available next; `true`: something is available already, and of that it need
    /// not notify.
    pub fn await_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if !self.enabled {
            return Ok(false);
        }
        if self.event_index && self.awaited != self.popped {
            write_u16(memory, self.device + ENTRIES + USED_ENTRY * u64::from(self.size), self.popped)?;
            self.awaited = self.popped;
        } else if self.suppressed {
            write_u16(memory, self.device, 0)?;
            self.suppressed = false;
        }
        // The driver moves its index, and then looks whether to notify: one of the two sees the other.
        if Rule::FenceBeforeSecondLook.kept() {
            fence(Ordering::SeqCst);
        }
        self.look(memory)
    }

    /// Looks at the driver's index; whether something is available.
    fn look(&mut self, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        if !self.enabled {
            return Ok(false);
        }
        let index = read_u16(memory, self.driver + INDEX)?;
        if index.wrapping_sub(self.popped) > self.size {
            return Err(Broken::Overrun);
        }
        // What is behind the index is read after it.
        fence(Ordering::Acquire);
        self.available = index;
        Ok(index != self.popped)
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }

    fn available_entry(&self, index: u16) -> u64 {
        self.driver + ENTRIES + AVAILABLE_ENTRY * self.slot(index)
    }

    /// Where the driver says of which use it wants to hear.
    fn available_entries_end(&self) -> u64 {
        self.driver + ENTRIES + AVAILABLE_ENTRY * u64::from(self.size)
    }
}

/// Whether an index that goes from `before` to `now` passes `event` (virtio 1.2, 2.7.10).
fn passes(event: u16, before: u16, now: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

fn read_u16(memory: &dyn GuestMemory, address: u64) -> Result<u16, Broken> {
    let mut bytes = [0; 2];
    memory.read(GuestPhysical(address), &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

fn write_u16(memory: &dyn GuestMemory, address: u64, value: u16) -> Result<(), Broken> {
    Ok(memory.write(GuestPhysical(address), &value.to_le_bytes())?)
}
