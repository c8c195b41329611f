//! QUE-3, QUE-4, QUE-7, QUE-9, one rule a test: what each message does, what it is counted as, and what the log says of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may fail as a test does"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use annotation::Role::{Admin, ApiAdmin, CompanionPC, Operator, Validator};
use annotation::{Label, Limits, Name};
use common::{Event, Image, content, drain, label};
use queue::{Counters, Processor};
use store::fault::MemDisk;
use store::{Home, Paths, Tree};

const ROOT: &str = "/azaion";

/// Reads `events` from an empty tree.
fn read(events: &[Event]) -> (Processor, BTreeMap<PathBuf, Vec<u8>>) {
    let disk = MemDisk::with_root(Path::new(ROOT));
    let tree = Tree::open_on(Paths::under(Path::new(ROOT)), Arc::new(disk.clone())).unwrap();
    let processor = drain(tree, events, &[events.len()]).unwrap();
    (processor, content(&disk.files(), Path::new(ROOT)))
}

/// The folder in which `cell-a` lives after `events`, and its label.
fn cell_a(events: &[Event]) -> (String, String) {
    let (_, files) = read(events);
    let labels: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.ends_with("labels/cell-a.txt"))
        .collect();
    let [(path, bytes)] = labels[..] else {
        panic!("cell-a lives in {} homes", labels.len())
    };
    let home = path.iter().next().unwrap().to_str().unwrap().to_owned();
    assert!(
        files.contains_key(&Path::new(&home).join("images/cell-a.jpg")),
        "the image is not with its label"
    );
    (home, String::from_utf8(bytes.clone()).unwrap())
}

fn home(events: &[Event]) -> String {
    cell_a(events).0
}

/// The offsets in quarantine after `events`, with the number of messages that failed.
fn quarantined(events: &[Event]) -> (Vec<String>, u64) {
    let (processor, files) = read(events);
    let offsets = files
        .keys()
        .filter_map(|path| path.strip_prefix("quarantine").ok());
    let offsets = offsets.map(|path| {
        path.file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches('0')
            .to_owned()
    });
    (offsets.collect(), processor.counters().failed)
}

fn counters(events: &[Event]) -> Counters {
    read(events).0.counters()
}

fn edited_with_image(role: annotation::Role) -> Event {
    Event::Annotation {
        edited: true,
        name: "cell-a",
        role,
        row: Some(2),
        image: Image::Jpeg(2),
    }
}

#[test]
fn a_validators_creation_goes_to_data_and_anyone_elses_to_data_seed() {
    for role in [Validator, Admin, ApiAdmin] {
        assert_eq!(home(&[Event::created("cell-a", role)]), "data");
    }
    for role in [Operator, CompanionPC] {
        assert_eq!(home(&[Event::created("cell-a", role)]), "data-seed");
    }
}

#[test]
fn the_image_is_saved_as_it_came_and_called_jpg() {
    let (_, files) = read(&[Event::created("cell-a", Operator)]);
    assert_eq!(
        files[Path::new("data-seed/images/cell-a.jpg")],
        Image::Jpeg(1).bytes().unwrap()
    );
}

#[test]
fn the_label_reads_back_to_the_detections() {
    let (_, text) = cell_a(&[Event::created("cell-a", Operator)]);
    let row = Label::parse(&text).unwrap().rows[0];
    assert_eq!(
        (row.class, row.cx, row.cy, row.w, row.h),
        (1, 0.5, 0.25, 0.125, 0.1)
    );
    let background = Event::Annotation {
        edited: false,
        name: "cell-a",
        role: Operator,
        row: None,
        image: Image::Jpeg(0),
    };
    assert_eq!(cell_a(&[background]).1, "");
}

#[test]
fn an_edit_rewrites_the_label_where_the_annotation_lives() {
    let created = [Event::created("cell-a", Operator)];
    let edit = |role| cell_a(&[created[0].clone(), Event::edited("cell-a", role, 2)]);
    assert_eq!(edit(Operator), ("data-seed".to_owned(), label(Some(2))));
    assert_eq!(edit(Validator), ("data".to_owned(), label(Some(2))));
    let validated = [
        Event::created("cell-a", Validator),
        Event::edited("cell-a", Operator, 2),
    ];
    assert_eq!(cell_a(&validated), ("data".to_owned(), label(Some(2))));
}

#[test]
fn an_edit_of_a_known_name_leaves_the_image_alone_whatever_it_brings() {
    let (_, files) = read(&[Event::created("cell-a", Operator), edited_with_image(Operator)]);
    assert_eq!(
        files[Path::new("data-seed/images/cell-a.jpg")],
        Image::Jpeg(1).bytes().unwrap()
    );
    assert_eq!(
        files[Path::new("data-seed/labels/cell-a.txt")],
        label(Some(2)).into_bytes()
    );
}

#[test]
fn an_edit_of_an_unknown_name_creates_it_if_it_brings_the_image_and_is_quarantined_if_not() {
    assert_eq!(
        cell_a(&[edited_with_image(Operator)]),
        ("data-seed".to_owned(), label(Some(2)))
    );
    assert_eq!(home(&[edited_with_image(Admin)]), "data");
    assert_eq!(
        quarantined(&[Event::edited("cell-a", Admin, 1)]),
        (vec![String::new()], 1)
    );
}

#[test]
fn a_validation_moves_from_seed_to_data_and_a_deletion_from_anywhere_to_deleted() {
    let created = Event::created("cell-a", Operator);
    assert_eq!(home(&[created.clone(), Event::validated(&["cell-a"])]), "data");
    assert_eq!(
        home(&[created.clone(), Event::deleted(&["cell-a"])]),
        "data_deleted"
    );
    assert_eq!(
        home(&[
            created,
            Event::validated(&["cell-a"]),
            Event::deleted(&["cell-a"])
        ]),
        "data_deleted"
    );
}

#[test]
fn deleted_is_final() {
    let deleted = [Event::created("cell-a", Operator), Event::deleted(&["cell-a"])];
    let later = [
        Event::created("cell-a", Validator),
        Event::edited("cell-a", Validator, 2),
        edited_with_image(Admin),
        Event::validated(&["cell-a"]),
        Event::deleted(&["cell-a"]),
    ];
    assert_eq!(
        cell_a(&[&deleted[..], &later[..]].concat()),
        ("data_deleted".to_owned(), label(Some(1)))
    );
}

#[test]
fn a_second_creation_is_a_duplicate_and_changes_nothing() {
    let again = Event::Annotation {
        edited: false,
        name: "cell-a",
        role: Admin,
        row: Some(2),
        image: Image::Jpeg(2),
    };
    let events = [Event::created("cell-a", Operator), again];
    assert_eq!(cell_a(&events), ("data-seed".to_owned(), label(Some(1))));
    assert_eq!(
        counters(&events),
        Counters {
            processed: 2,
            created: 1,
            duplicates: 1,
            ..Counters::default()
        }
    );
}

#[test]
fn a_bulk_message_moves_what_it_can_and_counts_the_rest() {
    let events = [
        Event::created("cell-a", Operator),
        Event::created("cell-b", Validator),
        Event::created("cell-c", Operator),
        Event::deleted(&["cell-c"]),
        Event::validated(&["cell-a", "cell-b", "cell-c", "cell-d", "cell-a"]),
    ];
    assert_eq!(home(&events), "data");
    let expected = Counters {
        processed: 5,
        created: 3,
        deleted: 1,
        validated: 1,
        duplicates: 2,
        unmatched: 2,
        ..Counters::default()
    };
    assert_eq!(counters(&events), expected);
}

#[test]
fn a_bulk_message_with_an_unsafe_name_moves_the_others_and_is_kept_in_quarantine() {
    let events = [
        Event::created("cell-a", Operator),
        Event::validated(&["../../etc/passwd", "cell-a"]),
    ];
    assert_eq!(home(&events), "data");
    assert_eq!(quarantined(&events), (vec!["1".to_owned()], 1));
}

#[test]
fn what_cannot_be_used_is_quarantined_and_never_holds_up_what_is_behind_it() {
    let annotation = |name, edited, image| Event::Annotation {
        edited,
        name,
        role: Operator,
        row: None,
        image,
    };
    let events = [
        Event::Garbage(Vec::new()),
        Event::Garbage(b"not AMQP".to_vec()),
        annotation("../cell-a", false, Image::Jpeg(0)),
        annotation("cell-a", false, Image::Text),
        annotation("cell-a", false, Image::None),
        Event::created("cell-a", Operator),
        annotation("cell-a", true, Image::Text),
    ];
    assert_eq!(quarantined(&events).1, 6);
    assert_eq!(cell_a(&events), ("data-seed".to_owned(), label(Some(1))));
}

#[test]
fn an_annotation_that_dataset_forming_refused_can_be_deleted_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let events = [Event::created("cell-a", Validator)];
    let tree = drain(Tree::open(root.path()).unwrap(), &events, &[1])
        .unwrap()
        .into_tree();
    let (paths, cell) = (tree.paths().clone(), Name::new("cell-a").unwrap());
    for file in [Paths::image, Paths::label] {
        std::fs::rename(
            file(&paths, Home::Data, &cell),
            file(&paths, Home::Corrupted, &cell),
        )
        .unwrap();
    }
    let later = [
        events[0].clone(),
        Event::created("cell-a", Validator),
        Event::edited("cell-a", Validator, 2),
        edited_with_image(Validator),
        Event::validated(&["cell-a"]),
    ];
    let processor = drain(tree, &later, &[4]).unwrap();
    assert_eq!(
        (processor.counters().unmatched, processor.counters().failed),
        (3, 0)
    );
    let tree = processor.into_tree();
    assert_eq!(tree.locate(&cell).unwrap(), Some(Home::Corrupted));

    let delete = [&later[..], &[Event::deleted(&["cell-a"])]].concat();
    let tree = drain(tree, &delete, &[1]).unwrap().into_tree();
    assert_eq!(tree.locate(&cell).unwrap(), Some(Home::Deleted));
    assert!(paths.image(Home::Deleted, &cell).exists());
}

#[test]
fn messages_that_were_read_already_are_passed_over() {
    let events = [
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
    ];
    let (mut processor, _) = read(&events);
    let before = processor.counters();
    for batch in common::batches(&events, 0, &[2]) {
        processor.process(&batch).unwrap();
    }
    assert_eq!((processor.counters(), processor.next_offset()), (before, 2));
}

/// Everything logged while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_log_names_each_saved_annotation_and_never_an_email_or_an_image() {
    let log = logged(|| {
        read(&[
            Event::created("cell-a", Operator),
            Event::edited("cell-a", Validator, 2),
            Event::validated(&["cell-a", "cell-b", "cell-c"]),
            Event::edited("cell-d", Operator, 2),
            Event::Annotation {
                edited: false,
                name: "cell-e",
                role: Operator,
                row: None,
                image: Image::Text,
            },
        ]);
    });
    let line = |level: &str, text: &str, fields: &[&str]| {
        let found = log.lines().any(|line| {
            line.contains(level) && line.contains(text) && fields.iter().all(|field| line.contains(field))
        });
        assert!(found, "no {level} line with {text:?} {fields:?} in\n{log}");
    };
    line(
        "INFO",
        "annotation saved",
        &["name=cell-a", "status=Created", "role=Operator", "offset=0"],
    );
    line(
        "INFO",
        "annotation saved",
        &["name=cell-a", "status=Edited", "role=Validator", "offset=1"],
    );
    line(
        "WARN",
        "names could not be matched",
        &["status=Validated", "unknown=2", "withdrawn=0", "offset=2"],
    );
    line(
        "WARN",
        "message quarantined",
        &["kind=\"unknown-name\"", "offset=3"],
    );
    line(
        "WARN",
        "message quarantined",
        &["kind=\"not-an-image\"", "offset=4"],
    );
    assert!(
        !log.contains("someone") && !log.contains("example.org") && !log.contains("no image at all"),
        "{log}"
    );
}

#[test]
fn nothing_is_logged_as_saved_before_it_is_durable() {
    use store::fault::{Fault, Faulty};
    let disk = MemDisk::with_root(Path::new(ROOT));
    let open = |disk| Tree::open_on(Paths::under(Path::new(ROOT)), disk);
    drop(open(Arc::new(disk.clone())).unwrap());
    let events = [Event::created("cell-a", Operator)];
    for at in 0.. {
        let faulty = Arc::new(Faulty::new(Arc::new(disk.fork()), at, Fault::Kill));
        let Ok(tree) = open(faulty.clone()) else { continue };
        let log = logged(|| drop(drain(tree, &events, &[1])));
        assert_eq!(
            log.contains("annotation saved"),
            !faulty.struck(),
            "fault at operation {at}"
        );
        if !faulty.struck() {
            break;
        }
    }
}

/// A broker keeps its own books in a stream: some offsets are no message's. That messages are gone is the source's to say.
#[test]
fn offsets_that_are_no_messages_are_passed_over() {
    let disk = MemDisk::with_root(Path::new(ROOT));
    let tree = Tree::open_on(Paths::under(Path::new(ROOT)), Arc::new(disk)).unwrap();
    let mut processor = Processor::new(tree, Limits::default());
    let events = [
        Event::created("cell-a", Operator),
        Event::created("cell-b", Operator),
    ];
    let late = common::batches(&events, 1, &[1]);
    let log = logged(|| processor.process(&late[0]).unwrap());
    assert_eq!((processor.next_offset(), processor.counters().created), (2, 1));
    assert!(!log.contains("WARN"), "{log}");
}
