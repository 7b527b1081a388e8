// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's isa-debug-exit: four ports by which a test in a guest ends its machine with a status.

/// The first port.
pub const FIRST: u16 = 0xF4;
/// The last.
pub const LAST: u16 = FIRST + 3;

/// The status of QEMU's process when `value` is written, as far as a process's status goes: it is never 0.
#[must_use]
pub const fn status(value: u8) -> u8 {
    value << 1 | 1
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn a_status_is_odd_and_tells_the_value() {
        assert_eq!([0, 0x10, 0x7F, 0x80].map(status), [1, 33, 255, 1]);
    }
}
