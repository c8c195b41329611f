//! Existing datasets as annotation messages: `azaion import yolo DIR --to TARGET`.
//!
//! `DIR` holds images and labels in sister folders, `images/` and `labels/`, flat or with sub-folders (`images/train/`),
//! or the other way round (`train/images/`). An image and its label become one message, as if a validator had just
//! created the annotation, appended to a stream file in the order of their paths, or published to a broker ([`publish`]).
//!
//! The importer is a faithful producer: rows of five numbers are sent as they are, also when they are out of range,
//! since judging them is the queue's part, and what it refuses can be inspected in the quarantine. Only what no
//! message can express is left out, logged (ERROR for a label, WARN for the rest) and counted: a label that is not rows
//! of five numbers, a file name that is no safe name, an image without a label, a label without an image.

mod address;
mod find;
pub mod publish;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use annotation::encode::{self, Property};
use annotation::{Name, NameError, Origin, Role, Status, Timestamp};
use dataset::form::{FixedSplit, SplitError};
use stream::file::FileWriter;

pub use address::{Address, AddressError, Target};
use find::{Files, Pair, is_image};

/// Who the messages are from; never a real person's address.
const EMAIL: &str = "import@localhost";

/// What an import did.
#[derive(Debug, Default)]
pub struct ImportSummary {
    /// Messages appended to the stream.
    pub messages: usize,
    /// Detections in them.
    pub detections: usize,
    /// Files that were left out, and why.
    pub skipped: Vec<(PathBuf, Skip)>,
}

/// Why a file was left out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Skip {
    /// An image without a label.
    #[error("an image without a label file")]
    NoLabel,
    /// A label without an image.
    #[error("a label file without an image")]
    NoImage,
    /// An image whose name no message may carry.
    #[error("its name cannot become an annotation's: {0}")]
    UnsafeName(NameError),
    /// A second image of the same name, in another folder or with another extension.
    #[error("{} has the same name", .0.display())]
    SameName(PathBuf),
    /// A kind of image that the queue does not take.
    #[error("not a JPEG, PNG, BMP or WebP file by its extension")]
    ForeignImage,
    /// A label that is not rows of five numbers.
    #[error("line {line}: {problem}")]
    Label {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// Why nothing was imported, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder to import from cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder lacks one of the two that are needed.
    #[error("{} has no folder `{missing}`: a dataset has its images in `images/` and a text file for each in `labels/`", .dir.display())]
    NotADataset {
        /// The folder to import from.
        dir: PathBuf,
        /// The folder that is missing.
        missing: &'static str,
    },
    /// There is no image with a usable label.
    #[error("nothing to import from {}: no image has a usable label ({skipped} files skipped)", .dir.display())]
    Nothing {
        /// The folder to import from.
        dir: PathBuf,
        /// How many files were left out.
        skipped: usize,
    },
    /// The stream file cannot be written.
    #[error(transparent)]
    Stream(#[from] stream::Error),
    /// One of the lists of names is missing.
    #[error("{} has a {present} but no {missing}: a division needs both train.txt and val.txt (test.txt is optional)", .dir.display())]
    HalfASplit {
        /// The folder to import from.
        dir: PathBuf,
        /// A list that is there.
        present: &'static str,
        /// The list that is not.
        missing: &'static str,
    },
    /// The lists of names do not fit together.
    #[error("the lists in {}: {source}", .dir.display())]
    Split {
        /// The folder to import from.
        dir: PathBuf,
        /// What is wrong.
        source: SplitError,
    },
}

/// Imports a dataset folder into the stream file `to`, which is made or appended to; `watch(done, all)` is called
/// after each image.
pub fn yolo(
    dir: &Path,
    to: &Path,
    mut watch: impl FnMut(usize, usize),
) -> Result<ImportSummary, ImportError> {
    let files = Files::find(dir)?;
    let mut skipped = files.skipped;
    let all = files.pairs.len();
    let mut summary = ImportSummary::default();
    // Opened with the first message: an import of nothing leaves no file.
    let mut writer = None;
    for (done, (name, pair)) in files.pairs.into_iter().enumerate() {
        match pair.body(dir, &name) {
            Ok((body, detections)) => {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None => writer.insert(FileWriter::create_or_append(to)?),
                };
                writer.append(&encode::message(&body, Property::Number(Status::Created)))?;
                summary.messages += 1;
                summary.detections += detections;
            }
            Err(skip) => skipped.push(skip),
        }
        watch(done + 1, all);
    }
    skipped.iter().for_each(log);
    let Some(mut writer) = writer else {
        return Err(ImportError::Nothing {
            dir: dir.to_owned(),
            skipped: skipped.len(),
        });
    };
    writer.sync()?;
    summary.skipped = skipped;
    Ok(summary)
}

fn log((path, reason): &(PathBuf, Skip)) {
    match reason {
        Skip::Label { .. } => tracing::error!(label = %path.display(), %reason, "not imported"),
        _ => tracing::warn!(path = %path.display(), %reason, "not imported"),
    }
}

/// The division that comes with a dataset: `train.txt`, `val.txt` and optionally `test.txt`, one name or path of an
/// image a line. `None` if there is none of the three.
pub fn splits(dir: &Path) -> Result<Option<FixedSplit>, ImportError> {
    let list = |file: &str| names_in(&dir.join(file));
    let half = |present, missing| ImportError::HalfASplit {
        dir: dir.to_owned(),
        present,
        missing,
    };
    match (list("train.txt")?, list("val.txt")?, list("test.txt")?) {
        (None, None, None) => Ok(None),
        (Some(train), Some(valid), test) => {
            FixedSplit::new(train, valid, test)
                .map(Some)
                .map_err(|source| ImportError::Split {
                    dir: dir.to_owned(),
                    source,
                })
        }
        (None, Some(_), _) => Err(half("val.txt", "train.txt")),
        (Some(_), None, _) => Err(half("train.txt", "val.txt")),
        (None, None, Some(_)) => Err(half("test.txt", "train.txt")),
    }
}

fn names_in(list: &Path) -> Result<Option<BTreeSet<Name>>, ImportError> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ImportError::Io {
                path: list.to_owned(),
                source,
            });
        }
    };
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let path = Path::new(line);
        // Names may hold dots: only an image's extension is cut off.
        let stem = if is_image(path) {
            path.file_stem()
        } else {
            path.file_name()
        };
        match stem.and_then(OsStr::to_str).map(Name::new) {
            Some(Ok(name)) => drop(names.insert(name)),
            _ => tracing::warn!(list = %list.display(), line, "no name of an annotation"),
        }
    }
    Ok(Some(names))
}

impl Pair {
    fn rows(&self) -> Result<Vec<[f64; 5]>, (PathBuf, Skip)> {
        let label = fs::read(&self.label).map_err(unreadable(&self.label))?;
        rows(&label).map_err(|skip| (self.label.clone(), skip))
    }

    /// The number of detections.
    fn detections(&self) -> Result<usize, (PathBuf, Skip)> {
        self.rows().map(|rows| rows.len())
    }

    /// Whether a message can be made of it, as far as can be told without reading the image.
    fn check(&self) -> Result<(), (PathBuf, Skip)> {
        self.rows()?;
        fs::File::open(&self.image)
            .map(drop)
            .map_err(unreadable(&self.image))
    }

    /// The body of the message and the number of detections in it.
    fn body(&self, dir: &Path, name: &Name) -> Result<(Vec<u8>, usize), (PathBuf, Skip)> {
        let rows = self.rows()?;
        let image = fs::read(&self.image).map_err(unreadable(&self.image))?;
        let media_name = self
            .image
            .strip_prefix(dir)
            .unwrap_or(&self.image)
            .to_string_lossy();
        let body = encode::annotation(&encode::Annotation {
            name: name.as_str(),
            status: Status::Created,
            created: modified(&self.image).map_err(unreadable(&self.image))?,
            media_name: &media_name,
            time_us: 0,
            image_extension: &self
                .image
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase(),
            detections: &encode::raw_detections(&rows),
            image: Some(&image),
            role: Role::Validator,
            email: EMAIL,
            origin: Origin::Manual,
        });
        Ok((body, rows.len()))
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> (PathBuf, Skip) {
    let path = path.to_owned();
    move |error| (path, Skip::Unreadable(error.to_string()))
}

/// When the file was last changed, in whole seconds: importing a folder twice gives the same messages.
fn modified(path: &Path) -> io::Result<Timestamp> {
    let since = fs::metadata(path)?
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Timestamp::from_secs(
        i64::try_from(since.as_secs()).unwrap_or_default(),
    ))
}

/// The rows of a label file: five numbers each, whatever they are.
fn rows(label: &[u8]) -> Result<Vec<[f64; 5]>, Skip> {
    let text = std::str::from_utf8(label).map_err(|_| Skip::Label {
        line: 1,
        problem: "the file is not UTF-8 text".into(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(i, line)| row(line).map_err(|problem| Skip::Label { line: i + 1, problem }))
        .collect()
}

fn row(line: &str) -> Result<[f64; 5], String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let fields: [&str; 5] = fields
        .try_into()
        .map_err(|fields: Vec<&str>| format!("{} fields, a row is 5: class cx cy w h", fields.len()))?;
    let mut row = [0.0; 5];
    for (number, field) in row.iter_mut().zip(fields) {
        // JSON, which carries the rows, has no NaN and no infinity.
        *number = field
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or("a field is not a number")?;
    }
    Ok(row)
}
