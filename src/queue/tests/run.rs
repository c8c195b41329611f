//! QUE-6, QUE-8: the loop between a source and the tree, with sources in memory.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annotation::Role::Operator;
use common::Event;
use queue::{Error, Options, Progress, run};
use store::fault::{Fault, Faulty, MemDisk};
use store::{Disk, Paths, Tree};
use stream::memory::MemorySource;
use stream::{Batch, Limits, Link, Source};
use tokio::sync::watch;

const ROOT: &str = "/azaion";
const NAMES: [&str; 6] = ["cell-a", "cell-b", "cell-c", "cell-d", "cell-e", "cell-f"];

fn open_on(disk: Arc<dyn Disk>) -> Tree {
    Tree::open_on(Paths::under(Path::new(ROOT)), disk).unwrap()
}

fn open() -> Tree {
    open_on(Arc::new(MemDisk::with_root(Path::new(ROOT))))
}

/// Six creations.
fn source(from: u64) -> MemorySource {
    MemorySource::new(NAMES.map(|name| Event::created(name, Operator).raw()), from)
}

fn two_at_once() -> Options {
    let batch = Limits {
        max_messages: 2,
        max_bytes: 1 << 20,
    };
    Options {
        batch,
        closed_disk_pause: Duration::from_millis(1),
        ..Options::default()
    }
}

fn flag() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

#[tokio::test]
async fn everything_is_read_made_durable_and_reported_batch_by_batch() {
    let mut source = source(0);
    let mut seen = Vec::new();
    let progress = |at: &Progress| seen.push((at.next_offset, at.counters.created, at.lag()));
    let summary = run(&mut source, open(), &two_at_once(), &flag(), progress)
        .await
        .unwrap();

    // On a slow machine something is said twice, to show that the queue lives.
    seen.dedup();
    assert_eq!(
        seen,
        [(0, 0, Some(6)), (2, 2, Some(4)), (4, 4, Some(2)), (6, 6, Some(0))]
    );
    assert_eq!(
        (summary.stopped, summary.tree.offset(), source.durable_offset()),
        (false, 6, 6)
    );
    assert_eq!(summary.progress.counters.processed, 6);
}

#[tokio::test]
async fn a_shutdown_ends_the_run_between_batches_and_the_next_run_goes_on_there() {
    let (mut first, shutdown) = (source(0), flag());
    let stop_after_two = |at: &Progress| shutdown.store(at.next_offset >= 2, Ordering::Relaxed);
    let summary = run(&mut first, open(), &two_at_once(), &shutdown, stop_after_two)
        .await
        .unwrap();
    assert_eq!(
        (summary.stopped, summary.tree.offset(), first.durable_offset()),
        (true, 2, 2)
    );

    let mut second = source(summary.tree.offset());
    let summary = run(&mut second, summary.tree, &two_at_once(), &flag(), |_| {})
        .await
        .unwrap();
    assert_eq!((summary.stopped, summary.tree.offset()), (false, 6));
}

/// A source that is followed, lives, and never gets a message.
struct Silent(watch::Sender<Link>);

impl Silent {
    fn new() -> Self {
        Self(watch::Sender::default())
    }
}

impl Source for Silent {
    async fn next(&mut self, _: Limits) -> Result<Option<Batch>, stream::Error> {
        std::future::pending().await
    }
    fn durable(&mut self, _: u64) {}
    fn watch(&self) -> watch::Receiver<Link> {
        self.0.subscribe()
    }
}

#[tokio::test]
async fn an_idle_queue_shows_that_it_lives_and_stops_when_asked() {
    let (shutdown, calls) = (flag(), Cell::new(0));
    let heard = |at: &Progress| {
        assert_eq!((at.next_offset, at.lag()), (0, None));
        calls.set(calls.get() + 1);
        // Once at the start, once while idle.
        shutdown.store(calls.get() == 2, Ordering::Relaxed);
    };
    let begun = Instant::now();
    let summary = run(&mut Silent::new(), open(), &Options::default(), &shutdown, heard)
        .await
        .unwrap();
    assert!(summary.stopped);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_nothing_is_lost() {
    let root = Path::new(ROOT);
    for disk in [MemDisk::with_root(root), MemDisk::synced_as_a_whole(root)] {
        drop(open_on(Arc::new(disk.clone())));
        let (mut opened, mut waited) = (0, 0);
        for at in 0..60 {
            let faulty = Arc::new(Faulty::new(Arc::new(disk.fork()), at, Fault::Full(2)));
            let Ok(tree) = Tree::open_on(Paths::under(root), faulty.clone()) else {
                continue;
            };
            opened += 1;
            let (mut source, options, shutdown) = (source(0), two_at_once(), flag());
            let run = run(&mut source, tree, &options, &shutdown, |_| {});
            let summary = tokio::time::timeout(Duration::from_secs(30), run)
                .await
                .unwrap()
                .unwrap();
            waited += usize::from(faulty.struck());
            assert_eq!(
                (summary.progress.counters.created, source.durable_offset()),
                (6, 6)
            );
        }
        assert!(opened > 10 && waited > 10, "{opened} {waited}");
    }
}

/// A source that rests before each batch, so that the queue has nothing to do in between.
struct Resting(MemorySource);

impl Source for Resting {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, stream::Error> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.next(limits).await
    }
    fn durable(&mut self, next: u64) {
        self.0.durable(next);
    }
    fn watch(&self) -> watch::Receiver<Link> {
        self.0.watch()
    }
}

#[tokio::test]
async fn a_disk_that_is_full_while_the_queue_rests_keeps_nothing_from_being_read_later() {
    let root = Path::new(ROOT);
    let disk = MemDisk::synced_as_a_whole(root);
    drop(open_on(Arc::new(disk.clone())));
    let mut waited = 0;
    for at in 0..60 {
        let faulty = Arc::new(Faulty::new(Arc::new(disk.fork()), at, Fault::Full(0)));
        let Ok(tree) = Tree::open_on(Paths::under(root), faulty.clone()) else {
            continue;
        };
        let (mut source, options, shutdown) = (Resting(source(0)), two_at_once(), flag());
        let run = run(&mut source, tree, &options, &shutdown, |_| {});
        let done = tokio::time::timeout(Duration::from_secs(10), run).await;
        assert!(done.is_ok(), "it read no more, full at operation {at}");
        waited += usize::from(faulty.struck());
        assert_eq!(source.0.durable_offset(), 6);
    }
    assert!(waited > 10, "{waited}");
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_for_space_with_the_offset_where_it_was() {
    let disk = MemDisk::with_root(Path::new(ROOT));
    drop(open_on(Arc::new(disk.clone())));
    // The disk becomes full at the first operation after opening, and stays full.
    let mut at = 0;
    let tree = loop {
        let faulty = Faulty::new(Arc::new(disk.clone()), at, Fault::Full(usize::MAX / 2));
        match Tree::open_on(Paths::under(Path::new(ROOT)), Arc::new(faulty)) {
            Ok(tree) => break tree,
            Err(_) => at += 1,
        }
    };
    let (mut source, shutdown) = (source(0), flag());
    let asked = Arc::clone(&shutdown);
    let patience = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        asked.store(true, Ordering::Relaxed);
    });
    let summary = run(&mut source, tree, &two_at_once(), &shutdown, |_| {})
        .await
        .unwrap();
    patience.join().unwrap();
    assert_eq!(
        (summary.stopped, summary.tree.offset(), source.durable_offset()),
        (true, 0, 0)
    );
}

#[tokio::test]
async fn any_other_failure_of_the_tree_ends_the_run_and_nothing_is_called_durable() {
    let disk = MemDisk::with_root(Path::new(ROOT));
    drop(open_on(Arc::new(disk.clone())));
    let mut ended = 0;
    for at in 0..40 {
        let faulty = Faulty::new(Arc::new(disk.fork()), at, Fault::Kill);
        let Ok(tree) = Tree::open_on(Paths::under(Path::new(ROOT)), Arc::new(faulty)) else {
            continue;
        };
        let mut source = source(0);
        let error = run(&mut source, tree, &Options::default(), &flag(), |_| {})
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Store(_)) && error.to_string().contains("cannot keep the annotations")
        );
        assert_eq!(source.durable_offset(), 0);
        ended += 1;
    }
    assert!(ended > 10);
}
