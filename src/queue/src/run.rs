//! The loop between a source and the tree.
//!
//! One batch is read, made durable and acknowledged before the next is asked for: a source reads ahead by itself, and memory
//! stays within the limits. A shutdown ends the loop between two batches; the batch in hand is finished first (QUE-8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::Tree;
use stream::{Batch, Source};
use tokio::time::{Instant, sleep};

use crate::counters::Counters;
use crate::processor::Processor;

/// How often the shutdown flag is looked at while nothing arrives.
const TICK: Duration = Duration::from_millis(100);
/// How often progress is told while nothing arrives: a watchdog wants to hear of a healthy idle queue too.
const IDLE: Duration = Duration::from_secs(1);

/// How [`run`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much one batch may hold: what becomes durable together, and what is in memory at once.
    pub batch: stream::Limits,
    /// How large things in a message may be.
    pub decode: annotation::Limits,
    /// How long to wait, at first, before a full disk is tried again; doubled up to a minute.
    pub full_disk_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: stream::Limits::default(),
            decode: annotation::Limits::default(),
            full_disk_pause: Duration::from_secs(1),
        }
    }
}

/// Where the queue is, for a progress bar, a watchdog and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What was done so far.
    pub counters: Counters,
    /// The offset of the next message to read (`queue_offset`).
    pub next_offset: u64,
    /// The newest offset the source held when last asked.
    pub last_offset: Option<u64>,
}

impl Progress {
    /// How many messages wait in the source, where that is known.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        self.last_offset
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
/// and about every second while nothing arrives or the disk is full.
///
/// A full disk is waited out; any other failure of the tree ends the run. The source must begin at [`Tree::offset`] or before.
pub async fn run<S: Source>(
    source: &mut S,
    tree: Tree,
    options: &Options,
    shutdown: &Arc<AtomicBool>,
    mut progress: impl FnMut(&Progress),
) -> Result<Summary, Error> {
    let mut processor = Processor::new(tree, options.decode.clone());
    let mut last_offset = source.last_offset();
    let stopped = loop {
        let at = state(&processor, last_offset);
        progress(&at);
        let batch = match next(source, options, shutdown, || progress(&at)).await? {
            Next::Batch(batch) => batch,
            Next::End => break false,
            Next::Stopped => break true,
        };
        let written;
        (processor, written) = write(processor, batch, options, shutdown, || progress(&at)).await?;
        if !written {
            break true;
        }
        source.durable(processor.next_offset());
        last_offset = source.last_offset();
    };
    let at = state(&processor, last_offset);
    progress(&at);
    Ok(Summary {
        progress: at,
        stopped,
        tree: processor.into_tree(),
    })
}

fn state(processor: &Processor, last_offset: Option<u64>) -> Progress {
    Progress {
        counters: processor.counters(),
        next_offset: processor.next_offset(),
        last_offset,
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
    mut idle: impl FnMut(),
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
        }
        if shutdown.load(Ordering::Relaxed) {
            return Ok(Next::Stopped);
        }
        if heard.elapsed() >= IDLE {
            idle();
            heard = Instant::now();
        }
    }
}

/// Makes a batch durable off the runtime's threads, waiting out a full disk; `false` if a shutdown came while it was full.
async fn write(
    mut processor: Processor,
    batch: Batch,
    options: &Options,
    shutdown: &AtomicBool,
    mut idle: impl FnMut(),
) -> Result<(Processor, bool), Error> {
    let batch = Arc::new(batch);
    let mut pause = options.full_disk_pause;
    loop {
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
            Err(error) if error.is_disk_full() => {
                tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "disk full");
            }
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if shutdown.load(Ordering::Relaxed) {
                return Ok((processor, false));
            }
            sleep(TICK.min(until - Instant::now())).await;
        }
        idle();
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}
