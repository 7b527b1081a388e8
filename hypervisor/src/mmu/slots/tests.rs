// SPDX-License-Identifier: MIT OR Apache-2.0
//! Overlays: whatever is laid, lifted and changed under them, what is seen is what a model sees.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const FRAMES: u64 = 16;

#[derive(Clone, Debug)]
enum Step {
    Set { frames: Range<u64>, ram: usize },
    Remove(Range<u64>),
    Lay { page: usize, at: u64 },
    Lift { page: usize },
    Log { frames: Range<u64>, logged: bool },
}

fn any_frames() -> impl Strategy<Value = Range<u64>> {
    (0..FRAMES, 1..=4_u64).prop_map(|(start, count)| start..start + count)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any_frames(), 0..2_usize).prop_map(|(frames, ram)| Step::Set { frames, ram }),
        any_frames().prop_map(Step::Remove),
        (0..2_usize, 0..FRAMES).prop_map(|(page, at)| Step::Lay { page, at }),
        (0..2_usize).prop_map(|page| Step::Lift { page }),
        (any_frames(), any::<bool>()).prop_map(|(frames, logged)| Step::Log { frames, logged }),
    ]
}

/// Which memory is at a frame, and which frame of it.
fn seen(slots: &Slots, rams: &[Arc<Ram>], frame: u64) -> Option<(usize, u64)> {
    let memory = slots.find(frame)?.memory.as_ref()?;
    let ram = rams.iter().position(|ram| Arc::ptr_eq(ram, &memory.ram)).unwrap();
    Some((ram, memory.index(frame)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn overlays_hide_what_is_under_them_and_do_it_no_harm(steps in prop::collection::vec(any_step(), 1..30)) {
        let whole = [0, 1].map(|_| Ram::new((FRAMES + 4) * FRAME).unwrap());
        let pages = [0, 1].map(|_| OverlayPage::writable().unwrap());
        let rams: Vec<_> = whole.iter().chain(pages.iter().map(|page| &page.ram)).map(Arc::clone).collect();
        let (mut slots, mut under, mut over) = (Slots::default(), BTreeMap::new(), Vec::<(usize, u64)>::new());
        for step in steps {
            match step {
                Step::Set { frames, ram } => {
                    slots = slots.with(frames.clone(), Some(Content::Ram(Arc::clone(&whole[ram]))));
                    under.extend(frames.clone().map(|frame| (frame, (ram, frame - frames.start))));
                }
                Step::Remove(frames) => {
                    slots = slots.with(frames.clone(), None);
                    under.retain(|frame, _| !frames.contains(frame));
                }
                Step::Lay { page, at } => {
                    let laid = slots.with_overlay(&pages[page], Some(at));
                    prop_assert_eq!(laid.is_some(), under.contains_key(&at));
                    if let Some(laid) = laid {
                        slots = laid;
                        over.retain(|&(other, _)| other != page);
                        over.push((page, at));
                    }
                }
                Step::Lift { page } => {
                    slots = slots.with_overlay(&pages[page], None).unwrap();
                    over.retain(|&(other, _)| other != page);
                }
                Step::Log { frames, logged } => slots = slots.with_logs(&frames, logged).unwrap(),
            }
            for frame in 0..FRAMES + 4 {
                let top = over.iter().rev().find(|&&(_, at)| at == frame).map(|&(page, _)| (2 + page, 0));
                prop_assert_eq!(seen(&slots, &rams, frame), top.or_else(|| under.get(&frame).copied()));
            }
            for (page, overlay) in pages.iter().enumerate() {
                let at = over.iter().find(|&&(laid, _)| laid == page).map(|&(_, at)| at);
                prop_assert_eq!(slots.overlaid(overlay), at);
            }
        }
    }
}

#[test]
fn memory_is_one_slot_again_once_a_page_is_lifted() {
    let ram = Ram::new(1024 * FRAME).unwrap();
    let slots = Slots::default().with(0..1024, Some(Content::Ram(ram)));
    let page = OverlayPage::writable().unwrap();
    let covered = slots.with_overlay(&page, Some(700)).unwrap();
    let all_around = |slots: &Slots, frame| slots.find(frame).unwrap().has_all_around(frame, 2);
    assert!(all_around(&covered, 0) && !all_around(&covered, 701), "no large page shows through");
    let lifted = covered.with_overlay(&page, None).unwrap();
    assert!(all_around(&lifted, 701));
    assert_eq!(lifted.tables_needed(), slots.tables_needed());
}

/// A processor that plays registers writes there without being asked: it must find the page writable.
#[test]
fn writes_to_what_the_processor_plays_are_not_logged() {
    let ram = || Ram::new(FRAME).unwrap();
    let slots =
        Slots::default().with(0..1, Some(Content::Ram(ram()))).with(1..2, Some(Content::Played(ram())));
    let slots = slots.with_logs(&(0..2), true).unwrap();
    let logged = [0, 1].map(|frame| slots.find(frame).unwrap().log().is_some());
    assert_eq!(logged, [true, false]);
}
