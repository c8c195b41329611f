//! Where everything lies.

use std::fmt;
use std::path::{Path, PathBuf};

use annotation::Name;

/// Where an annotation can live. It lives where its label file is: the label's rename is what moves it, the image goes ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Home {
    /// `data-seed/`: not validated yet.
    Seed,
    /// `data/`: validated.
    Data,
    /// `data-corrupted/`: dataset forming took it out of circulation (DST-2). No message brings it back.
    Corrupted,
    /// `data_deleted/`: deleted, for good.
    Deleted,
}

impl Home {
    /// All homes, the most final one first: the order in which an annotation is looked for.
    pub const ALL: [Self; 4] = [Self::Deleted, Self::Corrupted, Self::Data, Self::Seed];

    /// Its word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Data => "data",
            Self::Corrupted => "corrupted",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The layout of the tree under its root:
///
/// ```text
/// data/            images/ labels/   validated                 one name = images/{name}.jpg and labels/{name}.txt,
/// data-seed/       images/ labels/   not validated yet         in one home at a time; the image is called .jpg
/// data_deleted/    images/ labels/   deleted                   whatever its kind
/// data-corrupted/  images/ labels/   refused by dataset forming
/// datasets/  models/                 made by training
/// quarantine/      {offset}.msg .json   messages that could not be used, whole
/// ledger.log       what happened to every annotation
/// unmatched.log    mentions of names that were unknown at that time
/// offset.yaml      the next message to read
/// azaion.lock      the writer's process id, locked while it runs
/// .azaion-tmp/     0/ to 3/, files being written; only the writer looks there, and empties them when it opens the tree
/// ```
///
/// The four homes, `quarantine/` and `.azaion-tmp/` must be on one file system, since files are renamed between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    data: PathBuf,
    seed: PathBuf,
    deleted: PathBuf,
}

impl Paths {
    /// The default layout under `root`.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        Self::with_folders(
            root,
            Path::new("data"),
            Path::new("data-seed"),
            Path::new("data_deleted"),
        )
    }

    /// The layout with the configured folders (`AZAION_DATA_DIR`, `AZAION_DATA_SEED_DIR`, `AZAION_DATA_DELETED_DIR`), each relative to the root or absolute.
    #[must_use]
    pub fn with_folders(root: &Path, data: &Path, seed: &Path, deleted: &Path) -> Self {
        Self {
            root: root.to_owned(),
            data: root.join(data),
            seed: root.join(seed),
            deleted: root.join(deleted),
        }
    }

    /// The root (`AZAION_ROOT_DIR`).
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a home.
    #[must_use]
    pub fn home(&self, home: Home) -> PathBuf {
        match home {
            Home::Seed => self.seed.clone(),
            Home::Data => self.data.clone(),
            Home::Deleted => self.deleted.clone(),
            Home::Corrupted => self.root.join("data-corrupted"),
        }
    }

    /// The folder of a home's images.
    #[must_use]
    pub fn images(&self, home: Home) -> PathBuf {
        self.home(home).join("images")
    }

    /// The folder of a home's labels.
    #[must_use]
    pub fn labels(&self, home: Home) -> PathBuf {
        self.home(home).join("labels")
    }

    /// An annotation's image in a home.
    #[must_use]
    pub fn image(&self, home: Home, name: &Name) -> PathBuf {
        self.images(home).join(format!("{name}.jpg"))
    }

    /// An annotation's label file in a home.
    #[must_use]
    pub fn label(&self, home: Home, name: &Name) -> PathBuf {
        self.labels(home).join(format!("{name}.txt"))
    }

    /// The folder of refused messages.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The folder of datasets.
    #[must_use]
    pub fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    /// The folder of runs and models.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// `classes.json`.
    #[must_use]
    pub fn classes_file(&self) -> PathBuf {
        self.root.join("classes.json")
    }

    /// `offset.yaml`.
    #[must_use]
    pub fn offset_file(&self) -> PathBuf {
        self.root.join("offset.yaml")
    }

    /// `ledger.log`.
    #[must_use]
    pub fn ledger_file(&self) -> PathBuf {
        self.root.join("ledger.log")
    }

    /// `unmatched.log`.
    #[must_use]
    pub fn unmatched_file(&self) -> PathBuf {
        self.root.join("unmatched.log")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join("azaion.lock")
    }

    pub(crate) fn aside(&self) -> PathBuf {
        self.root.join(".azaion-tmp")
    }

    /// The folders in it where files are written.
    pub(crate) fn asides(&self) -> [PathBuf; 4] {
        ["0", "1", "2", "3"].map(|name| self.aside().join(name))
    }

    /// Where the next offset is written before it replaces `offset.yaml`.
    pub(crate) fn offset_aside(&self) -> PathBuf {
        let [first, ..] = self.asides();
        first.join("offset.yaml")
    }

    /// The folders whose names carry the annotations and the quarantine: everything a batch renames into.
    pub(crate) fn synced(&self) -> impl Iterator<Item = PathBuf> {
        Home::ALL
            .into_iter()
            .flat_map(|home| [self.images(home), self.labels(home)])
            .chain([self.quarantine()])
    }
}
