//! `manifest.json`: what a formed dataset is made of, so that a model can be traced to its images.
//!
//! One file a dataset, JSON, with a format name and a version that the reader checks. It lists every item with the
//! SHA-256 of its image and label as they were when they were checked, where the label came from (offset, role and time,
//! from the ledger; nothing personal), and what later datasets need to keep the division: source media and [`Likeness`]. A
//! hash is over what the items are: two datasets with the same hash hold the same images and labels in the same splits,
//! whatever their folder or date. A seal is over everything else too.
//!
//! Version 1, which knew neither origin nor likeness, is still read; version 2 is written.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use annotation::Role;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::likeness::Likeness;

/// Name of the file in a dataset's folder.
pub const FILE_NAME: &str = "manifest.json";
const FORMAT: &str = "azaion-dataset";
/// What is written.
const VERSION: u32 = 2;
/// The first version, which has no seal.
const FIRST: u32 = 1;

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
    /// By the recorded seed, 70/20/10; what was in an earlier dataset stays where it was.
    Seeded,
    /// By lists of names that were given.
    Fixed,
}

/// What was kept on one side of the division.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// Images of one source media, and near-duplicates.
    Media,
    /// Near-duplicates; all images are of one source media, or nearly.
    Likeness,
    /// Nothing: lists were given, all images are alike, or the dataset is of the first version.
    #[default]
    Nothing,
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

/// A file's size and when it was changed last: with the same inode, the same bytes, for files are replaced, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length in bytes.
    pub bytes: u64,
    /// When it was changed last.
    pub modified: jiff::Timestamp,
}

/// One image with its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Offset of the message that the label came with; none where the ledger does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When the label came, by the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// The role of who made the label, by the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "file::role")]
    pub role: Option<Role>,
    /// The number of the source media, see [`store::Media`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "file::media")]
    pub media: Option<store::Media>,
    /// What the image looks like from afar; none where it is too small or too plain to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<Likeness>,
    /// Of the image file when it was checked; none in the first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_file: Option<Stamp>,
    /// Of the label file when it was checked; none in the first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_file: Option<Stamp>,
}

/// What is said of a dataset as a whole by whoever forms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the dataset: its folder when it was formed.
    pub name: String,
    /// When it was formed, in UTC.
    pub created: jiff::Timestamp,
    /// Seed of the division.
    pub seed: u64,
    /// How the items were divided.
    pub division: Division,
    /// What was kept on one side.
    pub grouping: Grouping,
    /// The datasets whose division is kept, newest first.
    pub earlier: Vec<String>,
}

/// The whole of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    version: u32,
    /// Name of the dataset: its folder when it was formed.
    pub name: String,
    /// When it was formed, in UTC.
    pub created: jiff::Timestamp,
    /// Seed of the division.
    pub seed: u64,
    /// How the items were divided.
    pub division: Division,
    /// What was kept on one side.
    #[serde(default)]
    pub grouping: Grouping,
    /// The datasets whose division was kept, newest first.
    #[serde(default)]
    pub earlier: Vec<String>,
    /// How many there are.
    pub counts: Counts,
    /// Hash over what the items are, in hex; see [`Manifest::new`].
    pub hash: String,
    /// Hash over all that the file says, in hex; none in the first version.
    #[serde(default)]
    seal: Option<String>,
    /// The items, sorted by name.
    pub items: Vec<ManifestItem>,
}

impl Manifest {
    /// The manifest of these items, which it sorts by name.
    ///
    /// The hash is SHA-256 over one line an item, `name split image_sha256 label_sha256`, each ended by a line feed; the seal
    /// SHA-256 over a line with `about` as JSON, and one with each item as JSON, as it stands in the file.
    #[must_use]
    pub fn new(about: About, mut items: Vec<ManifestItem>) -> Self {
        items.sort_by(|a, b| a.name.cmp(&b.name));
        let seal = file::seal(&about, &items);
        let About {
            name,
            created,
            seed,
            division,
            grouping,
            earlier,
        } = about;
        Self {
            format: FORMAT.into(),
            version: VERSION,
            name,
            created,
            seed,
            division,
            grouping,
            earlier,
            counts: Counts::of(&items),
            hash: hash(&items),
            seal: Some(seal),
            items,
        }
    }

    /// The version of the file.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The item with this name.
    #[must_use]
    pub fn item(&self, name: &str) -> Option<&ManifestItem> {
        let at = self.items.binary_search_by(|item| item.name.as_str().cmp(name));
        self.items.get(at.ok()?)
    }

    /// The least and the greatest offset of the messages that the labels came with; none where no item has one.
    #[must_use]
    pub fn offsets(&self) -> Option<(u64, u64)> {
        let known = || self.items.iter().filter_map(|item| item.offset);
        Some((known().min()?, known().max()?))
    }

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            created: self.created,
            seed: self.seed,
            division: self.division,
            grouping: self.grouping,
            earlier: self.earlier.clone(),
        }
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
        for part in [
            name,
            " ",
            split.folder(),
            " ",
            image_sha256,
            " ",
            label_sha256,
            "\n",
        ] {
            hash.update(part);
        }
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
    #[error("the manifest {} is not usable: {problem}; restore it, or form the dataset anew", .path.display())]
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
            offset: None,
            time: None,
            role: None,
            media: None,
            likeness: None,
            image_file: None,
            label_file: None,
        }
    }

    fn about() -> About {
        About {
            name: "azaion-2026-03-28".into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            seed: 7,
            division: Division::Seeded,
            grouping: Grouping::Media,
            earlier: vec!["azaion-2026-03-27".into()],
        }
    }

    fn manifest() -> Manifest {
        let stamp = |bytes| Stamp {
            bytes,
            modified: "2026-03-27T08:00:00.25Z".parse().unwrap(),
        };
        let known = ManifestItem {
            offset: Some(41),
            time: Some("2026-03-27T09:00:00Z".parse().unwrap()),
            role: Some(Role::Validator),
            media: store::Media::of("slide-7.tif"),
            likeness: Likeness::parse(&"0123456789abcdef".repeat(4)),
            image_file: Some(stamp(5120)),
            label_file: Some(stamp(40)),
            ..item("a", Split::Train, 2)
        };
        Manifest::new(about(), vec![item("b", Split::Valid, 0), known])
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
        assert_eq!(manifest.offsets(), Some((41, 41)));
        assert_eq!(manifest.item("b").unwrap().split, Split::Valid);
        assert!(manifest.item("c").is_none());
        assert_eq!(written(&text(&manifest)).1.unwrap(), manifest);
    }

    #[test]
    fn the_bytes_are_the_golden_ones() {
        let golden = include_str!("../tests/fixtures/manifest-2.json");
        assert_eq!(text(&manifest()), golden);
        assert_eq!(written(golden).1.unwrap(), manifest());
    }

    #[test]
    fn a_manifest_of_the_first_version_is_read() {
        let golden = include_str!("../tests/fixtures/manifest-1.json");
        let first = written(golden).1.unwrap();
        assert_eq!((first.version(), first.grouping), (1, Grouping::Nothing));
        assert_eq!(
            first.items,
            [item("a", Split::Train, 2), item("b", Split::Valid, 0)]
        );
        assert_eq!(
            first.hash,
            manifest().hash,
            "the same images and labels in the same splits have the same hash in every version"
        );
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
            ("\"version\": 2", "\"version\": 3", "version 3"),
            ("\"version\": 2", "\"version\": 1", "was changed"),
            (FORMAT, "other", "`other`"),
            ("\"split\":\"train\"", "\"split\":\"test\"", "was changed"),
            ("\"boxes\":2,", "\"boxes\":3,", "was changed"),
            ("\"offset\":41", "\"offset\":40", "was changed"),
            ("\"seed\": 7", "\"seed\": 8", "was changed"),
            ("Validator", "Operator", "was changed"),
            ("Validator", "Janitor", "no role"),
            ("0123456789abcdef", "x123456789abcdef", "64 hexadecimal"),
            ("\"bytes\":5120", "\"bytes\":5121", "was changed"),
            ("\"name\":\"a\"", "\"name\":\"../a\"", "safe file name"),
            ("\"name\":\"a\"", "\"name\":\"c\"", "not sorted"),
            ("\"seed\"", "\"sead\"", "sead"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = written(&good.replacen(from, to, 1)).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        // A later version may say more, and is still named as what it is.
        let later = good.replacen("\"version\": 2", "\"version\": 9, \"more\": 1", 1);
        assert!(written(&later).1.unwrap_err().to_string().contains("version 9"));
        assert!(matches!(
            Manifest::read(Path::new("/nonexistent")),
            Err(ManifestError::Read { .. })
        ));
    }

    #[test]
    fn one_that_is_cut_short_anywhere_is_refused() {
        let good = text(&manifest());
        for end in (0..good.len() - 1).step_by(7) {
            let read = written(good.get(..end).unwrap()).1;
            assert!(matches!(read, Err(ManifestError::Unusable { .. })), "{end}");
        }
    }
}
