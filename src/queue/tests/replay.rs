//! QUE-5, QUE-6: whatever is sent, in whatever batches, replayed from wherever and cut off anywhere, the tree ends the same,
//! byte for byte. The disk is the store's model of one, which can be killed, filled and cut from its power at every operation.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Event, Image, Model, assert_same, batches, content, drain, event};
use proptest::prelude::*;
use queue::Processor;
use store::fault::{Fault, Faulty, MemDisk};
use store::{Disk, Paths, Tree};

const ROOT: &str = "/azaion";

fn paths() -> Paths {
    Paths::under(Path::new(ROOT))
}

fn new_disk() -> MemDisk {
    MemDisk::with_root(Path::new(ROOT))
}

/// A disk whose files are synced one by one, and one that is synced as a whole.
fn new_disks() -> [MemDisk; 2] {
    [new_disk(), MemDisk::synced_as_a_whole(Path::new(ROOT))]
}

fn open(disk: &MemDisk) -> Tree {
    Tree::open_on(paths(), Arc::new(disk.clone())).unwrap()
}

/// Every file of a tree that read the messages without a break, one at a time.
fn uninterrupted(events: &[Event]) -> BTreeMap<PathBuf, Vec<u8>> {
    let disk = new_disk();
    drain(open(&disk), events, &[1]).unwrap();
    disk.files()
}

/// Opens the tree on a disk that goes wrong at operation `at`, and reads until the end or the fault.
fn drain_on(disk: Arc<dyn Disk>, events: &[Event], sizes: &[usize]) -> Result<(), store::Error> {
    let tree = Tree::open_on(paths(), disk)?;
    drain(tree, events, sizes).map(drop)
}

/// A small generator for what a power cut keeps: half of the unsynced changes, but not always the same half.
fn coin(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & 64 == 0
    }
}

/// How the power or the process goes at the fault.
#[derive(Debug, Clone, Copy)]
enum Crash {
    Kill,
    PowerCut,
}

impl Crash {
    fn boot(self, disk: &MemDisk, seed: u64) -> MemDisk {
        match self {
            Self::Kill => disk.clone(),
            Self::PowerCut => disk.power_cut(coin(seed)),
        }
    }
}

/// Crashes at every operation of a run in `first` batches, then again somewhere in the run that resumes, then resumes in
/// `second` batches: each time the tree must be the one of an undisturbed run.
fn crash_everywhere(crash: Crash, start: &MemDisk, events: &[Event], first: &[usize], second: &[usize]) {
    let expected = uninterrupted(events);
    for at in 0.. {
        let disk = start.fork();
        let faulty = Arc::new(Faulty::new(Arc::new(disk.clone()), at, Fault::Kill));
        let result = drain_on(faulty.clone(), events, first);
        assert_eq!(result.is_err(), faulty.struck());
        let disk = crash.boot(&disk, at as u64);

        let again = Faulty::new(Arc::new(disk.clone()), at % 23, Fault::Kill);
        let _ = drain_on(Arc::new(again), events, second);
        let disk = crash.boot(&disk, !at as u64);

        drain_on(Arc::new(disk.clone()), events, second).unwrap();
        // What is committed is durable: the power may go right afterwards.
        let disk = disk.power_cut(|| false);
        drop(open(&disk));
        assert_same(&disk.files(), &expected, &format!("crash at operation {at}"));
        if result.is_ok() {
            break;
        }
    }
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..most)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..6_usize, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_is_what_the_requirements_say(events in events(30), sizes in sizes()) {
        let disk = new_disk();
        let processor = drain(open(&disk), &events, &sizes).unwrap();
        let model = Model::after(&events).files();
        assert_same(&content(&disk.files(), Path::new(ROOT)), &model, "against the model");
        assert_same(&disk.files(), &uninterrupted(&events), "in other batches");

        let counters = processor.counters();
        let quarantined = model.keys().filter(|path| path.starts_with("quarantine")).count() as u64;
        prop_assert_eq!(counters.failed, quarantined);
        prop_assert_eq!(counters.processed + counters.failed, events.len() as u64);
    }

    #[test]
    fn a_replay_from_any_offset_ends_in_the_same_bytes(events in events(20), sizes in sizes()) {
        let disk = new_disk();
        let mut tree = drain(open(&disk), &events, &[4]).unwrap().into_tree();
        let expected = disk.files();
        for from in 0..=events.len() as u64 {
            tree.rewind(from).unwrap();
            tree = drain(tree, &events, &sizes).unwrap().into_tree();
            assert_same(&disk.files(), &expected, &format!("from offset {from}"));
        }
    }

    #[test]
    fn a_replay_that_is_itself_broken_off_and_begun_again_ends_in_the_same_bytes(
        events in events(16), stops in prop::collection::vec((0..16_usize, 0..16_usize), 0..4)
    ) {
        let disk = new_disk();
        let mut tree = drain(open(&disk), &events, &[4]).unwrap().into_tree();
        let expected = disk.files();
        for (from, until) in stops {
            tree.rewind((from as u64).min(tree.offset())).unwrap();
            tree = drain(tree, &events[..until.min(events.len())], &[3]).unwrap().into_tree();
        }
        drain(tree, &events, &[2]).unwrap();
        assert_same(&disk.files(), &expected, "after the last replay");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_process_killed_at_any_operation_resumes_to_the_same_bytes(
        events in events(12), first in sizes(), second in sizes()
    ) {
        for disk in new_disks() {
            crash_everywhere(Crash::Kill, &disk, &events, &first, &second);
        }
    }

    #[test]
    fn power_lost_at_any_operation_costs_nothing_but_a_replay(
        events in events(12), first in sizes(), second in sizes()
    ) {
        for disk in new_disks() {
            crash_everywhere(Crash::PowerCut, &disk, &events, &first, &second);
        }
    }

    #[test]
    fn a_replay_may_crash_at_any_operation_too(
        events in events(10), from in 0..10_u64, first in sizes(), second in sizes()
    ) {
        for disk in new_disks() {
            let mut tree = drain(open(&disk), &events, &[3]).unwrap().into_tree();
            tree.rewind(from.min(events.len() as u64)).unwrap();
            drop(tree);
            crash_everywhere(Crash::PowerCut, &disk, &events, &first, &second);
        }
    }

    #[test]
    fn a_disk_that_is_full_at_any_operation_loses_nothing_and_a_retry_succeeds(
        events in events(12), sizes in sizes(), more in 0..4_usize
    ) {
        let expected = uninterrupted(&events);
        for empty in new_disks() {
            let _ = open(&empty);
            for at in 0.. {
                let disk = empty.fork();
                let faulty = Arc::new(Faulty::new(Arc::new(disk.clone()), at, Fault::Full(more)));
                let Ok(tree) = Tree::open_on(paths(), faulty.clone()) else { continue };
                let mut processor = Processor::new(tree, annotation::Limits::default());
                for batch in batches(&events, 0, &sizes) {
                    let before = processor.next_offset();
                    while let Err(error) = processor.process(&batch) {
                        assert!(error.is_disk_closed(), "{error}");
                        assert_eq!(processor.next_offset(), before);
                    }
                }
                while let Err(error) = processor.settle() {
                    assert!(error.is_disk_closed(), "{error}");
                }
                // The same process went on after each failure; what it committed is durable all the same.
                let disk = disk.power_cut(|| false);
                drop(open(&disk));
                assert_same(&disk.files(), &expected, &format!("full at operation {at}"));
                if !faulty.struck() {
                    break;
                }
            }
        }
    }
}

/// The trap that `unmatched.log` is for: on a replay the names are known that were unknown the first time.
#[test]
fn what_came_before_its_annotation_stays_without_effect_on_a_replay() {
    use annotation::Role::{Operator, Validator};
    let events = [
        Event::validated(&["cell-a"]),
        Event::deleted(&["cell-b"]),
        Event::edited("cell-c", Validator, 2),
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
        Event::created("cell-c", Operator),
    ];
    let disk = new_disk();
    let mut tree = drain(open(&disk), &events, &[1]).unwrap().into_tree();
    let expected = disk.files();
    assert_same(
        &content(&expected, Path::new(ROOT)),
        &Model::after(&events).files(),
        "first reading",
    );
    tree.rewind(0).unwrap();
    drain(tree, &events, &[6]).unwrap();
    assert_same(&disk.files(), &expected, "replay");
}

/// A crash leaves a new image in one home; the batch that resumes reaches further and creates it in another.
#[test]
fn no_image_is_left_behind_when_the_resumed_batch_is_longer() {
    let events = [
        Event::created("cell-a", annotation::Role::Operator),
        Event::validated(&["cell-a"]),
        Event::deleted(&["cell-a"]),
        Event::Annotation {
            edited: true,
            name: "cell-b",
            role: annotation::Role::Operator,
            row: None,
            image: Image::Jpeg(7),
        },
    ];
    for crash in [Crash::Kill, Crash::PowerCut] {
        crash_everywhere(crash, &new_disk(), &events, &[1, 1, 2], &[4]);
        crash_everywhere(crash, &new_disk(), &events, &[2], &[4]);
        crash_everywhere(crash, &new_disk(), &events, &[3], &[1]);
    }
}
