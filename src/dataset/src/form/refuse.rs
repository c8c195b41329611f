//! `data-corrupted/`: where annotations go that cannot be learned from (DST-2). Nothing is deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use annotation::Name;

use super::build::{Building, sync_folder};
use super::check::{Fault, same};
use super::{FormError, Refused, failed, image_path, label_path};

/// Moves the refused annotations out of `data/`, with one log line for each fault.
pub(super) fn refuse(
    data: &Path,
    corrupted: &Path,
    building: &Building,
    refused: &[Refused],
) -> Result<(), FormError> {
    if refused.is_empty() {
        return Ok(());
    }
    make_folders(corrupted)?;
    for Refused { name, faults } in refused {
        let moved = is_unchanged(data, building, name)?;
        if moved {
            move_pair(data, corrupted, name)?;
        }
        for fault in faults {
            log(name, fault, moved);
        }
        building.drop_from_stock(name)?;
    }
    sync_all(data, corrupted)
}

fn log(name: &Name, fault: &Fault, moved: bool) {
    match fault {
        Fault::Image(reason) => tracing::warn!(%name, reason, moved, "corrupt image left out of the dataset"),
        Fault::Label(reason) => {
            tracing::error!(%name, reason, moved, "invalid label file left out of the dataset")
        }
    }
}

/// Whether `data/` still holds what was judged: an editor may have put it right, or moved it, in the meantime.
fn is_unchanged(data: &Path, building: &Building, name: &Name) -> Result<bool, FormError> {
    for path_of in [image_path, label_path] {
        let (now, then) = (path_of(data, name), path_of(building.stock(), name));
        match same(&now, &then) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FormError::io("compare", &now, error)),
        }
    }
    Ok(true)
}

/// Moves image and label, the image first: a move cut short between the two leaves a label without an image, which
/// [`finish_interrupted`] recognises. What was refused under the same name before is kept: the new pair then gets
/// `.2`, `.3`, ... behind its name.
fn move_pair(data: &Path, corrupted: &Path, name: &Name) -> Result<(), FormError> {
    let target = free_name(corrupted, name)?;
    for (from, to) in [
        (
            image_path(data, name),
            corrupted.join("images").join(format!("{target}.jpg")),
        ),
        (
            label_path(data, name),
            corrupted.join("labels").join(format!("{target}.txt")),
        ),
    ] {
        rename_or_copy(&from, &to).map_err(failed("move to data-corrupted", &from))?;
    }
    Ok(())
}

fn free_name(corrupted: &Path, name: &Name) -> Result<String, FormError> {
    for number in 1u32.. {
        let candidate = if number == 1 {
            name.to_string()
        } else {
            format!("{name}.{number}")
        };
        let image = corrupted.join("images").join(format!("{candidate}.jpg"));
        let label = corrupted.join("labels").join(format!("{candidate}.txt"));
        let taken = |path: &PathBuf| path.symlink_metadata().is_ok();
        if !taken(&image) && !taken(&label) {
            return Ok(candidate);
        }
    }
    let folder = corrupted.join("images");
    Err(FormError::io(
        "find a free name in",
        &folder,
        io::Error::from(io::ErrorKind::AlreadyExists),
    ))
}

/// Ends the moves that a kill cut in two: a label in `data/` without its image, whose image alone is in
/// `data-corrupted/`, follows it.
pub(super) fn finish_interrupted(data: &Path, corrupted: &Path) -> Result<(), FormError> {
    let images = match fs::read_dir(corrupted.join("images")) {
        Ok(images) => images,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FormError::io("list", &corrupted.join("images"), error)),
    };
    let mut moved = false;
    for image in images {
        let image = image.map_err(failed("list", corrupted))?;
        let file_name = image.file_name();
        let Some(stem) = file_name.to_str().and_then(|text| text.strip_suffix(".jpg")) else {
            continue;
        };
        let label = corrupted.join("labels").join(format!("{stem}.txt"));
        if label.exists() {
            continue;
        }
        let stranded = label_path_of_stem(data, stem);
        if let Some((from, name)) = stranded
            && from.exists()
            && !image_path(data, &name).exists()
        {
            tracing::warn!(%name, "label moved to data-corrupted after its image: an earlier move was cut short");
            rename_or_copy(&from, &label).map_err(failed("move to data-corrupted", &from))?;
            moved = true;
        }
    }
    if moved { sync_all(data, corrupted) } else { Ok(()) }
}

/// The label in `data/` that an image in `data-corrupted/` may have left behind: of that very name, or without the
/// number that [`free_name`] put behind it.
fn label_path_of_stem(data: &Path, stem: &str) -> Option<(PathBuf, Name)> {
    let unnumbered = stem
        .rsplit_once('.')
        .filter(|(_, number)| number.parse::<u32>().is_ok_and(|number| number >= 2))
        .map(|(name, _)| name);
    [Some(stem), unnumbered].into_iter().flatten().find_map(|stem| {
        let name = Name::new(stem).ok()?;
        let label = label_path(data, &name);
        label.exists().then_some((label, name))
    })
}

fn make_folders(corrupted: &Path) -> Result<(), FormError> {
    for folder in ["images", "labels"] {
        let folder = corrupted.join(folder);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    }
    if let Some(root) = corrupted.parent() {
        sync_folder(root)?;
    }
    sync_folder(corrupted)
}

fn sync_all(data: &Path, corrupted: &Path) -> Result<(), FormError> {
    // The new places first: after a power cut a file may be in both, but never in neither.
    for folder in [corrupted, data] {
        sync_folder(&folder.join("images"))?;
        sync_folder(&folder.join("labels"))?;
    }
    Ok(())
}

/// `data-corrupted` may be another file system, between which nothing can be renamed.
fn rename_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            fs::File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        result => result,
    }
}
