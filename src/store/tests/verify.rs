//! The tree against its ledger, and a ledger made anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may fail as a test does"
)]

use std::path::Path;

use annotation::{Name, Role};
use bytes::Bytes;
use store::ledger::{self, Event};
use store::{Depth, Entry, Home, Paths, Problem, Tree, Verification, rebuild_ledger, verify};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn create(tree: &mut Tree, offset: u64, text: &str, home: Home) {
    let mut batch = tree.batch();
    match batch.entry(offset, Some(Role::Operator), &name(text)).unwrap() {
        Entry::Unknown(entry) => entry.create(
            home,
            Bytes::from(format!("\u{ff} pixels of {text}")),
            "0 0.5 0.5 0.1 0.1\n".to_owned(),
        ),
        entry => panic!("{entry:?}"),
    }
    batch.commit(offset + 1).unwrap();
}

/// A tree with cell-a and cell-b in data-seed/ and cell-c in data/, without a writer.
fn three() -> (tempfile::TempDir, Paths) {
    let root = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(root.path()).unwrap();
    create(&mut tree, 0, "cell-a", Home::Seed);
    create(&mut tree, 1, "cell-b", Home::Seed);
    create(&mut tree, 2, "cell-c", Home::Data);
    let paths = tree.paths().clone();
    (root, paths)
}

fn check(paths: &Paths) -> Verification {
    verify(paths, Depth::Bytes, |_, _| {}).unwrap()
}

fn problems(paths: &Paths) -> Vec<(String, Problem)> {
    let found = check(paths).differences.into_iter();
    found
        .map(|(name, problem)| (name.as_str().to_owned(), problem))
        .collect()
}

#[test]
fn a_tree_that_only_the_queue_wrote_agrees_with_its_ledger() {
    let (_root, paths) = three();
    let found = check(&paths);
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.annotations, 3);
}

#[test]
fn every_kind_of_difference_is_named() {
    let (_root, paths) = three();
    let label = |home, text| paths.label(home, &name(text));
    let image = |home, text| paths.image(home, &name(text));

    std::fs::remove_file(label(Home::Seed, "cell-a")).unwrap();
    std::fs::remove_file(image(Home::Seed, "cell-a")).unwrap();
    std::fs::write(label(Home::Seed, "cell-b"), "1 0.5 0.5 0.1 0.1\n").unwrap();
    std::fs::write(image(Home::Seed, "cell-b"), "other pixels").unwrap();
    for (from, to) in [
        (label(Home::Data, "cell-c"), label(Home::Deleted, "cell-c")),
        (image(Home::Data, "cell-c"), image(Home::Deleted, "cell-c")),
    ] {
        std::fs::rename(from, to).unwrap();
    }
    std::fs::write(label(Home::Data, "cell-d"), "").unwrap();
    std::fs::write(image(Home::Data, "cell-e"), "pixels").unwrap();

    let (seed, data, deleted) = (Home::Seed, Home::Data, Home::Deleted);
    let expected = [
        ("cell-a", Problem::Missing { home: seed }),
        ("cell-b", Problem::LabelBytes { home: seed }),
        ("cell-b", Problem::ImageBytes { home: seed }),
        (
            "cell-c",
            Problem::Elsewhere {
                recorded: data,
                found: deleted,
            },
        ),
        ("cell-d", Problem::NoImage { home: data }),
        ("cell-e", Problem::NoLabel { home: data }),
    ];
    assert_eq!(
        problems(&paths),
        expected.map(|(name, problem)| (name.to_owned(), problem))
    );
}

#[test]
fn a_second_label_an_unknown_annotation_and_a_foreign_file_are_named() {
    let (_root, paths) = three();
    std::fs::write(paths.label(Home::Deleted, &name("cell-a")), "").unwrap();
    std::fs::write(paths.image(Home::Deleted, &name("cell-a")), "pixels").unwrap();
    std::fs::write(paths.label(Home::Data, &name("cell-z")), "").unwrap();
    std::fs::write(paths.image(Home::Data, &name("cell-z")), "pixels").unwrap();
    let foreign = paths.labels(Home::Data).join("notes of mine");
    std::fs::write(&foreign, "").unwrap();
    let found = check(&paths);
    assert_eq!(found.foreign, [foreign]);
    let problems: Vec<&Problem> = found.differences.iter().map(|(_, problem)| problem).collect();
    assert!(
        matches!(
            problems[..],
            [
                Problem::Twice {
                    one: Home::Deleted,
                    other: Home::Seed
                },
                Problem::Elsewhere { .. },
                Problem::Unrecorded { home: Home::Data }
            ]
        ),
        "{problems:?}"
    );
}

#[test]
fn what_dataset_forming_set_aside_is_no_difference() {
    let (_root, paths) = three();
    let (from, to) = (Home::Data, Home::Corrupted);
    std::fs::rename(
        paths.label(from, &name("cell-c")),
        paths.label(to, &name("cell-c")),
    )
    .unwrap();
    std::fs::rename(
        paths.image(from, &name("cell-c")),
        paths.image(to, &name("cell-c")),
    )
    .unwrap();
    let found = check(&paths);
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.set_aside, 1);
}

#[test]
fn names_alone_are_compared_without_reading_a_file() {
    let (_root, paths) = three();
    std::fs::write(paths.image(Home::Seed, &name("cell-b")), "other pixels").unwrap();
    assert!(verify(&paths, Depth::Names, |_, _| {}).unwrap().is_clean());
    assert!(!check(&paths).is_clean());
}

#[test]
fn what_a_writer_touches_meanwhile_is_left_out() {
    let (root, paths) = three();
    let mut tree = Tree::open(root.path()).unwrap();
    let found = verify(&paths, Depth::Bytes, |done, _| {
        if done == 1 {
            create(&mut tree, 3, "cell-new", Home::Data);
            let mut batch = tree.batch();
            for text in ["cell-a", "cell-b", "cell-c"] {
                match batch.entry(4, None, &name(text)).unwrap() {
                    Entry::Known(entry) => entry.delete(),
                    entry => panic!("{entry:?}"),
                }
            }
            batch.commit(5).unwrap();
        }
    });
    let found = found.unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert!(found.in_motion > 0, "{found:?}");
}

#[test]
fn a_ledger_made_anew_agrees_with_the_tree_and_the_old_one_is_kept() {
    let (root, paths) = three();
    std::fs::write(
        paths.ledger_file(),
        "azaion-ledger 1\ngarbage\n= 1 1 8 00000000\n",
    )
    .unwrap();
    let rebuilt = rebuild_ledger(&paths, |_, _| {}).unwrap();
    assert_eq!(rebuilt.annotations, 3);
    assert_eq!(
        rebuilt.kept.as_deref(),
        Some(root.path().join("ledger.log.1").as_path())
    );
    assert!(check(&paths).is_clean());
    let events: Vec<Event> = ledger::read(&paths.ledger_file())
        .unwrap()
        .map(|entry| entry.unwrap().event)
        .collect();
    assert_eq!(events, [Event::Found; 3]);

    // Messages that were read before the new ledger are known to it.
    let mut tree = Tree::open(root.path()).unwrap();
    tree.rewind(0).unwrap();
    let mut batch = tree.batch();
    match batch.entry(0, None, &name("cell-a")).unwrap() {
        Entry::Known(entry) => entry.ignore(),
        entry => panic!("{entry:?}"),
    }
    batch.commit(3).unwrap();
    assert_eq!(ledger::read(&paths.ledger_file()).unwrap().count(), 3);
}

#[test]
fn a_tree_with_a_writer_gets_no_new_ledger() {
    let (root, paths) = three();
    let _tree = Tree::open(root.path()).unwrap();
    assert!(matches!(
        rebuild_ledger(&paths, |_, _| {}),
        Err(store::Error::Locked { .. })
    ));
    assert!(!Path::new(&root.path().join("ledger.log.1")).exists());
}
