//! QUE-5, QUE-6, QUE-8 with real processes on a real disk: killed again and again, locked out, and out of space.
//!
//! The processes are this test binary, started again to run [`child`] alone.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annotation::Role::{Operator, Validator};
use common::{Event, Model, assert_same, content, drain, read_dir};
use queue::{Options, run};
use store::{Error, Tree};
use stream::Limits;
use stream::file::{FileSource, FileWriter};
use stream::memory::MemorySource;

const ROOT: &str = "AZAION_TEST_ROOT";
const STREAM: &str = "AZAION_TEST_STREAM";

/// What a child process does: reads the stream file into the tree to its end, a few messages at a time.
#[test]
fn child() {
    let (Some(root), Some(stream)) = (std::env::var_os(ROOT), std::env::var_os(STREAM)) else {
        return;
    };
    let tree = match Tree::open(Path::new(&root)) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(3);
        }
    };
    let mut source = FileSource::open(Path::new(&stream), tree.offset(), false).unwrap();
    let options = Options {
        batch: Limits {
            max_messages: 7,
            max_bytes: 1 << 20,
        },
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let shutdown = Arc::new(AtomicBool::new(false));
    runtime
        .block_on(run(&mut source, tree, &options, &shutdown, |_| {}))
        .unwrap();
}

fn start(root: &Path, stream: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROOT, root)
        .env(STREAM, stream)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn stream_file(dir: &Path, events: &[Event]) -> PathBuf {
    let path = dir.join("annotations.stream");
    let mut writer = FileWriter::create_or_append(&path).unwrap();
    for event in events {
        writer.append(&event.raw()).unwrap();
    }
    path
}

/// Annotations that live through everything, in an order that makes replays meet them in other places.
fn busy_day() -> Vec<Event> {
    const NAMES: [&str; 4] = ["cell-a", "cell-b", "cell-c", "cell-d"];
    let mut events = Vec::new();
    for round in 0..30_u8 {
        for name in NAMES {
            events.push(Event::validated(&[name]));
            events.push(Event::created(name, Operator));
            events.push(Event::edited(
                name,
                if round == 9 { Validator } else { Operator },
                round % 3,
            ));
        }
        events.push(Event::Garbage(vec![round; 9]));
        if round == 20 {
            events.push(Event::deleted(&NAMES[1..]));
        }
    }
    events
}

#[test]
fn a_consumer_killed_again_and_again_ends_in_the_tree_of_one_that_was_not() {
    let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events = busy_day();
    let stream = stream_file(dir.path(), &events);
    let mut kills = 0;
    loop {
        let mut child = start(root.path(), &stream);
        std::thread::sleep(Duration::from_millis(3 + 7 * (kills % 8)));
        // Killed while it works, unless it has ended already.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break;
        }
        assert_eq!(
            output.status.code(),
            None,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        kills += 1;
        if kills > 40 {
            assert!(start(root.path(), &stream).wait().unwrap().success());
            break;
        }
    }
    assert!(kills > 0, "the child was never killed");

    let undisturbed = tempfile::tempdir().unwrap();
    drain(Tree::open(undisturbed.path()).unwrap(), &events, &[100]).unwrap();
    let relative = |root: &Path| -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let files = read_dir(root).into_iter();
        files
            .map(|(path, bytes)| (path.strip_prefix(root).unwrap().to_owned(), bytes))
            .collect()
    };
    assert_same(
        &relative(root.path()),
        &relative(undisturbed.path()),
        &format!("after {kills} kills"),
    );
    assert_same(
        &content(&read_dir(root.path()), root.path()),
        &Model::after(&events).files(),
        "against the model",
    );
}

#[test]
fn a_second_process_is_refused_by_name_of_the_first_and_let_in_after_its_death() {
    let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = stream_file(dir.path(), &[Event::created("cell-a", Operator)]);
    let tree = Tree::open(root.path()).unwrap();
    let refused = start(root.path(), &stream).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains(&format!("in use by process {}", std::process::id())),
        "{message}"
    );

    drop(tree);
    assert!(start(root.path(), &stream).wait().unwrap().success());
    assert_eq!(Tree::open(root.path()).unwrap().offset(), 1);
}

/// A small tmpfs, unmounted when dropped; `None` where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_is_really_full_is_waited_out_until_somebody_frees_space() {
    let Some(disk) = SmallDisk::mount("1m") else {
        eprintln!("skipped: a_disk_that_is_really_full: no right to mount a tmpfs here");
        return;
    };
    let root = disk.0.path();
    let events: Vec<_> = ["cell-a", "cell-b", "cell-c"]
        .map(|name| Event::created(name, Operator))
        .into();
    let tree = Tree::open(root).unwrap();
    let ballast = root.join("ballast");
    let full = std::fs::write(&ballast, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    let options = Options {
        closed_disk_pause: Duration::from_millis(20),
        ..Options::default()
    };
    let mut source = MemorySource::new(events.iter().map(Event::raw), 0);
    let (freed, shutdown) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let operator = std::thread::spawn({
        let freed = Arc::clone(&freed);
        move || {
            std::thread::sleep(Duration::from_millis(150));
            freed.store(true, Ordering::SeqCst);
            std::fs::remove_file(ballast).unwrap();
        }
    });
    let waited = |at: &queue::Progress| assert!(at.next_offset == 0 || freed.load(Ordering::SeqCst));
    let summary = run(&mut source, tree, &options, &shutdown, waited).await.unwrap();
    operator.join().unwrap();

    assert_eq!(summary.tree.offset(), 3);
    assert_same(
        &content(&read_dir(root), root),
        &Model::after(&events).files(),
        "after space was freed",
    );
}

#[test]
fn a_tree_across_two_file_systems_is_refused() {
    let Some(disk) = SmallDisk::mount("1m") else {
        eprintln!("skipped: a_tree_across_two_file_systems: no right to mount a tmpfs here");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let paths = store::Paths::with_folders(
        root.path(),
        disk.0.path(),
        Path::new("data-seed"),
        Path::new("data_deleted"),
    );
    let error = Tree::open_at(paths).unwrap_err();
    assert!(matches!(error, Error::FileSystems { .. }), "{error}");
    assert!(error.to_string().contains("different file systems"), "{error}");
}
