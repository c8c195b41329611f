//! `data.yaml`, and the images and labels it stands for.
//!
//! [`DataYaml`] reads our own file and the usual third-party forms: `names` as a list or a map (or `nc` alone),
//! `train`, `val` (or `valid`) and `test` as a folder, a list of folders, or a text file of image paths, each relative
//! or absolute, with or without `path`. [`Dataset::open`] lists one split, sorted by path, with its labels parsed.
//! Facts about the third-party forms: the format's public documentation and behaviour measured from outside.
//!
//! Guarantees: labels follow LBL-1; a label file that does not is logged as an ERROR and its image skipped and counted,
//! an image that cannot be read is a WARN, skipped and counted; an image without a label file is background.

mod file;
mod images;

use std::path::{Path, PathBuf};

use annotation::{Label, LabelError};
use rayon::prelude::*;

use crate::manifest::Split;

pub use file::DataYaml;

/// One image of a dataset with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The image file.
    pub image: PathBuf,
    /// Its detections; none for background.
    pub label: Label,
    /// Width and height in pixels, as the image is shown (EXIF orientation applied).
    pub size: (usize, usize),
}

/// An image that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// One split of a dataset, in memory but for the pixels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// The images, sorted by path.
    pub items: Vec<Item>,
    /// Name of each class.
    pub names: Vec<String>,
    /// Number of classes: the length of `names`.
    pub nc: usize,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

impl Dataset {
    /// Opens one split of the dataset that `data_yaml` describes.
    pub fn open(data_yaml: &Path, split: Split) -> Result<Self, YamlError> {
        DataYaml::read(data_yaml)?.open(split)
    }
}

impl DataYaml {
    /// Opens one split: lists its images and reads their labels and sizes.
    pub fn open(&self, split: Split) -> Result<Dataset, YamlError> {
        let sources = self.sources(split).ok_or_else(|| YamlError::NoSplit {
            file: self.file.clone(),
            key: key(split),
        })?;
        let mut images = Vec::new();
        for source in sources {
            images::list(source, &mut images).map_err(|error| YamlError::Io {
                path: source.clone(),
                error,
            })?;
        }
        // By path string, as the reference sorts, not by path component: the order decides batches and tie-breaks.
        images.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        images.dedup();

        let opened: Vec<_> = images
            .into_par_iter()
            .map(|image| open_item(image, self.names.len()))
            .collect();
        let mut dataset = Dataset {
            names: self.names.clone(),
            nc: self.names.len(),
            ..Dataset::default()
        };
        for item in opened {
            match item {
                Ok(item) => dataset.items.push(item),
                Err(fault) => dataset.skipped.push(fault.logged()),
            }
        }
        if dataset.items.is_empty() {
            return Err(YamlError::NoImages {
                file: self.file.clone(),
                key: key(split),
                skipped: dataset.skipped.len(),
            });
        }
        Ok(dataset)
    }
}

fn key(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Valid => "val",
        Split::Test => "test",
    }
}

enum Fault {
    Image(PathBuf, String),
    Label(PathBuf, String),
}

impl Fault {
    fn logged(self) -> Skipped {
        match self {
            Self::Image(path, reason) => {
                tracing::warn!(image = %path.display(), reason, "image skipped");
                Skipped { path, reason }
            }
            Self::Label(path, reason) => {
                tracing::error!(label = %path.display(), reason, "image skipped: its label file is invalid");
                Skipped { path, reason }
            }
        }
    }
}

fn open_item(image: PathBuf, nc: usize) -> Result<Item, Fault> {
    let label_path = label_path(&image);
    let label = match std::fs::read(&label_path) {
        Ok(bytes) => {
            let parsed = Label::parse_bytes(&bytes).map_err(|error: LabelError| error.to_string());
            parsed
                .and_then(|label| within(label, nc))
                .map_err(|reason| Fault::Label(label_path, reason))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Label::default(),
        Err(error) => return Err(Fault::Label(label_path, error.to_string())),
    };
    match images::size(&image) {
        Ok(size) => Ok(Item { image, label, size }),
        Err(reason) => Err(Fault::Image(image, reason)),
    }
}

fn within(label: Label, nc: usize) -> Result<Label, String> {
    match label.rows.iter().position(|row| usize::from(row.class) >= nc) {
        Some(at) => Err(format!(
            "row {} has class {}, but there are {nc} classes",
            at + 1,
            label.rows[at].class
        )),
        None => Ok(label),
    }
}

/// The label file of an image: the last folder named `images` becomes `labels`, the extension becomes `txt`. Where no
/// folder is named so, the label lies beside its image.
pub fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.components().collect();
    let folders = parts.len().saturating_sub(1);
    let last = parts
        .iter()
        .take(folders)
        .rposition(|part| part.as_os_str() == "images");
    let swapped: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            if Some(i) == last {
                std::ffi::OsStr::new("labels")
            } else {
                part.as_os_str()
            }
        })
        .collect();
    swapped.with_extension("txt")
}

/// Why a `data.yaml` or a split of it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not YAML, or a value of the wrong type.
    #[error("{} is not usable: {detail}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What and where.
        detail: String,
    },
    /// Neither names nor a count of classes, or the two disagree.
    #[error("the classes of {} are not usable: {problem}", .file.display())]
    Classes {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A split that is not there was asked for.
    #[error("{} has no `{key}`: add a line `{key}: FOLDER` with the folder of its images", .file.display())]
    NoSplit {
        /// The file.
        file: PathBuf,
        /// The key that is missing.
        key: &'static str,
    },
    /// A split names a folder or file that does not exist.
    #[error("`{key}` in {} names {}, which does not exist", .file.display(), .path.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// Where it leads.
        path: PathBuf,
    },
    /// A split without a usable image.
    #[error("`{key}` in {} holds no usable image ({skipped} skipped)", .file.display())]
    NoImages {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// How many images were left out.
        skipped: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_folder_named_images_becomes_labels() {
        for (image, label) in [
            ("/d/train/images/a.b.jpg", "/d/train/labels/a.b.txt"),
            ("/images/x/images/y/a.png", "/images/x/labels/y/a.txt"),
            ("images/a.jpg", "labels/a.txt"),
            ("/d/flat/a.jpg", "/d/flat/a.txt"),
            ("/d/images.old/a.jpg", "/d/images.old/a.txt"),
            ("/d/labels/images", "/d/labels/images.txt"),
        ] {
            assert_eq!(label_path(Path::new(image)), Path::new(label), "{image}");
        }
    }
}
