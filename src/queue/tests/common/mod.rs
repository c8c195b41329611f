//! What the queue's tests share: messages to send, and a model of the tree that knows nothing of the implementation.
//!
//! The model is written from the requirements (QUE-3, QUE-4, QUE-7) as plain maps. It reads the messages once, in order, never
//! crashes and never replays: what it ends in is what every other way must end in.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test uses its part"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annotation::{Limits, Origin, Role, Status, Timestamp, encode};
use bytes::Bytes;
use proptest::prelude::*;
use queue::Processor;
use store::Tree;
use stream::{Batch, Message};

/// A message as a producer would send it.
#[derive(Debug, Clone)]
pub enum Event {
    Annotation {
        edited: bool,
        name: &'static str,
        role: Role,
        row: Option<u8>,
        image: Image,
    },
    Bulk {
        deleted: bool,
        names: Vec<&'static str>,
    },
    Garbage(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    None,
    /// A JPEG by its first bytes, with this in it.
    Jpeg(u8),
    Text,
}

impl Image {
    pub fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Jpeg(n) => Some([b"\xff\xd8\xff\xe0 cell ".as_slice(), &[n; 40]].concat()),
            Self::Text => Some(b"no image at all".to_vec()),
        }
    }
}

pub const EMAIL: &str = "someone@example.org";

/// The label file of a `row`: one detection of that class, or background.
pub fn label(row: Option<u8>) -> String {
    row.map_or_else(String::new, |class| format!("{class} 0.5 0.25 0.125 0.1\n"))
}

impl Event {
    pub fn created(name: &'static str, role: Role) -> Self {
        Self::Annotation {
            edited: false,
            name,
            role,
            row: Some(1),
            image: Image::Jpeg(1),
        }
    }

    pub fn edited(name: &'static str, role: Role, row: u8) -> Self {
        Self::Annotation {
            edited: true,
            name,
            role,
            row: Some(row),
            image: Image::None,
        }
    }

    pub fn validated(names: &[&'static str]) -> Self {
        Self::Bulk {
            deleted: false,
            names: names.to_vec(),
        }
    }

    pub fn deleted(names: &[&'static str]) -> Self {
        Self::Bulk {
            deleted: true,
            names: names.to_vec(),
        }
    }

    pub fn raw(&self) -> Vec<u8> {
        match self {
            Self::Garbage(bytes) => bytes.clone(),
            Self::Annotation {
                edited,
                name,
                role,
                row,
                image,
            } => {
                let status = if *edited { Status::Edited } else { Status::Created };
                let detections = encode::raw_detections(
                    &row.map(|class| [f64::from(class), 0.5, 0.25, 0.125, 0.1])
                        .into_iter()
                        .collect::<Vec<_>>(),
                );
                let body = encode::annotation(&encode::Annotation {
                    name,
                    status,
                    created: Timestamp::from_secs(1_700_000_000),
                    media_name: "slide",
                    time_us: 0,
                    image_extension: "jpg",
                    detections: &detections,
                    image: image.bytes().as_deref(),
                    role: *role,
                    email: EMAIL,
                    origin: Origin::Manual,
                });
                encode::message(&body, encode::Property::Number(status))
            }
            Self::Bulk { deleted, names } => {
                let status = if *deleted {
                    Status::Deleted
                } else {
                    Status::Validated
                };
                let created = Timestamp::from_secs(1_700_000_000);
                let body = encode::bulk(&encode::Bulk {
                    names,
                    status,
                    email: EMAIL,
                    created,
                });
                encode::message(&body, encode::Property::Name(status))
            }
        }
    }
}

/// Any message, of few names, so that they meet.
pub fn event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["cell-a", "cell-b", "cell-c"]);
    let in_bulk = prop::sample::select(vec![
        "cell-a", "cell-a", "cell-b", "cell-b", "cell-c", "cell-c", "../cell",
    ]);
    let role = prop::sample::select(vec![
        Role::Operator,
        Role::CompanionPC,
        Role::Validator,
        Role::Admin,
    ]);
    let image = prop_oneof![
        4 => (0..3_u8).prop_map(Image::Jpeg),
        3 => Just(Image::None),
        1 => Just(Image::Text),
    ];
    let annotation = (any::<bool>(), name, role, prop::option::of(0..3_u8), image).prop_map(
        |(edited, name, role, row, image)| Event::Annotation {
            edited,
            name,
            role,
            row,
            image,
        },
    );
    let bulk = (any::<bool>(), prop::collection::vec(in_bulk, 0..4))
        .prop_map(|(deleted, names)| Event::Bulk { deleted, names });
    prop_oneof![
        6 => annotation,
        4 => bulk,
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Event::Garbage),
    ]
}

/// The tree as the requirements want it.
#[derive(Debug, Default, Clone)]
pub struct Model {
    annotations: BTreeMap<&'static str, (&'static str, Option<u8>, Vec<u8>)>,
    quarantine: BTreeMap<usize, Vec<u8>>,
}

impl Model {
    pub fn after(events: &[Event]) -> Self {
        let mut model = Self::default();
        for (offset, event) in events.iter().enumerate() {
            if !model.take(event) {
                model.quarantine.insert(offset, event.raw());
            }
        }
        model
    }

    /// Applies a message; `false` if it belongs in quarantine.
    fn take(&mut self, event: &Event) -> bool {
        match event {
            Event::Garbage(_) => false,
            Event::Annotation {
                image: Image::Text, ..
            } => false,
            Event::Annotation {
                edited: false,
                image: Image::None,
                ..
            } => false,
            Event::Annotation {
                edited,
                name,
                role,
                row,
                image,
            } => {
                let validator = matches!(role, Role::Validator | Role::Admin | Role::ApiAdmin);
                match (self.annotations.get_mut(name), image.bytes()) {
                    (None, None) => return false,
                    (None, Some(image)) => {
                        let home = if validator { "data" } else { "data-seed" };
                        self.annotations.insert(name, (home, *row, image));
                    }
                    (Some((home, label, _)), _) if *edited && *home != "data_deleted" => {
                        *label = *row;
                        if validator {
                            *home = "data";
                        }
                    }
                    (Some(_), _) => {}
                }
                true
            }
            Event::Bulk { deleted, names } => {
                for name in names {
                    match self.annotations.get_mut(name) {
                        Some((home, ..)) if *deleted => *home = "data_deleted",
                        Some((home, ..)) if *home == "data-seed" => *home = "data",
                        _ => {}
                    }
                }
                names.iter().all(|name| !name.contains('/'))
            }
        }
    }

    /// Every image, label and quarantined message, by its path under the root.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (name, (home, row, image)) in &self.annotations {
            files.insert(format!("{home}/images/{name}.jpg").into(), image.clone());
            files.insert(
                format!("{home}/labels/{name}.txt").into(),
                label(*row).into_bytes(),
            );
        }
        for (offset, raw) in &self.quarantine {
            files.insert(format!("quarantine/{offset:020}.msg").into(), raw.clone());
        }
        files
    }
}

/// The messages of `events`, in batches of the given sizes (taken round and round), from an offset on.
pub fn batches(events: &[Event], from: u64, sizes: &[usize]) -> Vec<Batch> {
    let mut messages: Vec<Message> = events
        .iter()
        .zip(0..)
        .map(|(event, offset)| Message::new(offset, Bytes::from(event.raw())))
        .filter(|message| message.offset >= from)
        .collect();
    let mut sizes = sizes.iter().copied().cycle();
    let mut batches = Vec::new();
    while !messages.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, messages.len());
        let rest = messages.split_off(size);
        batches.push(Batch {
            messages: std::mem::replace(&mut messages, rest),
        });
    }
    batches
}

/// Reads everything that `tree` has not read yet.
pub fn drain(tree: Tree, events: &[Event], sizes: &[usize]) -> Result<Processor, store::Error> {
    let from = tree.offset();
    let mut processor = Processor::new(tree, Limits::default());
    batches(events, from, sizes)
        .iter()
        .try_for_each(|batch| processor.process(batch))?;
    processor.settle()?;
    Ok(processor)
}

/// What the model speaks of, out of all files of a tree: images, labels and quarantined messages.
pub fn content(files: &BTreeMap<PathBuf, Vec<u8>>, root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().to_owned();
    files
        .iter()
        .map(|(path, bytes)| (relative(path), bytes.clone()))
        .filter(|(path, _)| path.components().count() > 1 && path.extension().is_none_or(|e| e != "json"))
        .collect()
}

/// All files of a tree but those that tell of a moment: the lock, and `status/`.
pub fn read_dir(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path == root.join("status") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|name| name != "azaion.lock") {
                files.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Files as they are compared: of the ledger neither the times, nor where a batch ended.
pub fn comparable(files: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    let without_time = |line: &str| {
        let (offset, rest) = line.split_once(' ')?;
        Some(format!("{offset} {}\n", rest.split_once(' ')?.1))
    };
    let ledger = |bytes: &[u8]| -> String {
        let lines = std::str::from_utf8(bytes).unwrap().lines().skip(1);
        lines
            .filter(|line| !line.starts_with(['=', '+']))
            .filter_map(without_time)
            .collect()
    };
    let bytes = |(path, bytes): (&PathBuf, &Vec<u8>)| match path.ends_with("ledger.log") {
        true => (path.clone(), ledger(bytes).into_bytes()),
        false => (path.clone(), bytes.clone()),
    };
    files.iter().map(bytes).collect()
}

/// Fails with the files that differ, and no others.
pub fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, when: &str) {
    let (found, expected) = (comparable(found), comparable(expected));
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| bytes.escape_ascii().to_string());
    let paths: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<_> = paths
        .into_iter()
        .filter(|path| found.get(*path) != expected.get(*path))
        .map(|path| {
            format!(
                "{}\n  found    {:?}\n  expected {:?}",
                path.display(),
                text(found.get(path)),
                text(expected.get(path))
            )
        })
        .collect();
    assert!(differing.is_empty(), "{when}:\n{}", differing.join("\n"));
}
