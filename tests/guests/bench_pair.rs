// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two vCPUs on one CPU wake each other out of HLT, in turn: what half a round trip costs. They use x2APIC mode where it is there, as
//! systems under hypervisors do.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use tests::arrival;
use tests::bench::Bench;
use tests::bench::Often;
use tests::bench::timed;
use tests::local_apic::LocalApic;
use tests::processors;

tests::program!(run);

static OVER: AtomicBool = AtomicBool::new(false);

fn run() {
    let mut bench = Bench::start();
    let apic = apic();
    processors::start(1, |_| answer());
    arrival::prepare();
    bench.measure("ipi_halted", Often { unit: 2, ..Often::AT_WILL }, |ipis| {
        timed(|| {
            for _ in 0..ipis / 2 {
                wake(apic, 1);
                wait(apic);
            }
        })
    });
    OVER.store(true, Relaxed);
    wake(apic, 1);
}

fn answer() {
    let apic = apic();
    loop {
        wait(apic);
        if OVER.load(Relaxed) {
            return;
        }
        wake(apic, 0);
    }
}

fn apic() -> LocalApic {
    LocalApic::into_x2apic().unwrap_or(LocalApic::XApic)
}

fn wake(apic: LocalApic, vcpu: u32) {
    apic.send(vcpu, arrival::VECTOR.into());
}

fn wait(apic: LocalApic) {
    let _ = arrival::halted();
    apic.end_of_interrupt();
}
