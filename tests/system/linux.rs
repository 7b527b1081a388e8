// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's Linux as a guest, by each of its two ways to be started, down to a shell that answers.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use ci::bundle::VirtualMachine;
use ci::lab::Session;
use ci::run;
use ci::setup::debian;
use ci::setup::initramfs;
use ci::setup::initramfs::PROMPT;

use crate::Lab;
use crate::report::Report;
use crate::test;

/// Until the prompt, on this machine's clock. The bzImage decompresses itself first, which is most of it.
const TIME_TO_BOOT: Duration = Duration::from_secs(300);
/// For a command to answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(60);

const CTRL_C: &str = "\x03";

/// Runs the tests with Linux.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "linux::vmlinux_by_pvh_has_a_shell_that_answers", || {
        let mut linux = Linux::boot(lab, debian::linux(&lab.workshop)?.vmlinux)?;
        let answer = linux.answer("uname -a; cat /proc/cpuinfo")?;
        ensure!(answer.contains("\nLinux ") && answer.contains("x86_64 GNU/Linux"), "uname -a says {answer}");
        ensure!(
            answer.contains("processor\t: 0") && !answer.contains("processor\t: 1"),
            "cpuinfo says {answer}"
        );
        linux.is_interrupted_by_ctrl_c()?;
        linux.powers_off()
    })?;
    test(report, "linux::bzimage_by_the_64_bit_protocol_has_a_shell_that_answers", || {
        let mut linux = Linux::boot(lab, debian::linux(&lab.workshop)?.bzimage)?;
        let answer = linux.answer("echo $((6 * 7))")?;
        ensure!(answer.contains("\n42\r\n"), "the shell says {answer}");
        linux.powers_off()
    })
}

/// A Linux at its prompt.
struct Linux {
    session: Session,
}

impl Linux {
    fn boot(lab: &Lab, kernel: PathBuf) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let initrd = files.path().join("initrd");
        fs::write(&initrd, initramfs::build(&lab.workshop)?)?;
        let linux = VirtualMachine {
            name: "linux".into(),
            memory_mib: 256,
            vcpus: 1,
            kernel,
            initrd: Some(initrd),
            command_line: Some(run::KERNEL_COMMAND_LINE.into()),
            time_limit_s: None,
        };
        let mut session = lab.boot_machines(vec![linux])?;
        session.expect(PROMPT, TIME_TO_BOOT)?;
        Ok(Self { session })
    }

    /// Types `command`, and gives what is printed until the next prompt.
    fn answer(&mut self, command: &str) -> Result<String> {
        self.session.send(&format!("{command}\n"))?;
        self.session.expect(PROMPT, TIME_TO_ANSWER)
    }

    fn is_interrupted_by_ctrl_c(&mut self) -> Result<()> {
        self.session.send("echo waiting; cat\n")?;
        self.session.expect("\nwaiting", TIME_TO_ANSWER)?;
        self.session.send(CTRL_C)?;
        self.session.expect(PROMPT, TIME_TO_ANSWER)?;
        let answer = self.answer("echo $?")?;
        ensure!(answer.contains("\n130\r\n"), "after Ctrl-C the shell says {answer}");
        Ok(())
    }

    fn powers_off(&mut self) -> Result<()> {
        self.session.send("poweroff -f\n")?;
        self.session.expect("vm linux: ended: powered off", TIME_TO_ANSWER)?;
        self.session.wait_for_power_off(TIME_TO_ANSWER)
    }
}
