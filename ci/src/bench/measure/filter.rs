// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of all that could be measured is asked for.

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;

/// A part of the names of operations and settings.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a>(pub Option<&'a str>);

impl Filter<'_> {
    /// Whether one of these operations is asked for in this setting.
    pub fn wants_any(self, setting: Setting, operations: &[&str]) -> bool {
        operations.iter().any(|operation| self.wants(setting, operation))
    }

    /// Whether this figure is asked for.
    pub fn wants_figure(self, figure: &Figure) -> bool {
        self.wants(figure.setting, &figure.operation)
    }

    fn wants(self, setting: Setting, operation: &str) -> bool {
        self.0.is_none_or(|part| operation.contains(part) || setting.name().contains(part))
    }

    /// Whether Satori's own size is asked for.
    pub fn wants_footprint(self) -> bool {
        self.0.is_none_or(|part| "footprint".contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_setting_or_of_an_operation_is_enough() {
        let wants = |part, setting| Filter(part).wants_any(setting, &["cpuid", "cr8_read"]);
        assert!(wants(None, Setting::Metal));
        assert!(wants(Some("cr8"), Setting::Kvm) && wants(Some("kvm"), Setting::SatoriOnKvm));
        assert!(!wants(Some("migration"), Setting::Kvm) && !wants(Some("kvm"), Setting::Satori));
    }
}
