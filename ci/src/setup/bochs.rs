// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator: Bochs 3.0, built from the source in Debian's pool, with four places mended.
//!
//! Debian's own binary is of an older version with known faults in VMX, and a fourth as fast: it has the debugger
//! and instrumentation built in.

use std::env;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::cache::Recipe;
use crate::progress::Step;
use crate::setup::apt;
use crate::setup::packages;
use crate::steps;
use crate::workshop::Workshop;

/// Names another emulator to use instead: the Bochs program itself.
pub const VARIABLE: &str = "SATORI_BOCHS";

const SOURCE: &str = "pool/main/b/bochs/bochs_3.0+dfsg.orig.tar.xz";
const SOURCE_SHA256: &str = "78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b";

/// What is inserted after a line that is in its file once.
#[derive(Debug)]
struct Mend {
    file: &'static str,
    after: &'static str,
    insert: &'static str,
}

/// VM entry in 3.0 loads the guest's EFLAGS before the CPU counts as being in the guest. So with IF=0 in the guest
/// external interrupts are masked although they should exit, and a guest that spins hangs its hypervisor.
/// Deciding about the mask once more after this line mends it.
const MASK_AFTER_ENTRY: Mend = Mend {
    file: "cpu/vmx.cc",
    after: "  BX_CPU_THIS_PTR in_vmx_guest = true;\n",
    insert: "  handleInterruptMaskChange();\n",
};

/// With several CPUs, 3.0 forgets after an exception that the instruction which raised it is over. If an external
/// interrupt makes the guest exit before the first instruction of the handler, the exit goes back to that
/// instruction, but with the stack of the handler. With one CPU the loop that calls does what is inserted here.
const COMMIT_AFTER_EXCEPTION: Mend = Mend {
    file: "cpu/cpu.cc",
    after: "void BX_CPU_C::cpu_run_trace(void)\n{\n",
    insert: "  BX_CPU_THIS_PTR prev_rip = RIP;\n  BX_CPU_THIS_PTR speculative_rsp = false;\n",
};

/// When an interrupt makes a guest exit that has interrupts off, 3.0 delivers a virtual interrupt that waits instead, though the
/// guest cannot take it. One that is masked gives way.
const MASKED_VIRTUAL_INTERRUPT_WAITS: Mend = Mend {
    file: "cpu/event.cc",
    after: "  if (BX_CPU_THIS_PTR in_vmx_guest) {\n\n#if BX_SUPPORT_VMX >= 2\n",
    insert: "    if (! is_unmasked_event_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR)) VMexit_ExtInterrupt();\n    else\n",
};

/// With several CPUs, 3.0 comes back from an exception or a VM exit by longjmp, and then uses a local variable that says whose it
/// was. Only a volatile one still has its value there: compiled as it stands, the first CPU's count of instructions goes on by one
/// for whatever happens to any CPU. What STI and MOV SS hold back is measured by that count, and came too early.
const KNOW_WHOSE_EXIT_IT_WAS: Mend = Mend {
    file: "main.cc",
    after: "        static int quantum = SIM->get_param_num(BXPN_SMP_QUANTUM)->get();\n",
    insert: "        volatile\n",
};

const MENDS: [Mend; 4] =
    [MASK_AFTER_ENTRY, COMMIT_AFTER_EXCEPTION, MASKED_VIRTUAL_INTERRUPT_WAITS, KNOW_WHOSE_EXIT_IT_WAS];

/// The display of instructions per second stays off: its signal handler logs while the interrupted thread may hold
/// the log's lock, and then hangs for ever.
const OPTIONS: [&str; 17] = [
    "--enable-cpu-level=6",
    "--enable-x86-64",
    "--enable-smp",
    "--enable-vmx=2",
    "--enable-svm",
    "--enable-avx",
    "--enable-evex",
    "--enable-all-optimizations",
    "--enable-pci",
    "--enable-e1000",
    "--disable-show-ips",
    "--disable-debugger",
    "--disable-docbook",
    "--disable-plugins",
    "--with-nogui",
    "CFLAGS=-O3",
    "CXXFLAGS=-O3 -fomit-frame-pointer",
];

/// The emulator's program, built first if it is not in the cache.
///
/// # Errors
/// When the one that [`VARIABLE`] names is not there, or ours cannot be fetched or built.
pub fn bring(workshop: &Workshop) -> Result<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE).map(PathBuf::from) {
        ensure!(
            named.is_file(),
            "{VARIABLE} names {}, which is no file; correct or unset it",
            named.display()
        );
        return Ok(std::path::absolute(named)?);
    }
    let text = format!("{SOURCE_SHA256}\n{MENDS:?}\n{OPTIONS:?}");
    let recipe = Recipe { name: "bochs-3.0", text: &text };
    if !workshop.cache.has(&recipe) {
        packages::bring_compiler(workshop)?;
    }
    let entry = workshop.cache.entry(&workshop.interrupt, &recipe, |folder| build(workshop, folder));
    let entry = entry.with_context(|| {
        format!("the emulator could not be made ({VARIABLE} can name a Bochs 3.0 that is there already)")
    })?;
    Ok(entry.join("bochs"))
}

/// The version of the emulator, and which of its builds: a name that changes with its source, its mends and its options.
///
/// # Errors
/// As [`bring`].
pub fn version(workshop: &Workshop) -> Result<String> {
    let bochs = bring(workshop)?;
    if env::var_os(VARIABLE).is_some() {
        return Ok(bochs.display().to_string());
    }
    let folder = bochs.parent().and_then(Path::file_name).unwrap_or_default();
    Ok(folder.display().to_string())
}

fn build(workshop: &Workshop, folder: &Path) -> Result<()> {
    let archive = folder.join("source.tar.xz");
    apt::fetch_from_pool(workshop, SOURCE, SOURCE_SHA256, &archive)?;
    let build = tempfile::tempdir_in(folder)?;
    let source = unpack(&archive, build.path())?;
    MENDS.iter().try_for_each(|mend| mend.apply(&source))?;

    let step = Step::start("building the emulator (a minute or two)");
    let log = workshop.cache.log("bochs");
    let run =
        |command: &mut Command| steps::run(&workshop.interrupt, &step, command.current_dir(&source), &log);
    run(Command::new("./configure").args(OPTIONS))?;
    run(Command::new("make").arg(format!("-j{}", thread::available_parallelism()?)))?;
    fs::rename(source.join("bochs"), folder.join("bochs"))?;
    fs::remove_file(archive)?;
    step.done();
    Ok(())
}

/// Unpacks `archive` into `folder` and gives the only folder that it holds.
fn unpack(archive: &Path, folder: &Path) -> Result<PathBuf> {
    let xz = lzma_rust2::XzReader::new(File::open(archive)?, false);
    tar::Archive::new(xz).unpack(folder)?;
    let mut entries = fs::read_dir(folder)?;
    Ok(entries.next().context("the source archive is empty")??.path())
}

impl Mend {
    fn apply(&self, source: &Path) -> Result<()> {
        let Self { file, after, insert } = self;
        let file = source.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        let found = text.matches(after).count();
        ensure!(found == 1, "{} has {found} places to mend instead of one", file.display());
        fs::write(&file, text.replace(after, &format!("{after}{insert}"))).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_goes_after_its_line_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.cc");
        let mend = Mend { file: "file.cc", after: "the line\n", insert: "more\n" };
        fs::write(&file, "before\nthe line\nafter\n").unwrap();
        mend.apply(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "before\nthe line\nmore\nafter\n");
        for unfit in ["something else\n", "the line\nthe line\n"] {
            fs::write(&file, unfit).unwrap();
            assert!(mend.apply(folder.path()).is_err());
        }
    }
}
