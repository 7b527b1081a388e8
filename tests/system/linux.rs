// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's Linux as a guest, by each of its two ways to be started, down to a shell that answers; and with several CPUs,
//! busy.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use ci::bundle::VirtualMachine;
use ci::cargo;
use ci::lab::Session;
use ci::run;
use ci::setup::debian;
use ci::setup::initramfs;
use ci::setup::initramfs::PROMPT;

use crate::Lab;
use crate::flushes::Flushes;
use crate::lines::line_with;
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

/// What the kernel says when something is wrong with it.
const TROUBLE: &str = "BUG:|Oops|Call Trace|unchecked MSR|rcu: INFO|soft lockup|Bad page";

const CTRL_C: &str = "\x03";

/// Runs the tests with Linux.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "linux::vmlinux_by_pvh_has_a_shell_that_answers", || {
        let mut linux = Linux::boot(lab, debian::linux(&lab.workshop)?.vmlinux, Cpus::default())?;
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
        let mut linux = Linux::boot(lab, debian::linux(&lab.workshop)?.bzimage, Cpus::default())?;
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
    let mut linux = Linux::boot(lab, debian::linux(&lab.workshop)?.vmlinux, cpus)?;
    let answer = linux.answer("nproc", TIME_TO_ANSWER)?;
    ensure!(answer.contains("\n4\r\n"), "nproc says {answer}");
    linux.gets_the_workload_right()?;
    linux.powers_off_without_invept_global()
}

/// A Linux that sees Hyper-V's interface finds nothing amiss with it, uses it, and gets the workload right.
fn flushes_by_hypercall(lab: &Lab) -> Result<()> {
    let cpus = Cpus { of_guest: 2, of_machine: 2 };
    let mut linux = Linux::boot_with(lab, debian::linux(&lab.workshop)?.vmlinux, cpus, true)?;
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

/// A Linux at its prompt.
struct Linux {
    session: Session,
}

impl Linux {
    fn boot(lab: &Lab, kernel: PathBuf, cpus: Cpus) -> Result<Self> {
        Self::boot_with(lab, kernel, cpus, false)
    }

    fn boot_with(lab: &Lab, kernel: PathBuf, cpus: Cpus, hyperv: bool) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let initrd = files.path().join("initrd");
        fs::write(&initrd, initramfs::build(&lab.workshop, &[("workload", workload(lab)?)])?)?;
        let linux = VirtualMachine {
            vcpus: cpus.of_guest,
            initrd: Some(initrd),
            command_line: Some(run::KERNEL_COMMAND_LINE.into()),
            hyperv,
            ..VirtualMachine::new("linux", 256, kernel)
        };
        let mut session = lab.boot_machines(vec![linux], cpus.of_machine)?;
        session.expect(PROMPT, if cpus.of_machine == 1 { TIME_TO_BOOT } else { TIME_TO_BOOT_SMP })?;
        Ok(Self { session })
    }

    /// Types `command`, and gives what is printed until the next prompt.
    fn answer(&mut self, command: &str, within: Duration) -> Result<String> {
        self.session.send(&format!("{command}\n"))?;
        self.session.expect(PROMPT, within)
    }

    fn gets_the_workload_right(&mut self) -> Result<()> {
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
        self.session.send("echo waiting; cat\n")?;
        self.session.expect("\nwaiting", TIME_TO_ANSWER)?;
        self.session.send(CTRL_C)?;
        self.session.expect(PROMPT, TIME_TO_ANSWER)?;
        let answer = self.answer("echo $?", TIME_TO_ANSWER)?;
        ensure!(answer.contains("\n130\r\n"), "after Ctrl-C the shell says {answer}");
        Ok(())
    }

    fn powers_off(&mut self) -> Result<()> {
        self.session.send("poweroff -f\n")?;
        self.session.expect("vm linux: ended: powered off", TIME_TO_ANSWER)?;
        self.session.wait_for_power_off(TIME_TO_ANSWER)
    }

    fn powers_off_without_invept_global(&mut self) -> Result<()> {
        self.session.send("poweroff -f\n")?;
        line_with(&mut self.session, "vm linux: ended: powered off")?;
        let mut flushes = Flushes::default();
        while let Some(line) = self.session.line(TIME_TO_ANSWER)? {
            flushes.look(&line)?;
        }
        flushes.none_was_global()?;
        self.session.wait_for_power_off(TIME_TO_ANSWER)
    }
}
