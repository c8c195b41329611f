//! The order of things: a tree that is there and right is used; one that is there without a marker is checked file by
//! file and then marked; otherwise the wheels are brought together, unpacked aside, compared with the pins, synced and
//! renamed into place. Only then the link is pointed.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::fetch::{self, Fetched};
use super::link::{self, Pointed};
use super::tree::{self, BUILD_VERSION, Listing};
use super::unpack::unpack;
use super::{Recipe, SetupError, Wheel, tools};
use crate::digest;
use crate::progress::{Progress, megabytes};
use crate::workspace::Env;

/// A set-up that has been described, not yet run.
pub struct Setup<'a> {
    /// What to build.
    pub recipe: &'a Recipe,
    /// The cache folder: the tree, the lock and fetched wheels live there.
    pub cache: PathBuf,
    /// The symbolic link to point at the tree.
    pub link: PathBuf,
    /// Where wheels come from.
    pub wheels: Wheels,
    /// The environment, for the programs that are needed.
    pub env: Env<'a>,
}

/// Where wheels come from, and what becomes of them.
#[derive(Debug, Clone)]
pub enum Wheels {
    /// `wheels/` in the cache; what is missing is fetched there, and removed once the tree stands.
    Fetch,
    /// The same, but they stay for a later rebuild.
    FetchAndKeep,
    /// A folder of the user's: nothing is fetched, and nothing in it is changed.
    From(PathBuf),
}

/// A libtorch that can be built against.
#[derive(Debug)]
pub struct Ready {
    /// Its folder.
    pub tree: PathBuf,
    /// What had to be done.
    pub how: How,
}

/// What a set-up had to do.
#[derive(Debug, PartialEq, Eq)]
pub enum How {
    /// Nothing: the marker was right.
    Already,
    /// The tree had no marker; its files are the pinned ones, and it has one now.
    Adopted,
    /// It was built from the wheels.
    Built,
}

impl Setup<'_> {
    /// Where the tree is to be.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.cache.join(self.recipe.folder())
    }

    /// Sets libtorch up; after `Ok` the link points at a complete tree.
    ///
    /// # Errors
    /// [`SetupError`], whose text says what to do next. The tree and the link are then as before.
    pub fn run(&self) -> Result<Ready, SetupError> {
        tools::check_platform(self.recipe)?;
        let tree = self.tree();
        let how = if tree::is_complete(&tree, self.recipe) {
            How::Already
        } else {
            self.bring(&tree)?
        };
        if let Pointed::Instead(before) = link::point(&self.link, &tree)? {
            eprintln!(
                "{} pointed to {}, now to {}",
                self.link.display(),
                before.display(),
                tree.display()
            );
        }
        Ok(Ready { tree, how })
    }

    fn bring(&self, tree: &Path) -> Result<How, SetupError> {
        fs::create_dir_all(&self.cache).map_err(SetupError::io("create", &self.cache))?;
        let _lock = lock(&self.cache.join("setup.lock"))?;
        if tree::is_complete(tree, self.recipe) {
            return Ok(How::Already); // another set-up did it while we waited
        }
        if tree.exists() && self.adopt(tree)? {
            return Ok(How::Adopted);
        }
        let wheels = self.collect()?;
        self.build(&wheels, tree)?;
        if matches!(self.wheels, Wheels::Fetch) {
            for wheel in &wheels {
                fs::remove_file(wheel).map_err(SetupError::io("remove", wheel))?;
            }
            // Somebody's other files may lie there: then the folder stays.
            let _ = fs::remove_dir(self.wheel_folder());
        }
        Ok(How::Built)
    }

    /// Marks a tree whose every file is the pinned one. `false`: it has to be rebuilt.
    fn adopt(&self, tree: &Path) -> Result<bool, SetupError> {
        let mut progress = Progress::start(format!("checking {}", tree.display()), self.recipe.bytes);
        let listing = Listing::read(tree, |n| progress.advance(n));
        drop(progress);
        match listing {
            Ok(listing) if listing.digest() == self.recipe.digest => {
                tree::mark(tree, self.recipe)?;
                Ok(true)
            }
            Ok(_) => {
                eprintln!("{} is not the pinned libtorch: building it anew", tree.display());
                Ok(false)
            }
            Err(why) => {
                eprintln!("{} cannot be used ({why}): building it anew", tree.display());
                Ok(false)
            }
        }
    }

    fn wheel_folder(&self) -> PathBuf {
        match &self.wheels {
            Wheels::Fetch | Wheels::FetchAndKeep => self.cache.join("wheels"),
            Wheels::From(folder) => folder.clone(),
        }
    }

    /// The wheels' files, in the recipe's order, each one checked.
    fn collect(&self) -> Result<Vec<PathBuf>, SetupError> {
        let folder = self.wheel_folder();
        let missing: Vec<&Wheel> = self
            .recipe
            .wheels
            .iter()
            .filter(|wheel| !folder.join(&wheel.file).exists())
            .collect();
        let present = self
            .recipe
            .wheels
            .iter()
            .filter(|wheel| folder.join(&wheel.file).exists());
        for wheel in present {
            let path = folder.join(&wheel.file);
            let found = sha256_of(&path, wheel)?;
            if found != wheel.sha256 {
                return Err(SetupError::WrongWheel {
                    path,
                    expected: wheel.sha256.clone(),
                    found,
                });
            }
        }
        if !missing.is_empty() {
            if matches!(self.wheels, Wheels::From(_)) {
                return Err(SetupError::MissingWheels {
                    folder,
                    missing: names(&missing),
                });
            }
            self.fetch(&missing, &folder)?;
        }
        Ok(self
            .recipe
            .wheels
            .iter()
            .map(|wheel| folder.join(&wheel.file))
            .collect())
    }

    /// Fetches aside and moves into `folder` only what is right, one wheel at a time: what has arrived stays.
    fn fetch(&self, missing: &[&Wheel], folder: &Path) -> Result<(), SetupError> {
        let python = tools::python_with_pip(self.env)?;
        fs::create_dir_all(folder).map_err(SetupError::io("create", folder))?;
        let aside = folder.join("partial");
        for (done, wheel) in missing.iter().enumerate() {
            let file = match fetch::fetch(&python, wheel, &aside)? {
                Fetched::Here(file) => file,
                Fetched::Failed(said) => {
                    let missing = names(missing.get(done..).unwrap_or_default());
                    let (what, folder) = (wheel.requirement(), folder.to_path_buf());
                    return Err(SetupError::Fetch {
                        what,
                        said,
                        folder,
                        missing,
                    });
                }
            };
            let found = sha256_of(&file, wheel)?;
            if found != wheel.sha256 {
                fetch::empty(&aside)?;
                let (file, expected) = (wheel.file.clone(), wheel.sha256.clone());
                return Err(SetupError::WrongDownload {
                    file,
                    expected,
                    found,
                });
            }
            let place = folder.join(&wheel.file);
            fs::rename(&file, &place).map_err(SetupError::io("move into", &place))?;
        }
        fetch::empty(&aside)
    }

    fn build(&self, wheels: &[PathBuf], tree: &Path) -> Result<(), SetupError> {
        let aside = suffixed(tree, ".partial");
        fetch::empty(&aside)?;
        fs::create_dir_all(&aside).map_err(SetupError::io("create", &aside))?;
        let mut listing = Listing::default();
        let mut progress = Progress::start(
            format!("unpacking libtorch {}", self.recipe.version),
            self.recipe.bytes,
        );
        for (path, wheel) in wheels.iter().zip(&self.recipe.wheels) {
            unpack(path, wheel, &aside, &mut listing, &mut progress)?;
        }
        drop(progress);
        self.write_version(&aside, &mut listing)?;
        let found = listing.digest();
        if found != self.recipe.digest {
            return Err(SetupError::WrongTree {
                path: aside,
                expected: self.recipe.digest.clone(),
                found,
            });
        }
        tree::mark(&aside, self.recipe)?;
        tree::sync(&aside)?;
        replace(tree, &aside)?;
        eprintln!(
            "libtorch {} is in {} ({} files, {})",
            self.recipe.version,
            tree.display(),
            listing.files(),
            megabytes(listing.bytes())
        );
        Ok(())
    }

    fn write_version(&self, tree: &Path, listing: &mut Listing) -> Result<(), SetupError> {
        let text = format!("{}\n", self.recipe.version);
        let path = tree.join(BUILD_VERSION);
        fs::write(&path, &text).map_err(SetupError::io("write", &path))?;
        listing.insert(
            BUILD_VERSION.into(),
            digest::of_bytes(text.as_bytes()),
            text.len() as u64,
        );
        Ok(())
    }
}

/// Puts `aside` in `tree`'s place. A tree that was there is moved out of the way first and removed last.
pub(crate) fn replace(tree: &Path, aside: &Path) -> Result<(), SetupError> {
    let old = suffixed(tree, ".old");
    fetch::empty(&old)?;
    if tree.exists() {
        fs::rename(tree, &old).map_err(SetupError::io("move away", tree))?;
    }
    fs::rename(aside, tree).map_err(SetupError::io("rename", aside))?;
    fetch::empty(&old)
}

pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn names(wheels: &[&Wheel]) -> Vec<(String, String)> {
    wheels
        .iter()
        .map(|wheel| (wheel.file.clone(), wheel.sha256.clone()))
        .collect()
}

fn sha256_of(path: &Path, wheel: &Wheel) -> Result<String, SetupError> {
    let mut progress = Progress::start(format!("checking {}", wheel.file), wheel.bytes);
    digest::of_file(path, |n| progress.advance(n)).map_err(SetupError::io("read", path))
}

/// One set-up at a time: waits for another one and says for which. Released when the file is closed, by a kill too.
pub(crate) fn lock(path: &Path) -> Result<File, SetupError> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(SetupError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)
                .map_err(SetupError::io("read", path))?;
            eprintln!("waiting for another set-up (process {})", holder.trim());
            file.lock().map_err(SetupError::io("lock", path))?;
        }
        Err(TryLockError::Error(e)) => return Err(SetupError::io("lock", path)(e)),
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(SetupError::io("write", path))?;
    Ok(file)
}
