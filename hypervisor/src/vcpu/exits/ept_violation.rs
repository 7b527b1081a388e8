// SPDX-License-Identifier: MIT OR Apache-2.0
//! An access that the extended page tables do not allow: a device's registers, or nothing at all.

use crate::mmu::GuestPhysical;
use crate::vcpu::end::End;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::EptQualification;
use evmcs::field;

pub fn handle(guest: &mut Guest<'_>) -> Result<(), End> {
    let qualification = EptQualification::from(guest.vmcs.read(field::EXIT_QUALIFICATION));
    let address = GuestPhysical(guest.vmcs.read(field::GUEST_PHYSICAL_ADDRESS));
    let rip = guest.vmcs.read(field::GUEST_RIP);
    Err(End::Nothing { address, access: Guest::access_name(qualification), rip })
}
