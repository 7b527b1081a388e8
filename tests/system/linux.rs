// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's Linux as a guest, by each of its two ways to be started, down to a shell that answers; and with several CPUs,
//! busy.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use ci::bundle::VirtualMachine;
use ci::cargo;
use ci::guest;
use ci::lab::Console;
use ci::lab::Session;
use ci::setup::debian;
use ci::setup::initramfs;
use ci::setup::initramfs::PROMPT;

use crate::Lab;
use crate::flushes;
use crate::lines::line_with;
use crate::lines::lines_to_the_end;
use crate::report::Report;
use crate::test;

/// Until the prompt, on this machine's clock. The bzImage decompresses itself first, which is most of it.
const TIME_TO_BOOT: Duration = Duration::from_secs(300);
/// The same, with several CPUs, which the emulator runs in turn.
const TIME_TO_BOOT_SMP: Duration = Duration::from_secs(600);
/// For the workload.
const TIME_TO_WORK: Duration = Duration::from_secs(600);
/// For a command to answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(60);

/// Words for a kernel that is to be quick: it does not try its ciphers, which is half of its start, and prints only what matters,
/// for each character takes two exits. While it prints it loses ticks where an exit costs much, so that it would take its TSC
/// for unreliable, and read ACPI's timer instead, with an exit each time.
pub const QUICKLY: &str = "cryptomgr.notests loglevel=5 tsc=reliable";

/// What the kernel says when something is wrong with it.
const TROUBLE: &str = "BUG:|Oops|Call Trace|unchecked MSR|rcu: INFO|soft lockup|Bad page";

const CTRL_C: &str = "\x03";

/// Runs the tests with Linux.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "linux::vmlinux_by_pvh_has_a_shell_that_answers", || {
        let mut linux = boot(lab, debian::linux(&lab.workshop)?.vmlinux, Cpus::default())?;
        let answer = linux.answer("uname -a; cat /proc/cpuinfo", TIME_TO_ANSWER)?;
        ensure!(answer.contains("\nLinux ") && answer.contains("x86_64 GNU/Linux"), "uname -a says {answer}");
        ensure!(
            answer.contains("processor\t: 0") && !answer.contains("processor\t: 1"),
            "cpuinfo says {answer}"
        );
        linux.is_interrupted_by_ctrl_c()?;
        linux.gets_the_workload_right()?;
        linux.powers_off()
    })?;
    test(report, "linux::bzimage_by_the_64_bit_protocol_has_a_shell_that_answers", || {
        let mut linux = boot(lab, debian::linux(&lab.workshop)?.bzimage, Cpus::default())?;
        let answer = linux.answer("echo $((6 * 7))", TIME_TO_ANSWER)?;
        ensure!(answer.contains("\n42\r\n"), "the shell says {answer}");
        linux.powers_off()
    })?;
    test(report, "linux::four_vcpus_on_four_cpus_do_a_workload_right", || works(lab, 4))?;
    test(report, "linux::four_vcpus_on_two_cpus_do_a_workload_right", || works(lab, 2))?;
    test(report, "linux::with_hyperv_it_flushes_by_hypercall_and_does_a_workload_right", || {
        flushes_by_hypercall(lab)
    })
}

/// A Linux with four vCPUs on so many CPUs sees them, gets the workload right, and needs no global INVEPT for it.
fn works(lab: &Lab, of_machine: u32) -> Result<()> {
    let cpus = Cpus { of_guest: 4, of_machine };
    let mut linux = boot(lab, debian::linux(&lab.workshop)?.vmlinux, cpus)?;
    let answer = linux.answer("nproc", TIME_TO_ANSWER)?;
    ensure!(answer.contains("\n4\r\n"), "nproc says {answer}");
    linux.gets_the_workload_right()?;
    linux.powers_off_without_invept_global()
}

/// A Linux that sees Hyper-V's interface finds nothing amiss with it, uses it, and gets the workload right.
fn flushes_by_hypercall(lab: &Lab) -> Result<()> {
    let cpus = Cpus { of_guest: 2, of_machine: 2 };
    let mut linux = boot_with(lab, debian::linux(&lab.workshop)?.vmlinux, cpus, true)?;
    let answer = linux.answer("dmesg | grep -iE 'hyper-?v'", TIME_TO_ANSWER)?;
    ensure!(answer.contains("Using hypercall for remote TLB flush"), "the kernel says {answer}");
    linux.gets_the_workload_right()?;
    linux.powers_off()
}

/// CPUs of the guest and of the machine.
#[derive(Clone, Copy)]
struct Cpus {
    of_guest: u32,
    of_machine: u32,
}

impl Default for Cpus {
    fn default() -> Self {
        Self { of_guest: 1, of_machine: 1 }
    }
}

/// The program that keeps Linux busy.
fn workload(lab: &Lab) -> Result<Vec<u8>> {
    let program = cargo::build_workload(&lab.workshop)?;
    fs::read(&program).with_context(|| format!("cannot read {}", program.display()))
}

fn boot(lab: &Lab, kernel: PathBuf, cpus: Cpus) -> Result<Linux<Session>> {
    boot_with(lab, kernel, cpus, false)
}

fn boot_with(lab: &Lab, kernel: PathBuf, cpus: Cpus, hyperv: bool) -> Result<Linux<Session>> {
    let files = tempfile::tempdir()?;
    let linux = VirtualMachine { vcpus: cpus.of_guest, hyperv, ..machine(lab, kernel, files.path())? };
    let session = lab.boot_machines(vec![linux], cpus.of_machine)?;
    Linux::at_its_prompt(session, if cpus.of_machine == 1 { TIME_TO_BOOT } else { TIME_TO_BOOT_SMP })
}

/// A virtual machine with Linux and the workload. What has to be made for it goes to `folder`.
///
/// # Errors
/// When a part of it cannot be had.
pub fn machine(lab: &Lab, kernel: PathBuf, folder: &Path) -> Result<VirtualMachine> {
    let initrd = folder.join("initrd");
    fs::write(&initrd, initramfs::build(&lab.workshop, &[("workload", workload(lab)?)])?)?;
    Ok(VirtualMachine {
        initrd: Some(initrd),
        command_line: Some(guest::KERNEL_COMMAND_LINE.into()),
        ..VirtualMachine::new("linux", 256, kernel)
    })
}

/// A Linux at its prompt.
pub struct Linux<C> {
    console: C,
    /// What was printed before.
    pub boot_log: String,
}

impl<C: Console> Linux<C> {
    /// Waits for the prompt.
    ///
    /// # Errors
    /// When it does not come within that time.
    pub fn at_its_prompt(mut console: C, within: Duration) -> Result<Self> {
        let boot_log = console.expect(PROMPT, within)?;
        Ok(Self { console, boot_log })
    }

    /// Types `command`, and gives what is printed until the next prompt.
    fn answer(&mut self, command: &str, within: Duration) -> Result<String> {
        self.console.send(&format!("{command}\n"))?;
        self.console.expect(PROMPT, within)
    }

    /// The workload computes what it is known to, and the kernel tells of no trouble.
    ///
    /// # Errors
    /// When it does not.
    pub fn gets_the_workload_right(&mut self) -> Result<()> {
        let answer = self.answer("workload", TIME_TO_WORK)?;
        let expected = format!("\nworkload: ok {:016x}\r\n", workload::expected());
        ensure!(answer.contains(&expected), "expected {expected:?}, but: {answer}");
        let answer = self.answer(&format!("dmesg | grep -cE '{TROUBLE}'"), TIME_TO_ANSWER)?;
        ensure!(
            answer.contains("\n0\r\n"),
            "the kernel tells of trouble: {}",
            self.answer("dmesg", TIME_TO_ANSWER)?
        );
        Ok(())
    }

    fn is_interrupted_by_ctrl_c(&mut self) -> Result<()> {
        // It says itself that it runs: between its own echo and `cat` the shell would keep a Ctrl-C from both.
        self.console.send("sh -c 'echo waiting; exec cat'\n")?;
        self.console.expect("\nwaiting", TIME_TO_ANSWER)?;
        self.console.send(CTRL_C)?;
        self.console.expect(PROMPT, TIME_TO_ANSWER)?;
        let answer = self.answer("echo $?", TIME_TO_ANSWER)?;
        ensure!(answer.contains("\n130\r\n"), "after Ctrl-C the shell says {answer}");
        Ok(())
    }

    fn powers_off(mut self) -> Result<()> {
        self.rest().map(drop)
    }

    fn powers_off_without_invept_global(mut self) -> Result<()> {
        flushes::none_was_global(&self.rest()?)
    }

    /// Powers it off, and gives the lines that come then.
    ///
    /// # Errors
    /// When it does not power off.
    pub fn rest(&mut self) -> Result<Vec<String>> {
        self.console.send("poweroff -f\n")?;
        line_with(&mut self.console, "vm linux: ended: powered off")?;
        let lines = lines_to_the_end(&mut self.console, TIME_TO_ANSWER)?;
        self.console.wait_for_power_off(TIME_TO_ANSWER)?;
        Ok(lines)
    }
}
