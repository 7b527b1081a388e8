// SPDX-License-Identifier: MIT OR Apache-2.0
//! A console of one port (virtio 1.2, 5.3, "Console Device"): what the guest writes goes to where its output goes, and what
//! is typed comes from there.

mod input;
mod output;
#[cfg(test)]
mod tests;

use super::Broken;
use super::Device;
use super::DeviceId;
use super::Driver;
use super::Occasion;
use super::Served;
use super::doorbell::Doorbell;
use alloc::boxed::Box;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use input::Input;
use output::Output;
use spin::Mutex;
use spin::Once;

/// The queues of port 0.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// The most entries of each.
const ENTRIES: u16 = 64;

/// Takes what the guest writes. It is called under the queue's lock, with few bytes at a time. Tells whether no more is to come
/// until [`Console::release`].
pub type Sink = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A console.
#[derive(Debug)]
pub struct Console {
    output: Mutex<Output>,
    input: Mutex<Input>,
    doorbell: Once<Doorbell>,
    /// Its driver is ready.
    is_started: AtomicBool,
}

impl Console {
    /// A console that writes to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self {
            output: Mutex::new(Output::new(sink)),
            input: Mutex::default(),
            doorbell: Once::new(),
            is_started: AtomicBool::new(false),
        }
    }

    /// Types `bytes`. Tells how many are taken: as many as there is room for.
    pub fn push_input(&self, bytes: &[u8]) -> usize {
        let taken = self.input.lock().push(bytes);
        if taken > 0
            && let Some(doorbell) = self.doorbell.get()
        {
            doorbell.ring();
        }
        taken
    }

    /// How many bytes [`push_input`](Self::push_input) takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.input.lock().room()
    }

    /// There is room again where the guest's output goes.
    pub fn release(&self) {
        if self.output.lock().is_unfinished()
            && let Some(doorbell) = self.doorbell.get()
        {
            doorbell.ring();
        }
    }

    /// Whether it has a driver, which is ready.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Relaxed)
    }

    fn transmit(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        driver.work_slowly(TRANSMIT, |queue| self.output.lock().work(queue, driver.memory))
    }

    fn receive(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        driver.work_slowly(RECEIVE, |queue| self.input.lock().work(queue, driver.memory))
    }

    /// What the doorbell was rung for: something was typed, or the driver has written more than was taken at a time.
    fn answer(&self, driver: &Driver<'_>) -> Result<Served, Broken> {
        self.receive(driver)?;
        let unfinished = self.output.lock().is_unfinished();
        if unfinished { self.transmit(driver) } else { Ok(Served::All) }
    }
}

impl Device for Console {
    fn id(&self) -> DeviceId {
        DeviceId::CONSOLE
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[ENTRIES, ENTRIES]
    }

    /// Nothing of it is there without the features that are not offered (5.3.4).
    fn configuration(&self, _offset: usize, buffer: &mut [u8]) {
        buffer.fill(0);
    }

    fn connect(&self, doorbell: Doorbell) {
        self.doorbell.call_once(|| doorbell);
    }

    fn start(&self, _features: u64) {
        self.is_started.store(true, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.is_started.store(false, Ordering::Relaxed);
        self.output.lock().reset();
    }

    fn serve(&self, occasion: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        match occasion {
            Occasion::Notified(RECEIVE) => self.receive(driver),
            Occasion::Notified(TRANSMIT) => self.transmit(driver),
            Occasion::Notified(_) => Ok(Served::All),
            Occasion::Rung => self.answer(driver),
        }
    }
}
