// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID as machines are found to answer it, and ways to bend that.

use crate::consume::Bit;
use crate::consume::CpuidSource;
use core::arch::x86_64::CpuidResult;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Answers from a list, and remembers what it was asked.
///
/// It is adversarial: a leaf that is not in the list answers that everything is offered.
#[derive(Clone, Debug)]
pub(in crate::consume) struct ModelCpuid {
    leaves: BTreeMap<u32, [u32; 4]>,
    asked: RefCell<Vec<u32>>,
}

impl CpuidSource for ModelCpuid {
    fn cpuid(&self, leaf: u32, _subleaf: u32) -> CpuidResult {
        self.asked.borrow_mut().push(leaf);
        let [eax, ebx, ecx, edx] = self.leaves.get(&leaf).copied().unwrap_or([u32::MAX; 4]);
        CpuidResult { eax, ebx, ecx, edx }
    }
}

impl ModelCpuid {
    fn of(leaves: &[(u32, [u32; 4])]) -> Self {
        Self { leaves: leaves.iter().copied().collect(), asked: RefCell::default() }
    }

    /// A CPU on which leaf 0x40000000, if anybody asked, would look like any hypervisor.
    pub(in crate::consume) fn bare_metal() -> Self {
        Self::of(&[(1, [0x000C_06F2, 0, 0x7FFA_FBFF, 0])])
    }

    /// KVM's own interface and no other.
    pub(in crate::consume) fn kvm() -> Self {
        Self::of(&[
            (1, [0x000C_06F2, 0, 0xFFFA_FBFF, 0]),
            (0x4000_0000, [0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x0000_004D]),
            (0x4000_0001, [0x0100_7EFB, 0, 0, 0]),
        ])
    }

    /// KVM with all that it has of Hyper-V's interface, as QEMU's `hv-*` flags turn it on.
    pub(in crate::consume) fn kvm_with_hyperv() -> Self {
        Self::kvm()
            .with_vendor(b"Microsoft Hv")
            .with_max_leaf(0x4000_000A)
            .with_leaf(0x4000_0001, [0x3123_7648, 0, 0, 0])
            .with_leaf(0x4000_0002, [0x3839, 0x000A_0000, 0, 0])
            .with_leaf(0x4000_0003, [0xAAFF, 0x0010_0830, 0, 0x0008_4D12])
            .with_leaf(0x4000_0004, [0x4E2C, 0xFFF, 0, 0])
            .with_leaf(0x4000_000A, [0x000A_0101, 1, 0, 0])
            .with_leaf(0x4000_0100, [0x4000_0101, 0x4B4D_564B, 0x564B_4D56, 0x0000_004D])
    }

    /// A Hyper-V guest on Intel with nested virtualization. Version, leaf 0x40000003 and EAX of leaves 0x40000004 and
    /// 0x4000000A are from the boot log of such a guest, as are those of the two below; the rest is made up.
    pub(in crate::consume) fn hyperv_intel() -> Self {
        Self::of(&[
            (1, [0x000C_06F2, 0, 0xFEFA_3203, 0]),
            (0x4000_0000, [0x4000_000B, 0x7263_694D, 0x666F_736F, 0x7648_2074]),
            (0x4000_0001, [0x3123_7648, 0, 0, 0]),
            (0x4000_0002, [22621, 0x000A_0000, 3, 3447]),
            (0x4000_0003, [0xAE7F, 0x003B_8030, 0, 0xE4BE_D7B6]),
            (0x4000_0004, [0x000A_4E24, 0xFFF, 46, 0]),
            (0x4000_000A, [0x003E_0101, 0, 0, 0]),
        ])
    }

    /// The same on AMD: no enlightened VMCS, but the enlightened NPT TLB.
    pub(in crate::consume) fn hyperv_amd() -> Self {
        Self::hyperv_intel()
            .with_leaf(0x4000_0003, [0xAE7F, 0x003B_8030, 0, 0xE0BE_D7B6])
            .with_leaf(0x4000_0004, [0xC2C, 0xFFF, 48, 0])
            .with_leaf(0x4000_000A, [0x004A_0000, 0, 0, 0])
    }

    /// The same without nested virtualization: leaf 0x4000000A is there, and empty.
    pub(in crate::consume) fn hyperv_without_nesting() -> Self {
        Self::hyperv_intel()
            .with_leaf(0x4000_0004, [0x000A_0E24, 0xFFF, 46, 0])
            .with_leaf(0x4000_000A, [0, 0, 0, 0])
    }

    /// A Hyper-V that offers every feature that we know.
    pub(in crate::consume) fn everything() -> Self {
        Self::hyperv_intel()
            .with_leaf(0x4000_0004, [0x000E_4E24, 0xFFF, 46, 0])
            .with_leaf(0x4000_000A, [0x003E_0101, 1, 0, 0])
    }

    pub(in crate::consume) fn with_leaf(mut self, leaf: u32, registers: [u32; 4]) -> Self {
        self.leaves.insert(leaf, registers);
        self
    }

    pub(in crate::consume) fn with_max_leaf(mut self, max_leaf: u32) -> Self {
        self.leaves.entry(0x4000_0000).or_default()[0] = max_leaf;
        self
    }

    pub(in crate::consume) fn with_vendor(mut self, vendor: &[u8; 12]) -> Self {
        for (register, bytes) in vendor.chunks(4).enumerate() {
            let name = u32::from_le_bytes(bytes.try_into().unwrap());
            self.leaves.entry(0x4000_0000).or_default()[register + 1] = name;
        }
        self
    }

    /// The same machine with the bit clear that `bit` names.
    pub(in crate::consume) fn without(mut self, bit: &Bit) -> Self {
        let register = &mut self.leaves.get_mut(&bit.leaf).unwrap()[bit.register as usize];
        assert_ne!(*register & 1 << bit.number, 0, "{bit} was not set");
        *register &= !(1 << bit.number);
        self
    }

    /// What a partition may use, if there is a Hyper-V interface that says so.
    pub(in crate::consume) fn privileges(&self) -> u64 {
        self.hyperv_register(0x4000_0003)
    }

    /// What a partition that is a hypervisor itself may use.
    pub(in crate::consume) fn nested_features(&self) -> u64 {
        self.hyperv_register(0x4000_000A)
    }

    /// EAX of a leaf of the interface, or nothing where that is not there.
    fn hyperv_register(&self, leaf: u32) -> u64 {
        let eax = |leaf| self.leaves.get(&leaf).map_or(0, |registers| registers[0]);
        let is_there = eax(0x4000_0001) == 0x3123_7648 && eax(0x4000_0000) >= leaf;
        if is_there { u64::from(eax(leaf)) } else { 0 }
    }

    /// The leaves that were asked for, in order.
    pub(in crate::consume) fn asked(&self) -> Vec<u32> {
        self.asked.borrow().clone()
    }
}
