//! What of a tree goes into a backup, looked at in an order that makes it replay-safe while the queue goes on.
//!
//! The tree is not stopped, so what is seen is of no single moment. What makes it good enough is QUE-5: a replay from any
//! earlier offset ends in the same tree. For that, whatever is seen has to be at least as new as the offset, and no
//! annotation may slip through:
//!
//! 1. `offset.yaml` is read first; everything else is as new or newer.
//! 2. The quarantine is listed before the homes: a message that is replayed out of it meanwhile is in one or the other.
//! 3. The homes are listed from the least final to the most final, which is the way annotations move: one that moves
//!    meanwhile is seen twice, never not at all, and counts where it was seen last. Its label is read later, and is then as
//!    new as that home or newer; where it has moved on by then, it is followed.
//! 4. Names that the ledger mentions meanwhile are looked for once more, for a list of a folder may lack what was renamed
//!    into it or over in it while it was made.
//! 5. `ledger.log` and `unmatched.log` come last, as long as they are at that moment: they are written ahead of the tree,
//!    so they know of everything that was listed.

use crate::error::{Error, Result};
use annotation::Name;
use bytes::Bytes;
use runs::{Run, State};
use service::Config;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirEntry, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};
use store::{Home, Paths, atomic::ASIDE, ledger, offset};

/// The configuration's name in a backup, beside the tree's own files.
pub const CONFIG: &str = "config.yaml";
/// The offset's name in a tree and in a backup of it.
pub const OFFSET: &str = "offset.yaml";
/// Of a dataset: what it can be formed again by.
const OF_A_DATASET: [&str; 2] = ["manifest.json", "data.yaml"];
/// Of a run that is over: what it was, and what came of it.
const OF_A_RUN: [&str; 3] = [runs::RUN, runs::STATUS, runs::RESULTS];
/// Of an open run: what the last checkpoint makes superfluous.
const SUPERFLUOUS: [&str; 2] = ["epoch-", "damaged-"];
/// The homes in the order in which annotations move.
const ON_THE_WAY: [Home; 4] = [Home::Seed, Home::Data, Home::Corrupted, Home::Deleted];

/// One of an annotation's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Image,
    Label,
}

/// Where an entry's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Folder,
    Link,
    /// A file that stays where it is.
    File,
    /// An annotation's, which may move on to a later home.
    Annotation(Home, Half),
    /// Read already.
    Bytes(Bytes),
    /// A log, as long as it was.
    Log(Arc<File>, u64),
}

/// What goes into a backup.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) paths: Paths,
    /// By path relative to the root; a folder comes before what is in it.
    pub(crate) entries: Vec<(PathBuf, Origin)>,
    /// The offset that the backup begins at again.
    pub(crate) offset: u64,
    /// How many of the entries are regular files.
    pub(crate) files: u64,
}

/// The layout of a configuration's tree.
#[must_use]
pub fn layout(config: &Config) -> Paths {
    let Config {
        root_dir,
        data_dir,
        data_seed_dir,
        data_deleted_dir,
        ..
    } = config;
    Paths::with_folders(root_dir, data_dir, data_seed_dir, data_deleted_dir)
}

impl View {
    /// Looks at the tree of this configuration, in the order that the module tells.
    pub(crate) fn take(config: &Config) -> Result<Self> {
        Self::take_beside(config, &mut || {})
    }

    /// [`View::take`], with something that goes on between any two steps of it: tests have the queue work there.
    fn take_beside(config: &Config, meanwhile: &mut dyn FnMut()) -> Result<Self> {
        let paths = layout(config);
        let mut looked = Look {
            paths: &paths,
            entries: BTreeMap::new(),
            meanwhile,
        };
        let offset = looked.offset()?;
        let heard = looked.ledger_so_far();
        looked.plain_files(&paths.quarantine(), |_| true)?;
        looked.annotations(heard)?;
        looked.runs()?;
        looked.datasets(config.backup.datasets)?;
        looked.file(&paths.classes_file())?;
        looked.configuration(config);
        looked.log(&paths.ledger_file())?;
        looked.log(&paths.unmatched_file())?;
        let entries: Vec<_> = looked.with_folders().into_iter().collect();
        let is_file = |origin: &Origin| !matches!(origin, Origin::Folder | Origin::Link);
        let files = entries.iter().filter(|(_, origin)| is_file(origin)).count() as u64;
        Ok(Self {
            paths,
            entries,
            offset,
            files,
        })
    }
}

/// Where the halves of an annotation were seen.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    image: Option<Home>,
    label: Option<Home>,
}

/// A look that is under way.
struct Look<'t> {
    paths: &'t Paths,
    entries: BTreeMap<PathBuf, Origin>,
    meanwhile: &'t mut dyn FnMut(),
}

impl Look<'_> {
    fn add(&mut self, path: &Path, origin: Origin) {
        // Everything here is below the root.
        if let Ok(relative) = path.strip_prefix(self.paths.root()) {
            self.entries.insert(relative.to_owned(), origin);
        }
    }

    fn offset(&mut self) -> Result<u64> {
        let path = self.paths.offset_file();
        let number = offset::read(&path)?;
        if path.exists() {
            let text = Bytes::from(offset::text(number));
            self.add(&path, Origin::Bytes(text));
        }
        (self.meanwhile)();
        Ok(number)
    }

    /// The ledger, read to its end: what it says from here on happens meanwhile. A damaged one is told of and holds no backup
    /// up: it is when something is damaged that a backup is wanted.
    fn ledger_so_far(&self) -> Option<ledger::Reader> {
        let path = self.paths.ledger_file();
        let read = || -> store::Result<ledger::Reader> {
            let mut reader = ledger::read(&path)?;
            reader.by_ref().try_for_each(|entry| entry.map(drop))?;
            Ok(reader)
        };
        if !path.exists() {
            return None;
        }
        read()
            .inspect_err(|error| tracing::error!(%error, "the ledger is damaged, and backed up as it is"))
            .ok()
    }

    fn annotations(&mut self, heard: Option<ledger::Reader>) -> Result<()> {
        let mut seen: HashMap<Name, Seen> = HashMap::new();
        for home in ON_THE_WAY {
            self.list_half(home, Half::Label, &mut seen)?;
        }
        for home in ON_THE_WAY {
            self.list_half(home, Half::Image, &mut seen)?;
        }
        if let Some(reader) = heard {
            for entry in reader.resume()? {
                let name = entry?.name;
                let found = self.look_for(&name)?;
                seen.insert(name, found);
            }
        }
        for (name, Seen { image, label }) in seen {
            if let Some(home) = label {
                self.add(
                    &self.paths.label(home, &name),
                    Origin::Annotation(home, Half::Label),
                );
            }
            // An image goes ahead of its label; here it is where that is.
            if let Some(home) = image.map(|home| label.unwrap_or(home)) {
                self.add(
                    &self.paths.image(home, &name),
                    Origin::Annotation(home, Half::Image),
                );
            }
        }
        Ok(())
    }

    fn list_half(&mut self, home: Home, half: Half, seen: &mut HashMap<Name, Seen>) -> Result<()> {
        let (folder, extension) = match half {
            Half::Label => (self.paths.labels(home), ".txt"),
            Half::Image => (self.paths.images(home), ".jpg"),
        };
        self.entries_of(&folder, |look, entry, path| {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(extension));
            match name.and_then(|name| Name::new(name).ok()) {
                Some(name) if entry.file_type().is_ok_and(|kind| kind.is_file()) => {
                    let seen = seen.entry(name).or_default();
                    match half {
                        Half::Label => seen.label = Some(home),
                        Half::Image => seen.image = Some(home),
                    }
                }
                // Somebody else's file stays in the backup too.
                _ => look.found(&entry, &path),
            }
        })
    }

    fn look_for(&self, name: &Name) -> Result<Seen> {
        let mut seen = Seen::default();
        for home in ON_THE_WAY {
            if is_there(&self.paths.label(home, name))? {
                seen.label = Some(home);
            }
            if is_there(&self.paths.image(home, name))? {
                seen.image = Some(home);
            }
        }
        Ok(seen)
    }

    /// The model in service, what there is to say of every run, and the whole of one that is open but for what its last
    /// checkpoint makes superfluous.
    fn runs(&mut self) -> Result<()> {
        let models = self.paths.models();
        let link = models.join(runs::IN_SERVICE);
        let model = fs::canonicalize(&link).ok();
        let mut found = Vec::new();
        self.entries_of(&models, |look, entry, path| match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.push(path),
            // The link, a model put there by hand, and what is remembered of memory.
            Ok(kind) if kind.is_symlink() || path == link || is_remembered(&path) => {
                look.found(&entry, &path)
            }
            _ => {}
        })?;
        for folder in found {
            let open = Run::at(&folder).is_ok_and(|run| run.is_some_and(|run| run.state == State::Open));
            self.plain_files(&folder, |path| {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                let in_service = || model.as_deref() == path.canonicalize().ok().as_deref();
                match open {
                    true => !SUPERFLUOUS.iter().any(|begin| name.starts_with(begin)),
                    false => OF_A_RUN.contains(&name) || in_service(),
                }
            })?;
        }
        Ok(())
    }

    fn datasets(&mut self, whole: bool) -> Result<()> {
        let mut found = Vec::new();
        self.entries_of(&self.paths.datasets(), |_, entry, path| {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(path);
            }
        })?;
        while let Some(folder) = found.pop() {
            if !whole {
                for name in OF_A_DATASET {
                    self.file(&folder.join(name))?;
                }
                continue;
            }
            self.entries_of(&folder, |look, entry, path| match entry.file_type() {
                Ok(kind) if kind.is_dir() => found.push(path),
                _ => look.found(&entry, &path),
            })?;
        }
        Ok(())
    }

    /// The configuration as it is in force, without the passwords that it may hold itself.
    fn configuration(&mut self, config: &Config) {
        let head = "azaion's configuration as it was when this backup was made, without passwords.";
        let text = service::config::commented(&config.clone().without_secrets(), head);
        let path = self.paths.root().join(CONFIG);
        self.add(&path, Origin::Bytes(Bytes::from(text.as_bytes().to_vec())));
    }

    fn log(&mut self, path: &Path) -> Result<()> {
        (self.meanwhile)();
        match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((length, file)) => self.add(path, Origin::Log(Arc::new(file), length)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        if is_there(path)? {
            self.add(path, Origin::File);
        }
        Ok(())
    }

    fn plain_files(&mut self, folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
        self.entries_of(folder, |look, entry, path| {
            if wanted(&path) {
                look.found(&entry, &path);
            }
        })
    }

    /// What is neither a file nor a link says nothing that could be restored.
    fn found(&mut self, entry: &DirEntry, path: &Path) {
        match entry.file_type() {
            Ok(kind) if kind.is_file() => self.add(path, Origin::File),
            Ok(kind) if kind.is_symlink() => self.add(path, Origin::Link),
            _ => {}
        }
    }

    /// Goes through a folder, which becomes part of the backup; one that is absent is empty. Files that are being written aside
    /// are nobody's yet.
    fn entries_of(
        &mut self,
        folder: &Path,
        mut each: impl FnMut(&mut Self, DirEntry, PathBuf),
    ) -> Result<()> {
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("list", folder)(error)),
        };
        self.add(folder, Origin::Folder);
        for entry in listed {
            let entry = entry.map_err(Error::io("list", folder))?;
            if !entry.file_name().as_encoded_bytes().starts_with(ASIDE.as_bytes()) {
                let path = entry.path();
                each(self, entry, path);
            }
        }
        (self.meanwhile)();
        Ok(())
    }

    /// Every folder that something is in has an entry.
    fn with_folders(mut self) -> BTreeMap<PathBuf, Origin> {
        let mut missing = Vec::new();
        for path in self.entries.keys() {
            missing.extend(
                path.ancestors()
                    .skip(1)
                    .filter(|folder| !folder.as_os_str().is_empty() && !self.entries.contains_key(*folder))
                    .map(Path::to_owned),
            );
        }
        self.entries
            .extend(missing.into_iter().map(|folder| (folder, Origin::Folder)));
        self.entries
    }
}

/// A small file of the trainer's in the folder of runs.
fn is_remembered(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn is_there(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look for", path)(error)),
    }
}

impl Half {
    /// Its file in a home.
    pub(crate) fn path(self, paths: &Paths, home: Home, name: &Name) -> PathBuf {
        match self {
            Self::Image => paths.image(home, name),
            Self::Label => paths.label(home, name),
        }
    }
}

/// The homes in which a file that was seen in this one may be by now: there, and in all that are more final; of an image that
/// went ahead of its label, in any.
pub(crate) fn whereabouts(home: Home) -> impl Iterator<Item = Home> {
    let later = ON_THE_WAY.into_iter().filter(move |other| *other >= home);
    let earlier = ON_THE_WAY.into_iter().filter(move |other| *other < home);
    later.chain(earlier)
}

/// Whether a file was not where it was a moment ago.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
