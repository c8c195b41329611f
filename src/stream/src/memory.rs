//! A stream in memory, for tests of whatever consumes a [`Source`].

use bytes::Bytes;
use tokio::sync::watch;

use crate::{Batch, Error, Limits, Link, Message, Source};

/// A source over a list of messages, which ends after the last.
#[derive(Debug)]
pub struct MemorySource {
    messages: Vec<Bytes>,
    next: u64,
    durable: u64,
    link: watch::Sender<Link>,
}

impl MemorySource {
    /// A source that holds `messages` from offset 0 and starts reading at `from`; beyond the end it is at its end.
    pub fn new(messages: impl IntoIterator<Item = impl Into<Bytes>>, from: u64) -> Self {
        let messages: Vec<Bytes> = messages.into_iter().map(Into::into).collect();
        let link = watch::Sender::new(Link {
            subscribed: true,
            last_offset: (messages.len() as u64).checked_sub(1),
            ..Link::default()
        });
        Self {
            messages,
            next: from,
            durable: 0,
            link,
        }
    }

    /// The greatest offset that the consumer called durable.
    pub fn durable_offset(&self) -> u64 {
        self.durable
    }
}

impl Source for MemorySource {
    async fn next(&mut self, limits: Limits) -> Result<Option<Batch>, Error> {
        let mut bytes = 0_usize;
        let mut messages = Vec::new();
        let rest = self
            .messages
            .iter()
            .zip(0..)
            .skip_while(|(_, offset)| *offset < self.next);
        for (message, offset) in rest.take(limits.max_messages.max(1)) {
            bytes = bytes.saturating_add(message.len());
            if bytes > limits.max_bytes && !messages.is_empty() {
                break;
            }
            messages.push(Message::new(offset, message.clone()));
        }
        if messages.is_empty() {
            return Ok(None);
        }
        let batch = Batch { messages };
        self.next = batch.next_offset();
        Ok(Some(batch))
    }

    fn durable(&mut self, next: u64) {
        self.durable = self.durable.max(next);
    }

    fn watch(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limits(max_messages: usize, max_bytes: usize) -> Limits {
        Limits {
            max_messages,
            max_bytes,
        }
    }

    #[tokio::test]
    async fn batches_keep_to_both_limits_and_hold_at_least_one_message() {
        let mut source = MemorySource::new(["aa", "bbbb", "c", "d", "e"], 0);
        let mut offsets = Vec::new();
        for limits in [limits(9, 5), limits(9, 3), limits(2, 99), limits(0, 0)] {
            let batch = source.next(limits).await.unwrap().unwrap();
            offsets.push(
                batch
                    .messages
                    .iter()
                    .map(|message| message.offset)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(offsets, [vec![0], vec![1], vec![2, 3], vec![4]]);
        assert_eq!(source.next(Limits::default()).await.unwrap(), None);
        source.durable(3);
        source.durable(1);
        assert_eq!(
            (source.durable_offset(), source.watch().borrow().last_offset),
            (3, Some(4))
        );
    }

    #[tokio::test]
    async fn reading_starts_where_it_is_told() {
        let mut source = MemorySource::new(["a", "b"], 1);
        let batch = source.next(Limits::default()).await.unwrap().unwrap();
        assert_eq!(batch.messages, [Message::new(1, Bytes::from_static(b"b"))]);
        assert_eq!(batch.next_offset(), 2);
        assert_eq!(
            MemorySource::new(["a"], 7).next(Limits::default()).await.unwrap(),
            None
        );
        assert_eq!(MemorySource::new([""; 0], 0).watch().borrow().last_offset, None);
    }
}
