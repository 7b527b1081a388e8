// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the emulated instructions compute, flags included (SDM Vol. 1, Appendix A).

use super::register::Size;

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const AUXILIARY: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;

/// The flags that report on a result.
const STATUS: u64 = CARRY | PARITY | AUXILIARY | ZERO | SIGN | OVERFLOW;

/// An instruction of two operands that sets the status flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// ADD.
    Add,
    /// AND.
    And,
    /// CMP: SUB that keeps only the flags.
    Compare,
    /// OR.
    Or,
    /// SUB.
    Subtract,
    /// TEST: AND that keeps only the flags.
    Test,
    /// XOR.
    Xor,
}

impl Arithmetic {
    /// Whether the result goes to the first operand.
    #[must_use]
    pub fn keeps_result(self) -> bool {
        !matches!(self, Self::Compare | Self::Test)
    }

    /// The result, and RFLAGS after it. AF, which the logical instructions leave undefined, is then clear.
    pub(super) fn compute(self, size: Size, left: u64, right: u64, rflags: u64) -> (u64, u64) {
        let (left, right) = (size.truncate(left), size.truncate(right));
        let result = size.truncate(match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract | Self::Compare => left.wrapping_sub(right),
            Self::And | Self::Test => left & right,
            Self::Or => left | right,
            Self::Xor => left ^ right,
        });
        let sign = 1 << (size.bits() - 1);
        let (carry, overflow) = match self {
            Self::Add => (result < left, (left ^ result) & (right ^ result) & sign != 0),
            Self::Subtract | Self::Compare => (left < right, (left ^ right) & (left ^ result) & sign != 0),
            Self::And | Self::Test | Self::Or | Self::Xor => (false, false),
        };
        let is_sum = matches!(self, Self::Add | Self::Subtract | Self::Compare);
        let flags = flag(CARRY, carry)
            | flag(OVERFLOW, overflow)
            | flag(AUXILIARY, is_sum && (left ^ right ^ result) & 0x10 != 0)
            | flag(PARITY, (result & 0xFF).count_ones().is_multiple_of(2))
            | flag(ZERO, result == 0)
            | flag(SIGN, result & sign != 0);
        (result, rflags & !STATUS | flags)
    }
}

/// An instruction that moves a bit of its first operand to CF, and then changes that bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitTest {
    /// BT: leaves it.
    Keep,
    /// BTS.
    Set,
    /// BTR.
    Reset,
    /// BTC.
    Complement,
}

impl BitTest {
    /// The result, and RFLAGS after it. The bit is numbered modulo the size of the operand.
    pub(super) fn compute(self, size: Size, value: u64, number: u64, rflags: u64) -> (u64, u64) {
        let bit = 1 << (number % u64::from(size.bits()));
        let result = match self {
            Self::Keep => value,
            Self::Set => value | bit,
            Self::Reset => value & !bit,
            Self::Complement => value ^ bit,
        };
        (result, rflags & !CARRY | flag(CARRY, value & bit != 0))
    }
}

fn flag(mask: u64, condition: bool) -> u64 {
    if condition { mask } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Arithmetic; 7] = [
        Arithmetic::Add,
        Arithmetic::And,
        Arithmetic::Compare,
        Arithmetic::Or,
        Arithmetic::Subtract,
        Arithmetic::Test,
        Arithmetic::Xor,
    ];

    /// The same from the machine's own integer types: (result, CF, OF).
    macro_rules! by_type {
        ($operation:expr, $unsigned:ty, $signed:ty, $left:expr, $right:expr) => {{
            let (left, right) = ($left as $unsigned, $right as $unsigned);
            let (result, carry, overflow) = match $operation {
                Arithmetic::Add => {
                    let (result, carry) = left.overflowing_add(right);
                    (result, carry, (left as $signed).overflowing_add(right as $signed).1)
                }
                Arithmetic::Subtract | Arithmetic::Compare => {
                    let (result, carry) = left.overflowing_sub(right);
                    (result, carry, (left as $signed).overflowing_sub(right as $signed).1)
                }
                Arithmetic::And | Arithmetic::Test => (left & right, false, false),
                Arithmetic::Or => (left | right, false, false),
                Arithmetic::Xor => (left ^ right, false, false),
            };
            (u64::from(result), carry, overflow, (result as $signed) < 0)
        }};
    }

    /// Values near where carries and signs change are as likely as any others.
    fn operand() -> impl Strategy<Value = u64> {
        let edges = vec![0, 1, 0xF, 0x10, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000];
        let wide = vec![u64::MAX, 1 << 63, i64::MAX as u64];
        prop_oneof![any::<u64>(), prop::sample::select(edges), prop::sample::select(wide)]
    }

    fn size() -> impl Strategy<Value = Size> {
        prop::sample::select(vec![Size::Byte, Size::Word, Size::Doubleword, Size::Quadword])
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_the_integer_types(
            operation in prop::sample::select(ALL.to_vec()), size in size(),
            left in operand(), right in operand(), rflags: u64,
        ) {
            let (expected, carry, overflow, negative) = match size {
                Size::Byte => by_type!(operation, u8, i8, left, right),
                Size::Word => by_type!(operation, u16, i16, left, right),
                Size::Doubleword => by_type!(operation, u32, i32, left, right),
                Size::Quadword => by_type!(operation, u64, i64, left, right),
            };
            let nibbles = (left & 0xF, right & 0xF);
            let auxiliary = match operation {
                Arithmetic::Add => nibbles.0 + nibbles.1 > 0xF,
                Arithmetic::Subtract | Arithmetic::Compare => nibbles.0 < nibbles.1,
                _ => false,
            };
            let (result, flags) = operation.compute(size, left, right, rflags);
            prop_assert_eq!(result, expected);
            prop_assert_eq!(flags & 1 != 0, carry);
            prop_assert_eq!(flags >> 2 & 1 != 0, (expected as u8).count_ones().is_multiple_of(2));
            prop_assert_eq!(flags >> 4 & 1 != 0, auxiliary);
            prop_assert_eq!(flags >> 6 & 1 != 0, expected == 0);
            prop_assert_eq!(flags >> 7 & 1 != 0, negative);
            prop_assert_eq!(flags >> 11 & 1 != 0, overflow);
            prop_assert_eq!(flags & !0x8D5, rflags & !0x8D5, "other flags stay");
        }

        #[test]
        fn bit_tests_tell_the_old_bit_and_change_only_it(
            size in size(), value: u64, number: u64, rflags: u64,
        ) {
            let value = size.truncate(value);
            let bit = number % u64::from(size.bits());
            for (operation, expected) in [
                (BitTest::Keep, value >> bit & 1),
                (BitTest::Set, 1),
                (BitTest::Reset, 0),
                (BitTest::Complement, value >> bit & 1 ^ 1),
            ] {
                let (result, flags) = operation.compute(size, value, number, rflags);
                prop_assert_eq!(result >> bit & 1, expected);
                prop_assert_eq!((result ^ value) & !(1 << bit), 0);
                prop_assert_eq!(flags, rflags & !1 | value >> bit & 1);
            }
        }
    }
}
