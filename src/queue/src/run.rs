//! The loop between a source and the tree.
//!
//! While one batch gets its names, the bytes of the next are synced, and one more is received and prepared, so that the
//! disk, the network and the processors are busy at once; memory stays within the limits of five batches and what the source
//! reads ahead. A batch is acknowledged when it is durable. A shutdown ends the loop; the batch that is being written is
//! finished first (QUE-8).

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::Tree;
use stream::{Batch, Limits, Link, Source};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::counters::Counters;
use crate::prepare::{Prepared, Preparer};
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
    /// How much one batch may hold. Up to five are in memory: received, prepared, synced, waiting and written. Two that
    /// wait may become durable together.
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
    #[error("cannot read the stream")]
    Stream(#[from] stream::Error),
    /// The tree cannot be written.
    #[error("cannot keep the annotations")]
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
    let processor = Processor::new(tree, options.decode.clone());
    let mut watcher = Watcher {
        at: state(&processor),
        link: source.watch(),
        told: Instant::now(),
        progress,
    };
    watcher.tell();
    let mut pipeline = Pipeline::new(processor, options);
    let ended = pipeline.work(source, shutdown, &mut watcher).await;
    // What is being written is finished, and what is known to be durable is told, whatever ended the run.
    let finished = pipeline.finish(source, &mut watcher).await;
    let stopped = ended?;
    let processor = finished?;
    watcher.tell();
    Ok(Summary {
        progress: watcher.at,
        stopped,
        tree: processor.into_tree(),
    })
}

/// The way from the source into the tree: received, prepared, synced, written, each while the next is in the step before.
struct Pipeline<'o> {
    options: &'o Options,
    preparer: Preparer,
    /// At rest, it is here; at work, in `writing`.
    processor: Option<Box<Processor>>,
    preparing: Option<JoinHandle<Prepared>>,
    /// What is prepared and not yet being synced.
    prepared: Prepared,
    syncing: Option<JoinHandle<Prepared>>,
    /// What is synced and not yet being written.
    ready: Prepared,
    writing: Option<JoinHandle<Written>>,
    /// The last offset may not be durable.
    unsettled: bool,
    /// The source has said its last.
    end: Option<Result<(), stream::Error>>,
    closed: Option<Closed>,
}

/// How writing came out.
type Written = (Box<Processor>, Prepared, store::Result<()>);

/// A disk that takes nothing.
struct Closed {
    /// Until when it is left alone.
    until: Instant,
    pause: Duration,
}

/// What happens next.
enum Event {
    Arrived(Result<Option<Batch>, stream::Error>),
    Prepared(Result<Prepared, JoinError>),
    Synced(Result<Prepared, JoinError>),
    Written(Result<Written, JoinError>),
    /// It may be time to try the disk again.
    DiskTick,
    Stopped,
}

impl<'o> Pipeline<'o> {
    fn new(processor: Processor, options: &'o Options) -> Self {
        Self {
            options,
            preparer: processor.preparer(),
            processor: Some(Box::new(processor)),
            preparing: None,
            prepared: Prepared::default(),
            syncing: None,
            ready: Prepared::default(),
            writing: None,
            unsettled: false,
            end: None,
            closed: None,
        }
    }

    /// Until the source ends (`false`) or a shutdown is asked for (`true`).
    async fn work<S: Source>(
        &mut self,
        source: &mut S,
        shutdown: &AtomicBool,
        watcher: &mut Watcher<impl FnMut(&Progress)>,
    ) -> Result<bool, Error> {
        loop {
            if shutdown.load(Ordering::Relaxed) {
                return Ok(true);
            }
            self.begin_to_sync();
            self.begin_to_write(watcher);
            if self.is_idle()
                && let Some(end) = self.end.take()
            {
                end?;
                return Ok(false);
            }
            match self.next(source, shutdown, watcher).await {
                Event::Arrived(Ok(Some(batch))) => {
                    let preparer = self.preparer.clone();
                    self.preparing = Some(spawn_blocking(move || preparer.prepare(batch)));
                }
                Event::Arrived(Ok(None)) => self.end = Some(Ok(())),
                Event::Arrived(Err(error)) => self.end = Some(Err(error)),
                Event::Prepared(prepared) => {
                    self.preparing = None;
                    self.prepared.append(finished(prepared)?);
                }
                Event::Synced(synced) => {
                    self.syncing = None;
                    self.ready.append(finished(synced)?);
                }
                Event::Written(written) => {
                    self.writing = None;
                    self.take_back(finished(written)?, source, watcher)?;
                }
                Event::DiskTick => {}
                Event::Stopped => return Ok(true),
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.writing.is_none() && self.ready.is_empty() && !self.has_more_to_come()
    }

    /// Whether something is on its way to be written.
    fn has_more_to_come(&self) -> bool {
        self.preparing.is_some() || !self.prepared.is_empty() || self.syncing.is_some()
    }

    /// Starts to sync what is prepared, if nobody is at it and there is room behind.
    fn begin_to_sync(&mut self) {
        let has_room = self.ready.room(self.options.batch).is_some();
        if self.prepared.is_empty() || self.syncing.is_some() || !has_room {
            return;
        }
        let prepared = std::mem::take(&mut self.prepared);
        if prepared.has_files() {
            let preparer = self.preparer.clone();
            self.syncing = Some(spawn_blocking(move || preparer.sync(prepared)));
        } else {
            self.ready.append(prepared);
        }
    }

    /// Starts writing, if there is something to write, nobody is at it, and the disk is not left alone.
    fn begin_to_write(&mut self, watcher: &mut Watcher<impl FnMut(&Progress)>) {
        let waits = self
            .closed
            .as_ref()
            .is_some_and(|closed| Instant::now() < closed.until);
        if waits || (self.ready.is_empty() && (!self.unsettled || self.has_more_to_come())) {
            return;
        }
        let Some(mut processor) = self.processor.take() else {
            return;
        };
        let mut batch = std::mem::take(&mut self.ready);
        if batch.is_empty() {
            self.unsettled = false;
        } else {
            self.unsettled = true;
            watcher.at.attempts += 1;
        }
        self.writing = Some(spawn_blocking(move || {
            let written = match batch.is_empty() {
                true => processor.settle(),
                false => processor.commit(&mut batch),
            };
            (processor, batch, written)
        }));
    }

    /// Waits for what happens next.
    async fn next<S: Source>(
        &mut self,
        source: &mut S,
        shutdown: &AtomicBool,
        watcher: &mut Watcher<impl FnMut(&Progress)>,
    ) -> Event {
        let room = self.prepared.room(self.options.batch);
        let limits = room.filter(|_| self.preparing.is_none() && self.end.is_none() && self.closed.is_none());
        let arrival = arrival(source, limits);
        tokio::pin!(arrival);
        loop {
            if shutdown.load(Ordering::Relaxed) {
                return Event::Stopped;
            }
            tokio::select! {
                // What is done makes room for what comes.
                biased;
                written = end_of(&mut self.writing) => return Event::Written(written),
                synced = end_of(&mut self.syncing) => return Event::Synced(synced),
                prepared = end_of(&mut self.preparing) => return Event::Prepared(prepared),
                batch = &mut arrival => return Event::Arrived(batch),
                () = watcher.turn() => watcher.tell(),
                () = sleep(TICK) => {
                    watcher.tell_of_idleness();
                    if self.closed.is_some() {
                        return Event::DiskTick;
                    }
                }
            }
        }
    }

    /// A batch is durable, or the disk took nothing.
    fn take_back<S: Source>(
        &mut self,
        (processor, batch, written): Written,
        source: &mut S,
        watcher: &mut Watcher<impl FnMut(&Progress)>,
    ) -> Result<(), Error> {
        let before = watcher.at.next_offset;
        watcher.at = Progress {
            attempts: watcher.at.attempts,
            ..state(&processor)
        };
        source.durable(processor.next_offset());
        self.processor = Some(processor);
        match written {
            Ok(()) => {
                self.closed = None;
                if watcher.at.next_offset == before {
                    return Ok(());
                }
            }
            Err(error) if error.is_disk_closed() => {
                let pause = self
                    .closed
                    .as_ref()
                    .map_or(self.options.closed_disk_pause, |closed| {
                        (closed.pause * 2).min(LONGEST_PAUSE)
                    });
                tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "disk takes nothing");
                watcher.at.blocked = Some(error.to_string());
                let until = Instant::now() + pause;
                self.closed = Some(Closed { until, pause });
                let later = std::mem::replace(&mut self.ready, batch);
                self.ready.append(later);
                // What failed may have been the settling alone: it is tried again too.
                self.unsettled = true;
            }
            Err(error) => return Err(error.into()),
        }
        watcher.tell();
        Ok(())
    }

    /// Finishes what is being written, and leaves what is not begun to the next start.
    async fn finish<S: Source>(
        mut self,
        source: &mut S,
        watcher: &mut Watcher<impl FnMut(&Progress)>,
    ) -> Result<Box<Processor>, Error> {
        for task in [self.preparing.take(), self.syncing.take()].into_iter().flatten() {
            drop(finished(task.await)?);
        }
        if let Some(writing) = self.writing.take() {
            self.take_back(finished(writing.await)?, source, watcher)?;
        }
        let mut processor = self.processor.take().ok_or(Error::Runtime)?;
        let settled = spawn_blocking(move || {
            let settled = processor.settle();
            (processor, settled)
        });
        let (processor, settled) = finished(settled.await)?;
        match settled {
            Err(error) if !error.is_disk_closed() => Err(error.into()),
            _ => Ok(processor),
        }
    }
}

/// The source's next batch; never, where there is no room for one.
async fn arrival<S: Source>(source: &mut S, limits: Option<Limits>) -> Result<Option<Batch>, stream::Error> {
    match limits {
        Some(limits) => source.next(limits).await,
        None => pending().await,
    }
}

/// What a task comes to; never, where there is none.
async fn end_of<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => pending().await,
    }
}

/// A panic goes on where it is waited for.
fn finished<T>(task: Result<T, JoinError>) -> Result<T, Error> {
    task.map_err(|error| {
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic())
        }
        Error::Runtime
    })
}

/// Tells how far the queue is, with the source as it is at that moment.
struct Watcher<F> {
    at: Progress,
    link: watch::Receiver<Link>,
    told: Instant,
    progress: F,
}

impl<F: FnMut(&Progress)> Watcher<F> {
    /// Waits until the source is subscribed that was not, or the other way round: that is worth a word at once.
    async fn turn(&mut self) {
        let told = self.at.link.subscribed;
        if self.link.wait_for(|link| link.subscribed != told).await.is_err() {
            // The source says nothing more.
            pending().await
        }
    }

    fn tell(&mut self) {
        self.at.link.clone_from(&self.link.borrow());
        self.told = Instant::now();
        (self.progress)(&self.at);
    }

    /// Nothing has happened for a while; that is worth a word too.
    fn tell_of_idleness(&mut self) {
        if self.told.elapsed() >= IDLE {
            self.tell();
        }
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
