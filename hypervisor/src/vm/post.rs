// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the vCPUs of a machine reach each other: a mailbox for each, and who has to look into it.

use crate::cpu::CpuNumber;
use crate::cpu::number::Padded;
use crate::irqchip::Message;
use crate::irqchip::delivery::recipients;
use crate::irqchip::local_apic::Address;
use crate::vcpu::exit_counts::ExitCounts;
use crate::vcpu::linear_flush;
use crate::vcpu::linear_flush::LinearFlush;
use crate::vcpu::mailbox::Mailbox;
use alloc::boxed::Box;
use core::fmt::Debug;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use core::sync::atomic::fence;
use enlightenments::offer::flush::Processors;

/// The physical CPUs, as those see them who leave something for a vCPU.
pub trait Neighbours: Debug + Sync {
    /// Has that CPU look into the mailboxes of its vCPUs.
    fn notify(&self, cpu: CpuNumber);
    /// Whether that CPU is in a guest, or halted. If not, it looks before it is again, if it was notified.
    fn is_away(&self, cpu: CpuNumber) -> bool;
    /// Has the one that reads the console see whether there is input.
    fn ask_for_input(&self);
    /// Has the TSC of all taken for one that ticks `numerator` / `denominator` times as fast as at the start.
    fn pretend_rate(&self, numerator: u32, denominator: u32);
    /// Whether that is still to be done.
    fn is_rate_pending(&self) -> bool;
    /// How many there are.
    fn count(&self) -> usize;
}

/// One vCPU, as the others see it.
#[derive(Debug)]
pub struct Post {
    /// What they have for it.
    pub mailbox: Mailbox,
    /// Which linear translations they want it to drop.
    pub linear_flush: LinearFlush,
    /// How often it left its guest, and why.
    pub exits: Box<Padded<ExitCounts>>,
    /// What its local APIC listens to: an [`Address`].
    address: AtomicU64,
    /// The number of the CPU that has it.
    home: AtomicU8,
}

impl Post {
    fn new(address: Address) -> Self {
        Self {
            mailbox: Mailbox::default(),
            linear_flush: LinearFlush::new(),
            exits: Box::default(),
            address: AtomicU64::new(address.into()),
            home: AtomicU8::new(0),
        }
    }

    /// Its local APIC listens to something else from here on.
    pub fn set_address(&self, address: Address) {
        self.address.store(address.into(), Ordering::Relaxed);
    }

    fn address(&self) -> Address {
        self.address.load(Ordering::Relaxed).into()
    }

    /// It is on another CPU from here on. What is in its mailbox already, that CPU finds when it takes it in.
    pub fn set_home(&self, cpu: CpuNumber) {
        self.home.store(cpu.index() as u8, Ordering::Relaxed);
        // Who posts and still finds the CPU before, has posted before this one looks.
        fence(Ordering::SeqCst);
    }

    /// Who has to look, after something was posted.
    fn home(&self) -> CpuNumber {
        fence(Ordering::SeqCst);
        let number = usize::from(self.home.load(Ordering::Relaxed));
        CpuNumber::new(number).expect("a CPU's number was stored")
    }
}

/// All vCPUs of a machine, by their index.
#[derive(Debug)]
pub struct Posts {
    posts: Box<[Post]>,
    /// Devices have something to do that no exit asks for.
    work: AtomicBool,
    neighbours: &'static dyn Neighbours,
}

impl Posts {
    /// For vCPUs whose local APICs listen to `addresses` after RESET.
    pub fn new(addresses: impl Iterator<Item = Address>, neighbours: &'static dyn Neighbours) -> Self {
        Self { posts: addresses.map(Post::new).collect(), work: AtomicBool::new(false), neighbours }
    }

    /// The vCPU of that index.
    #[must_use]
    pub fn of(&self, vcpu: usize) -> &Post {
        &self.posts[vcpu]
    }

    /// All vCPUs, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Post> {
        self.posts.iter()
    }

    /// How many vCPUs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.posts.len()
    }

    /// The physical CPUs.
    #[must_use]
    pub fn neighbours(&self) -> &'static dyn Neighbours {
        self.neighbours
    }

    /// Leaves a message for each vCPU that it addresses; `sender` is the vCPU that sent it, if one did.
    pub fn send(&self, message: Message, sender: Option<usize>) {
        for vcpu in recipients(message, sender, self.posts.iter().map(Post::address)) {
            let post = &self.posts[vcpu];
            if post.mailbox.post(message) {
                self.neighbours.notify(post.home());
            }
        }
    }

    /// Comes back when none of these vCPUs, less `caller`, uses linear translations from before. The caller is out of its guest.
    pub fn flush_linear(&self, vcpus: Processors, caller: usize) {
        let others = (0..).zip(&self.posts).filter(|&(vcpu, _)| vcpus.has(vcpu as u32) && vcpu != caller);
        linear_flush::flush(
            others.map(|(_, post)| &post.linear_flush),
            |cpu| self.neighbours.notify(cpu),
            |cpu| self.neighbours.is_away(cpu),
        );
    }

    /// Has every vCPU look whether it is to go on, also those that are held and take no mail.
    pub fn stop_all(&self) {
        for post in &self.posts {
            // A mailbox that was not empty before says nothing of its owner: that may not have looked since it was held.
            let _ = post.mailbox.stop();
            self.neighbours.notify(post.home());
        }
    }

    /// As [`Self::nudge_all`], also for those that are held, or were until now.
    pub fn rouse_all(&self) {
        for post in &self.posts {
            let _ = post.mailbox.nudge();
            self.neighbours.notify(post.home());
        }
    }

    /// Has every vCPU look, before its next entry, at what its machine shows to all.
    pub fn nudge_all(&self) {
        (0..self.count()).for_each(|vcpu| self.nudge(vcpu));
    }

    /// Has the vCPU of that index look, before its next entry, at what its machine shows to it.
    pub fn nudge(&self, vcpu: usize) {
        let post = self.of(vcpu);
        if post.mailbox.nudge() {
            self.neighbours.notify(post.home());
        }
    }

    /// Has the CPU of the first vCPU let the machine's devices work, when it is out of its guest.
    pub fn ask_for_work(&self) {
        self.work.store(true, Ordering::Release);
        self.nudge(0);
    }

    /// Whether devices have something to do.
    #[must_use]
    pub fn is_work_asked(&self) -> bool {
        self.work.load(Ordering::Relaxed)
    }

    /// Whether devices have something to do, which whoever asks now does.
    #[must_use]
    pub fn take_work(&self) -> bool {
        self.is_work_asked() && self.work.swap(false, Ordering::Acquire)
    }

    /// Whether nothing waits for any of them.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        self.posts.iter().all(|post| post.mailbox.is_empty())
    }
}

#[cfg(test)]
mod tests;
