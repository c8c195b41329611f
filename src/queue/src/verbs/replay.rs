//! `replay`: the stream once more, into a second tree, to compare the two.
//!
//! The second tree is a whole one. The file `replay.yaml` in its root says where it was begun, and that it is no tree of
//! anybody's own: a folder with anything else in it is refused. A replay that was cut off goes on where it stopped. It
//! ends with the message that was the stream's last when it began, so that it ends although others are added.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use store::{Tree, atomic};
use stream::file::FileSource;
use stream::{Batch, Limits, Link, Source};
use tokio::sync::watch;

use super::{Error, ReplayArgs, io};
use crate::{Counters, Options, Progress, run};

/// Says where a second tree was begun.
const MARK: &str = "replay.yaml";
/// How long a stream that was reached, and neither sends a message nor says that it has one, is waited for.
const EMPTY_AFTER: Duration = Duration::from_secs(5);

/// A tree that is being filled from a stream for comparison.
#[derive(Debug)]
pub struct SecondTree {
    tree: Tree,
    from: u64,
}

/// What was read into a second tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sown {
    /// The root of the second tree.
    pub root: PathBuf,
    /// The offset it began at.
    pub from: u64,
    /// The offset of the next message it would read.
    pub next_offset: u64,
    /// Whether it was interrupted.
    pub stopped: bool,
    /// What was done this time.
    pub counters: Counters,
}

impl SecondTree {
    /// Makes a tree in `root` that begins at offset `from`, or goes on with one that was begun there.
    pub fn open(root: &Path, from: u64) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(io("make", root))?;
        let mark = root.join(MARK);
        match fs::read_to_string(&mark) {
            Ok(text) => match parse(&text) {
                Some(begun) if begun == from => {}
                Some(begun) => {
                    let path = root.to_owned();
                    return Err(Error::BegunElsewhere { path, begun, from });
                }
                None => {
                    return Err(Error::NotAReplay {
                        path: root.to_owned(),
                    });
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                atomic::remove_leftovers(root)?;
                if fs::read_dir(root).map_err(io("list", root))?.next().is_some() {
                    return Err(Error::NotAReplay {
                        path: root.to_owned(),
                    });
                }
                atomic::replace(&mark, format!("from: {from}\n").as_bytes())?;
            }
            Err(error) => return Err(io("read", &mark)(error)),
        }
        let mut tree = Tree::open(root)?;
        // It was begun and has read nothing yet.
        if tree.offset() == 0 && from > 0 {
            tree.begin_at(from)?;
        }
        Ok(Self { tree, from })
    }

    /// The offset of the next message to read: where the source must begin.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.tree.offset()
    }

    /// Reads `source` up to the message that is its last now, or until `shutdown` is set. `progress` hears how many messages
    /// of how many are read.
    pub async fn fill<S: Source>(
        self,
        source: S,
        options: &Options,
        shutdown: &Arc<AtomicBool>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Sown, Error> {
        let from = self.from;
        let root = self.tree.paths().root().to_owned();
        let mut source = UpToNow::new(source, self.tree.offset());
        let told = |at: &Progress| {
            let last = at.link.last_offset.unwrap_or(at.next_offset);
            let total = last.saturating_add(1).saturating_sub(from);
            progress(at.next_offset.saturating_sub(from).min(total), total);
        };
        let summary = run(&mut source, self.tree, options, shutdown, told).await?;
        Ok(Sown {
            root,
            from,
            next_offset: summary.progress.next_offset,
            stopped: summary.stopped,
            counters: summary.progress.counters,
        })
    }
}

fn parse(mark: &str) -> Option<u64> {
    mark.trim().strip_prefix("from: ")?.parse().ok()
}

/// [`SecondTree::fill`] from a stream file.
pub(super) fn from_file(
    args: &ReplayArgs,
    shutdown: &Arc<AtomicBool>,
    progress: impl FnMut(u64, u64),
) -> Result<Sown, Error> {
    // A stream that cannot be read leaves no folder behind.
    FileSource::open(&args.stream, args.from, false)?;
    let second = SecondTree::open(&args.to, args.from)?;
    let source = FileSource::open(&args.stream, second.offset(), false)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(io("start threads for", &args.to))?;
    runtime.block_on(second.fill(source, &Options::default(), shutdown, progress))
}

/// A source that ends with the message that was the last when it began.
struct UpToNow<S> {
    source: S,
    link: watch::Receiver<Link>,
    next: u64,
    last: Option<u64>,
}

impl<S: Source> UpToNow<S> {
    fn new(source: S, next: u64) -> Self {
        let link = source.watch();
        let last = link.borrow().last_offset;
        Self {
            source,
            link,
            next,
            last,
        }
    }

    /// Takes out what came after the last message.
    fn within(&mut self, mut batch: Batch) -> Option<Batch> {
        let known = self.link.borrow().last_offset;
        let last = *self.last.get_or_insert(known.unwrap_or_else(|| last_of(&batch)));
        batch.messages.retain(|message| message.offset <= last);
        self.next = self.next.max(batch.next_offset());
        (!batch.messages.is_empty()).then_some(batch)
    }
}

fn last_of(batch: &Batch) -> u64 {
    batch.messages.last().map_or(0, |message| message.offset)
}

/// Ready once the source is reached and has been silent for long enough to be empty.
async fn silent(mut link: watch::Receiver<Link>) {
    let is_silent = |link: &Link| link.subscribed && link.last_offset.is_none();
    if link.wait_for(is_silent).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(EMPTY_AFTER).await;
    if !is_silent(&link.borrow()) {
        std::future::pending().await
    }
}

impl<S: Source> Source for UpToNow<S> {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, stream::Error> {
        if self.last.is_some_and(|last| self.next > last) {
            return Ok(None);
        }
        let batch = tokio::select! {
            batch = self.source.next(limits) => batch?,
            () = silent(self.link.clone()) => None,
        };
        Ok(batch.and_then(|batch| self.within(batch)))
    }

    fn durable(&mut self, next: u64) {
        self.source.durable(next);
    }

    fn watch(&self) -> watch::Receiver<Link> {
        self.source.watch()
    }
}

impl fmt::Display for Sown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters {
            processed, failed, ..
        } = self.counters;
        writeln!(
            f,
            "{}: offsets {} to {}",
            self.root.display(),
            self.from,
            self.next_offset
        )?;
        writeln!(f, "{processed} messages used, {failed} in quarantine")?;
        if self.stopped {
            writeln!(f, "interrupted: the same command goes on")?;
        }
        Ok(())
    }
}
