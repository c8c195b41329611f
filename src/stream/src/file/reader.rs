//! Reading a stream file in batches.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use tokio::sync::watch;
use tracing::warn;

use super::{
    BAD_HEAD, BAD_PAYLOAD, HEAD_BYTES, Head, Log, Position,
    scan::{self, End, Tail},
};
use crate::{Batch, Error, Limits, Link, Message, Source};

/// How long a follower waits before it looks again: at first, and at most.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_LONGEST: Duration = Duration::from_millis(250);

/// Reads a stream file from any offset.
///
/// A batch is one read into one buffer, and its messages are slices of that. Every payload is checked before it is
/// handed out. A torn tail is the end; a source that follows waits there for the writer to go on.
#[derive(Debug)]
pub struct FileSource {
    log: Arc<Log>,
    follow: bool,
    /// Where the next batch begins.
    next: Position,
    /// Where the intact records end, as far as is known.
    end: End,
    tail_reported: bool,
    link: watch::Sender<Link>,
}

impl FileSource {
    /// Opens the stream at `path` to read from offset `from`; with `follow`, reading waits at the end for more.
    ///
    /// Finding `from` and the end takes one small read a record. `from` may be the offset after the last message.
    pub fn open(path: &Path, from: u64, follow: bool) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let log = Log::check(file, path)?;
        let mut next = None;
        let end = scan::walk(&log, Position::START, |record| {
            if record.offset == from {
                next = Some(record);
            }
        })?;
        let messages = end.position.offset;
        let next = next.or((messages == from).then_some(end.position));
        let next = next.ok_or_else(|| Error::PastEnd {
            path: path.to_owned(),
            from,
            messages,
        })?;
        Ok(Self {
            log: Arc::new(log),
            follow,
            next,
            end,
            tail_reported: false,
            link: watch::Sender::new(Link {
                subscribed: true,
                last_offset: messages.checked_sub(1),
                ..Link::default()
            }),
        })
    }

    /// Takes in what was appended since the last look.
    async fn look_for_more(&mut self) -> Result<(), Error> {
        let metadata = self.log.metadata()?;
        let replaced = |problem| {
            Err(Error::Replaced {
                path: self.log.path.clone(),
                problem,
            })
        };
        if self.follow && metadata.nlink() == 0 {
            return replaced("was removed");
        }
        if metadata.len() < self.end.position.byte {
            return replaced("was cut off");
        }
        // A torn tail makes the file longer than this and is looked at again each time: a record of the same size may
        // have taken its place.
        if metadata.len() == self.end.position.byte {
            return Ok(());
        }
        let (log, start) = (Arc::clone(&self.log), self.end.position);
        self.end = self.blocking(move || scan::walk(&log, start, |_| {})).await?;
        Ok(())
    }

    /// Runs file work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            // The runtime is shutting down and did not begin the work.
            Err(error) => Err(self.log.io("read")(io::Error::other(error))),
        }
    }

    /// At the end of a file that is not followed, a torn tail is worth a word.
    fn report_tail(&mut self) {
        if let (Tail::Torn { bytes }, false) = (self.end.tail, self.tail_reported) {
            let (path, at) = (self.log.path.display(), self.end.position);
            warn!(%path, position = at.byte, offset = at.offset, bytes, "stream ends in a torn record");
            self.tail_reported = true;
        }
    }
}

impl Source for FileSource {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, Error> {
        let mut pause = POLL_FIRST;
        loop {
            self.look_for_more().await?;
            self.link.send_modify(|link| {
                link.signs += 1;
                link.last_offset = self.end.position.offset.checked_sub(1);
            });
            if self.next != self.end.position {
                break;
            }
            if !self.follow {
                self.report_tail();
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_LONGEST);
        }
        let (log, from, to) = (Arc::clone(&self.log), self.next, self.end.position);
        let (batch, next) = self.blocking(move || read_batch(&log, from, to, limits)).await?;
        self.next = next;
        Ok(Some(batch))
    }

    /// A file keeps everything: there is nothing to grant and nothing to forget.
    fn durable(&mut self, _next: u64) {}

    fn watch(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

/// Reads the records from `from`, at least one and at most those before `to`, within the limits. Damage ends the batch
/// before it; at the beginning it is an error.
fn read_batch(log: &Log, from: Position, to: Position, limits: Limits) -> Result<(Batch, Position), Error> {
    let (heads, end) = plan(log, from, to, limits)?;
    let mut buffer = vec![0; (end.byte - from.byte) as usize];
    log.read_at(&mut buffer, from.byte)?;
    let mut buffer = Bytes::from(buffer);
    let mut messages = Vec::with_capacity(heads.len());
    let mut at = from;
    for head in heads {
        buffer.advance(HEAD_BYTES);
        let bytes = buffer.split_to(head.length);
        if !head.matches(&bytes) {
            if messages.is_empty() {
                return Err(log.damaged(at, BAD_PAYLOAD));
            }
            break;
        }
        messages.push(Message::new(at.offset, bytes));
        at = at.after(head);
    }
    Ok((Batch { messages }, at))
}

/// The heads of the next batch, and where it ends, so that one read of the right size fetches it.
fn plan(log: &Log, from: Position, to: Position, limits: Limits) -> Result<(Vec<Head>, Position), Error> {
    let mut heads = Vec::new();
    let mut bytes = 0;
    let mut at = from;
    while at.byte < to.byte && heads.len() < limits.max_messages.max(1) {
        let head = match log.head(at)? {
            Some(head) => head,
            None if heads.is_empty() => return Err(log.damaged(at, BAD_HEAD)),
            None => break,
        };
        bytes += head.length;
        if bytes > limits.max_bytes && !heads.is_empty() {
            break;
        }
        heads.push(head);
        at = at.after(head);
    }
    Ok((heads, at))
}
