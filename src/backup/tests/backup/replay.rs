//! QUE-5 and QUE-6 across a disaster: a backup taken while messages arrive, restored, and the stream replayed from its
//! offset, ends in the tree of a machine that never died.

use crate::common::{Place, comparable, differences, messages, read, stop};
use backup::{progress::quiet, run::take};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Messages of the stream, and the names they are about.
const MESSAGES: u64 = 1800;
const NAMES: u64 = 300;
/// Backups that are restored and replayed, at most.
const MOST: usize = 5;

#[test]
fn a_lost_tree_restored_and_the_stream_replayed_is_the_tree_of_a_machine_that_never_died() {
    let place = Place::new();
    place.send(&messages(MESSAGES, NAMES, 7));
    let (stream, root) = (place.path("stream"), place.root());
    let (at, done) = (AtomicU64::new(0), AtomicBool::new(false));
    place.run();
    let (vault, mut taken) = (place.round().vault().unwrap(), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            read(&stream, &root, Duration::from_millis(3), &at);
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) && taken.len() < MOST {
            let backup = take(&vault, &place.config, &stop(), &quiet()).unwrap();
            let moved = at.load(Ordering::SeqCst).saturating_sub(backup.offset);
            taken.push((backup, moved));
        }
    });
    let under_way: Vec<_> = taken.iter().filter(|(_, moved)| *moved > 0).collect();
    assert!(
        under_way.len() >= 2,
        "the tree moved on under too few of {taken:?}"
    );

    let never_died = comparable(&root);
    for (number, (backup, moved)) in taken.iter().enumerate() {
        let restored = place.path(&format!("restored-{number}"));
        let told = place.restore(&backup.snapshot, &restored).unwrap();
        assert_eq!(told.offset, backup.offset);
        read(&stream, &restored, Duration::ZERO, &AtomicU64::new(0));
        let differing = differences(&comparable(&restored), &never_died);
        assert!(
            differing.is_empty(),
            "backup {number} from offset {} that moved {moved} messages on: {differing:?}",
            backup.offset
        );
    }
}
