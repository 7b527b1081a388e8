// SPDX-License-Identifier: MIT OR Apache-2.0
//! All interleavings of two senders and the owner, and all values that weak memory lets them read.

use super::*;
use ::loom::model;
use ::loom::sync::Arc;
use ::loom::sync::atomic::AtomicBool;
use ::loom::thread;

/// Two senders post, and notify as they have to. The owner looks once meanwhile, if it was notified, and once when they are
/// through. Gives what it found in all, in the order in which it found it.
fn found(posts: [Message; 2]) -> Vec<Mail> {
    let mailbox = Arc::new(Mailbox::default());
    let notified = Arc::new(AtomicBool::new(false));
    let senders = posts.map(|message| {
        let (mailbox, notified) = (Arc::clone(&mailbox), Arc::clone(&notified));
        thread::spawn(move || {
            if mailbox.post(message) {
                // As bits of a CPU's attention word are set.
                notified.fetch_or(true, Ordering::AcqRel);
            }
        })
    });
    let look = || notified.swap(false, Ordering::Acquire).then(|| mailbox.take());
    let mut found: Vec<Mail> = look().into_iter().collect();
    for sender in senders {
        sender.join().expect("posting does not panic");
    }
    found.extend(look());
    // Without another notification there is nothing more.
    assert!(mailbox.is_empty());
    found
}

fn vectors(found: &[Mail]) -> Vec<u8> {
    let mut vectors: Vec<u8> =
        found.iter().flat_map(|mail| mail.interrupts()).map(|message| message.vector).collect();
    vectors.sort_unstable();
    vectors
}

#[test]
fn vectors_of_one_word_and_of_two_all_arrive_once() {
    for (first, second) in [(0x40, 0x41), (0x40, 0x80)] {
        model(move || {
            assert_eq!(vectors(&found([edge(first), edge(second)])), [first, second]);
        });
    }
}

#[test]
fn a_vector_that_two_send_arrives() {
    model(|| {
        let vectors = vectors(&found([edge(0x40), edge(0x40)]));
        assert!(vectors == [0x40] || vectors == [0x40, 0x40]);
    });
}

#[test]
fn a_vector_and_an_nmi_both_arrive() {
    model(|| {
        let found = found([edge(0x40), NON_MASKABLE]);
        assert_eq!(vectors(&found), [0x40]);
        assert!(found.iter().any(|mail| mail.has(NMI)));
    });
}

#[test]
fn an_init_arrives_whatever_comes_with_it() {
    for other in [NON_MASKABLE, start_up(0x20), INIT_IPI, edge(0x40)] {
        model(move || {
            let found = found([INIT_IPI, other]);
            assert!(found.iter().any(|mail| mail.has(INIT)));
        });
    }
}

/// The nudge may find the mailbox notified for already.
#[test]
fn what_was_changed_before_a_nudge_is_seen_by_who_takes_it() {
    model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let notified = Arc::new(AtomicBool::new(false));
        let changes = Arc::new(AtomicU64::new(0));
        let look = || {
            let looks = notified.swap(false, Ordering::Acquire);
            looks.then(|| (mailbox.take(), changes.load(Ordering::Relaxed)).1)
        };
        let [changer, poster] = [true, false].map(|changes_something| {
            let (mailbox, notified, changes) = (mailbox.clone(), notified.clone(), changes.clone());
            thread::spawn(move || {
                let was_empty = if changes_something {
                    changes.fetch_add(1, Ordering::Relaxed);
                    mailbox.nudge()
                } else {
                    mailbox.post(NON_MASKABLE)
                };
                if was_empty {
                    notified.fetch_or(true, Ordering::AcqRel);
                }
            })
        });
        let early = look();
        for sender in [changer, poster] {
            sender.join().expect("posting does not panic");
        }
        assert_eq!(look().or(early), Some(1));
    });
}
