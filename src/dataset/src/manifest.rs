//! `manifest.json`: what a formed dataset is made of, so that a model can be traced to its images.
//!
//! One file a dataset, JSON, with a format name and a version that the reader checks. It lists every item with the
//! SHA-256 of its image and label as they were when they were checked, and a hash over all of them: two datasets with
//! the same hash hold the same images and labels in the same splits, whatever their folder or date.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use annotation::Name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the file in a dataset's folder.
pub const FILE_NAME: &str = "manifest.json";
const FORMAT: &str = "azaion-dataset";
const VERSION: u32 = 1;

/// The part of a dataset that an item belongs to; also the name of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the detector learns from.
    Train,
    /// What a run is judged by, epoch by epoch.
    Valid,
    /// What is looked at once, at the end.
    Test,
}

impl Split {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// Its folder.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.folder())
    }
}

/// How the items were divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Division {
    /// By a shuffle with the recorded seed, 70/20/10.
    Seeded,
    /// By lists of names that were given.
    Fixed,
}

/// How many items and boxes there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items to learn from.
    pub train: usize,
    /// Items to be judged by.
    pub valid: usize,
    /// Items for the end.
    pub test: usize,
    /// Boxes in all three.
    pub boxes: usize,
    /// Items in all three without a box.
    pub background: usize,
}

impl Counts {
    fn of(items: &[ManifestItem]) -> Self {
        let split = |split| items.iter().filter(|item| item.split == split).count();
        Self {
            train: split(Split::Train),
            valid: split(Split::Valid),
            test: split(Split::Test),
            boxes: items.iter().map(|item| item.boxes).sum(),
            background: items.iter().filter(|item| item.boxes == 0).count(),
        }
    }
}

/// One image with its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestItem {
    /// Name of the annotation: `images/{name}.jpg`, `labels/{name}.txt`.
    pub name: String,
    /// Where it went.
    pub split: Split,
    /// SHA-256 of the image file, in hex.
    pub image_sha256: String,
    /// SHA-256 of the label file, in hex.
    pub label_sha256: String,
    /// Width in pixels, as shown.
    pub width: usize,
    /// Height in pixels, as shown.
    pub height: usize,
    /// Detections in the label.
    pub boxes: usize,
}

/// The whole of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    version: u32,
    /// Name of the dataset: its folder when it was formed.
    pub name: String,
    /// When it was formed, in UTC.
    pub created: jiff::Timestamp,
    /// Seed of the shuffle.
    pub seed: u64,
    /// How the items were divided.
    pub division: Division,
    /// How many there are.
    pub counts: Counts,
    /// Hash over all items, in hex; see [`Manifest::new`].
    pub hash: String,
    /// The items, sorted by name.
    pub items: Vec<ManifestItem>,
}

impl Manifest {
    /// The manifest of these items, which are sorted by name.
    ///
    /// The hash is SHA-256 over one line an item, `name split image_sha256 label_sha256`, each ended by a line feed.
    pub fn new(
        name: String,
        created: jiff::Timestamp,
        seed: u64,
        division: Division,
        mut items: Vec<ManifestItem>,
    ) -> Self {
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            format: FORMAT.into(),
            version: VERSION,
            name,
            created,
            seed,
            division,
            counts: Counts::of(&items),
            hash: hash(&items),
            items,
        }
    }

    /// Reads the manifest in a dataset's folder and checks it against itself.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let path = folder.join(FILE_NAME);
        let unusable = |problem: String| ManifestError::Unusable {
            path: path.clone(),
            problem,
        };
        let bytes = std::fs::read(&path).map_err(|source| ManifestError::Read {
            path: path.clone(),
            source,
        })?;
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(unusable(format!(
                "it is `{}` version {}, this program reads `{FORMAT}` version {VERSION}",
                head.format, head.version
            )));
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        manifest.check().map_err(unusable)?;
        Ok(manifest)
    }

    /// Writes it as JSON.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut to, self)?;
        to.write_all(b"\n")
    }

    fn check(&self) -> Result<(), String> {
        if let Some(item) = self.items.iter().find(|item| Name::new(&item.name).is_err()) {
            return Err(format!("the item name {:?} is no safe file name", item.name));
        }
        if !self.items.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its items are not sorted by name, or one is there twice".into());
        }
        if self.hash != hash(&self.items) || self.counts != Counts::of(&self.items) {
            return Err(
                "its hash or counts do not fit its items: it was changed after it was written".into(),
            );
        }
        Ok(())
    }
}

fn hash(items: &[ManifestItem]) -> String {
    let mut hash = Sha256::new();
    for ManifestItem {
        name,
        split,
        image_sha256,
        label_sha256,
        ..
    } in items
    {
        hash.update(format!("{name} {split} {image_sha256} {label_sha256}\n"));
    }
    hex(&hash.finalize())
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It could not be read.
    #[error("cannot read the manifest {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the manifest {} is not usable: {problem}; form the dataset anew", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, split: Split, boxes: usize) -> ManifestItem {
        let (image_sha256, label_sha256) = (sha256(name.as_bytes()), sha256(b""));
        ManifestItem {
            name: name.into(),
            split,
            image_sha256,
            label_sha256,
            width: 4,
            height: 3,
            boxes,
        }
    }

    fn manifest() -> Manifest {
        let items = vec![item("b", Split::Valid, 0), item("a", Split::Train, 2)];
        Manifest::new(
            "azaion-2026-03-28".into(),
            jiff::Timestamp::UNIX_EPOCH,
            7,
            Division::Seeded,
            items,
        )
    }

    fn written(text: &str) -> (tempfile::TempDir, Result<Manifest, ManifestError>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        let read = Manifest::read(dir.path());
        (dir, read)
    }

    fn text(manifest: &Manifest) -> String {
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = manifest();
        assert_eq!(
            manifest.counts,
            Counts {
                train: 1,
                valid: 1,
                test: 0,
                boxes: 2,
                background: 1
            }
        );
        assert_eq!(written(&text(&manifest)).1.unwrap(), manifest);
    }

    #[test]
    fn the_hash_is_over_the_sorted_documented_lines() {
        // printf 'a train %s %s\nb valid %s %s\n' "$(printf a|sha256sum|cut -c-64)" ... | sha256sum
        assert_eq!(
            manifest().hash,
            "efee45698ae9342e3dd54e49f15217f39af97e49c7fc7d6ee282da9ab5f5019f"
        );
    }

    #[test]
    fn a_manifest_that_was_changed_or_is_of_another_version_is_refused() {
        let good = text(&manifest());
        for (from, to, expected) in [
            ("\"version\": 1", "\"version\": 2", "version 2"),
            (FORMAT, "other", "`other`"),
            ("\"split\": \"train\"", "\"split\": \"test\"", "was changed"),
            ("\"boxes\": 2,", "\"boxes\": 3,", "was changed"),
            ("\"name\": \"a\"", "\"name\": \"../a\"", "safe file name"),
            ("\"name\": \"a\"", "\"name\": \"c\"", "not sorted"),
            ("\"seed\"", "\"sead\"", "sead"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = written(&good.replace(from, to)).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(written("").1.is_err());
        assert!(matches!(
            Manifest::read(Path::new("/nonexistent")),
            Err(ManifestError::Read { .. })
        ));
    }
}
