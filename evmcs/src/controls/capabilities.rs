// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which controls the processor lets us set and clear, from its VMX capability MSRs (SDM Vol. 3D, appendix A).

use super::words::Controls;
use super::words::EntryControls;
use super::words::ExitControls;
use super::words::PinBasedControls;
use super::words::PrimaryControls;
use super::words::SecondaryControls;
use super::words::TertiaryControls;

const IA32_VMX_BASIC: u32 = 0x480;
const IA32_VMX_PINBASED_CTLS: u32 = 0x481;
const IA32_VMX_PROCBASED_CTLS: u32 = 0x482;
const IA32_VMX_EXIT_CTLS: u32 = 0x483;
const IA32_VMX_ENTRY_CTLS: u32 = 0x484;
const IA32_VMX_PROCBASED_CTLS2: u32 = 0x48B;
const IA32_VMX_TRUE_PINBASED_CTLS: u32 = 0x48D;
const IA32_VMX_TRUE_PROCBASED_CTLS: u32 = 0x48E;
const IA32_VMX_TRUE_EXIT_CTLS: u32 = 0x48F;
const IA32_VMX_TRUE_ENTRY_CTLS: u32 = 0x490;
const IA32_VMX_PROCBASED_CTLS3: u32 = 0x492;

/// Bit 55 of IA32_VMX_BASIC: the TRUE capability MSRs exist.
const TRUE_CONTROLS: u64 = 1 << 55;

/// What each control may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The controls that may be 1.
    pub settable: Controls,
    /// The controls that must be 1.
    pub mandatory: Controls,
}

impl Capabilities {
    /// Reads the capability MSRs with `rdmsr`, which is asked for none that does not exist.
    pub fn read(rdmsr: &dyn Fn(u32) -> u64) -> Self {
        let has_true_controls = rdmsr(IA32_VMX_BASIC) & TRUE_CONTROLS != 0;
        // In each of them bits 31:0 are the controls that must be 1, bits 63:32 those that may be.
        let range = |plain, or_true| {
            let value = rdmsr(if has_true_controls { or_true } else { plain });
            (value as u32, (value >> 32) as u32)
        };
        let pin_based = range(IA32_VMX_PINBASED_CTLS, IA32_VMX_TRUE_PINBASED_CTLS);
        let primary = range(IA32_VMX_PROCBASED_CTLS, IA32_VMX_TRUE_PROCBASED_CTLS);
        let exit = range(IA32_VMX_EXIT_CTLS, IA32_VMX_TRUE_EXIT_CTLS);
        let entry = range(IA32_VMX_ENTRY_CTLS, IA32_VMX_TRUE_ENTRY_CTLS);
        let activation = PrimaryControls::from_bits(primary.1);
        let secondary = match activation.activate_secondary_controls() {
            true => range(IA32_VMX_PROCBASED_CTLS2, IA32_VMX_PROCBASED_CTLS2),
            false => (0, 0),
        };
        // This one has no mandatory part.
        let tertiary = match activation.activate_tertiary_controls() {
            true => rdmsr(IA32_VMX_PROCBASED_CTLS3),
            false => 0,
        };
        Self {
            settable: controls(pin_based.1, primary.1, secondary.1, tertiary, exit.1, entry.1),
            mandatory: controls(pin_based.0, primary.0, secondary.0, 0, exit.0, entry.0),
        }
    }
}

fn controls(pin_based: u32, primary: u32, secondary: u32, tertiary: u64, exit: u32, entry: u32) -> Controls {
    Controls {
        pin_based: PinBasedControls::from_bits(pin_based),
        primary: PrimaryControls::from_bits(primary),
        secondary: SecondaryControls::from_bits(secondary),
        tertiary: TertiaryControls::from_bits(tertiary),
        exit: ExitControls::from_bits(exit),
        entry: EntryControls::from_bits(entry),
    }
}
