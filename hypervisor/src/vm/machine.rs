// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the vCPUs of a virtual machine share: memory, CPUID, devices, how they reach each other, and who answers at which
//! port and in which page.

use crate::console::guest_output::GuestOutput;
use crate::devices::exerciser;
use crate::devices::firmware::power;
use crate::devices::firmware::power::PowerEvent;
use crate::devices::uart;
use crate::devices::uart::Uart;
use crate::irqchip::Message;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::io_apic::IoApic;
use crate::irqchip::io_apic::Messages;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::irqchip::local_apic::LocalApic;
use crate::irqchip::local_apic::Mode;
use crate::memory::FRAME;
use crate::mmu::GuestPhysical;
use crate::mmu::space::GuestSpace;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::msr_policy::MsrAccess;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vm::exercise::Exercise;
use crate::vm::msr_bitmap::MsrBitmap;
use crate::vm::partition::Partition;
use crate::vm::post::Posts;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use spin::Mutex;

const UART: u16 = uart::PORT;
const UART_LAST: u16 = UART + uart::PORTS as u16 - 1;
const EXERCISER: u16 = exerciser::PORT;
const EXERCISER_LAST: u16 = EXERCISER + exerciser::PORTS - 1;

/// What the world outside of the machine's devices is to do after an access to a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortEffect {
    /// An interrupt for a local APIC.
    pub message: Option<Message>,
    /// A byte for the console.
    pub output: Option<u8>,
    /// What the guest wants of the machine.
    pub power: Option<PowerEvent>,
    /// The exerciser has a command.
    pub exercise: bool,
}

/// A page of registers in guest-physical space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePage {
    /// The vCPU's own local APIC, while it is in xAPIC mode.
    LocalApic,
    /// The I/O APIC.
    IoApic,
    /// Reads all ones, forgets writes.
    Absent,
    /// Memory that the guest can only read: forgets writes.
    ReadOnly,
}

/// The UART, and the state of its interrupt line that the I/O APIC was told last.
#[derive(Debug, Default)]
struct UartAndLine {
    uart: Uart,
    line: bool,
}

/// All that vCPUs of a virtual machine share.
#[derive(Debug)]
pub struct Machine {
    /// The guest's memory.
    pub memory: GuestSpace,
    /// How its vCPUs are reached.
    pub posts: Arc<Posts>,
    /// Where what it prints goes.
    pub output: GuestOutput,
    /// The exerciser, where it has one.
    pub exercise: Option<Exercise>,
    /// What its vCPUs share of Hyper-V's interface, where the guest sees that.
    pub partition: Option<Partition>,
    /// What CPUID answers.
    pub cpuid: CpuidTable,
    /// CR4 bits that the processor lets a guest set.
    pub cr4_has: u64,
    /// Which MSR accesses exit.
    pub msr_bitmap: MsrBitmap,
    uart: Mutex<UartAndLine>,
    io_apic: Mutex<IoApic>,
    /// The console holds back input because the UART is full.
    input_waits: AtomicBool,
}

impl Machine {
    /// A machine after RESET.
    #[must_use]
    pub fn new(
        memory: GuestSpace,
        cpuid: CpuidTable,
        cr4_has: u64,
        posts: Arc<Posts>,
        output: GuestOutput,
        msr_bitmap: MsrBitmap,
    ) -> Self {
        Self {
            memory,
            posts,
            output,
            exercise: None,
            partition: None,
            cpuid,
            cr4_has,
            msr_bitmap,
            uart: Mutex::default(),
            io_apic: Mutex::default(),
            input_waits: AtomicBool::new(false),
        }
    }

    /// Has such accesses of all vCPUs exit from their next entries on, or not.
    pub fn intercept(&self, msr: MsrIndex, access: MsrAccess, exits: bool) {
        if self.msr_bitmap.set(msr, access, exits) {
            self.posts.nudge_all();
        }
    }

    /// Reads `size` bytes (1, 2 or 4) from `port` on. Where no device is, all bits are one.
    #[inline]
    pub fn read_port(&self, port: u16, size: u8) -> (u32, PortEffect) {
        let mut effect = PortEffect::default();
        if let (EXERCISER..=EXERCISER_LAST, 4, Some(exercise)) = (port, size, &self.exercise) {
            return (exercise.read(port - EXERCISER), effect);
        }
        let mut value = 0;
        for byte in 0..size {
            value |=
                u32::from(self.read_port_byte(port.wrapping_add(u16::from(byte)), &mut effect)) << (8 * byte);
        }
        (value, effect)
    }

    /// Writes `size` bytes (1, 2 or 4) to `port` on. Where no device is, they are lost.
    pub fn write_port(&self, port: u16, size: u8, value: u32) -> PortEffect {
        let mut effect = PortEffect::default();
        if let (EXERCISER..=EXERCISER_LAST, 4, Some(exercise)) = (port, size, &self.exercise) {
            effect.exercise = exercise.write(port - EXERCISER, value);
            return effect;
        }
        for byte in 0..size {
            let value = (value >> (8 * byte)) as u8;
            self.write_port_byte(port.wrapping_add(u16::from(byte)), value, &mut effect);
        }
        effect
    }

    #[inline]
    fn read_port_byte(&self, port: u16, effect: &mut PortEffect) -> u8 {
        match port {
            UART..=UART_LAST => {
                let mut uart = self.uart.lock();
                let value = uart.uart.read((port - UART) as u8);
                effect.message = self.uart_line(&mut uart).or(effect.message);
                value
            }
            power::SLEEP_CONTROL..=power::RESET => power::read(),
            _ => u8::MAX,
        }
    }

    fn write_port_byte(&self, port: u16, value: u8, effect: &mut PortEffect) {
        match port {
            UART..=UART_LAST => {
                let mut uart = self.uart.lock();
                effect.output = uart.uart.write((port - UART) as u8, value).or(effect.output);
                effect.message = self.uart_line(&mut uart).or(effect.message);
            }
            power::SLEEP_CONTROL..=power::RESET => effect.power = power::write(port, value).or(effect.power),
            _ => {}
        }
    }

    /// Tells the I/O APIC of the UART's line, if that has changed.
    #[inline]
    fn uart_line(&self, uart: &mut UartAndLine) -> Option<Message> {
        let line = uart.uart.interrupt_line();
        if line == uart.line {
            return None;
        }
        uart.line = line;
        self.io_apic.lock().set_line(uart::GSI as usize, line)
    }

    /// Whether input waits, and the UART has room for it.
    #[inline]
    pub fn takes_input(&self) -> bool {
        self.input_waits() && self.uart.lock().uart.room() > 0
    }

    #[inline]
    fn input_waits(&self) -> bool {
        self.input_waits.load(Ordering::Relaxed)
    }

    /// Fills the UART's receiver from `next`, as far as there is room.
    pub fn receive(&self, mut next: impl FnMut() -> Option<u8>) {
        let mut uart = self.uart.lock();
        let mut drained = false;
        while uart.uart.room() > 0 && !drained {
            match next() {
                // There is room.
                Some(byte) => drop(uart.uart.receive(byte)),
                None => drained = true,
            }
        }
        self.input_waits.store(!drained, Ordering::Relaxed);
        let message = self.uart_line(&mut uart);
        drop(uart);
        if let Some(message) = message {
            self.posts.send(message, None);
        }
    }

    /// The UART is to send no more: the console has no room. Until [`Self::release_output`].
    pub fn hold_back_output(&self) {
        self.change_uart(Uart::hold_back);
    }

    /// The console has room again.
    pub fn release_output(&self) {
        self.change_uart(Uart::release);
    }

    fn change_uart(&self, change: impl FnOnce(&mut Uart)) {
        let mut uart = self.uart.lock();
        change(&mut uart.uart);
        let message = self.uart_line(&mut uart);
        drop(uart);
        if let Some(message) = message {
            self.posts.send(message, None);
        }
    }

    /// The operator presses the power button.
    pub fn press_power_button(&self) {}

    /// Devices do, for a bounded time, what no exit asks for. The first vCPU's CPU does this, out of the guest.
    pub fn work(&self) {}

    /// The device at an address, as the vCPU with that local APIC sees it.
    #[must_use]
    pub fn device_page(&self, address: GuestPhysical, apic: &LocalApic) -> Option<DevicePage> {
        match address.0 & !(FRAME - 1) {
            LOCAL_APIC_BASE if apic.mode() == Mode::Xapic => Some(DevicePage::LocalApic),
            IO_APIC_BASE => Some(DevicePage::IoApic),
            _ => None,
        }
    }

    /// Reads a register of the I/O APIC.
    pub fn read_io_apic(&self, offset: u64) -> u32 {
        self.io_apic.lock().mmio_read(offset)
    }

    /// Writes a register of the I/O APIC; gives the interrupts that follow from it.
    pub fn write_io_apic(&self, offset: u64, value: u32) -> Messages {
        self.io_apic.lock().mmio_write(offset, value)
    }

    /// A level-triggered interrupt of `vector` has been handled; gives those that follow.
    pub fn end_of_interrupt(&self, vector: u8) -> Messages {
        self.io_apic.lock().end_of_interrupt(vector)
    }
}

#[cfg(test)]
mod tests;
