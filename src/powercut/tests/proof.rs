//! QUE-5, QUE-6: the power may go at any instant of a run, and of the run that repairs it.
//!
//! `cargo run -p powercut -- --seed S --cuts N` is the same at any length.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use powercut::calls::Call;
use powercut::forgetful::{self, Renames};
use powercut::lossy::FileSystem;
use powercut::namespace::{missing_for_fuse, privately};
use powercut::proof::{Extent, Forgetful, Lossy, Report, kinds_of_syncs, prove, without_sync};

/// Says so and returns `true` where a test cannot run.
fn skipped(name: &str, why: Option<String>) -> bool {
    let why = why.or_else(missing_for_fuse);
    if let Some(why) = &why {
        eprintln!("skipped: {name}: {why}");
    }
    why.is_some()
}

fn extent(seed: u64, cuts: usize) -> Extent {
    Extent {
        seed,
        messages: 40,
        cuts,
    }
}

fn assert_sound(report: &Report) {
    eprintln!(
        "{} operations, {} crashes, {} trees compared, {:.1} s",
        report.operations,
        report.crashes,
        report.compared,
        report.took.as_secs_f64()
    );
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.compared >= 3 * report.cuts);
}

#[test]
fn power_lost_behind_any_operation_costs_nothing_but_a_replay() {
    if skipped("power_lost_behind_any_operation", None) {
        return;
    }
    let every = usize::MAX;
    for (seed, cuts) in [(1, every), (2, 40)] {
        assert_sound(&privately(|| prove(&Forgetful::default(), extent(seed, cuts))).unwrap());
    }
}

#[test]
fn power_lost_under_ext4_costs_nothing_but_a_replay() {
    if skipped("power_lost_under_ext4", FileSystem::Ext4.missing()) {
        return;
    }
    for seed in [1, 2] {
        let run = || prove(&Lossy::honest(FileSystem::Ext4)?, extent(seed, 40));
        assert_sound(&privately(run).unwrap());
    }
}

#[test]
fn power_lost_under_xfs_costs_nothing_but_a_replay() {
    if skipped("power_lost_under_xfs", FileSystem::Xfs.missing()) {
        return;
    }
    let run = || prove(&Lossy::honest(FileSystem::Xfs)?, extent(1, 24));
    assert_sound(&privately(run).unwrap());
}

/// Syncs whose absence no case shows.
const SPARE: [(&str, &str); 5] = [
    (
        "open: bytes of the head of a log",
        "they are synced again when the open log is first written",
    ),
    (
        "open: names in .azaion-tmp",
        "a folder for files that are being written is made again where it is missing",
    ),
    (
        "open: names in data-corrupted",
        "nothing but dataset forming puts anything there, and it was there before",
    ),
    (
        "open: names in data_deleted/images",
        "a move that is repeated syncs the folder it goes to",
    ),
    (
        "open: names in the root",
        "the first offset syncs them; an offset that goes back costs a replay",
    ),
];

#[test]
fn each_kind_of_sync_that_is_taken_out_is_missed() {
    if skipped("each_kind_of_sync", None) {
        return;
    }
    let kinds: Vec<String> = privately(kinds_of_syncs).unwrap().into_iter().collect();
    let (next, spare) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let work = || {
        while let Some(kind) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
            match privately(|| without_sync(kind)).unwrap() {
                Some(failure) => eprintln!("without {kind}: {failure}"),
                None => assert!(spare.lock().unwrap().insert(kind.as_str())),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert_eq!(privately(|| without_sync("none of them")).unwrap(), None);
    assert_eq!(*spare.lock().unwrap(), SPARE.map(|(kind, _)| kind).into());
}

/// What the tree relies on: a rename between two folders is one step, as it is in the journals of ext4, xfs, btrfs and f2fs.
#[test]
fn a_file_system_that_tears_renames_is_seen_to_lose_annotations() {
    if skipped("a_file_system_that_tears_renames", None) {
        return;
    }
    let torn = Forgetful(forgetful::Options {
        renames: Renames::Torn,
        ..forgetful::Options::default()
    });
    let report = privately(|| prove(&torn, extent(1, 168))).unwrap();
    assert!(!report.failures.is_empty());
}

#[test]
fn a_disk_that_ignores_flushes_is_seen_to_lose_annotations() {
    if skipped("a_disk_that_ignores_flushes", FileSystem::Ext4.missing()) {
        return;
    }
    let report = privately(|| {
        let lying = Lossy {
            ignore_flushes: true,
            ..Lossy::honest(FileSystem::Ext4)?
        };
        prove(&lying, extent(1, 12))
    });
    let failures = report.unwrap().failures;
    assert!(!failures.is_empty());
}

#[test]
fn a_store_that_does_not_sync_is_seen_to_lose_annotations_under_ext4() {
    if skipped("a_store_that_does_not_sync", FileSystem::Ext4.missing()) {
        return;
    }
    let failures = |calls: &[Call]| {
        let run = || {
            let layer = Lossy {
                ignored_calls: calls.to_vec(),
                ..Lossy::honest(FileSystem::Ext4)?
            };
            prove(&layer, extent(1, 24))
        };
        privately(run).unwrap().failures
    };
    // Each is made by a run of this size, and each is needed.
    for calls in [
        &Call::ALL[..],
        &[Call::Fsync],
        &[Call::Fdatasync],
        &[Call::Syncfs],
    ] {
        let failures = failures(calls);
        let first = failures
            .first()
            .unwrap_or_else(|| panic!("{calls:?} is not needed"));
        eprintln!(
            "without {calls:?}: {} of 24 cases fail, such as {first}",
            failures.len()
        );
    }
}
