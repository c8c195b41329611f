//! `replay`: the stream once more, into a second tree, to compare the two.
//!
//! The second tree is a whole one. The file `replay.yaml` in its root says where it was begun, and that it is no tree of
//! anybody's own: a folder with anything else in it is refused. A replay that was cut off goes on where it stopped. It
//! ends with the last message of a stream file, or with the last that the first tree has read from the broker, so that the
//! two trees can be compared although messages are added. Where the first tree has read nothing, it ends once the broker
//! has had nothing more to give for a while.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use service::{Config, Credentials};
use store::{Tree, atomic};
use stream::file::FileSource;
use stream::rabbit::{self, Patience, RabbitSource};
use stream::{Batch, Limits, Link, Source};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Error, ReplayArgs, io, layout};
use crate::{Counters, Options, Progress, connection, run};

/// Says where a second tree was begun.
const MARK: &str = "replay.yaml";
/// How often in a row a broker is tried that cannot be reached.
const TRIES: u32 = 5;
/// How long a broker must have nothing more to give until that counts as the stream's end.
const QUIET: Duration = Duration::from_secs(3);

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

    /// Reads `source` up to the message at offset `last`, or until `shutdown` is set; without a `last`, until the source ends or has
    /// had nothing more to give for a while. `progress` hears how many messages of how many are read.
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
        let mut source = UpTo {
            source,
            next: self.tree.offset(),
            last,
        };
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
    let last = source.watch().borrow().last_offset;
    runtime(args)?.block_on(second.fill(source, last, &Options::default(), shutdown, progress))
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
        ..connection(config, &Credentials::from_systemd(), second.offset())
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

/// A source that is followed, and ends all the same.
struct UpTo<S> {
    source: S,
    next: u64,
    /// The last message that is wanted.
    last: Option<u64>,
}

impl<S: Source> Source for UpTo<S> {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, stream::Error> {
        let Some(last) = self.last else {
            let quiet = quiet(self.source.watch(), self.next);
            let batch = tokio::select! {
                batch = self.source.next(limits) => batch?,
                () = quiet => None,
            };
            self.next = batch.as_ref().map_or(self.next, Batch::next_offset);
            return Ok(batch);
        };
        if self.next > last {
            return Ok(None);
        }
        let Some(mut batch) = self.source.next(limits).await? else {
            return Ok(None);
        };
        self.next = batch.next_offset();
        batch.messages.retain(|message| message.offset <= last);
        Ok((!batch.messages.is_empty()).then_some(batch))
    }

    fn durable(&mut self, next: u64) {
        self.source.durable(next);
    }

    fn watch(&self) -> watch::Receiver<Link> {
        self.source.watch()
    }
}

/// Ready once the source has been reached, and has had nothing behind offset `next` for a while.
async fn quiet(mut link: watch::Receiver<Link>, next: u64) {
    let has_nothing = |link: &Link| link.subscribed && link.last_offset.is_none_or(|last| last < next);
    loop {
        if link.wait_for(has_nothing).await.is_err() {
            return std::future::pending().await;
        }
        if timeout(QUIET, link.wait_for(|link| !has_nothing(link)))
            .await
            .is_err()
        {
            return;
        }
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
