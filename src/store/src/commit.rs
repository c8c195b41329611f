//! How a batch becomes durable.
//!
//! | step | done | why it comes here |
//! |---|---|---|
//! | 1 | misses and the ledger's lines appended, new files written aside or without a name, if that was not done ahead; all synced, many at once | a replay must know the misses before it meets the tree, and what was recorded; bytes are durable before they get a name |
//! | 2 | quarantine and images put in place, their folders synced | the image goes ahead: whoever has a label has an image |
//! | 3 | new and rewritten labels put over where the annotation lives now, folders synced | the label's bytes are right before it moves |
//! | 4 | labels moved, folders synced | the label is the commit point: an annotation lives where its label is |
//! | 5 | `offset.yaml` replaced | last: nothing before it is read again |
//!
//! Cut off anywhere, the batch's messages are read again from the old offset, perhaps in batches of another size. Each step is
//! then found done or is done again with the same bytes. What makes that hold:
//! - the label is either before or after its message, and each message is a function of where the label is;
//! - an image may be ahead of its label, so a move looks for it in every home;
//! - a create that was cut off between image and label may be repeated into another home, if the batch now reaches further,
//!   so a create removes what it left elsewhere: the same bytes under the same name;
//! - a rewrite of a label that moves in the same batch is synced before the move.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use annotation::Name;
use bytes::Bytes;

use crate::batch::Change;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ledger::{self, Event, Turn};
use crate::offset;
use crate::paths::{Home, Paths};
use crate::quarantine::Refusal;
use crate::spool;
use crate::tree::Tree;
use crate::unmatched::Mention;

/// What a batch adds to the logs, ahead of the tree.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) mentions: Vec<Mention>,
    pub(crate) entries: Vec<ledger::Entry>,
    pub(crate) turn: Turn,
}

pub(crate) fn commit(tree: &mut Tree, plan: &Plan, logs: Logs, next_offset: u64) -> Result<()> {
    tree.settle()?;
    // Until the last step is done, part of this may be visible and not durable.
    tree.unsettled = true;
    let done = execute(tree, plan, logs, next_offset);
    match done {
        Ok(()) => tree.unsettled = false,
        // Best effort, to give a full disk its space back; what stays is removed on the next open.
        Err(_) => plan
            .writes()
            .for_each(|write| drop(tree.disk.remove(&write.aside))),
    }
    done
}

fn execute(tree: &mut Tree, plan: &Plan, logs: Logs, next_offset: u64) -> Result<()> {
    let offset_is_aside = write_ahead(tree, plan, logs, next_offset)?;
    let step = Step {
        disk: &*tree.disk,
        paths: &tree.paths,
        writers: tree.writers,
    };
    step.quarantine_and_images(plan)?;
    step.label_bytes(plan)?;
    step.label_moves(plan)?;
    replace_offset(tree, next_offset, offset_is_aside)
}

/// Step 1: the bytes of all files aside, and the lines of both logs. Whether the next offset is aside, too, as it is for a
/// batch of many files.
fn write_ahead(tree: &mut Tree, plan: &Plan, logs: Logs, next_offset: u64) -> Result<bool> {
    let Logs {
        mentions,
        mut entries,
        turn,
    } = logs;
    let disk = &*tree.disk;
    if !mentions.is_empty() {
        tree.unmatched.append(disk, &mentions)?;
    }
    let (spooled, writes): (Vec<&Write>, Vec<&Write>) =
        plan.writes().partition(|write| write.spooled.is_some());
    let together = disk.sync_all_from().is_some_and(|least| writes.len() >= least);
    let append = |path: &Path, at: u64, bytes: &[u8]| match together {
        true => disk.append_unsynced(path, at, bytes),
        false => disk.append(path, at, bytes),
    };
    // What is not synced at once keeps processors busy, not the disk.
    let writers = if together {
        tree.writers.min(cores())
    } else {
        tree.writers
    };
    in_parallel(writers, &writes, |write| {
        let written = if together {
            disk.write_unsynced(&write.aside, &write.bytes)
        } else {
            disk.write(&write.aside, &write.bytes)
        };
        written.map_err(Error::io("write", &write.aside))
    })?;
    plan.add_digests(tree.writers.min(cores()), &mut entries)?;
    tree.ledger.append(&entries, turn, next_offset, append)?;
    let (aside, text) = (tree.paths.offset_aside(), offset::text(next_offset));
    if together {
        disk.write_unsynced(&aside, &text)
            .map_err(Error::io("write", &aside))?;
        disk.sync_all().map_err(Error::io("sync", tree.paths.root()))?;
    } else if !spooled.is_empty() {
        disk.write(&aside, &text).map_err(Error::io("write", &aside))?;
    }
    Ok(together || !spooled.is_empty())
}

/// The last step. An offset that was written aside ahead gets its name without waiting for the folder: should the power
/// fail before a later batch or [`Tree::settle_offset`] syncs it, this batch is read again and found done.
fn replace_offset(tree: &mut Tree, next_offset: u64, is_aside: bool) -> Result<()> {
    if next_offset == tree.offset {
        return Ok(());
    }
    let path = tree.paths.offset_file();
    if is_aside {
        tree.disk
            .rename(&tree.paths.offset_aside(), &path)
            .map_err(Error::io("replace", &path))?;
    } else {
        offset::write_on(&*tree.disk, &path, next_offset)?;
    }
    tree.offset_unsynced = is_aside;
    tree.offset = next_offset;
    Ok(())
}

/// A file that is written aside and then renamed to its place, or was spooled and gets its name there.
#[derive(Debug)]
struct Write {
    aside: PathBuf,
    target: PathBuf,
    bytes: Bytes,
    spooled: Option<spool::File>,
}

impl Write {
    /// Uses what was spooled, if it is the same.
    fn spooled(self, file: Option<spool::File>) -> Self {
        let spooled = file.filter(|file| file.holds(&self.bytes));
        Self { spooled, ..self }
    }
}

#[derive(Debug)]
struct Move {
    name: Name,
    was: Home,
    now: Home,
}

/// A name's new image or label, in the home its file goes to.
#[derive(Debug)]
struct Placed {
    name: Name,
    home: Home,
    write: Write,
    /// Whether an earlier commit may have put it in place already, or into another home.
    begun: bool,
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    quarantine: Vec<Write>,
    images: Vec<Placed>,
    labels: Vec<Placed>,
    moves: Vec<Move>,
}

impl Plan {
    pub(crate) fn new(tree: &Tree, changes: BTreeMap<Name, Change>, refusals: Vec<Refusal>) -> Result<Self> {
        let (disk, paths) = (&*tree.disk, &tree.paths);
        let mut plan = Self::default();
        // Threads that make files in one folder wait for each other: neighbours go into different ones.
        let (asides, mut count) = (paths.asides(), 0_usize);
        let mut write = |target: PathBuf, bytes: Bytes| {
            count += 1;
            Write {
                aside: asides[count % asides.len()].join(count.to_string()),
                target,
                bytes,
                spooled: None,
            }
        };
        for refusal in refusals {
            for (target, bytes) in refusal.files(disk, &paths.quarantine())? {
                plan.quarantine.push(write(target, bytes));
            }
        }
        for (name, change) in changes {
            match change {
                Change::Create {
                    home,
                    image,
                    label,
                    begun,
                    spooled,
                } => {
                    let (image_file, label_file) = spooled.map(|both| (both.image, both.label)).unzip();
                    let image = write(paths.image(home, &name), image).spooled(image_file);
                    plan.images.push(Placed {
                        name: name.clone(),
                        home,
                        write: image,
                        begun,
                    });
                    let label = write(paths.label(home, &name), label.into()).spooled(label_file);
                    plan.labels.push(Placed {
                        name,
                        home,
                        write: label,
                        begun,
                    });
                }
                Change::Update { was, now, label } => {
                    let target = paths.label(was, &name);
                    if let Some(text) = label
                        && disk.read(&target).map_err(Error::io("read", &target))?.as_deref()
                            != Some(text.as_bytes())
                    {
                        let label = write(target, text.into());
                        plan.labels.push(Placed {
                            name: name.clone(),
                            home: was,
                            write: label,
                            begun: true,
                        });
                    }
                    if was != now {
                        plan.moves.push(Move { name, was, now });
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Gives the lines about new annotations the digests of their images.
    fn add_digests(&self, writers: usize, entries: &mut [ledger::Entry]) -> Result<()> {
        let created = |entry: &&mut ledger::Entry| entry.event == Event::Created;
        let mut lines: HashMap<Name, &mut ledger::Entry> = entries
            .iter_mut()
            .filter(created)
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        let jobs: Vec<_> = self
            .images
            .iter()
            .filter_map(|image| Some((image, Mutex::new(lines.remove(&image.name)?))))
            .collect();
        in_parallel(writers, &jobs, |(image, entry)| {
            let digest = match &image.write.spooled {
                Some(file) => file.digest,
                None => Digest::of(&image.write.bytes),
            };
            entry.lock().unwrap_or_else(PoisonError::into_inner).image = Some(digest);
            Ok(())
        })
    }

    fn writes(&self) -> impl Iterator<Item = &Write> {
        let placed = self.images.iter().chain(&self.labels).map(|placed| &placed.write);
        self.quarantine.iter().chain(placed)
    }
}

/// The steps after the bytes are durable aside.
struct Step<'t> {
    disk: &'t dyn Disk,
    paths: &'t Paths,
    writers: usize,
}

impl Step<'_> {
    fn quarantine_and_images(&self, plan: &Plan) -> Result<()> {
        let mut touched = Touched::default();
        for write in &plan.quarantine {
            self.place(write)?;
            touched.add(self.paths.quarantine());
        }
        for image in &plan.images {
            self.place(&image.write)?;
            touched.add(self.paths.images(image.home));
            if image.begun {
                self.remove_strays(image, &mut touched)?;
            }
        }
        for move_ in &plan.moves {
            self.move_image(move_, &mut touched)?;
        }
        self.sync(&touched)
    }

    fn label_bytes(&self, plan: &Plan) -> Result<()> {
        let mut touched = Touched::default();
        for label in &plan.labels {
            self.place(&label.write)?;
            touched.add(self.paths.labels(label.home));
        }
        self.sync(&touched)
    }

    fn label_moves(&self, plan: &Plan) -> Result<()> {
        let mut touched = Touched::default();
        for Move { name, was, now } in &plan.moves {
            let from = self.paths.label(*was, name);
            self.disk
                .rename(&from, &self.paths.label(*now, name))
                .map_err(Error::io("move the label", &from))?;
            touched.add(self.paths.labels(*was));
            touched.add(self.paths.labels(*now));
        }
        self.sync(&touched)
    }

    fn place(&self, write: &Write) -> Result<()> {
        if let Some(spooled) = &write.spooled {
            match self.disk.name(&spooled.file, &write.target) {
                // Only a rename replaces what is there.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self
                    .disk
                    .name(&spooled.file, &write.aside)
                    .map_err(Error::io("put aside", &write.aside))?,
                named => return named.map_err(Error::io("put in place", &write.target)),
            }
        }
        self.disk
            .rename(&write.aside, &write.target)
            .map_err(Error::io("put in place", &write.target))
    }

    /// Removes the image that an unfinished commit of the same create left in another home. An image with other bytes is not
    /// ours: nobody knows its label, but it is somebody's data.
    fn remove_strays(&self, image: &Placed, touched: &mut Touched) -> Result<()> {
        for home in Home::ALL.into_iter().filter(|home| *home != image.home) {
            let stray = self.paths.image(home, &image.name);
            match self.disk.read(&stray).map_err(Error::io("read", &stray))? {
                None => {}
                Some(bytes) if bytes == image.write.bytes => {
                    self.disk.remove(&stray).map_err(Error::io("remove", &stray))?;
                    touched.add(self.paths.images(home));
                }
                Some(_) => {
                    tracing::warn!(path = %stray.display(), "another image has the name of a new annotation");
                }
            }
        }
        Ok(())
    }

    /// Moves an image from wherever it is: with its label, or ahead of it if an earlier commit was cut off.
    fn move_image(&self, Move { name, was, now }: &Move, touched: &mut Touched) -> Result<()> {
        let to = self.paths.image(*now, name);
        let elsewhere = Home::ALL.into_iter().filter(|home| home != was && home != now);
        for home in [*was, *now].into_iter().chain(elsewhere) {
            let from = self.paths.image(home, name);
            let moved = if home == *now {
                self.disk.exists(&to).map_err(Error::io("look for", &to))?
            } else {
                self.try_rename(&from, &to)?
            };
            if moved {
                touched.add(self.paths.images(home));
                touched.add(self.paths.images(*now));
                return Ok(());
            }
        }
        tracing::warn!(%name, "the annotation has no image; its label moves alone");
        Ok(())
    }

    fn try_rename(&self, from: &Path, to: &Path) -> Result<bool> {
        match self.disk.rename(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("move the image", from)(error)),
        }
    }

    fn sync(&self, touched: &Touched) -> Result<()> {
        in_parallel(self.writers, &touched.0, |dir| {
            self.disk.sync_dir(dir).map_err(Error::io("sync", dir))
        })
    }
}

/// The few folders that a step renamed in, each once.
#[derive(Debug, Default)]
struct Touched(Vec<PathBuf>);

impl Touched {
    fn add(&mut self, dir: PathBuf) {
        if !self.0.contains(&dir) {
            self.0.push(dir);
        }
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `job` on every item, in up to `threads` threads of which this is one; stops at the first error and returns it.
fn in_parallel<T: Sync>(threads: usize, items: &[T], job: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = job(item) {
                next.store(items.len(), Ordering::Relaxed);
                failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            // If the machine has no thread left, the work is done by those there are.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}
