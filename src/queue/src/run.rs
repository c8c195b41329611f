//! The loop between a source and the tree.
//!
//! One batch is read, made durable and acknowledged before the next is asked for: a source reads ahead by itself, and memory
//! stays within the limits. A shutdown ends the loop between two batches; the batch in hand is finished first (QUE-8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::Tree;
use stream::{Batch, Link, Source};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::counters::Counters;
use crate::processor::Processor;

/// How often the shutdown flag is looked at while nothing arrives.
const TICK: Duration = Duration::from_millis(100);
/// How often progress is told while nothing arrives: a watchdog wants to hear of a healthy idle queue too.
const IDLE: Duration = Duration::from_secs(1);
/// Longest wait for a disk that takes nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How [`run`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much one batch may hold: what becomes durable together, and what is in memory at once.
    pub batch: stream::Limits,
    /// How large things in a message may be.
    pub decode: annotation::Limits,
    /// How long to wait, at first, before a full or read-only disk is tried again; doubled up to 15 s.
    pub closed_disk_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: stream::Limits::default(),
            decode: annotation::Limits::default(),
            closed_disk_pause: Duration::from_secs(1),
        }
    }
}

/// Where the queue is, for a progress bar, a watchdog and the metrics. As long as one of these changes there is progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What was done so far.
    pub counters: Counters,
    /// The offset of the next message to read (`queue_offset`).
    pub next_offset: u64,
    /// How the source is.
    pub link: Link,
    /// Batches that were tried to be written.
    pub attempts: u64,
    /// Why the last one could not be, in words: the disk is full or read-only.
    pub blocked: Option<String>,
}

impl Progress {
    /// How many messages wait in the source, where that is known.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        self.link
            .last_offset
            .map(|last| last.saturating_add(1).saturating_sub(self.next_offset))
    }
}

/// What a run did.
#[derive(Debug)]
pub struct Summary {
    /// Where the queue stopped.
    pub progress: Progress,
    /// Whether a shutdown was asked for; else the source has ended.
    pub stopped: bool,
    /// The tree, still open and locked.
    pub tree: Tree,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source cannot go on.
    #[error("cannot read the stream: {0}")]
    Stream(#[from] stream::Error),
    /// The tree cannot be written.
    #[error("cannot keep the annotations: {0}")]
    Store(#[from] store::Error),
    /// The runtime is shutting down.
    #[error("the runtime ended while a batch was written; start again, the batch will be read again")]
    Runtime,
}

/// Takes messages from `source` into `tree` until the source ends or `shutdown` is set. `progress` is called after each batch,
/// and about every second while nothing arrives or the disk takes nothing.
///
/// A disk that is full or read-only is waited out, and nothing is read meanwhile; any other failure of the tree ends the
/// run. The source must begin at [`Tree::offset`] or before.
pub async fn run<S: Source>(
    source: &mut S,
    tree: Tree,
    options: &Options,
    shutdown: &Arc<AtomicBool>,
    progress: impl FnMut(&Progress),
) -> Result<Summary, Error> {
    let mut processor = Processor::new(tree, options.decode.clone());
    let mut watcher = Watcher {
        at: state(&processor),
        link: source.watch(),
        progress,
    };
    let stopped = loop {
        watcher.tell();
        let batch = match next(source, options, shutdown, &mut watcher).await? {
            Next::Batch(batch) => batch,
            Next::End => break false,
            Next::Stopped => break true,
        };
        let written;
        (processor, written) = write(processor, batch, options, shutdown, &mut watcher).await?;
        if !written {
            break true;
        }
        watcher.at = Progress {
            attempts: watcher.at.attempts,
            ..state(&processor)
        };
        source.durable(processor.next_offset());
    };
    watcher.tell();
    Ok(Summary {
        progress: watcher.at,
        stopped,
        tree: processor.into_tree(),
    })
}

/// Tells how far the queue is, with the source as it is at that moment.
struct Watcher<F> {
    at: Progress,
    link: watch::Receiver<Link>,
    progress: F,
}

impl<F: FnMut(&Progress)> Watcher<F> {
    /// Waits until the source is subscribed that was not, or the other way round: that is worth a word at once.
    async fn turn(&mut self) {
        let told = self.at.link.subscribed;
        if self.link.wait_for(|link| link.subscribed != told).await.is_err() {
            // The source says nothing more.
            std::future::pending().await
        }
    }

    fn tell(&mut self) {
        self.at.link.clone_from(&self.link.borrow());
        (self.progress)(&self.at);
    }
}

fn state(processor: &Processor) -> Progress {
    Progress {
        counters: processor.counters(),
        next_offset: processor.next_offset(),
        link: Link::default(),
        attempts: 0,
        blocked: None,
    }
}

enum Next {
    Batch(Batch),
    End,
    Stopped,
}

/// The source's next batch, unless a shutdown is asked for first.
async fn next<S: Source>(
    source: &mut S,
    options: &Options,
    shutdown: &AtomicBool,
    watcher: &mut Watcher<impl FnMut(&Progress)>,
) -> Result<Next, Error> {
    if shutdown.load(Ordering::Relaxed) {
        return Ok(Next::Stopped);
    }
    let next = source.next(options.batch);
    tokio::pin!(next);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            batch = &mut next => return Ok(batch?.map_or(Next::End, Next::Batch)),
            () = sleep(TICK) => {}
            () = watcher.turn() => watcher.tell(),
        }
        if shutdown.load(Ordering::Relaxed) {
            return Ok(Next::Stopped);
        }
        if heard.elapsed() >= IDLE {
            watcher.tell();
            heard = Instant::now();
        }
    }
}

/// Makes a batch durable off the runtime's threads, waiting out a disk that takes nothing; `false` if a shutdown came
/// while it was waited for.
async fn write(
    mut processor: Processor,
    batch: Batch,
    options: &Options,
    shutdown: &AtomicBool,
    watcher: &mut Watcher<impl FnMut(&Progress)>,
) -> Result<(Processor, bool), Error> {
    let batch = Arc::new(batch);
    let mut pause = options.closed_disk_pause;
    loop {
        watcher.at.attempts += 1;
        let (mut owned, shared) = (processor, Arc::clone(&batch));
        let work = tokio::task::spawn_blocking(move || {
            let written = owned.process(&shared);
            (owned, written)
        });
        let written;
        (processor, written) = match work.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Runtime),
        };
        match written {
            Ok(()) => return Ok((processor, true)),
            Err(error) if error.is_disk_closed() => {
                tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "disk takes nothing");
                watcher.at.blocked = Some(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + pause;
        let mut heard = Instant::now();
        while Instant::now() < until {
            if shutdown.load(Ordering::Relaxed) {
                return Ok((processor, false));
            }
            if heard.elapsed() >= IDLE {
                watcher.tell();
                heard = Instant::now();
            }
            sleep(TICK.min(until - Instant::now())).await;
        }
        watcher.tell();
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
