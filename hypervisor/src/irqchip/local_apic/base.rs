// SPDX-License-Identifier: MIT OR Apache-2.0
//! IA32_APIC_BASE: where a local APIC is and in which mode (SDM vol. 3, "x2APIC State Transitions").

use super::GeneralProtection;

/// The page of every local APIC.
pub const LOCAL_APIC_BASE: u64 = 0xFEE0_0000;

/// How software reaches the APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: globally disabled.
    Disabled,
    /// Through its page.
    Xapic,
    /// Through MSRs.
    X2apic,
}

/// The value of IA32_APIC_BASE; only legal ones exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApicBase(u64);

impl ApicBase {
    const BOOTSTRAP: u64 = 1 << 8;
    const X2APIC: u64 = 1 << 10;
    const ENABLE: u64 = 1 << 11;
    const ADDRESS: u64 = !0xFFF;

    /// What RESET leaves: enabled, in xAPIC mode.
    pub(super) fn at_reset(bootstrap: bool) -> Self {
        Self(LOCAL_APIC_BASE | Self::ENABLE | if bootstrap { Self::BOOTSTRAP } else { 0 })
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn mode(self) -> Mode {
        match (self.0 & Self::ENABLE != 0, self.0 & Self::X2APIC != 0) {
            (false, _) => Mode::Disabled,
            (true, false) => Mode::Xapic,
            (true, true) => Mode::X2apic,
        }
    }

    /// What a guest's write of `value` makes of it.
    pub(super) fn rewritten(self, value: u64) -> Result<Self, GeneralProtection> {
        let reserved = value & !(Self::ADDRESS | Self::ENABLE | Self::X2APIC | Self::BOOTSTRAP);
        if reserved != 0 {
            return Err(GeneralProtection::ReservedBits(reserved));
        }
        if value & Self::ADDRESS != LOCAL_APIC_BASE {
            return Err(GeneralProtection::Relocation(value & Self::ADDRESS));
        }
        let next = Self(value);
        let extended_but_disabled = value & Self::X2APIC != 0 && next.mode() == Mode::Disabled;
        let skips_a_mode = matches!(
            (self.mode(), next.mode()),
            (Mode::Disabled, Mode::X2apic) | (Mode::X2apic, Mode::Xapic)
        );
        if extended_but_disabled || skips_a_mode {
            return Err(GeneralProtection::IllegalTransition);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::ApicBase;
    use super::GeneralProtection;
    use super::LOCAL_APIC_BASE;
    use super::Mode;

    const DISABLED: u64 = LOCAL_APIC_BASE;
    const XAPIC: u64 = LOCAL_APIC_BASE | 1 << 11;
    const X2APIC: u64 = LOCAL_APIC_BASE | 3 << 10;
    const INVALID: u64 = LOCAL_APIC_BASE | 1 << 10;

    #[test]
    fn only_the_transitions_of_the_state_diagram_are_legal() {
        // "x2APIC State Transitions", the figure "Local x2APIC State Transitions with IA32_APIC_BASE, INIT,
        // and Reset".
        let legal = [
            (DISABLED, DISABLED),
            (DISABLED, XAPIC),
            (XAPIC, XAPIC),
            (XAPIC, X2APIC),
            (XAPIC, DISABLED),
            (X2APIC, X2APIC),
            (X2APIC, DISABLED),
        ];
        for from in [DISABLED, XAPIC, X2APIC] {
            for to in [DISABLED, XAPIC, X2APIC, INVALID] {
                let expected = if legal.contains(&(from, to)) {
                    Ok(ApicBase(to))
                } else {
                    Err(GeneralProtection::IllegalTransition)
                };
                assert_eq!(ApicBase(from).rewritten(to), expected, "{from:#x} to {to:#x}");
            }
        }
    }

    #[test]
    fn reserved_bits_and_relocation_are_refused() {
        let base = ApicBase::at_reset(true);
        for bit in [0, 1, 2, 3, 4, 5, 6, 7, 9] {
            assert_eq!(base.rewritten(XAPIC | 1 << bit), Err(GeneralProtection::ReservedBits(1 << bit)));
        }
        for bit in 12..64 {
            let moved = XAPIC ^ 1 << bit;
            assert_eq!(base.rewritten(moved), Err(GeneralProtection::Relocation(moved & !0xFFF)));
        }
    }

    #[test]
    fn reset_leaves_xapic_mode_and_tells_the_bootstrap_processor() {
        // "Local APIC Status and Location".
        assert_eq!(ApicBase::at_reset(true).value(), 0xFEE0_0900);
        assert_eq!(ApicBase::at_reset(false).value(), 0xFEE0_0800);
        assert_eq!(ApicBase::at_reset(false).mode(), Mode::Xapic);
    }
}
