//! The tree on a real disk: what each action leaves there, and what opening it promises.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may fail as a test does"
)]

use std::path::Path;

use annotation::{Name, Role, Status};
use bytes::Bytes;
use store::ledger::{self, Event};
use store::{Batch, Counts, Entry, Error, Home, Known, Paths, Tree, Unknown, quarantine, unmatched};

const IMAGE: &[u8] = b"\xff\xd8\xff pixels of one cell";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn unknown<'b>(batch: &'b mut Batch, offset: u64, text: &str) -> Unknown<'b> {
    match batch.entry(offset, Some(Role::Operator), &name(text)).unwrap() {
        Entry::Unknown(entry) => entry,
        entry => panic!("{text} is {entry:?}"),
    }
}

fn known<'b>(batch: &'b mut Batch, offset: u64, text: &str) -> Known<'b> {
    match batch.entry(offset, Some(Role::Operator), &name(text)).unwrap() {
        Entry::Known(entry) => entry,
        entry => panic!("{text} is {entry:?}"),
    }
}

fn create(batch: &mut Batch, offset: u64, text: &str, home: Home) {
    unknown(batch, offset, text).create(home, Bytes::from_static(IMAGE), "0 0.5 0.5 0.1 0.1\n".to_owned());
}

/// Image and label of a name in a home; `None` for a file that is not there.
fn files(paths: &Paths, home: Home, text: &str) -> (Option<Vec<u8>>, Option<String>) {
    let name = name(text);
    (
        std::fs::read(paths.image(home, &name)).ok(),
        std::fs::read_to_string(paths.label(home, &name)).ok(),
    )
}

fn both(label: &str) -> (Option<Vec<u8>>, Option<String>) {
    (Some(IMAGE.to_vec()), Some(label.to_owned()))
}

#[test]
fn a_new_tree_has_every_folder_and_begins_at_the_first_message() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::open(root.path()).unwrap();
    assert_eq!(tree.offset(), 0);
    for home in ["data", "data-seed", "data_deleted", "data-corrupted"] {
        assert!(
            root.path().join(home).join("images").is_dir() && root.path().join(home).join("labels").is_dir()
        );
    }
    for dir in ["quarantine", "datasets", "models"] {
        assert!(root.path().join(dir).is_dir(), "{dir}");
    }
}

#[test]
fn an_absent_root_is_an_error_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not-mounted");
    let error = Tree::open(&root).unwrap_err();
    assert!(matches!(error, Error::NoRoot { .. }), "{error}");
    assert!(!root.exists());
}

#[test]
fn a_second_writer_is_refused_with_the_pid_of_the_first_until_that_one_ends() {
    let root = tempfile::tempdir().unwrap();
    let first = Tree::open(root.path()).unwrap();
    let error = Tree::open(root.path()).unwrap_err();
    assert!(
        matches!(error, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(first);
    Tree::open(root.path()).unwrap();
}

#[test]
fn a_committed_batch_is_there_after_reopening_and_an_uncommitted_one_never_was() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    create(&mut batch, 0, "cell-1", Home::Seed);
    batch.commit(1).unwrap();
    let mut batch = tree.batch();
    create(&mut batch, 1, "cell-2", Home::Data);
    drop(batch);
    drop(tree);

    let tree = Tree::open(root.path()).unwrap();
    assert_eq!(tree.offset(), 1);
    assert_eq!(tree.locate(&name("cell-1")).unwrap(), Some(Home::Seed));
    assert_eq!(tree.locate(&name("cell-2")).unwrap(), None);
    assert_eq!(
        files(tree.paths(), Home::Seed, "cell-1"),
        both("0 0.5 0.5 0.1 0.1\n")
    );
}

#[test]
fn a_batch_sees_its_own_earlier_actions_and_writes_only_the_last_state() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    create(&mut batch, 0, "cell-1", Home::Seed);
    known(&mut batch, 1, "cell-1").edit(String::new());
    known(&mut batch, 2, "cell-1").validate();
    assert_eq!(known(&mut batch, 3, "cell-1").home(), Home::Data);
    batch.commit(4).unwrap();

    assert_eq!(files(tree.paths(), Home::Data, "cell-1"), both(""));
    assert_eq!(files(tree.paths(), Home::Seed, "cell-1"), (None, None));
}

#[test]
fn a_rewrite_and_a_move_take_label_and_image_along() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    create(&mut batch, 0, "cell-1", Home::Seed);
    batch.commit(1).unwrap();
    let mut batch = tree.batch();
    known(&mut batch, 1, "cell-1").edit("1 0.5 0.5 0.2 0.2\n".to_owned());
    known(&mut batch, 2, "cell-1").delete();
    batch.commit(3).unwrap();

    assert_eq!(
        files(tree.paths(), Home::Deleted, "cell-1"),
        both("1 0.5 0.5 0.2 0.2\n")
    );
    assert_eq!(files(tree.paths(), Home::Seed, "cell-1"), (None, None));
    assert_eq!(
        Counts::of(tree.paths()).unwrap(),
        Counts {
            deleted: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn an_image_that_is_ahead_of_its_label_is_found_in_any_home() {
    for ahead in [Home::Data, Home::Deleted, Home::Corrupted] {
        let root = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(root.path()).unwrap();
        let mut batch = tree.batch();
        create(&mut batch, 0, "cell-1", Home::Seed);
        batch.commit(1).unwrap();
        let cell = name("cell-1");
        std::fs::rename(
            tree.paths().image(Home::Seed, &cell),
            tree.paths().image(ahead, &cell),
        )
        .unwrap();

        let mut batch = tree.batch();
        known(&mut batch, 1, "cell-1").validate();
        batch.commit(2).unwrap();
        assert_eq!(
            files(tree.paths(), Home::Data, "cell-1"),
            both("0 0.5 0.5 0.1 0.1\n"),
            "{ahead:?}"
        );
    }
}

#[test]
fn a_create_that_is_done_again_removes_its_own_stray_image_and_keeps_a_foreign_one() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let paths = tree.paths().clone();
    let both = |tree: &mut Tree, home| {
        let mut batch = tree.batch();
        create(&mut batch, 0, "cell-1", home);
        create(&mut batch, 1, "cell-2", home);
        batch.commit(2).unwrap();
    };
    both(&mut tree, Home::Data);
    // As if it had been cut off between images and labels.
    for text in ["cell-1", "cell-2"] {
        std::fs::remove_file(paths.label(Home::Data, &name(text))).unwrap();
    }
    std::fs::write(paths.image(Home::Data, &name("cell-2")), b"somebody's").unwrap();
    tree.rewind(0).unwrap();
    both(&mut tree, Home::Seed);

    assert!(!paths.image(Home::Data, &name("cell-1")).exists());
    assert_eq!(
        std::fs::read(paths.image(Home::Data, &name("cell-2"))).unwrap(),
        b"somebody's"
    );
}

#[test]
fn a_label_without_an_image_moves_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    std::fs::write(tree.paths().label(Home::Seed, &name("cell-1")), "").unwrap();
    let mut batch = tree.batch();
    known(&mut batch, 0, "cell-1").validate();
    batch.commit(1).unwrap();
    assert_eq!(
        files(tree.paths(), Home::Data, "cell-1"),
        (None, Some(String::new()))
    );
}

#[test]
fn a_missed_name_stays_missed_for_that_message_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    unknown(&mut batch, 5, "cell-1").miss(Status::Validated);
    create(&mut batch, 6, "cell-1", Home::Seed);
    batch.commit(7).unwrap();
    drop(tree);

    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    assert!(matches!(
        batch.entry(5, None, &name("cell-1")).unwrap(),
        Entry::Missed
    ));
    assert!(matches!(
        batch.entry(7, None, &name("cell-1")).unwrap(),
        Entry::Known(_)
    ));
    let log = unmatched::read(&Paths::under(root.path()).unmatched_file()).unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(
        (log[0].offset, log[0].status, &log[0].name),
        (5, Status::Validated, &name("cell-1"))
    );
}

#[test]
fn a_refused_message_is_kept_whole_and_a_replay_changes_neither_file() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let dir = tree.paths().quarantine();
    let refuse = |tree: &mut Tree, message: &'static [u8]| {
        let mut batch = tree.batch();
        batch.quarantine(
            12,
            "not-an-image",
            "the image begins with GIF89a".to_owned(),
            Bytes::from_static(message),
        );
        batch.commit(13).unwrap();
    };
    refuse(&mut tree, b"\0raw\xff");
    let json = std::fs::read_to_string(dir.join("00000000000000000012.json")).unwrap();
    refuse(&mut tree, b"\0raw\xff");

    assert_eq!(
        std::fs::read_to_string(dir.join("00000000000000000012.json")).unwrap(),
        json
    );
    let refused = quarantine::list(&dir).unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].record.offset, refused[0].record.bytes), (12, 5));
    assert_eq!(refused[0].record.kind, "not-an-image");
    assert_eq!(refused[0].read().unwrap(), b"\0raw\xff");

    // Another stream's message of the same offset does not overwrite it.
    refuse(&mut tree, b"another");
    refuse(&mut tree, b"another");
    let refused = quarantine::list(&dir).unwrap();
    let messages: Vec<_> = refused.iter().map(|one| one.read().unwrap()).collect();
    assert_eq!(messages, [b"another".to_vec(), b"\0raw\xff".to_vec()]);
}

#[test]
fn a_damaged_quarantine_file_is_an_error_when_it_is_read_and_holds_up_no_message() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    batch.quarantine(
        3,
        "malformed",
        "no section".to_owned(),
        Bytes::from_static(b"raw"),
    );
    batch.commit(4).unwrap();
    let refused = quarantine::list(&tree.paths().quarantine()).unwrap().remove(0);

    std::fs::write(&refused.message, b"raX").unwrap();
    assert!(refused.read().unwrap_err().to_string().contains("SHA-256"));
    std::fs::remove_file(&refused.message).unwrap();
    assert!(refused.read().unwrap_err().to_string().contains("missing"));
    std::fs::write(refused.message.with_extension("json"), b"{}").unwrap();
    assert!(matches!(
        quarantine::list(&tree.paths().quarantine()),
        Err(Error::Format { .. })
    ));

    let mut batch = tree.batch();
    batch.quarantine(
        3,
        "malformed",
        "no section".to_owned(),
        Bytes::from_static(b"raw"),
    );
    batch.commit(4).unwrap();
    let names = std::fs::read_dir(tree.paths().quarantine())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    assert_eq!(
        names
            .filter(|path| path.extension().is_some_and(|e| e == "msg"))
            .count(),
        1
    );
}

#[test]
fn an_unreadable_offset_stops_the_opening_and_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    drop(Tree::open(root.path()).unwrap());
    let path = root.path().join("offset.yaml");
    std::fs::write(&path, "version: 9\noffset: 4\n").unwrap();
    assert!(matches!(Tree::open(root.path()), Err(Error::Format { .. })));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "version: 9\noffset: 4\n");
}

#[test]
fn leftovers_of_a_killed_writer_are_removed_on_opening() {
    let root = tempfile::tempdir().unwrap();
    drop(Tree::open(root.path()).unwrap());
    let leftovers = [
        root.path().join(".azaion-tmp/3/7"),
        root.path().join(".azaion-tmp-4194305-3"),
    ];
    leftovers
        .iter()
        .for_each(|path| std::fs::write(path, b"half").unwrap());
    Tree::open(root.path()).unwrap();
    assert!(leftovers.iter().all(|path| !path.exists()));
}

#[test]
fn the_offset_goes_back_by_a_rewind_only_and_never_forward_by_one() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    tree.batch().commit(9).unwrap();
    tree.batch().commit(3).unwrap();
    assert_eq!(tree.offset(), 9);
    assert!(matches!(
        tree.rewind(10),
        Err(Error::NotBack {
            offset: 10,
            current: 9
        })
    ));
    tree.rewind(4).unwrap();
    drop(tree);
    assert_eq!(Tree::open(root.path()).unwrap().offset(), 4);
}

#[test]
fn configured_folders_take_the_place_of_the_default_ones() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = root.path().join("big/validated");
    let paths = Paths::with_folders(root.path(), &elsewhere, Path::new("new"), Path::new("gone"));
    let mut tree = Tree::open_at(paths).unwrap();
    let mut batch = tree.batch();
    create(&mut batch, 0, "cell-1", Home::Data);
    batch.commit(1).unwrap();
    assert!(elsewhere.join("labels/cell-1.txt").exists());
    assert!(root.path().join("new/images").is_dir() && !root.path().join("data").exists());
}

#[test]
fn many_files_written_by_many_threads_all_arrive() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    for n in 0..100 {
        create(&mut batch, n, &format!("cell-{n}"), Home::Seed);
    }
    batch.commit(100).unwrap();
    assert_eq!(Counts::of(tree.paths()).unwrap().seed, 100);
    assert!(
        (0..100)
            .all(|n| files(tree.paths(), Home::Seed, &format!("cell-{n}")) == both("0 0.5 0.5 0.1 0.1\n"))
    );
    for n in 0..4 {
        let aside = root.path().join(format!(".azaion-tmp/{n}"));
        assert_eq!(std::fs::read_dir(aside).unwrap().count(), 0);
    }
}

#[test]
fn a_message_done_again_finds_what_it_missed_is_recorded_once_more_and_moves_no_offset() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    unknown(&mut batch, 0, "cell-a").miss(Status::Edited);
    create(&mut batch, 1, "cell-a", Home::Seed);
    batch.commit(2).unwrap();

    // Still unknown: the miss is not written twice.
    let mut again = tree.batch_again();
    unknown(&mut again, 0, "cell-b").miss(Status::Edited);
    again.commit(2).unwrap();
    let mut again = tree.batch_again();
    unknown(&mut again, 0, "cell-b").miss(Status::Edited);
    known(&mut again, 0, "cell-a").edit("1 0.5 0.5 0.1 0.1\n".to_owned());
    let offset = again.commit(0).map(|()| tree.offset()).unwrap();

    assert_eq!(offset, 2);
    assert_eq!(
        files(tree.paths(), Home::Seed, "cell-a"),
        both("1 0.5 0.5 0.1 0.1\n")
    );
    assert_eq!(unmatched::read(&tree.paths().unmatched_file()).unwrap().len(), 2);
    let lines = ledger::read(&tree.paths().ledger_file()).unwrap();
    let cell_a = lines.about(&name("cell-a")).unwrap();
    let events: Vec<_> = cell_a.iter().map(|line| (line.offset, line.event)).collect();
    assert_eq!(
        events,
        [
            (Some(0), Event::Missed),
            (Some(1), Event::Created),
            (Some(0), Event::Edited)
        ]
    );

    // A replay of the stream still leaves the annotation to the message as it was first read.
    assert!(matches!(
        tree.batch().entry(0, None, &name("cell-a")).unwrap(),
        Entry::Missed
    ));
    drop(tree);
    assert_eq!(Tree::open(root.path()).unwrap().offset(), 2);
}

#[test]
fn what_is_released_leaves_the_quarantine_and_nothing_else_does() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    let mut batch = tree.batch();
    for offset in 0..3 {
        batch.quarantine(offset, "amqp", "no".to_owned(), Bytes::from_static(b"?"));
    }
    batch.commit(3).unwrap();
    let dir = tree.paths().quarantine();
    let all = quarantine::list(&dir).unwrap();
    tree.release(&all[..2]).unwrap();
    tree.release(&all[..2]).unwrap();
    assert_eq!(quarantine::list(&dir).unwrap(), all[2..]);
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2);
}

#[test]
fn only_a_tree_that_has_read_nothing_can_begin_anywhere() {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    tree.begin_at(7).unwrap();
    assert_eq!(tree.offset(), 7);
    let mut batch = tree.batch();
    create(&mut batch, 7, "cell-a", Home::Seed);
    batch.commit(8).unwrap();
    drop(tree);

    let mut tree = Tree::open(root.path()).unwrap();
    let error = tree.begin_at(9).unwrap_err();
    assert!(matches!(error, Error::NotNew { offset: 9, .. }), "{error}");
    tree.rewind(0).unwrap();
    assert!(tree.begin_at(9).is_err(), "it has annotations");
    assert_eq!(tree.offset(), 0);
}
