//! Which images and labels a dataset folder holds, and which belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use annotation::Name;
use dataset::yaml::label_path;

use super::{ImportError, Skip};

/// Extensions of images that the queue takes.
const IMAGE_EXTENSIONS: [&str; 5] = ["bmp", "jpeg", "jpg", "png", "webp"];
/// What there is to import.
#[derive(Default)]
pub(super) struct Files {
    /// By the order of the images' paths.
    pub pairs: Vec<(Name, Pair)>,
    /// What was left out already.
    pub skipped: Vec<(PathBuf, Skip)>,
}

/// An image with its label.
pub(super) struct Pair {
    pub image: PathBuf,
    pub label: PathBuf,
}

impl Files {
    /// Looks through `dir`.
    pub fn find(dir: &Path) -> Result<Self, ImportError> {
        let mut all = Vec::new();
        walk(dir, &mut all)?;
        let mut images: Vec<PathBuf> = all
            .iter()
            .filter(|path| is_below(path, dir, "images"))
            .cloned()
            .collect();
        let labels: BTreeSet<PathBuf> = all.into_iter().filter(|path| is_label(path, dir)).collect();
        for (missing, is_missing) in [("images", images.is_empty()), ("labels", labels.is_empty())] {
            if is_missing && !has_folder(dir, missing) {
                return Err(ImportError::NotADataset {
                    dir: dir.to_owned(),
                    missing,
                });
            }
        }
        images.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));

        let mut files = Self::default();
        let mut taken: BTreeMap<Name, PathBuf> = BTreeMap::new();
        let mut with_image = BTreeSet::new();
        for image in images {
            let label = label_path(&image);
            with_image.insert(label.clone());
            match Self::judge(&image, labels.contains(&label), &taken) {
                Ok(name) => {
                    taken.insert(name.clone(), image.clone());
                    files.pairs.push((name, Pair { image, label }));
                }
                Err(skip) => files.skipped.push((image, skip)),
            }
        }
        let orphans = labels.difference(&with_image);
        let orphans = orphans.map(|label| (label.clone(), Skip::NoImage));
        files.skipped.extend(orphans);
        Ok(files)
    }

    fn judge(image: &Path, has_label: bool, taken: &BTreeMap<Name, PathBuf>) -> Result<Name, Skip> {
        if !is_image(image) {
            return Err(Skip::ForeignImage);
        }
        let stem = image.file_stem().unwrap_or_default();
        let name = Name::new(&stem.to_string_lossy()).map_err(Skip::UnsafeName)?;
        if !has_label {
            return Err(Skip::NoLabel);
        }
        match taken.get(&name) {
            Some(first) => Err(Skip::SameName(first.clone())),
            None => Ok(name),
        }
    }
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), ImportError> {
    let io = |source| ImportError::Io {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they could lead in a circle.
        if entry.file_type().map_err(io)?.is_dir() {
            walk(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    Ok(())
}

/// Whether one of the folders between `dir` and the file has that name.
fn is_below(path: &Path, dir: &Path, folder: &str) -> bool {
    let inside = path.strip_prefix(dir).ok().and_then(Path::parent);
    inside.is_some_and(|inside| inside.components().any(|part| part.as_os_str() == folder))
}

fn is_label(path: &Path, dir: &Path) -> bool {
    is_below(path, dir, "labels") && path.extension() == Some(OsStr::new("txt"))
}

/// Whether the queue takes such a file, by its extension.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| {
        IMAGE_EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// Whether `dir` or a folder in it holds a folder of that name.
fn has_folder(dir: &Path, name: &str) -> bool {
    let inside = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    dir.join(name).is_dir()
        || inside
            .map(|entry| entry.path().join(name))
            .any(|folder| folder.is_dir())
}
