// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the vCPUs of a virtual machine share: memory, CPUID, devices, how they reach each other, and who answers at which
//! port and in which page.

mod input;

use crate::console::guest_output::GuestOutput;
use crate::devices::chipset;
use crate::devices::chipset::Chipset;
use crate::devices::chipset::PowerEvent;
use crate::devices::exerciser;
use crate::devices::fw_cfg;
use crate::devices::fw_cfg::FwCfg;
use crate::devices::pci;
use crate::devices::pci::Upstream;
use crate::devices::pci::bus::BusFull;
use crate::devices::pci::bus::PciBus;
use crate::devices::power_management::TIMER;
use crate::devices::reset_control::RESET_CONTROL;
use crate::devices::uart;
use crate::devices::uart::Uart;
use crate::devices::virtio::Device;
use crate::devices::virtio::console::Console;
use crate::devices::virtio::doorbell::Doorbell;
use crate::irqchip::Message;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::io_apic::Messages;
use crate::irqchip::lines::InterruptLines;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::irqchip::local_apic::LocalApic;
use crate::irqchip::local_apic::Mode;
use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::space::GuestSpace;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::msr_policy::MsrAccess;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vm::exercise::Exercise;
use crate::vm::msr_bitmap::MsrBitmap;
use crate::vm::partition::Partition;
use crate::vm::post::Posts;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use spin::Mutex;

const UART: u16 = uart::PORT;
/// The last port of the devices of the first PCs. Those of the exerciser and of fw_cfg are beyond.
const OLD_LAST: u16 = 0x3FF;
const UART_LAST: u16 = UART + uart::PORTS as u16 - 1;
const PCI_ADDRESS: u16 = pci::CONFIG_ADDRESS;
const PCI_DATA: u16 = pci::CONFIG_DATA;
const PCI_DATA_LAST: u16 = PCI_DATA + 3;
const PCI_IO: u16 = pci::IO_WINDOW.start as u16;
const FW_CFG: u16 = fw_cfg::PORT;
const FW_CFG_LAST: u16 = FW_CFG + fw_cfg::PORTS as u16 - 1;
const EXERCISER: u16 = exerciser::PORT;
const EXERCISER_LAST: u16 = EXERCISER + exerciser::PORTS - 1;

/// What the world outside of the machine's devices is to do after an access to a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortEffect {
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
    /// What PCI functions have, or nobody.
    Pci,
    /// Reads all ones, forgets writes.
    Absent,
    /// Memory that the guest can only read: forgets writes.
    ReadOnly,
}

/// The UART, and the state of its interrupt line that was told last.
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
    pub output: Arc<GuestOutput>,
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
    /// The physical address of the page that the guest has where its local APICs are, if the processor tells accesses to them.
    pub apic_access_page: Option<u64>,
    /// What tells the guest of itself as QEMU would; every machine has it but those of tests.
    pub fw_cfg: Option<Mutex<FwCfg>>,
    /// Its PCI bus.
    pub pci: PciBus,
    /// The interrupt lines of its devices.
    pub lines: Arc<InterruptLines>,
    /// Timers, clock, power management and resets.
    pub chipset: Chipset,
    uart: Mutex<UartAndLine>,
    /// Its virtio console, if it has one.
    virtio_console: Option<Arc<Console>>,
    /// The console holds back input because the guest's is full.
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
        output: Arc<GuestOutput>,
        msr_bitmap: MsrBitmap,
        setup: chipset::Setup,
    ) -> Self {
        let lines = Arc::new(InterruptLines::new(Arc::clone(&posts)));
        Self {
            chipset: Chipset::new(setup, Arc::clone(&posts), Arc::clone(&lines)),
            lines,
            memory,
            posts,
            output,
            exercise: None,
            partition: None,
            cpuid,
            cr4_has,
            msr_bitmap,
            apic_access_page: None,
            fw_cfg: None,
            pci: PciBus::default(),
            uart: Mutex::default(),
            virtio_console: None,
            input_waits: AtomicBool::new(false),
        }
    }

    /// It has this device from the start, next on its PCI bus.
    pub fn plug(&mut self, device: Box<dyn Device>) -> Result<(), BusFull> {
        self.pci.plug(device, Doorbell::new(Arc::clone(&self.posts)))
    }

    /// Has such accesses of all vCPUs exit from their next entries on, or not.
    pub fn intercept(&self, msr: MsrIndex, access: MsrAccess, exits: bool) {
        if self.msr_bitmap.set(msr, access, exits) {
            self.posts.nudge_all();
        }
    }

    /// Reads `size` bytes (1, 2 or 4) from `port` on. Where no device is, all bits are one. `now` tells the machine's time.
    #[inline]
    pub fn read_port(&self, port: u16, size: u8, now: impl Fn() -> u64) -> u32 {
        match (port, size) {
            // A byte of an old device is most of what is read.
            (..=OLD_LAST, 1) => u32::from(self.read_port_byte(port, now)),
            (TIMER, 4) => self.chipset.power_timer(now()),
            _ => self.read_port_rarely(port, size, now),
        }
    }

    #[inline(never)]
    fn read_port_rarely(&self, port: u16, size: u8, now: impl Fn() -> u64) -> u32 {
        match (port, size) {
            (EXERCISER..=EXERCISER_LAST, 4) => {
                if let Some(exercise) = &self.exercise {
                    return exercise.read(port - EXERCISER);
                }
            }
            (FW_CFG..=FW_CFG_LAST, _) => {
                if let Some(fw_cfg) = &self.fw_cfg {
                    return fw_cfg.lock().read(port - FW_CFG, size);
                }
            }
            (PCI_ADDRESS, 4) | (PCI_DATA..=PCI_DATA_LAST, _) => {
                return self.pci.read_configuration_port(port, size, self);
            }
            (PCI_IO.., _) => return self.pci.read_io(port, size),
            _ => {}
        }
        let mut value = 0;
        for byte in 0..size {
            value |= u32::from(self.read_port_byte(port.wrapping_add(u16::from(byte)), &now)) << (8 * byte);
        }
        value
    }

    /// Writes `size` bytes (1, 2 or 4) to `port` on. Where no device is, they are lost. `now` tells the machine's time.
    pub fn write_port(&self, port: u16, size: u8, value: u32, now: impl Fn() -> u64) -> PortEffect {
        let mut effect = PortEffect::default();
        if let (EXERCISER..=EXERCISER_LAST, 4, Some(exercise)) = (port, size, &self.exercise) {
            effect.exercise = exercise.write(port - EXERCISER, value);
            return effect;
        }
        if let (FW_CFG..=FW_CFG_LAST, Some(fw_cfg)) = (port, &self.fw_cfg) {
            fw_cfg.lock().write(port - FW_CFG, size, value, &self.memory);
            return effect;
        }
        match (port, size) {
            (PCI_ADDRESS, 4) | (PCI_DATA..=PCI_DATA_LAST, _) => {
                self.pci.write_configuration_port(port, size, value, self);
                return effect;
            }
            (PCI_IO.., _) => {
                self.pci.write_io(port, size, value, self);
                return effect;
            }
            _ => {}
        }
        for byte in 0..size {
            let port = port.wrapping_add(u16::from(byte));
            // A wide access there is one to PCI's configuration address.
            if size == 1 || port != RESET_CONTROL {
                self.write_port_byte(port, (value >> (8 * byte)) as u8, &now, &mut effect);
            }
        }
        effect
    }

    #[inline]
    fn read_port_byte(&self, port: u16, now: impl Fn() -> u64) -> u8 {
        match port {
            UART..=UART_LAST => self.read_uart((port - UART) as u8),
            _ => self.chipset.read(port, now),
        }
    }

    #[inline(never)]
    fn read_uart(&self, register: u8) -> u8 {
        let mut uart = self.uart.lock();
        let value = uart.uart.read(register);
        self.tell_uart_line(&mut uart);
        value
    }

    fn write_port_byte(&self, port: u16, value: u8, now: impl Fn() -> u64, effect: &mut PortEffect) {
        match port {
            UART..=UART_LAST => {
                let mut uart = self.uart.lock();
                effect.output = uart.uart.write((port - UART) as u8, value).or(effect.output);
                self.tell_uart_line(&mut uart);
            }
            _ => effect.power = effect.power.or(self.chipset.write(port, value, now())),
        }
    }

    /// Tells of the UART's line, if that has changed.
    #[inline]
    fn tell_uart_line(&self, uart: &mut UartAndLine) {
        let line = uart.uart.interrupt_line();
        if line != uart.line {
            uart.line = line;
            self.set_line(uart::GSI as usize, line);
        }
    }

    /// A device asserts the line of a global system interrupt, or stops doing so. From any CPU; what follows is sent.
    pub fn set_line(&self, gsi: usize, asserted: bool) {
        self.lines.set_line(gsi, asserted);
    }

    /// The power button is pressed. From any CPU.
    pub fn press_power_button(&self) {
        self.chipset.press_power_button();
    }

    /// When [`Self::expire`] has something to do next, in the machine's time.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.chipset.next_deadline()
    }

    /// Does what the timers of devices have due. The first vCPU's CPU does this.
    pub fn expire(&self, now: u64) {
        self.chipset.expire(now);
    }

    /// The UART is to send no more: the console has no room. Until [`Self::release_output`].
    pub fn hold_back_output(&self) {
        self.change_uart(Uart::hold_back);
    }

    /// The console has room again.
    pub fn release_output(&self) {
        self.change_uart(Uart::release);
        if let Some(console) = &self.virtio_console {
            console.release();
        }
    }

    fn change_uart(&self, change: impl FnOnce(&mut Uart)) {
        let mut uart = self.uart.lock();
        change(&mut uart.uart);
        self.tell_uart_line(&mut uart);
    }

    /// Devices do, for a bounded time, what no exit asks for. The first vCPU's CPU does this, out of the guest.
    pub fn work(&self) {
        self.pci.work(self);
    }

    /// The device at an address, as the vCPU with that local APIC sees it.
    #[must_use]
    pub fn device_page(&self, address: GuestPhysical, apic: &LocalApic) -> Option<DevicePage> {
        match address.0 & !(FRAME - 1) {
            // Where the processor tells accesses to it, there is a page that it knows.
            LOCAL_APIC_BASE if apic.mode() == Mode::Xapic && self.apic_access_page.is_none() => {
                Some(DevicePage::LocalApic)
            }
            IO_APIC_BASE => Some(DevicePage::IoApic),
            _ => None,
        }
    }

    /// What is at an address where the machine has devices, but no page of registers.
    #[must_use]
    pub fn device_memory(address: GuestPhysical) -> DevicePage {
        if pci::DEVICE_MEMORY.contains(&address.0) { DevicePage::Pci } else { DevicePage::Absent }
    }

    /// Reads a register of the I/O APIC.
    pub fn read_io_apic(&self, offset: u64) -> u32 {
        self.lines.read_io_apic(offset)
    }

    /// Writes a register of the I/O APIC; gives the interrupts that follow from it.
    pub fn write_io_apic(&self, offset: u64, value: u32) -> Messages {
        self.lines.write_io_apic(offset, value)
    }

    /// A level-triggered interrupt of `vector` has been handled; gives those that follow.
    pub fn end_of_interrupt(&self, vector: u8) -> Messages {
        self.lines.end_of_interrupt(vector)
    }
}

impl Upstream for Machine {
    fn memory(&self) -> &dyn GuestMemory {
        &self.memory
    }

    fn send(&self, message: Message) {
        self.posts.send(message, None);
    }

    fn set_line(&self, gsi: usize, asserted: bool) {
        self.set_line(gsi, asserted);
    }
}

#[cfg(test)]
mod tests;
