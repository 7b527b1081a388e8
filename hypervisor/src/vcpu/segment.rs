// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segment registers as the VMCS holds them (SDM vol. 3, "Guest Register State").

use evmcs::Active;
use evmcs::Field;
use evmcs::field;

/// What a segment register holds.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// The base address.
    pub base: u64,
    /// The limit, in bytes.
    pub limit: u32,
    /// Access rights: type, S, DPL, P, and AVL, L, D/B, G from bit 12 on (SDM vol. 3, "Format of Access Rights").
    pub rights: u32,
}

/// Where the VMCS holds a segment register.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRegister {
    selector: Field<u16>,
    base: Field<u64>,
    limit: Field<u32>,
    rights: Field<u32>,
}

impl SegmentRegister {
    /// Sets it.
    pub fn write(self, vmcs: &mut Active<'_>, segment: Segment) {
        vmcs.write(self.selector, segment.selector);
        vmcs.write(self.base, segment.base);
        vmcs.write(self.limit, segment.limit);
        vmcs.write(self.rights, segment.rights);
    }
}

macro_rules! segment_registers {
    ($($(#[$doc:meta])* $name:ident: $selector:ident, $base:ident, $limit:ident, $rights:ident;)*) => {
        $(
            $(#[$doc])*
            pub const $name: SegmentRegister = SegmentRegister {
                selector: field::$selector,
                base: field::$base,
                limit: field::$limit,
                rights: field::$rights,
            };
        )*
    };
}

segment_registers! {
    /// CS.
    CS: GUEST_CS_SELECTOR, GUEST_CS_BASE, GUEST_CS_LIMIT, GUEST_CS_ACCESS_RIGHTS;
    /// SS.
    SS: GUEST_SS_SELECTOR, GUEST_SS_BASE, GUEST_SS_LIMIT, GUEST_SS_ACCESS_RIGHTS;
    /// DS.
    DS: GUEST_DS_SELECTOR, GUEST_DS_BASE, GUEST_DS_LIMIT, GUEST_DS_ACCESS_RIGHTS;
    /// ES.
    ES: GUEST_ES_SELECTOR, GUEST_ES_BASE, GUEST_ES_LIMIT, GUEST_ES_ACCESS_RIGHTS;
    /// FS.
    FS: GUEST_FS_SELECTOR, GUEST_FS_BASE, GUEST_FS_LIMIT, GUEST_FS_ACCESS_RIGHTS;
    /// GS.
    GS: GUEST_GS_SELECTOR, GUEST_GS_BASE, GUEST_GS_LIMIT, GUEST_GS_ACCESS_RIGHTS;
    /// LDTR.
    LDTR: GUEST_LDTR_SELECTOR, GUEST_LDTR_BASE, GUEST_LDTR_LIMIT, GUEST_LDTR_ACCESS_RIGHTS;
    /// TR.
    TR: GUEST_TR_SELECTOR, GUEST_TR_BASE, GUEST_TR_LIMIT, GUEST_TR_ACCESS_RIGHTS;
}

/// Those that hold data segments.
pub const DATA: [SegmentRegister; 5] = [ES, SS, DS, FS, GS];
