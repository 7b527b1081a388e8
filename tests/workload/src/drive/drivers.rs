// SPDX-License-Identifier: MIT OR Apache-2.0
//! What drives which of virtio's devices, and how these interrupt.

use std::fs;
use std::io;
use std::path::Path;

const DEVICES: &str = "/sys/bus/virtio/devices";

/// Drivers whose devices interrupt when anything is done with them.
const INTERRUPTING: [&str; 2] = ["virtio_blk", "virtio_net"];

/// Tells the driver of each device; each must have one.
pub fn tell_virtio() -> io::Result<()> {
    for (device, driver) in virtio()? {
        println!("workload: {device} is driven by {driver}");
    }
    Ok(())
}

/// Tells how often each has interrupted; disks and networks must have, by MSI-X.
pub fn check_interrupts() -> io::Result<()> {
    let table = fs::read_to_string("/proc/interrupts")?;
    for (device, driver) in virtio()? {
        let lines: Vec<(&str, u64)> = table.lines().filter_map(|line| message_line(line, &device)).collect();
        let told: Vec<String> = lines.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("workload: {device} interrupts by MSI-X: {}", told.join(", "));
        let count: u64 = lines.iter().map(|(_, count)| count).sum();
        if INTERRUPTING.contains(&driver.as_str()) && count == 0 {
            return Err(io::Error::other(format!(
                "{device} ({driver}) has not interrupted by MSI-X:\n{table}"
            )));
        }
    }
    Ok(())
}

/// Names of devices and of their drivers.
fn virtio() -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(DEVICES)? {
        let device = entry?.file_name().to_string_lossy().into_owned();
        let driver = fs::read_link(Path::new(DEVICES).join(&device).join("driver"));
        let driver = driver.map_err(|_| io::Error::other(format!("nothing drives {device}")))?;
        let driver = driver.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push((device, driver));
    }
    found.sort();
    Ok(found)
}

/// The name and the sum of a line like ` 25:   12   0  PCI-MSI 49153-edge  virtio1-req.0`.
fn message_line<'a>(line: &'a str, device: &str) -> Option<(&'a str, u64)> {
    let name = line.split_whitespace().last()?;
    let of_device = name.strip_prefix(device)?.starts_with('-');
    let (_, columns) = line.split_once(':')?;
    let (counts, _) = columns.split_once("PCI-MSI").filter(|_| of_device)?;
    Some((name, counts.split_whitespace().filter_map(|count| count.parse::<u64>().ok()).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_of_the_device_itself_are_counted() {
        let line = " 25:  12   30  PCI-MSI 49153-edge      virtio1-req.0";
        assert_eq!(message_line(line, "virtio1"), Some(("virtio1-req.0", 42)));
        let newer = " 25:  12   30  PCI-MSIX-0000:00:03.0    1-edge      virtio1-req.0";
        assert_eq!(message_line(newer, "virtio1"), Some(("virtio1-req.0", 42)));
        assert_eq!(message_line(line, "virtio"), None);
        assert_eq!(message_line(" 10:  12   30  IO-APIC 10-fasteoi   virtio1-req.0", "virtio1"), None);
        assert_eq!(message_line("           CPU0       CPU1", "virtio1"), None);
    }
}
