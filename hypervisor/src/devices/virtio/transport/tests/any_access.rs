// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is written wherever: nothing panics, and what is read-only stays.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Configure { offset: u16, bytes: [u8; 8], size: u8 },
    Ports { address: u32, port: u8, size: u8, value: u32 },
    Store { bar: u8, offset: u16, bytes: [u8; 8], size: u8 },
    Common { offset: u8, value: u8, size: u8 },
    Notify { queue: u16, size: u8 },
    Memory { at: u16, value: u8 },
    Work,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![
            (0..0x120_u16, any::<[u8; 8]>(), 0..4_u8).prop_map(|(offset, bytes, size)| Step::Configure {
                offset,
                bytes,
                size
            }),
            (any::<u32>(), 0..4_u8, 0..3_u8, any::<u32>())
                .prop_map(|(address, port, size, value)| Step::Ports { address, port, size, value }),
            (any::<u8>(), any::<u16>(), any::<[u8; 8]>(), 0..4_u8)
                .prop_map(|(bar, offset, bytes, size)| Step::Store { bar, offset, bytes, size }),
            (0..0x40_u8, any::<u8>(), 0..4_u8).prop_map(|(offset, value, size)| Step::Common {
                offset,
                value,
                size
            }),
            (0..4_u16, 0..3_u8).prop_map(|(queue, size)| Step::Notify { queue, size }),
            (any::<u16>(), any::<u8>()).prop_map(|(at, value)| Step::Memory { at, value }),
            Just(Step::Work),
        ];
    prop::collection::vec(step, 0..60)
}

fn take(guest: &Guest, step: Step) {
    let (bus, upstream) = (&guest.rig.bus, &guest.rig.upstream);
    match step {
        Step::Configure { offset, bytes, size } => {
            guest.rig.configure(1, offset.into(), &bytes[..1 << size]);
            guest.rig.load::<8>(ecam(1, offset.into()));
        }
        Step::Ports { address, port, size, value } => {
            let (port, size) = (0xCFC + u16::from(port), 1 << size);
            bus.write_configuration_port(0xCF8, 4, 1 << 31 | 1 << 11 | address & 0xFF, upstream);
            bus.write_configuration_port(port, size, value, upstream);
            bus.read_configuration_port(port, size, upstream);
        }
        Step::Store { bar, offset, bytes, size } => {
            let base = if bar & 1 == 0 { guest.structures } else { guest.vectors };
            let at = base + u64::from(offset % 0x4001);
            guest.rig.store(at, &bytes[..1 << size]);
            guest.rig.load::<8>(at);
        }
        Step::Common { offset, value, size } => {
            guest.write(offset.into(), &u64::from(value).to_le_bytes()[..1 << size]);
            guest.read::<8>(offset.into());
        }
        Step::Notify { queue, size } => bus.write_io(guest.port, 1 << size, queue.into(), upstream),
        Step::Memory { at, value } => {
            let at = GuestPhysical(u64::from(at) % RAM);
            upstream.memory.write(at, &[value]).unwrap();
        }
        Step::Work => bus.work(upstream),
    }
}

proptest! {
    /// Whatever a guest does to a device, before or while it runs, it never panics, and it stays what it is.
    #[test]
    fn no_sequence_of_accesses_panics_and_what_is_read_only_stays(runs: bool, steps in steps()) {
        let guest = if runs { Guest::ready() } else { Guest::new() };
        let identity = |guest: &Guest| {
            let registers = [0x00, 0x08, 0x0C, 0x2C, 0x34].map(|at| guest.rig.configuration(1, at));
            (registers, guest.capability(|[id, ..]| id == 0x11))
        };
        let before = identity(&guest);
        for step in steps {
            take(&guest, step);
        }
        prop_assert_eq!(identity(&guest), before);
        // It can always be had again.
        guest.rig.configure(1, 0x10, &(guest.structures as u32).to_le_bytes());
        guest.command(IO | MEMORY | BUS_MASTER);
        guest.write(DEVICE_STATUS, &[0]);
        prop_assert_eq!(guest.status(), 0);
        guest.write(0x00, &1_u32.to_le_bytes());
        let offered = ((ModelDevice::FEATURES | OF_TRANSPORT) >> 32) as u32;
        prop_assert_eq!(guest.read(0x04), offered.to_le_bytes());
        guest.agree();
    }
}
