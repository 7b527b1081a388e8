// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we offer to our guests, seen from the hypervisor's side of the interface.
//!
//! There is no code here yet. This is where it belongs:
//!
//! * the CPUID leaves from 0x40000000 that a guest sees, composed from what its manifest allows;
//! * the synthetic MSRs, a VP assist page per vCPU, the hypercall page and the reference TSC page of a VM;
//! * the hypercalls: remote TLB flushes, cluster IPIs, and for a guest that is a hypervisor itself the flushes of
//!   guest-physical mappings, which other hypervisors do not offer;
//! * enlightened VMCSs of nested hypervisors, with their clean bits, MSR bitmap and direct virtual flush.
//!
//! It knows nothing of [`consume`](crate::consume): what a guest is offered does not depend on what L0 offers us, but
//! where the one is built on the other the hypervisor crate joins them.
