// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is typed for a machine: by its UART, or by its virtio console where the guest reads there.

use super::Machine;
use crate::devices::pci::bus::BusFull;
use crate::devices::uart::Uart;
use crate::devices::virtio::console::Console;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

impl Machine {
    /// It has this console from the start, next on its PCI bus.
    pub fn plug_console(&mut self, console: Console) -> Result<(), BusFull> {
        let console = Arc::new(console);
        self.virtio_console = Some(Arc::clone(&console));
        self.plug(Box::new(console))
    }

    /// Whether input waits, and the guest has room for it.
    #[inline]
    pub fn takes_input(&self) -> bool {
        self.input_waits() && self.has_room_for_input()
    }

    #[cold]
    fn has_room_for_input(&self) -> bool {
        let uart = self.uart.lock();
        let room = self.console_in_use(&uart.uart).map_or(uart.uart.room(), Console::room);
        room > 0
    }

    /// The virtio console, if it is where the guest reads: it has a driver, and the UART does not interrupt for what comes in.
    fn console_in_use(&self, uart: &Uart) -> Option<&Console> {
        self.virtio_console.as_deref().filter(|console| console.is_started() && !uart.awaits_input())
    }

    #[inline]
    pub(super) fn input_waits(&self) -> bool {
        self.input_waits.load(Ordering::Relaxed)
    }

    /// Gives the guest what is typed from `next`, as far as there is room: by the virtio console if it reads there, else by the
    /// UART.
    pub fn receive(&self, mut next: impl FnMut() -> Option<u8>) {
        let mut uart = self.uart.lock();
        let mut drained = false;
        let console = self.console_in_use(&uart.uart);
        while console.map_or(uart.uart.room(), Console::room) > 0 && !drained {
            match (next(), console) {
                // There is room.
                (Some(byte), Some(console)) => drop(console.push_input(&[byte])),
                (Some(byte), None) => drop(uart.uart.receive(byte)),
                (None, _) => drained = true,
            }
        }
        self.input_waits.store(!drained, Ordering::Relaxed);
        self.tell_uart_line(&mut uart);
    }
}
