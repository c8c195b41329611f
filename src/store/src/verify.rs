//! The tree compared with its ledger, and a new ledger made from the tree.
//!
//! Both read every annotation. [`verify`] takes no lock and can be run beside a writer: what the writer touches meanwhile
//! is left out of the answer. [`rebuild_ledger`] is for a ledger that is lost or damaged: what is in the tree is known
//! again, what happened before is not; the old file stays beside the new one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use annotation::Name;

use crate::digest::Digest;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, Event, State};
use crate::lock::Lock;
use crate::offset;
use crate::paths::{Home, Paths};

/// How many lines of a new ledger are one batch.
const BATCH: usize = 1024;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Which annotation lives where.
    Names,
    /// The bytes of labels and images too: every file is read.
    Bytes,
}

/// What is wrong with an annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The ledger knows it, the tree has no label of it.
    Missing {
        /// Where it should be.
        home: Home,
    },
    /// It lives in another home than the ledger says.
    Elsewhere {
        /// Where it should be.
        recorded: Home,
        /// Where it is.
        found: Home,
    },
    /// It has a label in two homes.
    Twice {
        /// One of them.
        one: Home,
        /// Another.
        other: Home,
    },
    /// The tree has it, the ledger does not know it.
    Unrecorded {
        /// Where it is.
        home: Home,
    },
    /// It has a label and no image.
    NoImage {
        /// Where its label is.
        home: Home,
    },
    /// There is an image without a label.
    NoLabel {
        /// Where the image is.
        home: Home,
    },
    /// The label's bytes are not those that were written.
    LabelBytes {
        /// Where it is.
        home: Home,
    },
    /// The image's bytes are not those that were written.
    ImageBytes {
        /// Where it is.
        home: Home,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { home } => write!(f, "is gone; the ledger has it in {home}"),
            Self::Elsewhere { recorded, found } => {
                write!(f, "is in {found}; the ledger has it in {recorded}")
            }
            Self::Twice { one, other } => write!(f, "has a label in {one} and another in {other}"),
            Self::Unrecorded { home } => write!(f, "is in {home}; the ledger does not know it"),
            Self::NoImage { home } => write!(f, "has a label and no image in {home}"),
            Self::NoLabel { home } => write!(f, "has an image and no label in {home}"),
            Self::LabelBytes { home } => write!(f, "has another label in {home} than was written"),
            Self::ImageBytes { home } => write!(f, "has another image in {home} than was written"),
        }
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Annotations in the tree.
    pub annotations: u64,
    /// Annotations that dataset forming has set aside in `data-corrupted/`, which the ledger does not hear of.
    pub set_aside: u64,
    /// What is wrong, by name.
    pub differences: Vec<(Name, Problem)>,
    /// Files that are no annotation's.
    pub foreign: Vec<PathBuf>,
    /// Differing annotations that a writer touched meanwhile: they say nothing.
    pub in_motion: u64,
}

impl Verification {
    /// Whether tree and ledger agree.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.foreign.is_empty()
    }
}

/// Where the files of a name are, most final home first.
#[derive(Debug, Default)]
struct Found {
    labels: Vec<Home>,
    images: Vec<Home>,
}

/// Compares the tree with its ledger. `progress` hears how many annotations of how many are done.
pub fn verify(paths: &Paths, depth: Depth, mut progress: impl FnMut(u64, u64)) -> Result<Verification> {
    let mut reader = ledger::read(&paths.ledger_file())?;
    let mut recorded = ledger::states(&mut reader)?;
    let mut verification = Verification::default();
    let mut found = walk(paths, &mut verification.foreign)?;
    found.retain(|_, found| !(found.labels.is_empty() && found.images.is_empty()));
    let total = found.len() as u64;
    verification.annotations = found.values().filter(|found| !found.labels.is_empty()).count() as u64;
    for ((name, found), done) in found.into_iter().zip(1..) {
        let state = recorded.remove(&name);
        let problems = &mut verification.differences;
        let mut add = |problem| problems.push((name.clone(), problem));
        match compare(&found, state, &mut add) {
            Some((Home::Corrupted, _)) => verification.set_aside += 1,
            Some((home, state)) if depth == Depth::Bytes => {
                bytes(paths, &name, home, &state, &mut add)?;
            }
            _ => {}
        }
        progress(done, total);
    }
    let gone = recorded.into_iter();
    verification
        .differences
        .extend(gone.map(|(name, state)| (name, Problem::Missing { home: state.home })));
    leave_out(&mut verification, reader.resume()?)?;
    verification
        .differences
        .sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Ok(verification)
}

/// Where an annotation is, and what the ledger says of it, if the two agree so far.
fn compare(found: &Found, state: Option<State>, add: &mut impl FnMut(Problem)) -> Option<(Home, State)> {
    let Some(&home) = found.labels.first() else {
        // An image that went ahead of a label which is on its way has one in another home.
        found
            .images
            .iter()
            .for_each(|&home| add(Problem::NoLabel { home }));
        if let Some(State { home, .. }) = state {
            add(Problem::Missing { home });
        }
        return None;
    };
    if let Some(&other) = found.labels.get(1) {
        add(Problem::Twice { one: home, other });
    }
    if !found.images.contains(&home) {
        add(Problem::NoImage { home });
        return None;
    }
    let strays = found.images.iter().filter(|image| !found.labels.contains(image));
    strays.for_each(|&home| add(Problem::NoLabel { home }));
    match state {
        None => add(Problem::Unrecorded { home }),
        // Dataset forming sets aside what it cannot use.
        Some(state) if home == state.home || home == Home::Corrupted => return Some((home, state)),
        Some(State { home: recorded, .. }) => add(Problem::Elsewhere {
            recorded,
            found: home,
        }),
    }
    None
}

fn bytes(paths: &Paths, name: &Name, home: Home, state: &State, add: &mut impl FnMut(Problem)) -> Result<()> {
    let differs = |path: &Path, expected: Option<Digest>| match expected {
        None => Ok(false),
        Some(expected) => Ok(digest(path)?.is_none_or(|digest| digest != expected)),
    };
    if differs(&paths.label(home, name), state.label)? {
        add(Problem::LabelBytes { home });
    }
    if differs(&paths.image(home, name), state.image)? {
        add(Problem::ImageBytes { home });
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Option<Digest>> {
    let bytes = Real::new().read(path).map_err(Error::io("read", path))?;
    Ok(bytes.map(|bytes| Digest::of(&bytes)))
}

/// Takes out what a writer has touched since the comparison began: `later` are the lines that it has added.
fn leave_out(verification: &mut Verification, later: ledger::Reader) -> Result<()> {
    let touched: HashSet<Name> = later
        .map(|entry| entry.map(|entry| entry.name))
        .collect::<Result<_>>()?;
    let before = verification.differences.len();
    verification
        .differences
        .retain(|(name, _)| !touched.contains(name));
    verification.in_motion = (before - verification.differences.len()) as u64;
    Ok(())
}

/// Every name in the tree with the homes of its files.
fn walk(paths: &Paths, foreign: &mut Vec<PathBuf>) -> Result<HashMap<Name, Found>> {
    let mut all: HashMap<Name, Found> = HashMap::new();
    for home in Home::ALL {
        for name in names(&paths.labels(home), ".txt", foreign)? {
            all.entry(name).or_default().labels.push(home);
        }
        for name in names(&paths.images(home), ".jpg", foreign)? {
            all.entry(name).or_default().images.push(home);
        }
    }
    Ok(all)
}

fn names(dir: &Path, suffix: &str, foreign: &mut Vec<PathBuf>) -> Result<Vec<Name>> {
    let disk = Real::new();
    if !disk.exists(dir).map_err(Error::io("look for", dir))? {
        return Ok(Vec::new());
    }
    let files = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut names = Vec::with_capacity(files.len());
    for file in files {
        match file
            .to_str()
            .and_then(|file| Name::new(file.strip_suffix(suffix)?).ok())
        {
            Some(name) => names.push(name),
            None => foreign.push(dir.join(file)),
        }
    }
    Ok(names)
}

/// What making a new ledger came to.
#[derive(Debug)]
pub struct Rebuilt {
    /// Annotations that were found.
    pub annotations: u64,
    /// Where the old ledger is now, if there was one.
    pub kept: Option<PathBuf>,
}

/// Makes a new ledger from what the tree holds, and keeps the old one beside it. The tree must have no writer.
pub fn rebuild_ledger(paths: &Paths, mut progress: impl FnMut(u64, u64)) -> Result<Rebuilt> {
    let _lock = Lock::take(&paths.lock_file())?;
    let next = offset::read(&paths.offset_file())?;
    let mut found: Vec<(Name, Home)> = walk(paths, &mut Vec::new())?
        .into_iter()
        .filter_map(|(name, found)| Some((name, *found.labels.first()?)))
        .collect();
    found.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    let total = found.len() as u64;
    let ledger = paths.ledger_file();
    let kept = keep(&ledger)?;
    let mut done = 0;
    let batches = found.chunks(BATCH).map(|names| {
        let entries = names.iter().map(|(name, home)| {
            done += 1;
            progress(done, total);
            entry(paths, name, *home)
        });
        entries.collect()
    });
    ledger::write_anew(&ledger, next, batches)?;
    Ok(Rebuilt {
        annotations: total,
        kept,
    })
}

/// Gives the ledger a second name, the first that is free.
fn keep(ledger: &Path) -> Result<Option<PathBuf>> {
    for n in 1.. {
        let kept = ledger.with_extension(format!("log.{n}"));
        match std::fs::hard_link(ledger, &kept) {
            Ok(()) => return Ok(Some(kept)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("link", &kept)(error)),
        }
    }
    Ok(None)
}

/// What is known of an annotation from its files.
fn entry(paths: &Paths, name: &Name, home: Home) -> Result<Entry> {
    let label = paths.label(home, name);
    let written = std::fs::metadata(&label)
        .and_then(|meta| meta.modified())
        .map_err(Error::io("look at", &label))?;
    Ok(Entry {
        offset: None,
        time: written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        event: Event::Found,
        role: None,
        home: Some(home),
        name: name.clone(),
        image: digest(&paths.image(home, name))?,
        label: digest(&label)?,
        media: None,
    })
}
