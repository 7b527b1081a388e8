// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three virtual machines at once: two Linux with disks and a network between them, and a kernel that is entered by
//! multiboot; and the operator, who looks at them, types to one, stops it and starts it again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::bundle::Disk;
use ci::bundle::Manifest;
use ci::bundle::Net;
use ci::bundle::VirtualMachine;
use ci::guest::KERNEL_COMMAND_LINE;
use ci::image::Bundle;
use ci::lab::Console;
use ci::setup::debian;
use ci::setup::initramfs::PROMPT;
use tests::catalogue::MULTIBOOT_EXIT_VALUE;
use workload::devices;

use crate::Hardware;
use crate::Lab;
use crate::guests;
use crate::lines::line_with;
use crate::linux;
use crate::linux::QUICKLY;
use crate::report::Report;
use crate::test;

/// The test's name.
pub const NAME: &str = "three_machines::ping_check_their_disks_and_obey_the_operator";

/// Between two lines, on this machine's clock: most of it is for a kernel that starts and says nothing.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// For an answer of Satori's or of a shell.
const TIME_TO_ANSWER: Duration = Duration::from_secs(120);
/// From the last machine's end to that of the machine that they were in.
const TIME_TO_POWER_OFF: Duration = Duration::from_secs(60);

/// What Satori's shell prints when it waits for a command.
const SATORIS_PROMPT: &str = "satori> ";

/// Leaves the console of the machine that it is attached to.
const DETACH: &str = "\x01d";

/// How often each of the two pings the other.
const PINGS: u16 = 40;

/// 64-bit words of the disks that are read, and the size of those that are written.
const DISK_WORDS: usize = 256 << 10;
const SCRATCH_MIB: u32 = 2;

/// The program that is the third.
const THIRD: &str = "multiboot";

/// A Linux of the two.
struct Linux {
    name: &'static str,
    address: &'static str,
    peer: &'static str,
    /// Of its disk's content.
    seed: u64,
    read_only: bool,
}

const TWO: [Linux; 2] = [
    Linux { name: "left", address: "10.0.0.1", peer: "10.0.0.2", seed: 1, read_only: false },
    Linux { name: "right", address: "10.0.0.2", peer: "10.0.0.1", seed: 2, read_only: true },
];

impl Linux {
    /// A machine with all that the workload has something to do with. Files that it takes go to `folder`.
    fn machine(&self, lab: &Lab, folder: &Path) -> Result<VirtualMachine> {
        let folder = folder.join(self.name);
        fs::create_dir_all(&folder)?;
        let disk = folder.join("disk");
        fs::write(&disk, devices::disk(self.seed, DISK_WORDS).0)?;
        let Self { name, address, peer, .. } = self;
        let run = format!(
            "workload devices disk=/dev/vda scratch=/dev/vdb address={address} peer={peer} pings={PINGS}"
        );
        let kernel = debian::linux(&lab.workshop)?.vmlinux;
        Ok(VirtualMachine {
            name: (*name).into(),
            memory_mib: 192,
            command_line: Some(format!("{KERNEL_COMMAND_LINE} {QUICKLY} run=\"{run}\"")),
            disks: vec![
                Disk::File { file: disk, read_only: self.read_only },
                Disk::Blank { size_mib: SCRATCH_MIB },
            ],
            nets: vec![Net { switch: "lan".into(), mac: None }],
            virtio_console: true,
            ..linux::machine(lab, kernel, &folder)?
        })
    }

    /// The lines by which the workload says that all went well.
    fn promised(&self) -> Vec<String> {
        let Self { name, peer, seed, read_only, .. } = self;
        let (content, checksum) = devices::disk(*seed, DISK_WORDS);
        let kind = if *read_only { "read-only" } else { "writable" };
        let (bytes, scratch) = (content.len(), u64::from(SCRATCH_MIB) << 20);
        [
            format!("disk /dev/vda: {kind}, {bytes} bytes, checksum {checksum:016x}"),
            format!("disk /dev/vdb: {scratch} bytes written and read back"),
            "entropy: random, by virtio_rng.0".into(),
            format!("pings to {peer}: {PINGS} of {PINGS} came back in order"),
            format!("stream to {peer}: {} bytes arrived", devices::STREAM_WORDS * 8),
            format!("ok {checksum:016x}"),
        ]
        .map(|line| format!("{name}| workload: {line}"))
        .to_vec()
    }
}

/// The three, all at once. Files that they take go to `folder`.
///
/// # Errors
/// When a part cannot be had.
pub fn manifest(lab: &Lab, folder: &Path) -> Result<Manifest> {
    let mut machines = TWO.iter().map(|linux| linux.machine(lab, folder)).collect::<Result<Vec<_>>>()?;
    machines.extend(guests::named(lab, &[THIRD])?);
    Ok(Manifest::together(machines))
}

/// Runs the test on the leg `bare`.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, NAME, || {
        let folder = tempfile::tempdir()?;
        let machines = Bundle::Of(manifest(lab, folder.path())?);
        judge(&mut lab.boot(machines, Hardware { cpus: 2, ..Hardware::default() })?)
    })
}

/// All of it, from the machines' first lines to the end of what they run in.
///
/// # Errors
/// When anything is not as it must be.
pub fn judge(console: &mut impl Console) -> Result<()> {
    let mut wanted: Vec<String> = TWO.iter().flat_map(Linux::promised).collect();
    wanted.push(format!("vm {THIRD}: ended: debug exit, status {}", MULTIBOOT_EXIT_VALUE << 1 | 1));
    see_all(console, wanted).context("while all three ran")?;
    the_operator_looks(console).context("while the operator looked")?;
    the_operator_types(console).context("while the operator typed to a guest")?;
    the_operator_restarts(console).context("while the operator stopped one and started it again")?;
    stop(console, "left")?;
    stop(console, "right")?;
    console.wait_for_power_off(TIME_TO_POWER_OFF)
}

fn the_operator_looks(console: &mut impl Console) -> Result<()> {
    let list = answer(console, "vm list")?;
    for (name, phase) in [("left", "running"), ("right", "running"), (THIRD, "stopped")] {
        let line =
            list.iter().find(|line| line.contains(name)).with_context(|| format!("no {name}: {list:?}"))?;
        ensure!(line.contains(phase), "{name} is to be {phase}: {line}");
    }
    let stats = answer(console, "stats left")?;
    for reason in ["CPUID", "HLT"] {
        ensure!(stats.iter().any(|line| line.contains(reason)), "no {reason} in {stats:#?}");
    }
    let refused = answer(console, "vm start left");
    ensure!(refused.is_err(), "a machine that runs was started: {refused:?}");
    Ok(())
}

fn the_operator_types(console: &mut impl Console) -> Result<()> {
    answer(console, "attach left")?;
    console.send("\r")?;
    console.expect(PROMPT, TIME_TO_ANSWER)?;
    console.send("echo $((6 * 7)) is the answer\r")?;
    console.expect("42 is the answer", TIME_TO_ANSWER)?;
    console.expect(PROMPT, TIME_TO_ANSWER)?;
    console.send("echo $((2 * 21)) by virtio > /dev/hvc0\r")?;
    console.expect("42 by virtio", TIME_TO_ANSWER)?;
    console.expect(PROMPT, TIME_TO_ANSWER)?;
    console.send(DETACH)?;
    console.expect(SATORIS_PROMPT, TIME_TO_ANSWER).map(drop)
}

/// It finds its disks as they were, and its peer where it was.
fn the_operator_restarts(console: &mut impl Console) -> Result<()> {
    let [left, _] = &TWO;
    stop(console, left.name)?;
    answer(console, &format!("vm start {}", left.name))?;
    see_all(console, left.promised())
}

fn stop(console: &mut impl Console, name: &str) -> Result<()> {
    answer(console, &format!("vm stop {name}"))?;
    line_with(console, &format!("vm {name}: ended: powered off")).map(drop)
}

/// Types a command, and gives the lines of its answer.
fn answer(console: &mut impl Console, command: &str) -> Result<Vec<String>> {
    console.send(&format!("{command}\r"))?;
    console.expect(&format!("{command}\r\n"), TIME_TO_ANSWER)?;
    let mut lines = Vec::new();
    while let Some(line) = console.line(TIME_TO_ANSWER)? {
        match line.as_str() {
            "ok" => return Ok(lines),
            error if error.starts_with("error: ") => bail!("{command}: {error}"),
            _ => lines.push(line),
        }
    }
    bail!("the machine ended before it had answered {command}")
}

/// Reads on until all of these lines have come, in whatever order.
fn see_all(console: &mut impl Console, mut missing: Vec<String>) -> Result<()> {
    while !missing.is_empty() {
        let line = console.line(LONGEST_SILENCE).with_context(|| format!("missing: {missing:#?}"))?;
        let line = line.with_context(|| format!("the machine ended without {missing:#?}"))?;
        ensure!(!line.contains("PANIC") && !line.contains("workload: failed"), "{line}");
        missing.retain(|wanted| !line.contains(wanted.as_str()));
    }
    Ok(())
}
