//! The messages of a run, what the tree must be after each of them, and what a cut may never take.
//!
//! The truth is the model of the queue's tests, which knows nothing of the implementation, and beside it one undisturbed run
//! of the real queue for the files that the model does not speak of (records, misses, offset).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use annotation::Role;
use anyhow::{Context, Result};
use rand::{Rng, RngExt};
use store::{Paths, Tree};

use crate::common::{Event, Image, Model, comparable, drain};

/// What files hold, by their path under the root.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// More messages than a batch ever holds here.
pub(crate) const REACH: usize = 9;

const NAMES: [&str; 14] = [
    "cell-a", "cell-b", "cell-c", "cell-d", "cell-e", "cell-f", "cell-g", "cell-h", "cell-i", "cell-j",
    "cell-k", "cell-l", "cell-m", "cell-n",
];
/// An annotation that dataset forming took out of circulation before the run; no producer names it but to delete it.
const CORRUPTED: &str = "shape-z";
const HOMES: [&str; 4] = ["data-seed", "data", "data-corrupted", "data_deleted"];

/// A run's messages and its truth.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) events: Vec<Event>,
    /// The tree after each number of messages.
    after: Vec<Files>,
    /// Every file of an undisturbed run.
    undisturbed: Files,
}

impl Workload {
    /// Draws messages. Names come and go in order, so that at any time some are touched and others must stay as they are; some
    /// are mentioned before they are created.
    pub(crate) fn drawn(count: usize, chance: &mut impl Rng) -> Result<Self> {
        let mut events: Vec<Event> = (0..count)
            .map(|at| draw(at * NAMES.len() / count, chance))
            .collect();
        if let Some(event) = events.get_mut(count / 2) {
            *event = Event::deleted(&[CORRUPTED]);
        }
        Self::of(events)
    }

    /// Few messages after which a rename has been made into and out of every home.
    pub(crate) fn through_every_home() -> Result<Self> {
        use Role::{Operator, Validator};
        Self::of(vec![
            Event::validated(&["cell-b"]),
            Event::created("cell-a", Operator),
            Event::edited("cell-a", Operator, 2),
            Event::validated(&["cell-a"]),
            Event::Garbage(vec![0xc1; 4]),
            Event::created("cell-b", Operator),
            Event::deleted(&["cell-b"]),
            Event::edited("cell-a", Validator, 0),
            Event::deleted(&[CORRUPTED]),
            // From here on no folder that a name leaves is synced once more by a later message.
            Event::created("cell-c", Validator),
            Event::created("cell-d", Operator),
            Event::created("cell-e", Operator),
            Event::validated(&["cell-d"]),
            Event::deleted(&["cell-c"]),
        ])
    }

    fn of(events: Vec<Event>) -> Result<Self> {
        let after: Vec<Files> = (0..=events.len())
            .map(|n| model(events.get(..n).unwrap_or(&events)))
            .collect();
        let root = tempfile::tempdir()?;
        prepare(root.path())?;
        drop(drain(Tree::open(root.path())?, &events, &[1])?);
        let undisturbed = files(root.path())?;
        let workload = Self {
            events,
            after,
            undisturbed,
        };
        workload.against_model(&workload.undisturbed)?;
        Ok(workload)
    }

    /// Compares a tree that was read to the end, byte for byte, with that of an undisturbed run and with the model.
    pub(crate) fn compare(&self, root: &Path) -> Result<()> {
        self.compare_files(&files(root)?, root)
    }

    /// [`Self::compare`] for a disk that nobody has opened since the power went: that a file was removed that was being written
    /// need not be durable. The next open removes it again.
    pub(crate) fn compare_unopened(&self, root: &Path) -> Result<()> {
        let mut found = files(root)?;
        found.retain(|path, _| !path.to_string_lossy().starts_with(".azaion-tmp"));
        self.compare_files(&found, root)
    }

    fn compare_files(&self, found: &Files, root: &Path) -> Result<()> {
        same(&comparable(found), &comparable(&self.undisturbed))?;
        self.against_model(found)?;
        let offset = store::offset::read(&Paths::under(root).offset_file())?;
        anyhow::ensure!(offset == self.events.len() as u64, "the offset is {offset}");
        Ok(())
    }

    fn against_model(&self, found: &Files) -> Result<()> {
        let modelled = |path: &PathBuf| {
            path.components().count() > 1 && path.extension().is_none_or(|end| end != "json")
        };
        let found = found
            .iter()
            .filter(|(path, _)| modelled(path))
            .map(|(path, bytes)| (path.clone(), bytes.clone()));
        same(&found.collect(), self.after.last().context("no model")?).context("against the model")
    }

    /// Checks, before anything is repaired, that what lies below the offset is there and whole. Returns the offset.
    pub(crate) fn check_committed(&self, root: &Path) -> Result<u64> {
        let found = files(root)?;
        let paths = Paths::under(root);
        let offset = store::offset::read(&paths.offset_file())?;
        let at = usize::try_from(offset)?;
        let committed = self
            .after
            .get(at)
            .with_context(|| format!("offset {offset} is beyond the messages"))?;
        let until = (at + REACH).min(self.events.len());
        let touched: BTreeSet<&str> = self
            .events
            .get(at..until)
            .unwrap_or_default()
            .iter()
            .flat_map(names)
            .collect();
        for (path, bytes) in committed {
            match name_of(path).filter(|name| touched.contains(name)) {
                None => expect(&found, path, bytes)?,
                Some(_) => self.expect_in_some_home(&found, path, at..=until)?,
            }
            if path.starts_with("quarantine") {
                let record = path.with_extension("json");
                expect(
                    &found,
                    &record,
                    self.undisturbed.get(&record).context("no record")?,
                )?;
            }
        }
        for path in found
            .keys()
            .filter(|path| path.starts_with("quarantine") || name_of(path).is_some())
        {
            let idle = name_of(path).is_some_and(|name| !touched.contains(name));
            anyhow::ensure!(
                !idle || committed.contains_key(path),
                "{} is there and nobody sent it",
                path.display()
            );
        }
        self.check_misses(&paths, offset)?;
        self.check_ledger(&found, offset)?;
        Ok(offset)
    }

    /// An annotation that the unfinished batch touches has its image and a label of its in one of the homes.
    fn expect_in_some_home(
        &self,
        found: &Files,
        path: &Path,
        states: std::ops::RangeInclusive<usize>,
    ) -> Result<()> {
        let tail: PathBuf = path.components().skip(1).collect();
        let somewhere = HOMES.map(|home| Path::new(home).join(&tail));
        let states = self.after.get(states).unwrap_or_default();
        let possible = |bytes: &Vec<u8>| {
            somewhere
                .iter()
                .any(|path| states.iter().any(|files| files.get(path) == Some(bytes)))
        };
        anyhow::ensure!(
            somewhere.iter().filter_map(|path| found.get(path)).any(possible),
            "{} is in no home as any message left it",
            path.display()
        );
        Ok(())
    }

    /// What the ledger said of the messages below the offset it still says; of what comes after, any part may be torn.
    fn check_ledger(&self, found: &Files, offset: u64) -> Result<()> {
        let lines = |files: &Files| -> Vec<String> {
            let text = files
                .get(Path::new("ledger.log"))
                .map(|bytes| String::from_utf8_lossy(bytes));
            text.iter()
                .flat_map(|text| text.lines())
                .filter_map(without_time)
                .collect()
        };
        let recorded = lines(found);
        for line in lines(&self.undisturbed) {
            let at: Option<u64> = line.split(' ').next().and_then(|at| at.parse().ok());
            anyhow::ensure!(
                at.is_none_or(|at| at >= offset) || recorded.contains(&line),
                "the ledger has forgotten {line}"
            );
        }
        Ok(())
    }

    fn check_misses(&self, paths: &Paths, offset: u64) -> Result<()> {
        let expected = self.undisturbed.get(Path::new("unmatched.log"));
        let whole = tempfile::tempdir()?;
        let path = whole.path().join("unmatched.log");
        std::fs::write(&path, expected.map_or(&[][..], Vec::as_slice))?;
        let remembered = store::unmatched::read(&paths.unmatched_file())?;
        for miss in store::unmatched::read(&path)? {
            anyhow::ensure!(
                miss.offset >= offset || remembered.contains(&miss),
                "the miss of {} at {} is forgotten",
                miss.name,
                miss.offset
            );
        }
        Ok(())
    }
}

/// A line of the ledger, of which the time is the run's own.
fn without_time(line: &str) -> Option<String> {
    let (offset, rest) = line.split_once(' ')?;
    let (_, what) = rest.split_once(' ')?;
    Some(format!("{offset} {what}"))
}

/// A message about a name near `at`, out of the order of [`NAMES`].
fn draw(at: usize, chance: &mut impl Rng) -> Event {
    let near = |chance: &mut dyn FnMut(usize) -> usize| {
        NAMES
            .get((at + chance(4)).saturating_sub(1))
            .or(NAMES.last())
            .copied()
            .unwrap_or_default()
    };
    let mut pick = |below: usize| chance.random_range(0..below);
    let name = near(&mut pick);
    let role = if pick(4) == 0 {
        Role::Validator
    } else {
        Role::Operator
    };
    let row = u8::try_from(pick(3)).ok().filter(|_| pick(8) > 0);
    let image = Image::Jpeg(u8::try_from(pick(3)).unwrap_or_default());
    match pick(20) {
        0..=7 => Event::Annotation {
            edited: false,
            name,
            role,
            row,
            image,
        },
        8..=11 => Event::Annotation {
            edited: true,
            name,
            role,
            row,
            image: Image::None,
        },
        12 => Event::Annotation {
            edited: true,
            name,
            role,
            row,
            image,
        },
        13..=15 => Event::validated(&[name, near(&mut pick)]),
        16 => Event::validated(&[name, "../cell", near(&mut pick)]),
        17 => Event::deleted(&[name]),
        18 => Event::Annotation {
            edited: false,
            name,
            role,
            row,
            image: Image::Text,
        },
        _ => Event::Garbage(vec![0xc1; 1 + pick(9)]),
    }
}

fn names(event: &Event) -> Vec<&'static str> {
    match event {
        Event::Annotation { name, .. } => vec![name],
        Event::Bulk { names, .. } => names.clone(),
        Event::Garbage(_) => Vec::new(),
    }
}

/// The annotation that a path of the tree belongs to.
fn name_of(path: &Path) -> Option<&str> {
    let home = path.components().next()?.as_os_str();
    HOMES
        .iter()
        .any(|known| home == *known)
        .then(|| path.file_stem()?.to_str())
        .flatten()
}

fn model(events: &[Event]) -> Files {
    let mut files = Model::after(events).files();
    let deleted = events.iter().any(|event| names(event).contains(&CORRUPTED));
    files.extend(corrupted(if deleted { "data_deleted" } else { "data-corrupted" }));
    files
}

fn corrupted(home: &str) -> [(PathBuf, Vec<u8>); 2] {
    [
        (
            format!("{home}/images/{CORRUPTED}.jpg").into(),
            b"\xff\xd8\xff\xe0 broken".to_vec(),
        ),
        (
            format!("{home}/labels/{CORRUPTED}.txt").into(),
            b"2 0.5 0.5 0.5 0.5\n".to_vec(),
        ),
    ]
}

/// Writes what is there before the run.
pub(crate) fn prepare(root: &Path) -> Result<()> {
    for (path, bytes) in corrupted("data-corrupted") {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// Every file under the root but the lock, and what a file system keeps for itself.
fn files(root: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if name != "lost+found" {
                    dirs.push(path);
                }
            } else if name != "azaion.lock" {
                let bytes =
                    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(path.strip_prefix(root)?.to_owned(), bytes);
            }
        }
    }
    Ok(files)
}

fn expect(found: &Files, path: &Path, bytes: &[u8]) -> Result<()> {
    let there = found
        .get(path)
        .with_context(|| format!("{} is gone", path.display()))?;
    anyhow::ensure!(
        there == bytes,
        "{} holds {:?}",
        path.display(),
        there.escape_ascii().to_string()
    );
    Ok(())
}

fn same(found: &Files, expected: &Files) -> Result<()> {
    for (path, bytes) in expected {
        expect(found, path, bytes)?;
    }
    let more = found.keys().find(|path| !expected.contains_key(*path));
    anyhow::ensure!(
        more.is_none(),
        "{} should not be there",
        more.map_or("", |path| path.to_str().unwrap_or("?"))
    );
    Ok(())
}
