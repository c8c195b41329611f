//! Which names the tree may hold, so that a new one need not be looked for in four folders.
//!
//! A Bloom filter over the names of all label files: what is not in it is nowhere, and what seems to be is looked for. The
//! kernel tells of each name that comes to a folder, ours and other people's (inotify(7)), before the next batch begins,
//! which is as fresh as a look at that time. The folders are listed by a thread of its own, once so many names were looked
//! for that it pays; until that is done, after notices were lost, and where nothing can be heard of, every name counts as
//! one that may be there.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annotation::Name;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::paths::{Home, Paths};

/// After notices were lost, all is listed anew, but not more often than this.
const PAUSE: Duration = Duration::from_secs(60);
/// Looking for a name in vain takes as long as to list about so many bytes of folders.
const BYTES_A_LOOK: u64 = 2048;

/// The names in the folders of labels.
#[derive(Debug)]
pub(crate) struct Names {
    dirs: Vec<PathBuf>,
    hasher: RandomState,
    watch: Option<Watch>,
    /// When it may be listed again from the beginning.
    not_before: Instant,
    /// Names that had to be looked for.
    looks: AtomicU64,
}

impl Names {
    /// Knows nothing yet: who hardly writes needs nothing listed.
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            // On their way from home to home annotations meet the listing, or are listed before.
            dirs: Home::ALL.iter().rev().map(|home| paths.labels(*home)).collect(),
            hasher: RandomState::new(),
            watch: None,
            not_before: Instant::now(),
            looks: AtomicU64::new(0),
        }
    }

    /// Takes in what has happened since the last time.
    pub(crate) fn hear(&mut self) {
        let (dirs, hasher) = (&self.dirs, &self.hasher);
        if self.watch.as_mut().is_some_and(|watch| watch.hear(dirs, hasher)) {
            return;
        }
        self.watch = None;
        let now = Instant::now();
        let listable = self.looks.load(Ordering::Relaxed).saturating_mul(BYTES_A_LOOK);
        if now >= self.not_before && bytes(dirs).is_ok_and(|bytes| bytes <= listable) {
            self.not_before = now + PAUSE;
            match Watch::start(dirs, hasher) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => tracing::debug!(%error, "names are looked for one by one"),
            }
        }
    }

    /// Whether the tree may hold the name; false only if it does not.
    pub(crate) fn may_hold(&self, name: &Name) -> bool {
        let filter = self.watch.as_ref().and_then(|watch| watch.filter.as_ref());
        let may = filter.is_none_or(|filter| filter.may_hold(self.hasher.hash_one(name.as_str().as_bytes())));
        if may {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        may
    }
}

/// The folders, watched since some time.
#[derive(Debug)]
struct Watch {
    notices: Inotify,
    /// Which folders: another of the same path is not watched.
    inodes: Vec<u64>,
    filter: Option<Filter>,
    listing: Option<Listing>,
}

/// A filter in the making.
#[derive(Debug)]
struct Listing {
    thread: JoinHandle<io::Result<Filter>>,
    /// What came since it began.
    since: Vec<u64>,
}

impl Watch {
    fn start(dirs: &[PathBuf], hasher: &RandomState) -> io::Result<Self> {
        let notices = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        for dir in dirs {
            notices.add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        }
        Ok(Self {
            notices,
            inodes: inodes(dirs)?,
            filter: None,
            listing: Some(Listing::start(dirs, hasher)?),
        })
    }

    /// False if something may have been missed.
    fn hear(&mut self, dirs: &[PathBuf], hasher: &RandomState) -> bool {
        if !inodes(dirs).is_ok_and(|inodes| inodes == self.inodes) {
            return false;
        }
        loop {
            let events = match self.notices.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(_) => return false,
            };
            for event in events {
                // What has no name says that names were lost, or a folder.
                let Some(file) = event.name else { return false };
                self.insert(hash(&file, hasher));
            }
        }
        self.take_listing() && self.make_room(dirs, hasher)
    }

    fn insert(&mut self, hash: u64) {
        if let Some(filter) = &mut self.filter {
            filter.insert(hash);
        }
        if let Some(listing) = &mut self.listing {
            listing.since.push(hash);
        }
    }

    /// Puts a listing that is done to use.
    fn take_listing(&mut self) -> bool {
        let Some(Listing { thread, since }) = self.listing.take_if(|listing| listing.thread.is_finished())
        else {
            return true;
        };
        let Ok(Ok(mut filter)) = thread.join() else {
            return false;
        };
        since.into_iter().for_each(|hash| filter.insert(hash));
        self.filter = Some(filter);
        true
    }

    /// Has all listed again, for a larger filter, where this one has become coarse; it is as true as before meanwhile.
    fn make_room(&mut self, dirs: &[PathBuf], hasher: &RandomState) -> bool {
        if self.listing.is_none() && self.filter.as_ref().is_none_or(Filter::is_full) {
            self.listing = Listing::start(dirs, hasher).ok();
        }
        self.listing.is_some() || self.filter.is_some()
    }
}

impl Listing {
    fn start(dirs: &[PathBuf], hasher: &RandomState) -> io::Result<Self> {
        let (dirs, hasher) = (dirs.to_owned(), hasher.clone());
        let list = move || {
            let mut hashes = Vec::new();
            for dir in dirs {
                for entry in std::fs::read_dir(dir)? {
                    hashes.push(hash(&entry?.file_name(), &hasher));
                }
            }
            let mut filter = Filter::for_names(hashes.len());
            hashes.into_iter().for_each(|hash| filter.insert(hash));
            Ok(filter)
        };
        Ok(Self {
            thread: std::thread::Builder::new().spawn(list)?,
            since: Vec::new(),
        })
    }
}

fn inodes(dirs: &[PathBuf]) -> io::Result<Vec<u64>> {
    dirs.iter().map(|dir| Ok(dir.metadata()?.ino())).collect()
}

/// What the folders' own lists of names take.
fn bytes(dirs: &[PathBuf]) -> io::Result<u64> {
    dirs.iter().map(|dir| Ok(dir.metadata()?.len())).sum()
}

/// Of the name whose label this file is. Other files do no harm.
fn hash(file: &OsStr, hasher: &RandomState) -> u64 {
    let name = Path::new(file).file_stem().unwrap_or(file);
    hasher.hash_one(name.as_encoded_bytes())
}

/// A Bloom filter: 16 bits a name and 6 looks let one name in three thousand pass that is not in it.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
    /// How many names were put in.
    names: usize,
}

const BITS: usize = 16;
const LOOKS: u64 = 6;
/// Names that the smallest filter is for: 256 KiB.
const LEAST: usize = 1 << 17;

impl Filter {
    /// Has room for so many, and as many again.
    fn for_names(names: usize) -> Self {
        let room = names.saturating_mul(2).max(LEAST).next_power_of_two();
        Self {
            words: vec![0; room * BITS / 64],
            names: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.names > self.words.len() * 64 / BITS
    }

    fn insert(&mut self, hash: u64) {
        self.names += 1;
        for (word, bit) in self.places(hash) {
            self.words[word] |= bit;
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// Word and bit of each look: steps of one half of the hash from the other.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (from, step) = (hash >> 32, hash | 1);
        let bits = self.words.len() as u64 * 64;
        (0..LOOKS).map(move |look| {
            let at = from.wrapping_add(look.wrapping_mul(step)) % bits;
            ((at / 64) as usize, 1 << (at % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Name {
        Name::new(&format!("cell-{n}")).unwrap()
    }

    struct Folders {
        _dir: tempfile::TempDir,
        paths: Paths,
    }

    fn folders() -> Folders {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        for home in Home::ALL {
            std::fs::create_dir_all(paths.labels(home)).unwrap();
        }
        Folders { _dir: dir, paths }
    }

    impl Folders {
        fn put(&self, home: Home, n: usize) {
            std::fs::write(self.paths.label(home, &name(n)), "").unwrap();
        }

        /// Names for which much was looked, so that it pays to list them.
        fn wanted(&self) -> Names {
            let mut names = Names::new(&self.paths);
            names.looks = AtomicU64::new(u64::MAX);
            names.hear();
            names
        }

        /// Names whose listing is done.
        fn listed(&self) -> Names {
            let mut names = self.wanted();
            wait_for_listing(&mut names);
            names
        }
    }

    fn wait_for_listing(names: &mut Names) {
        let begun = Instant::now();
        while names.watch.as_ref().is_some_and(|watch| watch.listing.is_some()) {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
            names.hear();
        }
    }

    #[test]
    fn what_is_listed_may_be_there_and_most_of_the_rest_is_not() {
        let folders = folders();
        for (n, home) in Home::ALL.into_iter().enumerate() {
            folders.put(home, n);
        }
        let names = folders.listed();
        assert!((0..4).all(|n| names.may_hold(&name(n))));
        let passed = (4..10_004).filter(|n| names.may_hold(&name(*n))).count();
        assert!(passed < 20, "{passed} of 10000");
    }

    #[test]
    fn what_anyone_adds_is_heard_of_whether_made_linked_or_moved() {
        let folders = folders();
        folders.put(Home::Seed, 0);
        let mut names = folders.listed();
        folders.put(Home::Data, 1);
        std::fs::hard_link(
            folders.paths.label(Home::Data, &name(1)),
            folders.paths.label(Home::Corrupted, &name(2)),
        )
        .unwrap();
        std::fs::rename(
            folders.paths.label(Home::Seed, &name(0)),
            folders.paths.label(Home::Deleted, &name(3)),
        )
        .unwrap();
        assert!(!names.may_hold(&name(1)), "not heard of yet");
        names.hear();
        assert!((1..4).all(|n| names.may_hold(&name(n))));
        assert!(!names.may_hold(&name(4)));
    }

    #[test]
    fn what_comes_while_all_is_listed_is_not_missed() {
        let folders = folders();
        let mut names = folders.wanted();
        for n in 0..1000 {
            folders.put(Home::Seed, n);
        }
        wait_for_listing(&mut names);
        assert!((0..1000).all(|n| names.may_hold(&name(n))));
        assert!(!names.may_hold(&name(1000)));
    }

    #[test]
    fn before_the_listing_and_after_lost_notices_every_name_may_be_there() {
        let folders = folders();
        let mut names = Names::new(&folders.paths);
        assert!(names.may_hold(&name(0)));
        names = folders.listed();
        assert!(!names.may_hold(&name(0)));
        // More than a kernel keeps by default.
        let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
        let most: usize = most.unwrap().trim().parse().unwrap();
        if most > 100_000 {
            eprintln!(
                "skipped: before_the_listing_and_after_lost_notices_every_name_may_be_there: notices are kept without end"
            );
            return;
        }
        for n in 0..=most {
            folders.put(Home::Seed, n);
        }
        names.hear();
        assert!(names.may_hold(&name(most + 1)));
    }

    #[test]
    fn nothing_is_listed_before_it_pays() {
        let folders = folders();
        let mut names = Names::new(&folders.paths);
        let worth = bytes(&names.dirs).unwrap() / BYTES_A_LOOK;
        for n in 0..worth {
            names.hear();
            assert!(names.watch.is_none(), "after {n} of {worth}");
            assert!(names.may_hold(&name(0)));
        }
        names.may_hold(&name(0));
        names.hear();
        assert!(names.watch.is_some());
    }

    #[test]
    fn a_folder_in_another_ones_place_is_not_mistaken_for_it() {
        let folders = folders();
        let mut names = folders.listed();
        let (labels, away) = (
            folders.paths.labels(Home::Data),
            folders.paths.root().join("away"),
        );
        std::fs::rename(&labels, away).unwrap();
        std::fs::create_dir(&labels).unwrap();
        folders.put(Home::Data, 1);
        names.hear();
        assert!(names.may_hold(&name(1)));
    }

    #[test]
    fn a_filter_that_has_become_coarse_is_made_anew_and_holds_what_it_held() {
        let folders = folders();
        folders.put(Home::Data, 0);
        let mut names = folders.listed();
        let watch = names.watch.as_mut().unwrap();
        watch.filter.as_mut().unwrap().names = LEAST + 1;
        names.hear();
        assert!(names.watch.as_ref().is_some_and(|watch| watch.listing.is_some()));
        assert!(names.may_hold(&name(0)) && !names.may_hold(&name(1)));
        wait_for_listing(&mut names);
        assert!(names.may_hold(&name(0)) && !names.may_hold(&name(1)));
    }
}
