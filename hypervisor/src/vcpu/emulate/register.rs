// SPDX-License-Identifier: MIT OR Apache-2.0
//! General-purpose registers as instructions name them, and the sizes of operands.

/// The registers of a vCPU that an emulated instruction reads and changes. RIP is the caller's.
pub trait RegisterFile {
    /// A general-purpose register by the number that encodes it: 0 is RAX, then RCX, RDX, RBX, RSP, RBP, RSI,
    /// RDI, R8 to R15 (SDM Vol. 2A, "Addressing-Mode Encoding of ModR/M and SIB Bytes"). Never above 15.
    fn get(&self, index: usize) -> u64;

    /// Sets all 64 bits of the register with that number.
    fn set(&mut self, index: usize, value: u64);

    /// RFLAGS.
    fn rflags(&self) -> u64;

    /// Sets RFLAGS.
    fn set_rflags(&mut self, value: u64);
}

/// How many bytes an operand has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Doubleword,
    /// Eight bytes.
    Quadword,
}

impl Size {
    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Doubleword => 4,
            Self::Quadword => 8,
        }
    }

    /// The size in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Word => 16,
            Self::Doubleword => 32,
            Self::Quadword => 64,
        }
    }

    /// `value` without the bits that an operand of this size does not have.
    #[must_use]
    pub fn truncate(self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - self.bits()))
    }

    /// The operand `value` as a 64-bit one of the same signed number.
    #[must_use]
    pub fn sign_extend(self, value: u64) -> u64 {
        let unused = 64 - self.bits();
        ((value << unused).cast_signed() >> unused).cast_unsigned()
    }
}

/// (Part of) a general-purpose register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralRegister {
    index: u8,
    size: Size,
    /// Whether it is bits 15:8: AH, CH, DH or BH.
    high: bool,
}

impl GeneralRegister {
    /// The low `size` of the register numbered `index`, of which four bits count.
    #[must_use]
    pub const fn low(index: u8, size: Size) -> Self {
        Self { index: index & 0xF, size, high: false }
    }

    /// AH, CH, DH or BH: the second byte of the register numbered `index`, of which two bits count.
    #[must_use]
    pub const fn high_byte(index: u8) -> Self {
        Self { index: index & 0b11, size: Size::Byte, high: true }
    }

    /// Its size.
    #[must_use]
    pub fn size(self) -> Size {
        self.size
    }

    /// Its value, with zeros above.
    #[must_use]
    pub fn read(self, registers: &impl RegisterFile) -> u64 {
        let whole = registers.get(self.index.into());
        self.size.truncate(if self.high { whole >> 8 } else { whole })
    }

    /// Sets it. Writing 32 bits clears the upper half; writing 8 or 16 keeps what is around them (SDM Vol. 1,
    /// 3.4.1.1).
    pub fn write(self, registers: &mut impl RegisterFile, value: u64) {
        let index = self.index.into();
        let value = self.size.truncate(value);
        let merged = match self.size {
            Size::Byte if self.high => registers.get(index) & !0xFF00 | value << 8,
            Size::Byte => registers.get(index) & !0xFF | value,
            Size::Word => registers.get(index) & !0xFFFF | value,
            Size::Doubleword | Size::Quadword => value,
        };
        registers.set(index, merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::emulate::tests::Registers;

    fn after(register: GeneralRegister, value: u64) -> u64 {
        let mut registers = Registers::default();
        registers.set(3, 0x1122_3344_5566_7788);
        register.write(&mut registers, value);
        registers.get(3)
    }

    #[test]
    fn narrow_writes_keep_the_rest_and_32_bit_writes_clear_it() {
        let value = 0xAABB_CCDD_EEFF_0102;
        assert_eq!(after(GeneralRegister::low(3, Size::Byte), value), 0x1122_3344_5566_7702);
        assert_eq!(after(GeneralRegister::high_byte(3), value), 0x1122_3344_5566_0288);
        assert_eq!(after(GeneralRegister::low(3, Size::Word), value), 0x1122_3344_5566_0102);
        assert_eq!(after(GeneralRegister::low(3, Size::Doubleword), value), 0xEEFF_0102);
        assert_eq!(after(GeneralRegister::low(3, Size::Quadword), value), value);
    }

    #[test]
    fn reads_take_only_their_part() {
        let mut registers = Registers::default();
        registers.set(3, 0x1122_3344_5566_7788);
        assert_eq!(GeneralRegister::low(3, Size::Byte).read(&registers), 0x88);
        assert_eq!(GeneralRegister::high_byte(3).read(&registers), 0x77);
        assert_eq!(GeneralRegister::low(3, Size::Word).read(&registers), 0x7788);
        assert_eq!(GeneralRegister::low(3, Size::Doubleword).read(&registers), 0x5566_7788);
        assert_eq!(GeneralRegister::low(3, Size::Quadword).read(&registers), 0x1122_3344_5566_7788);
    }

    #[test]
    fn sign_extension_repeats_the_highest_bit() {
        assert_eq!(Size::Byte.sign_extend(0x80), 0xFFFF_FFFF_FFFF_FF80);
        assert_eq!(Size::Word.sign_extend(0x7FFF), 0x7FFF);
        assert_eq!(Size::Doubleword.sign_extend(0x8000_0000), 0xFFFF_FFFF_8000_0000);
        assert_eq!(Size::Quadword.sign_extend(1 << 63), 1 << 63);
    }
}
