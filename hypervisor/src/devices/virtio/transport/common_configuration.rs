// SPDX-License-Identifier: MIT OR Apache-2.0
//! The common configuration of a virtio function: features, status, and how its queues are set up (virtio 1.2, 4.1.4.3).

use super::layout::COMMON;
use crate::devices::virtio::Broken;
use crate::devices::virtio::queue::Area;
use crate::devices::virtio::queue::Queue;
use spin::Mutex;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// The device's status (2.1).
pub(super) mod status {
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const NEEDS_RESET: u8 = 64;
    /// ACKNOWLEDGE, DRIVER and FAILED: what the driver says of itself.
    pub(super) const DRIVERS_OWN: u8 = 1 | 2 | 128;
}

/// It is no device of before version 1 (6, "Reserved Feature Bits"): a driver has to accept that.
pub(super) const VERSION_1: u64 = 1 << 32;

/// The registers, as a driver reads them.
#[derive(Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Registers {
    pub(super) device_feature_select: u32,
    pub(super) device_feature: u32,
    pub(super) driver_feature_select: u32,
    pub(super) driver_feature: u32,
    pub(super) config_msix_vector: u16,
    pub(super) num_queues: u16,
    pub(super) device_status: u8,
    pub(super) config_generation: u8,
    pub(super) queue_select: u16,
    pub(super) queue_size: u16,
    pub(super) queue_msix_vector: u16,
    pub(super) queue_enable: u16,
    pub(super) queue_notify_off: u16,
    pub(super) queue_desc: u64,
    pub(super) queue_driver: u64,
    pub(super) queue_device: u64,
}

const _: () = assert!(size_of::<Registers>() == COMMON.end);

/// Where the registers are that can be written.
mod register {
    use super::Registers;
    use core::mem::offset_of;

    pub(super) const DEVICE_FEATURE_SELECT: usize = offset_of!(Registers, device_feature_select);
    pub(super) const DRIVER_FEATURE_SELECT: usize = offset_of!(Registers, driver_feature_select);
    pub(super) const DRIVER_FEATURE: usize = offset_of!(Registers, driver_feature);
    pub(super) const CONFIG_MSIX_VECTOR: usize = offset_of!(Registers, config_msix_vector);
    pub(super) const DEVICE_STATUS: usize = offset_of!(Registers, device_status);
    pub(super) const QUEUE_SELECT: usize = offset_of!(Registers, queue_select);
    pub(super) const QUEUE_SIZE: usize = offset_of!(Registers, queue_size);
    pub(super) const QUEUE_MSIX_VECTOR: usize = offset_of!(Registers, queue_msix_vector);
    pub(super) const QUEUE_ENABLE: usize = offset_of!(Registers, queue_enable);
    pub(super) const QUEUE_DESC: usize = offset_of!(Registers, queue_desc);
    pub(super) const LAST_ADDRESS_WORD: usize = size_of::<Registers>() - 4;
}

/// What a write asks of the function, beside being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Nothing.
    None,
    /// The device is reset.
    Reset,
    /// The driver is ready.
    Start,
    /// Interrupts for changes of the configuration have that vector.
    ConfigurationVector(u16),
    /// Those of the queue that is selected have that vector.
    QueueVector(u16),
}

/// The registers behind the common configuration. What is of a queue is in the queue.
#[derive(Debug)]
pub(super) struct CommonConfiguration {
    /// Features that are offered.
    offered: u64,
    /// Those that the driver has accepted.
    accepted: u64,
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    queue_select: u16,
}

impl CommonConfiguration {
    /// As after reset.
    pub(super) fn new(offered: u64) -> Self {
        Self {
            offered,
            accepted: 0,
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            queue_select: 0,
        }
    }

    /// The features that the driver has accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether the driver is ready.
    pub(super) fn is_started(&self) -> bool {
        self.has(status::DRIVER_OK)
    }

    /// Whether the driver is ready, and has not broken the rules since.
    pub(super) fn is_running(&self) -> bool {
        self.is_started() && !self.has(status::NEEDS_RESET)
    }

    fn has(&self, bit: u8) -> bool {
        self.status & bit != 0
    }

    /// The device waits for a reset.
    pub(super) fn set_needs_reset(&mut self) {
        self.status |= status::NEEDS_RESET;
    }

    /// The queue that is selected; there need not be one.
    pub(super) fn selected(&self) -> usize {
        self.queue_select.into()
    }

    /// The registers, but those that the function knows: vectors and generation.
    pub(super) fn read(&self, queues: &[Mutex<Queue>]) -> Registers {
        let registers = Registers {
            device_feature_select: self.device_feature_select,
            device_feature: word_of(self.offered, self.device_feature_select),
            driver_feature_select: self.driver_feature_select,
            driver_feature: word_of(self.accepted, self.driver_feature_select),
            num_queues: queues.len() as u16,
            device_status: self.status,
            queue_select: self.queue_select,
            ..Registers::default()
        };
        let Some(queue) = queues.get(self.selected()) else { return registers };
        let queue = queue.lock();
        Registers {
            queue_size: queue.size(),
            queue_enable: queue.enabled().into(),
            queue_desc: queue.address(Area::Descriptors),
            queue_driver: queue.address(Area::Driver),
            queue_device: queue.address(Area::Device),
            ..registers
        }
    }

    /// The driver writes a register. Only whole ones can be written, and of an address each half or all of it.
    pub(super) fn write(
        &mut self,
        offset: usize,
        bytes: &[u8],
        queues: &[Mutex<Queue>],
    ) -> Result<Request, Broken> {
        match *bytes {
            [value] if offset == register::DEVICE_STATUS => return Ok(self.write_status(value)),
            [low, high] => return self.write_16(offset, u16::from_le_bytes([low, high]), queues),
            [a, b, c, d] => self.write_32(offset, u32::from_le_bytes([a, b, c, d]), queues),
            [a, b, c, d, e, f, g, h] if offset >= register::QUEUE_DESC => {
                self.write_32(offset, u32::from_le_bytes([a, b, c, d]), queues);
                self.write_32(offset + 4, u32::from_le_bytes([e, f, g, h]), queues);
            }
            _ => {}
        }
        Ok(Request::None)
    }

    fn write_16(&mut self, offset: usize, value: u16, queues: &[Mutex<Queue>]) -> Result<Request, Broken> {
        match offset {
            register::CONFIG_MSIX_VECTOR => return Ok(Request::ConfigurationVector(value)),
            register::QUEUE_SELECT => self.queue_select = value,
            _ => {}
        }
        let Some(queue) = queues.get(self.selected()) else { return Ok(Request::None) };
        let usable = self.has(status::FEATURES_OK) && !self.has(status::NEEDS_RESET);
        match offset {
            register::QUEUE_MSIX_VECTOR => return Ok(Request::QueueVector(value)),
            register::QUEUE_SIZE => queue.lock().set_size(value)?,
            register::QUEUE_ENABLE if value == 1 && usable => queue.lock().enable(self.accepted)?,
            _ => {}
        }
        Ok(Request::None)
    }

    fn write_32(&mut self, offset: usize, value: u32, queues: &[Mutex<Queue>]) {
        match offset {
            register::DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            register::DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            register::DRIVER_FEATURE if !self.has(status::FEATURES_OK) => {
                self.accepted = with_word(self.accepted, self.driver_feature_select, value);
            }
            register::QUEUE_DESC..=register::LAST_ADDRESS_WORD if offset.is_multiple_of(4) => {
                let Some(queue) = queues.get(self.selected()) else { return };
                let word = (offset - register::QUEUE_DESC) / 4;
                let area = [Area::Descriptors, Area::Driver, Area::Device][word / 2];
                let mut queue = queue.lock();
                let address = with_word(queue.address(area), (word % 2) as u32, value);
                queue.set_address(area, address);
            }
            _ => {}
        }
    }

    /// Bits are only ever set, but all at once cleared by a zero. FEATURES_OK stays clear where the device cannot work with what is
    /// accepted, and DRIVER_OK as long as that is (3.1.1).
    fn write_status(&mut self, value: u8) -> Request {
        if value == 0 {
            return Request::Reset;
        }
        self.status |= value & status::DRIVERS_OWN;
        let acceptable = self.accepted & !self.offered == 0 && self.accepted & VERSION_1 != 0;
        if value & status::FEATURES_OK != 0 && acceptable {
            self.status |= status::FEATURES_OK;
        }
        let starts = value & status::DRIVER_OK != 0 && !self.has(status::DRIVER_OK);
        if starts && self.has(status::FEATURES_OK) && !self.has(status::NEEDS_RESET) {
            self.status |= status::DRIVER_OK;
            return Request::Start;
        }
        Request::None
    }
}

/// The lower or the upper half, or none.
fn word_of(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn with_word(value: u64, select: u32, word: u32) -> u64 {
    match select {
        0 => value & !0xFFFF_FFFF | u64::from(word),
        1 => value & 0xFFFF_FFFF | u64::from(word) << 32,
        _ => value,
    }
}

#[cfg(test)]
mod tests;
