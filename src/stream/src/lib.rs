//! A stream of messages, numbered from 0, read in batches from wherever the reader left off.
//!
//! [`Source`] is what a consumer sees: batches of raw messages with their offsets, and a way to say what is safe on
//! disk. [`rabbit`] reads a RabbitMQ stream; [`mod@file`] is the embedded form, a stream in one file with one writer and any
//! number of readers; [`memory`] is for tests. What the bytes of a message mean is not known here, and they are never
//! logged or printed.

mod error;
pub mod file;
pub mod memory;
pub mod rabbit;

use std::{fmt, future::Future};

use bytes::Bytes;

pub use error::Error;

/// One message: its bytes as the producer sent them, and its place in the stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The place, from 0.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// Set where the bytes are no message but several packed as one, which cannot be unpacked.
    pub packed: Option<Packed>,
}

/// Why messages that were packed together cannot be told apart: they stay one, whole, under the offset of the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// How many offsets they take.
    pub messages: u32,
    /// What is wrong with them.
    pub reason: String,
}

impl Message {
    /// A message as it came.
    pub fn new(offset: u64, bytes: Bytes) -> Self {
        Self {
            offset,
            bytes,
            packed: None,
        }
    }

    /// The offset of the message behind it.
    pub fn next_offset(&self) -> u64 {
        let offsets = self.packed.as_ref().map_or(1, |packed| packed.messages);
        self.offset.saturating_add(u64::from(offsets))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Message {{ offset: {}, bytes: [{} bytes] }}",
            self.offset,
            self.bytes.len()
        )
    }
}

/// Messages with ascending offsets; at least one. Some offsets of a broker's stream are no message's.
///
/// The messages of a batch may share one buffer: whoever keeps one keeps the memory of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The messages.
    pub messages: Vec<Message>,
}

impl Batch {
    /// The offset after the last message: where reading goes on.
    pub fn next_offset(&self) -> u64 {
        self.messages.last().map_or(0, Message::next_offset)
    }
}

/// How much a batch may hold. A batch always holds one message, however large that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most this many messages.
    pub max_messages: usize,
    /// At most about this many bytes, which bounds the memory of a batch.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_messages: 256,
            max_bytes: 32 << 20,
        }
    }
}

/// Where messages come from.
pub trait Source: Send {
    /// The next messages. None at the end of a source that is not followed; a source that is followed waits instead.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has consumed nothing, so a caller may race it against
    /// a shutdown or a time-out.
    fn next(&mut self, limits: Limits) -> impl Future<Output = Result<Option<Batch>, Error>> + Send;

    /// Says that everything below offset `next` is safe on disk and will not be asked for again.
    fn durable(&mut self, next: u64);

    /// The newest offset that the source is known to hold, to tell how far behind a consumer is; none if it is empty
    /// or does not say.
    fn last_offset(&self) -> Option<u64>;

    /// How the source is, for those who watch it.
    fn link(&self) -> Link;
}

/// What a source knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whether messages would arrive if there were any: a file is open, a broker has accepted the subscription.
    pub subscribed: bool,
    /// Signs of life so far: anything that was heard from the other side, attempts to reach it. As long as this
    /// number grows, the source is neither hung nor silent.
    pub signs: u64,
    /// Why it is not subscribed, in words; none where it is.
    pub trouble: Option<String>,
}
