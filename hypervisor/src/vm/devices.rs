// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices on a machine's PCI bus, as its manifest declares them: console, entropy, disks, network cards, in this order.

use crate::console;
use crate::cpu::random::Random;
use crate::devices::switch::Switches;
use crate::devices::virtio::block::Block;
use crate::devices::virtio::block::disk::Disk;
use crate::devices::virtio::console::Console;
use crate::devices::virtio::entropy::Entropy;
use crate::devices::virtio::net::NetworkCard;
use crate::memory::FRAME;
use crate::vm::VmError;
use crate::vm::bundle::Bundle;
use crate::vm::bundle::BundleError;
use crate::vm::machine::Machine;
use crate::vm::manifest::DiskConfig;
use crate::vm::manifest::DiskSource;
use crate::vm::manifest::VmConfig;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use log::warn;

/// Blocks of a disk of whose copies a frame records where they are.
const RECORDED: u64 = FRAME / 8;

/// Plugs them in.
pub fn plug(
    machine: &mut Machine,
    config: &VmConfig,
    bundle: &Bundle<'static>,
    switches: &Switches,
) -> Result<(), VmError> {
    let name = &config.name;
    if config.virtio_console {
        let output = Arc::clone(&machine.output);
        let print = move |bytes: &[u8]| {
            let waits =
                bytes.iter().fold(false, |waits, &byte| output.write(byte, console::write_guest) | waits);
            // Who told all to go on may have come before.
            waits && console::guests_wait()
        };
        machine.plug_console(Console::new(Box::new(print)))?;
    }
    if config.entropy {
        match Entropy::new(Random::native()) {
            Ok(entropy) => machine.plug(Box::new(entropy))?,
            Err(reason) => warn!("vm {name}: it has no source of entropy: {reason}"),
        }
    }
    for (index, config) in config.disks.iter().enumerate() {
        machine.plug(Box::new(Block::new(disk(config, bundle)?, &format!("{name}-{index}"))))?;
    }
    for (index, net) in config.nets.iter().enumerate() {
        let port = switches.port(&net.switch, &format!("{name}-{index}")).map_err(VmError::NoPort)?;
        machine.plug(Box::new(NetworkCard::new(net.mac_in(name, index), port)))?;
    }
    Ok(())
}

fn disk(config: &DiskConfig, bundle: &Bundle<'static>) -> Result<Disk, VmError> {
    Ok(match &config.source {
        DiskSource::File(file) if config.read_only => Disk::read_only(bundle.file(file)?),
        DiskSource::File(file) => Disk::copy_on_write(bundle.file(file)?)?,
        DiskSource::Blank { mib } => Disk::blank(mib.get())?,
    })
}

/// Bytes of memory that are set aside for what is written to its disks.
pub fn promised_bytes(config: &VmConfig, bundle: &Bundle<'_>) -> Result<u64, BundleError> {
    config.disks.iter().filter(|disk| !disk.read_only).try_fold(0_u64, |sum, disk| {
        let bytes = match &disk.source {
            DiskSource::File(file) => bundle.file(file)?.len() as u64,
            DiskSource::Blank { mib } => u64::from(mib.get()) << 20,
        };
        let blocks = bytes.div_ceil(FRAME);
        Ok(sum.saturating_add((blocks + blocks.div_ceil(RECORDED)) * FRAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::manifest::Manifest;
    use crate::vm::model;
    use crate::vm::model::ModelNeighbours;

    fn config(keys: &str) -> VmConfig {
        let text = format!("[[vm]]\nname = 'a'\nmemory-mib = 16\nkernel = 'k'\n{keys}");
        let mut manifest = Manifest::parse(text.as_bytes());
        assert_eq!(manifest.errors, []);
        manifest.vms.remove(0)
    }

    fn bundle(content: &'static [u8]) -> Bundle<'static> {
        Bundle::of([("d".into(), content)])
    }

    const DISKS: &str =
        "entropy = false\ndisks = [{ file = 'd' }, { file = 'd', read-only = true }, { size-mib = 3 }]\n";

    #[test]
    fn what_is_set_aside_for_disks_is_what_they_promise() {
        let (config, bundle) = (config(DISKS), bundle(&[1; 5 * FRAME as usize + 1]));
        let disks = config.disks.iter().map(|config| disk(config, &bundle).unwrap());
        let promised: u64 = disks.map(|disk| disk.promised_bytes()).sum();
        assert_eq!(promised_bytes(&config, &bundle), Ok(promised));
        assert_eq!(promised, (6 + 1 + 768 + 2) * FRAME);
    }

    #[test]
    fn a_disk_that_is_not_in_the_bundle_is_told() {
        let mut machine = model::machine(1, ModelNeighbours::new());
        let error = plug(&mut machine, &config(DISKS), &Bundle::default(), &Switches::new()).unwrap_err();
        assert!(matches!(error, VmError::File(BundleError::Missing { .. })), "{error}");
    }

    #[test]
    fn its_ports_are_free_again_when_a_machine_is_gone() {
        let switches = Switches::new();
        let config =
            config("entropy = false\nnets = [{ switch = 'lan' }, { switch = 'lan' }, { switch = 'wan' }]\n");
        for _ in 0..3 {
            let mut machine = model::machine(1, ModelNeighbours::new());
            plug(&mut machine, &config, &Bundle::default(), &switches).unwrap();
            let owners: Vec<_> =
                switches.report().into_iter().map(|port| (port.switch, port.owner)).collect();
            let expected = [("lan", "a-0"), ("lan", "a-1"), ("wan", "a-2")];
            assert!(owners.iter().map(|(switch, owner)| (switch.as_str(), owner.as_str())).eq(expected));
            drop(machine);
            assert!(switches.report().is_empty());
        }
    }
}
