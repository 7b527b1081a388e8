// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports, model-specific registers and the time-stamp counter: traits to be modelled in tests, and the real ones.

// UNSAFETY: instructions that reach the machine; the hypervisor owns it.
#![expect(unsafe_code)]

/// The machine's I/O ports.
pub trait PortIo {
    /// Reads one byte.
    fn read_u8(&self, port: u16) -> u8;
    /// Writes one byte.
    fn write_u8(&self, port: u16, value: u8);
    /// Reads four bytes.
    fn read_u32(&self, port: u16) -> u32;
    /// Writes two bytes.
    fn write_u16(&self, port: u16, value: u16);
}

/// The machine's model-specific registers, of the CPU that asks.
pub trait MsrIo {
    /// Reads one; the CPU must have it.
    fn read(&self, msr: u32) -> u64;
    /// Writes one.
    ///
    /// # Safety
    /// The CPU has it and takes the value, and our own code runs on with that value as before.
    unsafe fn write(&self, msr: u32, value: u64);
}

/// The real ports.
#[derive(Clone, Copy, Debug)]
pub struct NativePorts(());

impl NativePorts {
    /// # Safety
    /// What is done through it is done to devices of the hypervisor's own, and none of them is told to write memory.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

/// The real model-specific registers.
#[derive(Clone, Copy, Debug)]
pub struct NativeMsrs;

impl PortIo for NativePorts {
    fn read_u8(&self, port: u16) -> u8 {
        // SAFETY: as whoever made `self` promised.
        unsafe { x86_64::instructions::port::PortReadOnly::new(port).read() }
    }

    fn write_u8(&self, port: u16, value: u8) {
        // SAFETY: as for `read_u8`.
        unsafe { x86_64::instructions::port::PortWriteOnly::new(port).write(value) }
    }

    fn read_u32(&self, port: u16) -> u32 {
        // SAFETY: as for `read_u8`.
        unsafe { x86_64::instructions::port::PortReadOnly::new(port).read() }
    }

    fn write_u16(&self, port: u16, value: u16) {
        // SAFETY: as for `read_u8`.
        unsafe { x86_64::instructions::port::PortWriteOnly::new(port).write(value) }
    }
}

impl MsrIo for NativeMsrs {
    fn read(&self, msr: u32) -> u64 {
        // SAFETY: reading changes no memory; an MSR that is not there ends in our own #GP report.
        unsafe { x86_64::registers::model_specific::Msr::new(msr).read() }
    }

    unsafe fn write(&self, msr: u32, value: u64) {
        // SAFETY: as the caller promises.
        unsafe { x86_64::registers::model_specific::Msr::new(msr).write(value) }
    }
}

/// The time-stamp counter.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The time-stamp counter, read after all that comes before it.
#[must_use]
pub fn tsc_in_order() -> u64 {
    // SAFETY: a barrier, and reading a counter.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// The time-stamp counter, and IA32_TSC_AUX. The CPU has RDTSCP.
#[must_use]
pub fn tsc_and_aux() -> (u64, u32) {
    let mut aux = 0;
    // SAFETY: reads two registers.
    let tsc = unsafe { core::arch::x86_64::__rdtscp(&raw mut aux) };
    (tsc, aux)
}

/// Sets the extended control register (which state components XSAVE manages).
///
/// The value must be one that the SDM allows on this CPU, or the instruction faults.
pub fn set_xcr0(value: u64) {
    // SAFETY: our own code uses no extended state, and a fault ends in our own report.
    unsafe {
        core::arch::asm!(
            "xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Sets CR2, which holds the guest's value from one entry to the next: nothing of ours faults.
pub fn set_cr2(address: u64) {
    // SAFETY: a register that only software reads.
    unsafe { core::arch::asm!("mov cr2, {}", in(reg) address, options(nomem, nostack, preserves_flags)) };
}

/// DR6, which holds the guest's value: nothing of ours is debugged.
#[must_use]
pub fn dr6() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets DR6.
pub fn set_dr6(value: u64) {
    // SAFETY: a status register that only software reads; bits 63:32 are clear, as the instruction wants.
    unsafe {
        core::arch::asm!("mov dr6, {}", in(reg) value & 0xffff_ffff, options(nomem, nostack, preserves_flags));
    };
}

/// MFENCE: what was written before, to registers in memory too, is done.
#[cfg(target_os = "none")]
pub fn fence_memory() {
    // SAFETY: orders accesses, and changes nothing.
    unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
}

/// Lets pending interrupts in, once, and none after.
#[cfg(target_os = "none")]
pub fn take_interrupts() {
    // SAFETY: handlers only acknowledge; `nop` is the instruction after STI, before which nothing is delivered.
    unsafe { core::arch::asm!("sti", "nop", "cli", options(nostack)) };
}

/// Handles an NMI that ended a guest's run, and with it unblocks the next one.
#[cfg(target_os = "none")]
pub fn take_nmi() {
    // SAFETY: our own handler, on its own stack; its IRET unblocks NMIs.
    unsafe { core::arch::asm!("int 2", options(nostack)) };
}

/// Halts until an interrupt has been handled.
#[cfg(target_os = "none")]
pub fn wait_for_interrupt() {
    // SAFETY: as for `take_interrupts`; STI lets nothing in before HLT, so no wake-up is lost.
    unsafe { core::arch::asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Halts for ever.
#[cfg(target_os = "none")]
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off nothing but an NMI wakes it, and then it halts again.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
