//! `replay`: the stream once more, into a second tree, to compare the two.
//!
//! The second tree is a whole one. The file `replay.yaml` in its root says where it was begun, and that it is no tree of
//! anybody's own: a folder with anything else in it is refused. A replay that was cut off goes on where it stopped. It
//! ends with the last message that the first tree has read; where there is no first tree, with the last that the stream
//! was known to hold when it began. So it ends although others are added, and the two trees can be compared.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use service::Config;
use store::{Tree, atomic};
use stream::file::FileSource;
use stream::rabbit::{self, Patience, RabbitSource};
use stream::{Batch, Limits, Link, Source};
use tokio::sync::watch;

use super::{Error, ReplayArgs, io, layout};
use crate::{Counters, Options, Progress, connection, run};

/// Says where a second tree was begun.
const MARK: &str = "replay.yaml";
/// How often in a row a broker is tried that cannot be reached.
const TRIES: u32 = 5;
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

    /// Reads `source` up to the message at offset `last`, without one up to the last that it is known to hold now; or until
    /// `shutdown` is set. `progress` hears how many messages of how many are read.
    pub async fn fill<S: Source>(
        self,
        source: S,
        last: Option<u64>,
        options: &Options,
        shutdown: &Arc<AtomicBool>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Sown, Error> {
        let from = self.from;
        let root = self.tree.paths().root().to_owned();
        let mut source = UpTo::new(source, last, self.tree.offset());
        let told = |at: &Progress| {
            let known = last.or(at.link.last_offset);
            let end = known.map_or(at.next_offset, |last| last.saturating_add(1));
            let total = end.saturating_sub(from);
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
    stream: &Path,
    shutdown: &Arc<AtomicBool>,
    progress: impl FnMut(u64, u64),
) -> Result<Sown, Error> {
    // A stream that cannot be read leaves no folder behind.
    FileSource::open(stream, args.from, false)?;
    let second = SecondTree::open(&args.to, args.from)?;
    let source = FileSource::open(stream, second.offset(), false)?;
    runtime(args)?.block_on(second.fill(source, None, &Options::default(), shutdown, progress))
}

/// [`SecondTree::fill`] from the broker of the configuration.
pub(super) fn from_broker(
    args: &ReplayArgs,
    config: &Config,
    shutdown: &Arc<AtomicBool>,
    progress: impl FnMut(u64, u64),
) -> Result<Sown, Error> {
    let read = store::offset::read(&layout(config).offset_file())?;
    let last = read.checked_sub(1).filter(|last| *last >= args.from);
    let second = SecondTree::open(&args.to, args.from)?;
    let connection = rabbit::Options {
        patience: Patience::Tries(TRIES),
        ..connection(config, second.offset())
    };
    let options = Options {
        batch: Limits {
            // What is not durable yet counts as received: more than the buffer is never given.
            max_bytes: connection.buffer / 2,
            ..Limits::default()
        },
        ..Options::default()
    };
    runtime(args)?.block_on(async {
        let source = RabbitSource::start(connection);
        second.fill(source, last, &options, shutdown, progress).await
    })
}

fn runtime(args: &ReplayArgs) -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(io("start threads for", &args.to))
}

/// A source that ends with a certain message.
struct UpTo<S> {
    source: S,
    link: watch::Receiver<Link>,
    next: u64,
    /// None until the source says.
    last: Option<u64>,
}

impl<S: Source> UpTo<S> {
    fn new(source: S, last: Option<u64>, next: u64) -> Self {
        let link = source.watch();
        let last = last.or(link.borrow().last_offset);
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

impl<S: Source> Source for UpTo<S> {
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
