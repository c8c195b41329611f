//! The folder aside in which a dataset grows: `datasets/.building-PID/` (DST-3).
//!
//! Contract. Killed process: the folder stays and the next forming removes it. Power cut: the rename into place comes
//! after everything below it was synced, so a dataset that has its name is complete. Disk full: an error; the folder
//! is removed. A lock file keeps a second process out, so names do not race.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use annotation::Name;

use super::{FormError, failed, image_path, label_path};
use crate::manifest::{self, Manifest, Split};
use crate::yaml::DataYaml;

const PREFIX: &str = ".building-";
/// Where the links lie until they are divided.
const STOCK: &str = "stock";

/// How files came from the tree into the dataset.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linked {
    pub hard_links: usize,
    pub copies: usize,
}

impl AddAssign for Linked {
    fn add_assign(&mut self, other: Self) {
        self.hard_links += other.hard_links;
        self.copies += other.copies;
    }
}

/// A dataset that is being built. Dropped unfinished, it leaves nothing.
pub(super) struct Building {
    datasets: PathBuf,
    folder: PathBuf,
    stock: PathBuf,
    /// Held until the end; released by the system with the process.
    _lock: File,
}

impl Building {
    /// Makes the folder, after removing what killed processes left.
    pub fn begin(datasets: &Path) -> Result<Self, FormError> {
        fs::create_dir_all(datasets).map_err(failed("create", datasets))?;
        let lock = lock(datasets)?;
        remove_leftovers(datasets)?;
        let folder = datasets.join(format!("{PREFIX}{}", std::process::id()));
        let stock = folder.join(STOCK);
        let building = Self {
            datasets: datasets.to_owned(),
            folder,
            stock,
            _lock: lock,
        };
        make_pair_of_folders(&building.stock)?;
        Ok(building)
    }

    /// The folder with everything that was taken, not divided yet.
    pub fn stock(&self) -> &Path {
        &self.stock
    }

    /// Links (or copies) an annotation into the stock; `None` if it is no longer there.
    pub fn take(&self, data: &Path, name: &Name) -> Result<Option<Linked>, FormError> {
        let mut linked = Linked::default();
        for path_of in [image_path, label_path] {
            let from = path_of(data, name);
            match link_or_copy(&from, &path_of(&self.stock, name)) {
                Ok(how) => linked += how,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.drop_from_stock(name)?;
                    return Ok(None);
                }
                Err(error) => return Err(FormError::io("link into the dataset", &from, error)),
            }
        }
        Ok(Some(linked))
    }

    /// Takes an annotation out of the stock.
    pub fn drop_from_stock(&self, name: &Name) -> Result<(), FormError> {
        for path in [image_path(&self.stock, name), label_path(&self.stock, name)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FormError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The name of the dataset: the date's, or with the first free number behind it (FS-3).
    pub fn free_name(&self, date: jiff::civil::Date) -> Result<String, FormError> {
        for number in 1u32.. {
            let name = if number == 1 {
                format!("azaion-{date}")
            } else {
                format!("azaion-{date}-{number}")
            };
            let path = self.datasets.join(&name);
            match path.symlink_metadata() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name),
                Err(error) => return Err(FormError::io("look at", &path, error)),
            }
        }
        Err(FormError::io(
            "find a free name in",
            &self.datasets,
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// Divides the stock, writes the descriptions, and renames the whole into place.
    pub fn finish(self, manifest: &Manifest, names: &[String]) -> Result<PathBuf, FormError> {
        for split in [Split::Valid, Split::Test] {
            make_pair_of_folders(&self.folder.join(split.folder()))?;
        }
        let elsewhere = manifest.items.iter().filter(|item| item.split != Split::Train);
        for item in elsewhere {
            let split = self.folder.join(item.split.folder());
            self.move_from_stock(&format!("images/{}.jpg", item.name), &split)?;
            self.move_from_stock(&format!("labels/{}.txt", item.name), &split)?;
        }
        // What is left is what is learned from: most of it, which need not be moved one by one.
        let train = self.folder.join(Split::Train.folder());
        fs::rename(&self.stock, &train).map_err(failed("rename", &self.stock))?;

        let target = self.datasets.join(&manifest.name);
        self.write_descriptions(&target, manifest, names)?;
        for split in Split::ALL {
            let folder = self.folder.join(split.folder());
            sync_folder(&folder.join("images"))?;
            sync_folder(&folder.join("labels"))?;
            sync_folder(&folder)?;
        }
        sync_folder(&self.folder)?;
        fs::rename(&self.folder, &target).map_err(failed("rename into place", &target))?;
        sync_folder(&self.datasets)?;
        Ok(target)
    }

    fn move_from_stock(&self, file: &str, split: &Path) -> Result<(), FormError> {
        let from = self.stock.join(file);
        fs::rename(&from, split.join(file)).map_err(failed("move", &from))
    }

    fn write_descriptions(
        &self,
        target: &Path,
        manifest: &Manifest,
        names: &[String],
    ) -> Result<(), FormError> {
        let yaml = self.folder.join("data.yaml");
        let absolute = std::path::absolute(target).map_err(failed("find the absolute path of", target))?;
        let text = DataYaml::text(&absolute, names).map_err(|problem| FormError::Yaml {
            path: target.join("data.yaml"),
            problem,
        })?;
        write_synced(&yaml, |file| file.write_all(text.as_bytes()))?;
        write_synced(&self.folder.join(manifest::FILE_NAME), |file| {
            manifest.write(file)
        })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // Gone already if the dataset was finished. Where it cannot be removed, the next forming tries again.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn lock(datasets: &Path) -> Result<File, FormError> {
    let path = datasets.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FormError::Busy {
            path: datasets.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(FormError::io("lock", &path, error)),
    }
}

fn remove_leftovers(datasets: &Path) -> Result<(), FormError> {
    for entry in fs::read_dir(datasets).map_err(failed("list", datasets))? {
        let entry = entry.map_err(failed("list", datasets))?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
        {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(failed("remove what a killed process left in", &path))?;
        }
    }
    Ok(())
}

fn make_pair_of_folders(parent: &Path) -> Result<(), FormError> {
    for folder in ["images", "labels"] {
        let folder = parent.join(folder);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    }
    Ok(())
}

/// A hard link where the file system allows it, a synced copy elsewhere.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<Linked> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Linked {
            hard_links: 1,
            copies: 0,
        }),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
            ) =>
        {
            Err(error)
        }
        // Another file system, too many links, a file of another user, or no links at all.
        Err(_) => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()?;
            Ok(Linked {
                hard_links: 0,
                copies: 1,
            })
        }
    }
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FormError> {
    let create = || {
        let mut file = BufWriter::new(File::create_new(path)?);
        write(&mut file)?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    };
    create().map_err(failed("write", path))
}

pub(super) fn sync_folder(path: &Path) -> Result<(), FormError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", path))
}
