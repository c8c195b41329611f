//! The reader of a RabbitMQ stream, over the broker's native protocol, versions 3.10 to 4.
//!
//! It hands out every message from an offset on, once and in order, whatever happens to broker and network meanwhile: it
//! reconnects for ever and goes on behind the last message handed out. No message leaves it before the checksum of its
//! chunk was found right. Memory is bounded by [`Options::buffer`] and the largest message, whatever the size of chunks.
//! The broker gets its credit back when messages are durable; while the buffer is full, nothing is read. Heartbeats go
//! both ways: a broker that is silent for two of them counts as lost.
//!
//! What must not be papered over ends it with an error: messages that retention deleted before they were read
//! ([`Error::Gap`]), a stream that is shorter than what was read of it ([`Error::BeyondEnd`]), a chunk that is damaged
//! however often it is sent ([`Error::DamagedChunk`]). Passwords and bytes of messages are never logged.

pub mod chunk;
mod connection;
mod ledger;
mod pump;
mod session;
mod transport;
mod trouble;
mod unpack;
pub mod wire;

use std::{
    collections::VecDeque,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
    vec,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use zeroize::Zeroizing;

use crate::{Batch, Error, Limits, Link, Message, Source};
use ledger::Ledger;
use wire::Broker;

pub use unpack::unpack;

/// Gives the password, anew at every attempt, so that it can be changed while the reader runs.
pub type Password = Arc<dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync>;

/// What to read, from where, and how.
#[derive(Clone)]
pub struct Options {
    /// The broker's name or address.
    pub host: String,
    /// The port of its stream protocol, usually 5552, with TLS 5551.
    pub port: u16,
    /// With TLS, or without where the network is trusted.
    pub tls: Option<Tls>,
    /// Who logs in.
    pub user: String,
    /// With what.
    pub password: Password,
    /// Where the stream lives, `/` by default.
    pub virtual_host: String,
    /// The stream.
    pub stream: String,
    /// The offset of the first message that is wanted.
    pub from: u64,
    /// How often each side says that it lives; whole seconds, at least one.
    pub heartbeat: Duration,
    /// How many bytes of messages may be received and not yet durable; a message larger than that passes alone.
    pub buffer: usize,
    /// The most bytes to which messages that were packed together may unpack.
    pub max_unpacked: usize,
    /// The operator accepts that messages before this offset are lost, if the stream no longer holds them.
    pub accept_loss_before: u64,
    /// How long to go on trying.
    pub patience: Patience,
}

/// A secure connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file of authorities (PEM) to trust in the place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// How long to go on trying to reach a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For ever, as a daemon does.
    Forever,
    /// So many times in a row, as a tool does, then it is an error.
    Tries(u32),
}

impl Options {
    /// Reading `stream` from its beginning, from a broker on this machine, with the defaults of the configuration.
    pub fn new(stream: impl Into<String>, user: impl Into<String>, password: Password) -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 5552,
            tls: None,
            user: user.into(),
            password,
            virtual_host: "/".into(),
            stream: stream.into(),
            from: 0,
            heartbeat: Duration::from_secs(10),
            buffer: 48 << 20,
            max_unpacked: 128 << 20,
            accept_loss_before: 0,
            patience: Patience::Forever,
        }
    }

    /// How long a broker may be silent.
    fn silence(&self) -> Duration {
        2 * self.heartbeat.max(Duration::from_secs(1))
    }

    fn broker(&self) -> Broker {
        Broker {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("virtual_host", &self.virtual_host)
            .field("stream", &self.stream)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// What the connection and its consumer both see.
#[derive(Debug)]
struct State {
    ledger: Ledger,
    signs: AtomicU64,
    /// The newest offset known, plus one; 0 for none.
    end: AtomicU64,
    /// Up to where everything was looked at, and the end of the last message in that.
    passed: AtomicU64,
    handed: AtomicU64,
    standing: Mutex<Standing>,
}

/// Whether there is a subscription, and if not, why.
#[derive(Debug, Clone, Default)]
struct Standing {
    subscribed: bool,
    trouble: Option<String>,
}

impl State {
    /// Counts a sign of life.
    fn sign(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// The stream holds at least this offset.
    fn saw_last(&self, last: Option<u64>) {
        let end = last.map_or(0, |last| last.saturating_add(1));
        self.end.fetch_max(end, Ordering::Relaxed);
    }

    /// Everything before `passed` was looked at; the last message in it ends before `handed`.
    fn passed(&self, passed: u64, handed: u64) {
        self.handed.store(handed, Ordering::Relaxed);
        self.passed.store(passed, Ordering::Relaxed);
        self.end.fetch_max(passed, Ordering::Relaxed);
    }

    /// The offset after the last message known. What follows the last message in the broker's own books is not counted:
    /// nobody who reads messages ever gets there.
    fn end_of_messages(&self) -> u64 {
        let end = self.end.load(Ordering::Relaxed);
        match self.passed.load(Ordering::Relaxed) >= end {
            true => self.handed.load(Ordering::Relaxed),
            false => end,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far reading has come; it outlives connections.
#[derive(Debug)]
struct Progress {
    /// The next offset that is wanted.
    next: u64,
    /// Everything before is handed out or not wanted: where a new connection goes on.
    resume: u64,
    /// The offset after the last message that was handed out, which is as far as a consumer can say durable.
    handed: u64,
    /// Large chunks that were found sound: first offset, checksum, length.
    verified: VecDeque<(u64, u32, u32)>,
    /// Whether this connection delivered a chunk.
    delivered: bool,
}

/// So many large chunks are remembered: as many as may be under way at once.
const REMEMBERED_CHUNKS: usize = 8;

impl Progress {
    fn new(from: u64) -> Self {
        Self {
            next: from,
            resume: from,
            handed: from,
            verified: VecDeque::new(),
            delivered: false,
        }
    }

    /// Nothing before `next` is wanted, and nothing of it is waiting to be handed out.
    fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.resume = self.next;
    }

    fn is_verified(&self, header: &chunk::Header) -> bool {
        self.verified.contains(&mark(header))
    }

    fn remember(&mut self, header: &chunk::Header) {
        if !self.is_verified(header) {
            self.verified.truncate(REMEMBERED_CHUNKS - 1);
            self.verified.push_front(mark(header));
        }
    }

    fn forget(&mut self, header: &chunk::Header) {
        self.verified.retain(|known| *known != mark(header));
    }
}

fn mark(header: &chunk::Header) -> (u64, u32, u32) {
    (header.first, header.crc, header.data)
}

/// A stream of a broker, read from an offset on.
///
/// What [`Source::next`] gave must be called durable before more than [`Options::buffer`] bytes are asked for: until
/// then nothing more is read. A batch has ascending offsets, with gaps where the broker keeps its own books.
///
/// Dropping it ends the connection in the background; [`RabbitSource::close`] waits for that.
#[derive(Debug)]
pub struct RabbitSource {
    stream: String,
    state: Arc<State>,
    pieces: mpsc::UnboundedReceiver<Result<Vec<Message>, Error>>,
    /// Messages that were received and are not yet asked for.
    piece: vec::IntoIter<Message>,
    /// Dropped, it ends the task.
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl RabbitSource {
    /// Starts reading, in a task of the runtime in which this is called. Whatever goes wrong is seen in
    /// [`Source::next`] and [`Source::link`].
    pub fn start(options: Options) -> Self {
        let state = Arc::new(State {
            ledger: Ledger::new(options.buffer, options.from),
            signs: AtomicU64::new(0),
            end: AtomicU64::new(0),
            passed: AtomicU64::new(options.from),
            handed: AtomicU64::new(options.from),
            standing: Mutex::default(),
        });
        let (sender, pieces) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        Self {
            stream: options.stream.clone(),
            state: Arc::clone(&state),
            pieces,
            piece: Vec::new().into_iter(),
            end: Some(end),
            task: tokio::spawn(session::run(options, state, sender, ended)),
        }
    }

    /// Ends the connection in good order, which takes at most a second.
    pub async fn close(mut self) {
        self.end = None;
        self.pieces.close();
        let _ = (&mut self.task).await;
    }

    /// The most bytes that were ever received and not yet durable.
    #[doc(hidden)]
    pub fn peak_bytes(&self) -> usize {
        self.state.ledger.peak()
    }

    /// Moves messages into `batch` while it keeps to the limits. False when it is full.
    fn fill(&mut self, batch: &mut Vec<Message>, bytes: &mut usize, limits: Limits) -> bool {
        while let Some(message) = self.piece.as_slice().first() {
            let total = bytes.saturating_add(message.bytes.len());
            let full = batch.len() >= limits.max_messages || total > limits.max_bytes;
            if full && !batch.is_empty() {
                return false;
            }
            *bytes = total;
            batch.extend(self.piece.next());
        }
        true
    }
}

impl Source for RabbitSource {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, Error> {
        if self.piece.as_slice().is_empty() {
            // An error is the last thing to come.
            let piece = self.pieces.recv().await.unwrap_or_else(|| {
                Err(Error::Ended {
                    stream: self.stream.clone(),
                })
            })?;
            self.piece = piece.into_iter();
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while self.fill(&mut messages, &mut bytes, limits) {
            let Ok(Ok(piece)) = self.pieces.try_recv() else {
                break;
            };
            self.piece = piece.into_iter();
        }
        Ok(Some(Batch { messages }))
    }

    fn durable(&mut self, next: u64) {
        self.state.ledger.durable(next);
    }

    fn last_offset(&self) -> Option<u64> {
        self.state.end_of_messages().checked_sub(1)
    }

    fn link(&self) -> Link {
        let Standing { subscribed, trouble } = self.state.standing().clone();
        Link {
            subscribed,
            signs: self.state.signs.load(Ordering::Relaxed),
            trouble,
        }
    }
}
