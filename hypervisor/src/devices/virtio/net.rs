// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network card (virtio 1.2, 5.1, "Network Device"), plugged into a switch.
//!
//! It has one queue for each direction and no offloads: each packet is a frame as it was on a wire, behind a header of zeros.
//! The driver may send from any address. What it is told as its own is a proposal, as the address in a card's ROM is.

mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use super::Broken;
use super::Device;
use super::DeviceId;
use super::Driver;
use super::Occasion;
use super::Served;
use super::doorbell::Doorbell;
use crate::devices::ethernet;
use crate::devices::ethernet::Mac;
use crate::devices::switch::port::Port;
use receive::Receiver;
use spin::Mutex;
use transmit::Transmitter;

/// Feature VIRTIO_NET_F_MTU: the configuration tells it.
const MTU: u64 = 1 << 3;
/// Feature VIRTIO_NET_F_MAC: the configuration tells the address.
const MAC: u64 = 1 << 5;
/// Feature VIRTIO_NET_F_MRG_RXBUF: a packet may go to several buffers.
const MERGEABLE: u64 = 1 << 15;
/// Feature VIRTIO_NET_F_STATUS: the configuration tells whether the link is up.
const STATUS: u64 = 1 << 16;

/// VIRTIO_NET_S_LINK_UP.
const LINK_UP: u16 = 1;

/// The queues: `receiveq1` and `transmitq1`.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// The most entries of each.
const ENTRIES: u16 = 256;

/// Bytes of the header before each packet, with `num_buffers` (5.1.6, "Device Operation").
const HEADER: usize = 12;

/// A network card.
#[derive(Debug)]
pub struct NetworkCard {
    mac: Mac,
    port: Port,
    transmitter: Mutex<Transmitter>,
    receiver: Mutex<Receiver>,
}

impl NetworkCard {
    /// A card whose address is `mac`, plugged into `port`.
    #[must_use]
    pub fn new(mac: Mac, port: Port) -> Self {
        Self { mac, port, transmitter: Mutex::default(), receiver: Mutex::default() }
    }

    fn transmit(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        let mut transmitter = self.transmitter.lock();
        driver.work(TRANSMIT, |queue, memory| transmitter.work(queue, memory, &self.port))
    }

    fn receive(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        let mergeable = driver.features & MERGEABLE != 0;
        let mut receiver = self.receiver.lock();
        driver.work(RECEIVE, |queue, memory| receiver.work(queue, memory, &self.port, mergeable))
    }

    /// What the doorbell was rung for: frames have come, or the driver has sent more than was taken at a time.
    fn answer(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        let received = self.receive(driver)?;
        let unfinished = self.transmitter.lock().is_unfinished();
        let sent = if unfinished { self.transmit(driver)? } else { Served::All };
        Ok(if sent == Served::More { sent } else { received })
    }
}

impl Device for NetworkCard {
    fn id(&self) -> DeviceId {
        DeviceId::NETWORK
    }

    fn features(&self) -> u64 {
        MTU | MAC | MERGEABLE | STATUS
    }

    fn queue_sizes(&self) -> &[u16] {
        &[ENTRIES, ENTRIES]
    }

    /// `struct virtio_net_config` (5.1.4): address, status, pairs of queues (not offered), MTU.
    fn configuration(&self, offset: usize, buffer: &mut [u8]) {
        let fields = [LINK_UP, 0, ethernet::MTU].map(u16::to_le_bytes);
        let bytes = self.mac.0.iter().chain(fields.as_flattened());
        buffer.fill(0);
        buffer.iter_mut().zip(bytes.skip(offset)).for_each(|(byte, &value)| *byte = value);
    }

    fn connect(&self, doorbell: Doorbell) {
        self.port.connect(doorbell);
    }

    fn start(&self, _features: u64) {
        self.port.listen();
    }

    fn reset(&self) {
        self.port.deafen();
        self.receiver.lock().reset(&self.port);
        self.transmitter.lock().reset();
    }

    fn serve(&self, occasion: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        match occasion {
            Occasion::Notified(TRANSMIT) => self.transmit(driver),
            Occasion::Notified(RECEIVE) => self.receive(driver),
            Occasion::Notified(_) => Ok(Served::All),
            Occasion::Rung => self.answer(driver),
        }
    }
}
