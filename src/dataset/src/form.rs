//! From `data/` to a dated dataset: `datasets/azaion-YYYY-MM-DD/` (DST-1 to DST-3, FS-3).
//!
//! The pairs of `data/` are first linked into a folder aside, so that what is checked is what ends in the dataset even
//! while annotations go on arriving. Every image that no earlier dataset vouches for is decoded as a whole and every such
//! label parsed, in parallel; what fails is moved to `data-corrupted/`. The rest is divided, described in `data.yaml` and
//! `manifest.json`, synced, and renamed into place.
//!
//! Guarantees: a dataset is there completely or not at all, also after a power cut; an existing one is never changed
//! (a second one on the same day is `...-2`); train + valid + test = every valid input of a seeded division; the same
//! inputs, seed and earlier datasets give the same division; an image that an earlier dataset has stays in its split; new
//! frames of one source media and near-duplicates are in one split. Files are hard links where the file system allows: they
//! share their bytes with `data/`, where files are replaced, never changed in place.

mod build;
pub(crate) mod check;
pub(crate) mod earlier;
mod news;
mod origin;
pub(crate) mod pairs;
mod refuse;
mod split;

use std::path::{Path, PathBuf};
use std::time::Instant;

use annotation::{ClassList, Name};

use crate::manifest::{About, Division, Manifest, ManifestItem};
use earlier::Earlier;
use origin::Origins;

pub use check::Fault;
pub use news::{News, news};
pub use pairs::SkipReason;
pub use split::{FixedSplit, SplitError};

/// What to form a dataset from.
#[derive(Debug, Clone)]
pub struct FormOptions {
    /// The tree.
    pub root: PathBuf,
    /// Folder of the validated annotations, relative to the tree.
    pub data_dir: PathBuf,
    /// Seed of the division.
    pub seed: u64,
    /// Date in the dataset's name.
    pub date: jiff::civil::Date,
    /// Moment that the manifest records.
    pub created: jiff::Timestamp,
    /// A division by lists of names instead of one by the seed.
    pub split: Option<FixedSplit>,
    /// Whether images stay where earlier datasets have them.
    pub memory: Memory,
}

/// What a division by the seed makes of earlier datasets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Memory {
    /// An image stays where the newest of them has it.
    #[default]
    Kept,
    /// Everything is divided anew: numbers of models from before cannot be compared with those of models from then on.
    Forgotten,
}

impl FormOptions {
    /// A seeded dataset of `root`, formed now.
    pub fn new(root: impl Into<PathBuf>, seed: u64) -> Self {
        let now = jiff::Zoned::now();
        Self {
            root: root.into(),
            data_dir: "data".into(),
            seed,
            date: now.date(),
            created: now.timestamp(),
            split: None,
            memory: Memory::Kept,
        }
    }
}

/// A formed dataset and what was left out on the way.
#[derive(Debug)]
pub struct Formed {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is made of.
    pub manifest: Manifest,
    /// Files that share their bytes with the tree.
    pub hard_links: usize,
    /// Files that were copied, where the file system has no hard links between the two places.
    pub copies: usize,
    /// Images that were decoded; earlier datasets vouch for the others.
    pub decoded: usize,
    /// Images that are where an earlier dataset has them.
    pub kept: usize,
    /// Groups of images that belong together and are on several sides, where earlier datasets have them.
    pub straddling: usize,
    /// Annotations that were moved to `data-corrupted/`.
    pub refused: Vec<Refused>,
    /// Files that were left where they are.
    pub skipped: Vec<Skipped>,
    /// Annotations that a fixed division does not name.
    pub unlisted: usize,
    /// Names of a fixed division that are no annotation here.
    pub absent: usize,
}

impl Formed {
    /// The dataset's `data.yaml`.
    pub fn data_yaml(&self) -> PathBuf {
        self.folder.join("data.yaml")
    }
}

/// An annotation that cannot be learned from.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub name: Name,
    /// What is wrong with its image, its label, or both.
    pub faults: Vec<Fault>,
}

/// A file that is part of no annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it was left alone.
    pub reason: SkipReason,
}

/// Forms a dataset.
pub fn form(options: &FormOptions) -> Result<Formed, FormError> {
    form_watched(options, &|_, _| {})
}

/// [`form`] with a look at its progress: `watch(done, all)` is called from several threads as annotations are checked.
pub fn form_watched(
    options: &FormOptions,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<Formed, FormError> {
    let start = Instant::now();
    let data = options.root.join(&options.data_dir);
    let corrupted = options.root.join("data-corrupted");
    if !data.is_dir() {
        return Err(FormError::NoData { path: data });
    }
    let names = class_names(&options.root)?;
    let paths = store::Paths::under(&options.root);
    let building = build::Building::begin(&paths.datasets())?;
    refuse::finish_interrupted(&data, &corrupted)?;
    let earlier = Earlier::read(&paths.datasets())?;

    let found = pairs::find(&data)?;
    let checked = check::check(&data, &building, &earlier, found.names, watch)?;
    refuse::refuse(&data, &corrupted, &building, &checked.refused)?;
    let skipped: Vec<Skipped> = found.skipped.into_iter().chain(checked.vanished).collect();
    for Skipped { path, reason } in &skipped {
        tracing::warn!(path = %path.display(), %reason, "skipped in forming a dataset");
    }
    if checked.valid.is_empty() {
        return Err(FormError::Empty {
            data,
            refused: checked.refused.len(),
            skipped: skipped.len(),
        });
    }

    let valid = with_origins(checked.valid, &Origins::read(&paths.ledger_file()), &earlier);
    let (division, divided, kept_of) = match &options.split {
        Some(lists) => (Division::Fixed, split::by_lists(valid, lists)?, None),
        None => {
            let kept_of = Some(&earlier).filter(|_| options.memory == Memory::Kept);
            (
                Division::Seeded,
                split::by_seed(valid, options.seed, kept_of),
                kept_of,
            )
        }
    };
    for name in &divided.unlisted {
        building.drop_from_stock(name)?;
    }
    let about = About {
        name: building.free_name(options.date)?,
        created: options.created,
        seed: options.seed,
        division,
        grouping: divided.grouping,
        earlier: kept_of.map(|earlier| earlier.names.clone()).unwrap_or_default(),
    };
    let manifest = Manifest::new(about, divided.items);
    let folder = building.finish(&manifest, &names)?;
    let formed = Formed {
        folder,
        manifest,
        hard_links: checked.linked.hard_links,
        copies: checked.linked.copies,
        decoded: checked.decoded,
        kept: divided.kept,
        straddling: divided.straddling,
        refused: checked.refused,
        skipped,
        unlisted: divided.unlisted.len(),
        absent: divided.absent,
    };
    log(&formed, start);
    Ok(formed)
}

/// The items with what the ledger tells of them.
fn with_origins(mut items: Vec<ManifestItem>, origins: &Origins, earlier: &Earlier) -> Vec<ManifestItem> {
    for item in &mut items {
        // The same image has the same source, whatever became of the ledger.
        let before = earlier
            .item(&item.name)
            .filter(|before| before.image_sha256 == item.image_sha256);
        origins.complete(item, before.and_then(|before| before.media));
    }
    items
}

fn log(formed: &Formed, start: Instant) {
    let counts = formed.manifest.counts;
    tracing::info!(
        dataset = formed.manifest.name,
        seed = formed.manifest.seed,
        train = counts.train,
        valid = counts.valid,
        test = counts.test,
        boxes = counts.boxes,
        kept = formed.kept,
        decoded = formed.decoded,
        refused = formed.refused.len(),
        skipped = formed.skipped.len(),
        hard_links = formed.hard_links,
        copies = formed.copies,
        duration_ms = start.elapsed().as_millis() as u64,
        "dataset formed"
    );
}

/// The 80 class names of `classes.json`; without that file every class is `Class-N`.
fn class_names(root: &Path) -> Result<Vec<String>, FormError> {
    let path = root.join("classes.json");
    let list = match std::fs::read_to_string(&path) {
        Ok(text) => ClassList::parse(&text)
            .map_err(|error| FormError::Classes {
                path,
                problem: error.to_string(),
            })?
            .names80()
            .to_vec(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "no class names: every class is called Class-N");
            (0..80).map(|class| format!("Class-{class}")).collect()
        }
        Err(error) => return Err(FormError::io("read", &path, error)),
    };
    Ok(list)
}

/// Why no dataset was formed. Nothing is left behind but what was moved to `data-corrupted/`.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no folder of annotations.
    #[error("there is no {}: import annotations or run the queue first", .path.display())]
    NoData {
        /// The folder that is missing.
        path: PathBuf,
    },
    /// There is nothing to learn from.
    #[error("{} holds no usable annotation ({refused} refused, {skipped} files skipped): a dataset needs images with labels", .data.display())]
    Empty {
        /// Folder of the validated annotations.
        data: PathBuf,
        /// How many were moved to `data-corrupted/`.
        refused: usize,
        /// How many files were left alone.
        skipped: usize,
    },
    /// The class list is there but not usable.
    #[error("the class list {} is not usable: {problem}", .path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The fixed division does not fit.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Another process is forming a dataset in the same folder.
    #[error("another process is forming a dataset in {}: wait until it ends", .path.display())]
    Busy {
        /// The folder of datasets.
        path: PathBuf,
    },
    /// `data.yaml` could not be written as text.
    #[error("cannot write {}: {problem}", .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl FormError {
    fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// `map_err` for an operation on a path.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FormError {
    move |source| FormError::io(action, path, source)
}

/// The image file of an annotation below a folder.
pub(crate) fn image_path(folder: &Path, name: &Name) -> PathBuf {
    folder.join("images").join(format!("{name}.jpg"))
}

/// The label file of an annotation below a folder.
pub(crate) fn label_path(folder: &Path, name: &Name) -> PathBuf {
    folder.join("labels").join(format!("{name}.txt"))
}
