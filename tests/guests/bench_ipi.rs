// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupt from one CPU to another that runs: what both execute, spinning included, from the command to the answer, which the
//! other gives by memory. They use x2APIC mode where it is there, as systems under hypervisors do.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use tests::arrival;
use tests::bench::Bench;
use tests::bench::Often;
use tests::bench::timed;
use tests::local_apic::LocalApic;
use tests::processors;
use tests::say;
use tests::spinners;
use tests::time;

tests::program!(run);

/// How many interrupts were answered.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Before there are any, the other CPU shows how many instructions a tick is.
fn run() {
    let mut bench = Bench::start();
    let apic = apic();
    processors::start(1, |number| {
        spinners::spin(number);
        answer();
    });
    time::spin(1_000);
    let thousandths = spinners::instructions_in_1000_ticks();
    say!("note: {thousandths} instructions in 1000 ticks");
    arrival::prepare();
    spinners::end();
    let mut sent = 0;
    bench.measure("ipi_running", Often::AT_WILL, |ipis| {
        let ticks = timed(|| {
            for _ in 0..ipis {
                sent += 1;
                apic.send(1, arrival::VECTOR.into());
                while ANSWERED.load(Relaxed) != sent {}
            }
        });
        ticks * thousandths / 1_000
    });
}

fn answer() {
    let apic = apic();
    loop {
        let _ = arrival::spinning();
        ANSWERED.fetch_add(1, Relaxed);
        apic.end_of_interrupt();
    }
}

fn apic() -> LocalApic {
    LocalApic::into_x2apic().unwrap_or(LocalApic::XApic)
}
