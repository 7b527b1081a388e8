// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is replaced while others read it.

use super::*;
use crate::cpu::number::MAX_CPUS;
use crate::mmu::explore::Yields;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::flush::Provider;
use crate::mmu::watch::Watch;
use ::loom::thread;

/// CPU 1 reads twice while CPU 0 replaces; what only the old value led to is used by nobody when it is cleansed.
fn replace_and_read() {
    let coherence = Coherence::new(Provider::Native, Box::new(Yields(MAX_CPUS)));
    let (old, new) = (Arc::new(Watch::default()), Arc::new(Watch::default()));
    let published = Arc::new(Published::new(Arc::clone(&coherence), Arc::clone(&old)));
    let reader = thread::spawn({
        let published = Arc::clone(&published);
        move || {
            for _ in 0..2 {
                let reading = coherence.grace.read(CpuNumber::new(1).unwrap());
                published.read(&reading).used();
            }
        }
    });
    published.replace(CpuNumber::BOOT, new, || old.released());
    reader.join().unwrap();
}

#[test]
fn what_was_replaced_goes_when_nobody_looks_at_it() {
    explore(None, replace_and_read);
}

#[test]
fn what_goes_while_somebody_looks_at_it_is_found() {
    finds(Rule::PublishedIsWaitedFor, None, replace_and_read);
}
