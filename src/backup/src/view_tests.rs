//! A look at a tree in which the queue works between any two steps, and between any few files that are read: what was seen,
//! and the messages from its offset on, come to the tree in which nothing was ever lost.

use super::*;
use crate::{
    progress::quiet,
    source::{Outcome, Source},
};
use annotation::{Limits, Origin as Made, Role, Status, Timestamp, encode};
use queue::Processor;
use rustic_core::{ReadSource as _, repofile::NodeType};
use std::{cell::RefCell, io::Read as _, sync::atomic::AtomicBool};
use store::Tree;
use stream::{Batch, Message};

const NAMES: u64 = 12;
const MESSAGES: u64 = 400;

/// A message of any kind, a function of its number and the seed.
fn message(number: u64, seed: u64) -> Message {
    let draw = |salt: u64, below: u64| {
        let mixed = (number ^ (seed << 32) ^ (salt << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % below
    };
    // Names come and go, so that creations do not end early.
    let name = format!("cell-{}", number / 40 * 5 + draw(1, NAMES));
    let status = [
        Status::Created,
        Status::Created,
        Status::Edited,
        Status::Edited,
        Status::Validated,
        Status::Deleted,
    ][draw(2, 6) as usize];
    let created = Timestamp::from_secs(1_700_000_000);
    let body = match status {
        Status::Created | Status::Edited => encode::annotation(&encode::Annotation {
            name: &name,
            status,
            created,
            media_name: "slide",
            time_us: 0,
            image_extension: "jpg",
            detections: &encode::raw_detections(&[[draw(3, 80) as f64, 0.5, 0.25, 0.125, 0.1]]),
            image: (status == Status::Created).then_some(b"\xff\xd8\xff\xe0 cells"),
            role: [Role::Operator, Role::Validator][draw(4, 2) as usize],
            email: "someone@example.org",
            origin: Made::Manual,
        }),
        status => encode::bulk(&encode::Bulk {
            names: &[name.as_str()],
            status,
            email: "someone@example.org",
            created,
        }),
    };
    let bytes = encode::message(&body, encode::Property::Number(status));
    Message::new(number, bytes.into())
}

/// A queue that works when it is told to.
struct Worker {
    processor: Processor,
    seed: u64,
}

impl Worker {
    fn on(root: &Path, seed: u64) -> Self {
        let processor = Processor::new(Tree::open(root).unwrap(), Limits::default());
        Self { processor, seed }
    }

    fn work(&mut self, count: u64) {
        let next = self.processor.next_offset();
        let messages: Vec<_> = (next..(next + count).min(MESSAGES))
            .map(|number| message(number, self.seed))
            .collect();
        self.processor.process(&Batch { messages }).unwrap();
        self.processor.settle().unwrap();
    }
}

/// A folder on a file system that syncs in no time, where there is one.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Writes what the library would have read of a view.
fn materialize(view: View, to: &Path, mut meanwhile: impl FnMut()) {
    let outcome = Arc::new(Outcome::default());
    let flag = || Arc::new(AtomicBool::new(false));
    let source = Source::new(Arc::new(view), flag(), flag(), Arc::clone(&outcome), quiet());
    for (number, entry) in source.entries().enumerate() {
        let entry = entry.unwrap();
        let path = to.join(&entry.path);
        if entry.node.node_type == NodeType::Dir {
            fs::create_dir_all(path).unwrap();
        } else {
            let mut bytes = Vec::new();
            entry.open.unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, entry.node.meta.size);
            fs::write(path, bytes).unwrap();
        }
        if number % 3 == 0 {
            meanwhile();
        }
    }
    assert!(outcome.unreadable.lock().unwrap().is_empty() && outcome.gone.lock().unwrap().is_empty());
}

/// Images, labels, quarantine, misses and offset; of the ledger what does not tell of times and batches.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if relative == Path::new("ledger.log") {
                let lines = ledger::read(&path).unwrap().map(|entry| {
                    let entry = ledger::Entry {
                        time: 0,
                        ..entry.unwrap()
                    };
                    format!("{entry:?}\n")
                });
                files.insert(relative, lines.collect::<String>().into_bytes());
            } else if relative != Path::new("azaion.lock") && relative != Path::new(CONFIG) {
                files.insert(relative, fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn whatever_the_queue_does_between_two_steps_a_replay_ends_in_the_tree_that_was_never_lost() {
    for seed in 0..12 {
        let live = in_memory();
        let worker = RefCell::new(Worker::on(live.path(), seed));
        worker.borrow_mut().work(40 + seed * 7);
        let config = Config {
            root_dir: live.path().to_owned(),
            ..Config::default()
        };
        let pace = 1 + seed % 4;
        let before = worker.borrow().processor.next_offset();
        let view = View::take_beside(&config, &mut || worker.borrow_mut().work(pace)).unwrap();
        assert_eq!(view.offset, before);
        assert!(
            worker.borrow().processor.next_offset() >= before + 10 * pace,
            "it worked meanwhile"
        );
        let restored = in_memory();
        materialize(view, restored.path(), || worker.borrow_mut().work(pace));
        worker.borrow_mut().work(MESSAGES);

        let mut replayed = Worker::on(restored.path(), seed);
        assert_eq!(replayed.processor.next_offset(), before);
        while replayed.processor.next_offset() < MESSAGES {
            replayed.work(9);
        }
        let (replayed, live) = (content(restored.path()), content(live.path()));
        let differing: Vec<_> = live
            .keys()
            .chain(replayed.keys())
            .filter(|name| live.get(*name) != replayed.get(*name))
            .collect();
        assert!(differing.is_empty(), "seed {seed}: {differing:?}");
    }
}
