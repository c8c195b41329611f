//! What can go wrong with a stream: each error names the place and the next step.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a stream cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a stream file: {problem}; check the path", path.display())]
    NotAStream {
        /// The file.
        path: PathBuf,
        /// What is different.
        problem: &'static str,
    },
    /// The file was written by a later program.
    #[error("{} has format version {found}, this program reads version {known}; use a newer program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: u32,
        /// The version that is known here.
        known: u32,
    },
    /// A record in the middle is damaged. What lies before it is intact and can still be read.
    #[error(
        "{} is damaged at byte {position}, offset {offset}: {problem}; \
         the messages before it are intact; restore the file from a backup, or publish the rest into a new one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes.
        position: u64,
        /// The record's offset in the stream.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The reader was to start after the end.
    #[error(
        "{} holds {messages} messages, so there is no offset {from} to start from; \
         was the file replaced? check the path and the saved offset",
        path.display()
    )]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where reading was to start.
        from: u64,
        /// How many messages there are.
        messages: u64,
    },
    /// The file was taken away or cut off while it was read.
    #[error("{} {problem} while it was read; check what replaced it, then open it again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        problem: &'static str,
    },
    /// Another program writes to this stream.
    #[error("{} is open for writing elsewhere; a stream has one writer at a time: stop the other one", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A message larger than a record can be.
    #[error("a message of {size} bytes does not fit into {}; the limit is {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The message's size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier append failed half-way and could not be undone.
    #[error("{} takes no more messages after an append that could not be undone; open it again", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// A broker cannot be read from, and no more attempts are wanted.
    #[error("stream {stream} cannot be read after {tries} attempts: {problem}")]
    Broker {
        /// The stream.
        stream: String,
        /// How many attempts failed in a row.
        tries: u32,
        /// What the last one failed of, and what to do.
        problem: String,
    },
    /// Messages are gone that were to be read: the broker deletes what is older or more than the stream may keep.
    #[error(
        "stream {stream} no longer holds offsets {from} to {}: {} messages are lost, it begins at {first}; to go on \
         without them set rabbitmq.accept_loss_before to {first}",
        first.saturating_sub(1),
        first.saturating_sub(*from)
    )]
    Gap {
        /// The stream.
        stream: String,
        /// The offset that was wanted.
        from: u64,
        /// The first one that is there.
        first: u64,
    },
    /// A stream is shorter than what was read of it.
    #[error(
        "stream {stream} ends before offset {next}, but reading was to go on at {from}: it is not the stream that was \
         read before; if it was deleted and made anew, set offset.yaml to the offset to begin at, then run azaion queue rebuild-ledger"
    )]
    BeyondEnd {
        /// The stream.
        stream: String,
        /// Where reading was to go on.
        from: u64,
        /// The offset that the next message will get.
        next: u64,
    },
    /// A chunk is damaged, however often it is sent.
    #[error(
        "stream {stream} holds a damaged chunk at offset {offset}: {problem}, also on a second connection; the messages \
         before it are intact; restore it from a replica, or set offset.yaml to an offset behind it, which gives up its \
         messages"
    )]
    DamagedChunk {
        /// The stream.
        stream: String,
        /// The first offset of the chunk.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// An earlier error ended the reader.
    #[error("the reader of stream {stream} has ended; start it again")]
    Ended {
        /// The stream.
        stream: String,
    },
}
