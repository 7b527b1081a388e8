// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers as guests see them: the local APIC and the I/O APIC.
