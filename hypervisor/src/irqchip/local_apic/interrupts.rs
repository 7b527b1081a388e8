// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupt's way through a local APIC: accepted, pending, in service, ended (SDM vol. 3, "Handling
//! Interrupts").

use super::Delivery;
use super::Effect;
use super::GeneralProtection;
use super::LocalApic;
use super::LocalSource;
use super::Mode;
use super::error_status::ApicError;
use super::interrupt_command::Ipi;
use super::local_vector::LocalVector;
use super::register::Register;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::irqchip::message::FIRST_LEGAL_VECTOR;

impl LocalApic {
    /// Takes a message that addresses this APIC ("Interrupt Acceptance for Fixed Interrupts"). Tells what the
    /// vCPU has to do about it.
    #[must_use]
    pub fn accept(&mut self, message: Message) -> Delivery {
        match message.delivery {
            _ if self.mode() == Mode::Disabled => Delivery::Ignored,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.request(message.vector, message.trigger)
            }
            DeliveryMode::Smi => Delivery::Smi,
            DeliveryMode::Nmi => Delivery::Nmi,
            DeliveryMode::Init => Delivery::Init,
            DeliveryMode::StartUp => Delivery::StartUp { page: message.vector },
            DeliveryMode::ExtInt => Delivery::ExtInt,
        }
    }

    /// A local source raises its interrupt ("Local Vector Table"). The pins act as edge triggered, whatever
    /// their entries say.
    #[must_use]
    pub fn signal(&mut self, source: LocalSource) -> Delivery {
        let entry = self.local_vector(source);
        if entry.masked() {
            return Delivery::Ignored;
        }
        if source == LocalSource::Performance {
            // "Local Vector Table": the counters' entry masks itself when it fires.
            self.local_vectors[source as usize].set_masked(true);
            self.show(Register::LVT_PERFORMANCE);
        }
        match DeliveryMode::from_bits(entry.delivery_mode()) {
            Some(DeliveryMode::Fixed) => self.request(entry.vector(), Trigger::Edge),
            Some(DeliveryMode::Smi) => Delivery::Smi,
            Some(DeliveryMode::Nmi) => Delivery::Nmi,
            Some(DeliveryMode::Init) => Delivery::Init,
            Some(DeliveryMode::ExtInt) => Delivery::ExtInt,
            Some(DeliveryMode::LowestPriority | DeliveryMode::StartUp) | None => Delivery::Ignored,
        }
    }

    /// Whether LINT0 passes the 8259A's INTR on to the processor: as an interrupt of mode ExtINT, or because the APIC is globally
    /// disabled and the pin is the processor's INTR itself ("Local APIC Status and Location").
    #[must_use]
    pub fn passes_external_interrupts(&self) -> bool {
        let entry = self.local_vector(LocalSource::Lint0);
        let is_external = DeliveryMode::from_bits(entry.delivery_mode()) == Some(DeliveryMode::ExtInt);
        self.mode() == Mode::Disabled || is_external && !entry.masked()
    }

    /// As firmware leaves the bootstrap processor's: enabled, the 8259A's INTR on LINT0 and NMI on LINT1 (MultiProcessor
    /// Specification 1.4, "Virtual Wire Mode").
    pub fn enter_virtual_wire_mode(&mut self) {
        self.spurious_vector |= 1 << 8;
        for (source, delivery) in
            [(LocalSource::Lint0, DeliveryMode::ExtInt), (LocalSource::Lint1, DeliveryMode::Nmi)]
        {
            self.local_vectors[source as usize] = LocalVector::new().with_delivery_mode(delivery.bits());
        }
        self.show_all();
    }

    /// The vector that the CPU takes as soon as it takes interrupts: the highest in the IRR, if its class is
    /// above the processor priority.
    #[must_use]
    #[inline]
    pub fn pending(&self) -> Option<u8> {
        let vector = self.irr.highest(&self.page)?;
        (vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    /// Whether any interrupt is requested, whatever its priority.
    #[must_use]
    #[inline]
    pub fn has_requests(&self) -> bool {
        self.irr.highest(&self.page).is_some()
    }

    /// The CPU has taken `vector`, which [`Self::pending`] named: it is in service until its EOI.
    ///
    /// # Panics
    /// If `vector` was not requested.
    pub fn acknowledge(&mut self, vector: u8) {
        assert!(
            self.irr.remove(&self.page, vector),
            "vector {vector:#x} was acknowledged but is not pending"
        );
        self.isr.insert(&self.page, vector);
        self.requests_changed = true;
    }

    /// The delivery of `vector`, which was acknowledged, did not take place: it is requested again.
    pub fn take_back(&mut self, vector: u8) {
        if self.isr.remove(&self.page, vector) {
            self.irr.insert(&self.page, vector);
            self.requests_changed = true;
        }
    }

    /// The processor priority ("Task and Processor Priorities"). Among the local APICs that a message of
    /// lowest priority addresses, the one where this is least is to have it.
    #[must_use]
    #[inline]
    pub fn processor_priority(&self) -> u8 {
        let in_service = self.isr.highest(&self.page).unwrap_or(0) & 0xF0;
        self.task_priority().max(in_service)
    }

    #[inline]
    fn task_priority(&self) -> u8 {
        self.page.get(Register::TASK_PRIORITY) as u8
    }

    /// CR8: the class of the task priority ("Interaction of Task Priorities between CR8 and APIC").
    #[must_use]
    #[inline]
    pub fn cr8(&self) -> u64 {
        u64::from(self.task_priority() >> 4)
    }

    /// A write to CR8; bits 63:4 are reserved.
    pub fn set_cr8(&mut self, value: u64) -> Result<(), GeneralProtection> {
        match value {
            0..=0xF => {
                self.page.set(Register::TASK_PRIORITY, (value << 4) as u32);
                Ok(())
            }
            _ => Err(GeneralProtection::ReservedBits(value & !0xF)),
        }
    }

    /// A write to the EOI register ("Signaling Interrupt Servicing Completion").
    pub(super) fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.isr.highest(&self.page) else { return Effect::None };
        self.isr.remove(&self.page, vector);
        self.requests_changed = true;
        if self.tmr.contains(&self.page, vector) && !self.suppresses_eoi_broadcast() {
            Effect::EndOfInterrupt { vector }
        } else {
            Effect::None
        }
    }

    /// Sends what the interrupt command register asks for; an interrupt to itself alone ends here.
    pub(super) fn send_ipi(&mut self) -> Effect {
        let vector = self.interrupt_command.vector();
        match self.interrupt_command.ipi(self.mode()) {
            Some(Ipi::Itself) => {
                self.send_to_itself(vector);
                Effect::None
            }
            Some(Ipi::Send { delivery, .. }) if delivery.carries_vector() && vector < FIRST_LEGAL_VECTOR => {
                self.note_error(ApicError::SendIllegalVector);
                Effect::None
            }
            // "Interrupt Command Register (ICR)": but for INIT de-assert, IPIs are edge triggered.
            Some(Ipi::Send { destination, delivery }) => {
                Effect::Send(Message { destination, delivery, vector, trigger: Trigger::Edge })
            }
            None => Effect::None,
        }
    }

    /// A fixed interrupt to itself, by shorthand or by the SELF IPI register.
    pub(super) fn send_to_itself(&mut self, vector: u8) {
        if vector < FIRST_LEGAL_VECTOR {
            self.note_error(ApicError::SendIllegalVector);
        } else {
            // Fixed: what comes of it is in the IRR.
            let _ = self.request(vector, Trigger::Edge);
        }
    }

    /// Notes `error`, and raises the error interrupt where it is the first since the register was written.
    pub(super) fn note_error(&mut self, error: ApicError) {
        if self.errors.note(error) {
            // The entry has no delivery mode: what comes of it is in the IRR.
            let _ = self.signal(LocalSource::Error);
        }
    }

    /// Puts a vector into the IRR, unless the APIC is disabled by software or the vector is illegal.
    fn request(&mut self, vector: u8, trigger: Trigger) -> Delivery {
        if !self.software_enabled() {
            return Delivery::Ignored;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.note_error(ApicError::ReceiveIllegalVector);
            return Delivery::Ignored;
        }
        self.irr.insert(&self.page, vector);
        self.requests_changed = true;
        match trigger {
            Trigger::Edge => self.ends_changed |= self.tmr.remove(&self.page, vector),
            Trigger::Level => {
                self.tmr.insert(&self.page, vector);
                self.ends_changed = true;
            }
        }
        Delivery::Interrupt
    }
}
