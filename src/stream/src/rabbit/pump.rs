//! From the frames of a subscription to messages: each chunk is checked before any of its messages is handed out.
//!
//! A chunk that fits a third of the buffer is read into one allocation of its size, and its messages are slices of it. A
//! larger one is read twice: once to check it, keeping nothing, then again from the wanted offset on, in segments, its
//! messages handed out as they arrive. The broker is told to send it again by a new subscription on the same connection;
//! what it still had under way for the old one is read and dropped. Its checksum is compared again at the end, before the
//! last segment is handed out.
//!
//! The subscription asks for all chunks, those with the broker's own books included: so offsets must follow each other
//! without a gap, and a missing one is noticed.

use std::convert::Infallible;

use bytes::BytesMut;
use crc32fast::Hasher;
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    Options, Progress, State,
    chunk::{self, Entries, Entry, Header, Step},
    connection::{Inbound, accept},
    trouble::{Problem, Stop, Trouble},
    unpack::unpack,
    wire::{self, Head, Incoming, Outgoing, Start, key},
};
use crate::{Error, Message};

/// Of what size the pieces are in which a large chunk is kept.
const SEGMENT_BYTES: usize = 1 << 20;
/// Messages that are handed out together, at most.
const PIECE_MESSAGES: usize = 1024;
/// What a message costs beside its bytes.
const MESSAGE_BYTES: usize = size_of::<Message>();

/// Asks the broker for every chunk, its own books included.
pub(super) const ALL_CHUNKS: &[(&str, &str)] = &[("chunk_selector", "all")];

/// A subscription being read.
pub(super) struct Pump<'a, 'b> {
    pub options: &'a Options,
    pub state: &'a State,
    pub progress: &'a mut Progress,
    pub inbound: &'a mut Inbound<'b>,
    /// Frames for the keeper to send.
    pub requests: mpsc::UnboundedSender<Request>,
    /// Where messages go.
    pub pieces: &'a mpsc::UnboundedSender<Result<Vec<Message>, Error>>,
    pub subscription: u8,
    /// Where the last chunk of this subscription ended.
    pub reached: Option<u64>,
    pub waiting: Waiting,
}

/// Makes a frame of the number that it gets.
pub(super) type Request = Box<dyn FnOnce(u32) -> Outgoing + Send>;

/// Messages not yet handed out, and what they cost.
#[derive(Default)]
pub(super) struct Waiting {
    messages: Vec<Message>,
    bytes: usize,
}

/// A chunk and how it came.
struct Delivery {
    header: Header,
    /// Bytes of the frame after the data.
    rest: usize,
}

impl Pump<'_, '_> {
    /// Reads until something ends the subscription.
    pub(super) async fn run(&mut self) -> Result<Infallible, Stop> {
        loop {
            let head = self.inbound.head().await?;
            if head.key == key::DELIVER {
                self.deliver(head).await?;
            } else {
                let incoming = self.inbound.content(head).await?;
                self.hear(incoming)?;
            }
        }
    }

    /// Takes in what is no chunk.
    fn hear(&mut self, incoming: Incoming) -> Result<(), Trouble> {
        match incoming {
            Incoming::Close { id, code, reason } => Err(Trouble::Closed { id, code, reason }),
            Incoming::MetadataUpdate { code, stream } if stream == self.options.stream => {
                Err(Trouble::Moved(code))
            }
            Incoming::StreamStats { code, stats } => {
                accept(code, "to tell where the stream ends", "check the stream")?;
                if let Some(&(_, last)) = stats.iter().find(|(name, _)| name == "committed_chunk_id") {
                    self.state.saw_last(u64::try_from(last).ok());
                }
                Ok(())
            }
            Incoming::Response {
                key: key::SUBSCRIBE,
                code,
                ..
            } => accept(
                code,
                "the subscription",
                "check queue_name and the user's permissions",
            ),
            Incoming::ConsumerUpdate { id, active } => {
                let start = active.then_some(Start::Offset(self.progress.next));
                self.request(move |_| wire::consumer_update_response(id, start));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Leaves a request to the keeper. It lives as long as the pump does.
    fn request(&self, frame: impl FnOnce(u32) -> Outgoing + Send + 'static) {
        let _ = self.requests.send(Box::new(frame));
    }

    async fn deliver(&mut self, head: Head) -> Result<(), Stop> {
        let [subscription] = self.inbound.take().await?;
        let mut before = 1 + chunk::HEADER_BYTES;
        if head.version >= wire::DELIVER_VERSION {
            let committed = u64::from_be_bytes(self.inbound.take().await?);
            before += 8;
            // An empty stream's is -1.
            self.state
                .saw_last(i64::try_from(committed).is_ok().then_some(committed));
        }
        let header = Header::parse(&self.inbound.take().await?);
        let header = header.map_err(|damage| self.damaged(self.progress.next, damage))?;
        let delivery = Delivery {
            header,
            rest: frame_rest(head.content, before, &header)
                .map_err(|bytes| self.damaged(header.first, Problem::Frame(bytes)))?,
        };
        if subscription != self.subscription {
            // Sent for a subscription that has ended since. Checked in passing, it need not be checked again.
            return Ok(self.verify(&delivery).await?);
        }
        self.place(&header)?;
        if !header.holds_messages || header.next_offset() <= self.progress.next {
            self.pass_over(&delivery).await
        } else if self.cost(&header) <= self.options.buffer / 3 {
            self.whole(&delivery).await
        } else if self.progress.is_verified(&header) {
            self.in_segments(&delivery).await
        } else {
            self.verify(&delivery).await?;
            self.subscribe_again();
            Ok(())
        }
    }

    /// Checks that a chunk is the one that must come now.
    fn place(&mut self, header: &Header) -> Result<(), Stop> {
        let (first, next) = (header.first, header.next_offset());
        let expected = self.reached.unwrap_or(self.progress.next);
        if first > expected {
            self.gap(expected, first)?;
        }
        let begins = self.reached.is_none() && (next > expected || first == expected);
        if first < expected && !begins {
            return Err(Trouble::Backwards {
                first,
                next,
                expected,
            }
            .into());
        }
        self.reached = Some(next);
        self.progress.delivered = true;
        Ok(())
    }

    /// Messages between `from` and `first` are gone: an error, unless the operator has accepted that.
    fn gap(&mut self, from: u64, first: u64) -> Result<(), Stop> {
        let stream = &self.options.stream;
        if self.options.accept_loss_before < first {
            return Err(Stop::Fatal(Error::Gap {
                stream: stream.clone(),
                from,
                first,
            }));
        }
        let messages = first - from;
        warn!(
            stream,
            from, first, messages, "messages are lost, as accepted by rabbitmq.accept_loss_before"
        );
        self.progress.pass(first);
        Ok(())
    }

    /// A chunk of which nothing is wanted.
    async fn pass_over(&mut self, delivery: &Delivery) -> Result<(), Stop> {
        let Delivery { header, rest } = delivery;
        self.inbound
            .skip(header.data as usize + rest, &mut Hasher::new())
            .await?;
        self.received(header);
        Ok(())
    }

    /// Checks a chunk and keeps nothing but that it is sound.
    async fn verify(&mut self, delivery: &Delivery) -> Result<(), Trouble> {
        let Delivery { header, rest } = delivery;
        let mut hasher = Hasher::new();
        self.inbound.skip(header.data as usize, &mut hasher).await?;
        self.check(header, &hasher)?;
        self.inbound.skip(*rest, &mut Hasher::new()).await?;
        if self.cost(header) > self.options.buffer / 3 {
            self.progress.remember(header);
        }
        Ok(())
    }

    /// Has the broker send the chunks from the wanted offset on once more.
    fn subscribe_again(&mut self) {
        let old = self.subscription;
        self.subscription = old.wrapping_add(1);
        self.reached = None;
        let (new, stream, next) = (self.subscription, self.options.stream.clone(), self.progress.next);
        self.request(move |id| wire::unsubscribe(id, old));
        self.request(move |id| wire::subscribe(id, new, &stream, Start::Offset(next), 1, ALL_CHUNKS));
        self.state.ledger.subscribed(new);
    }

    /// A chunk in one allocation.
    async fn whole(&mut self, delivery: &Delivery) -> Result<(), Stop> {
        let Delivery { header, rest } = delivery;
        let cost = self.cost(header);
        self.state.ledger.reserve(cost).await;
        let length = header.data as usize;
        let (mut data, mut hasher) = (BytesMut::with_capacity(length), Hasher::new());
        self.inbound.append(&mut data, length, &mut hasher).await?;
        self.check(header, &hasher)?;
        self.inbound.skip(*rest, &mut Hasher::new()).await?;
        let mut entries = header.entries();
        let needs = self.decode(header, &mut entries, &mut data).await?;
        debug_assert_eq!(needs, None, "all of the data is there");
        self.waiting.bytes += cost;
        self.hand_out()?;
        self.received(header);
        Ok(())
    }

    /// A chunk that was checked before, as it arrives.
    async fn in_segments(&mut self, delivery: &Delivery) -> Result<(), Stop> {
        let Delivery { header, rest } = delivery;
        let (mut entries, mut hasher) = (header.entries(), Hasher::new());
        let (mut left, mut tail) = (header.data as usize, BytesMut::new());
        let mut needs = 0;
        loop {
            let capacity = SEGMENT_BYTES.max(needs).min(left + tail.len());
            let cost = capacity + entries.left().min(capacity / 4) * MESSAGE_BYTES;
            self.state.ledger.reserve(cost).await;
            let mut segment = BytesMut::with_capacity(capacity);
            segment.extend_from_slice(&tail);
            let arriving = capacity - tail.len();
            self.inbound.append(&mut segment, arriving, &mut hasher).await?;
            left -= arriving;
            if left == 0
                && let Err(trouble) = self.check(header, &hasher)
            {
                self.progress.forget(header);
                return Err(trouble.into());
            }
            let more = self.decode(header, &mut entries, &mut segment).await?;
            self.waiting.bytes += cost;
            self.hand_out()?;
            let Some(more) = more else { break };
            (needs, tail) = (more, segment);
        }
        self.inbound.skip(*rest, &mut Hasher::new()).await?;
        self.received(header);
        Ok(())
    }

    /// Takes all entries out of `data` that are whole in it; the size of the next one if there is more to come.
    async fn decode(
        &mut self,
        header: &Header,
        entries: &mut Entries,
        data: &mut BytesMut,
    ) -> Result<Option<usize>, Stop> {
        loop {
            let step = entries
                .next(data)
                .map_err(|damage| self.damaged(header.first, damage))?;
            match step {
                Step::End => return Ok(None),
                Step::Needs(bytes) => return Ok(Some(bytes)),
                Step::Entry(Entry::Plain { offset, bytes }) => self.push(Message::new(offset, bytes)),
                Step::Entry(Entry::Packed(packed)) => {
                    let messages = usize::from(packed.messages);
                    let unpacked = (packed.unpacked as usize).min(self.options.max_unpacked);
                    let cost = messages * MESSAGE_BYTES + if packed.compression == 0 { 0 } else { unpacked };
                    self.reserve(cost).await?;
                    self.waiting.bytes += cost;
                    for message in unpack(&packed, self.options.max_unpacked) {
                        self.push(message);
                    }
                }
            }
            if self.waiting.messages.len() >= PIECE_MESSAGES || self.waiting.bytes >= SEGMENT_BYTES {
                self.hand_out()?;
            }
        }
    }

    /// Reserves bytes; before it waits for room, everything that can become durable is handed out.
    async fn reserve(&mut self, bytes: usize) -> Result<(), Stop> {
        if !self.state.ledger.try_reserve(bytes) {
            self.hand_out()?;
            self.state.ledger.reserve(bytes).await;
        }
        Ok(())
    }

    /// Keeps a message to hand out, if it is a wanted one.
    fn push(&mut self, message: Message) {
        if message.next_offset() > self.progress.next {
            self.progress.next = message.next_offset();
            self.waiting.messages.push(message);
        }
    }

    /// Hands out what is waiting.
    fn hand_out(&mut self) -> Result<(), Stop> {
        let Waiting { messages, bytes } = std::mem::take(&mut self.waiting);
        if let Some(last) = messages.last() {
            self.progress.handed = last.next_offset();
        }
        self.progress.resume = self.progress.next;
        self.state.ledger.hand_out(self.progress.handed, bytes);
        if !messages.is_empty() && self.pieces.send(Ok(messages)).is_err() {
            return Err(Stop::Abandoned);
        }
        Ok(())
    }

    /// A chunk is through: reading goes on behind it, and its credit comes back when its messages are durable.
    fn received(&mut self, header: &Header) {
        self.progress.pass(header.next_offset());
        self.state.passed(self.progress.resume, self.progress.handed);
        let bytes = chunk::HEADER_BYTES + header.data as usize;
        self.state.ledger.chunk_received(self.progress.handed, bytes);
    }

    /// What a chunk in memory costs, what is packed in it apart.
    fn cost(&self, header: &Header) -> usize {
        header.data as usize + usize::from(header.entries) * MESSAGE_BYTES
    }

    fn check(&self, header: &Header, hasher: &Hasher) -> Result<(), Trouble> {
        let found = hasher.clone().finalize();
        let said = header.crc;
        if found == said {
            return Ok(());
        }
        Err(self.damaged(header.first, Problem::Checksum { found, said }))
    }

    fn damaged(&self, offset: u64, problem: impl Into<Problem>) -> Trouble {
        Trouble::Damaged {
            offset,
            problem: problem.into(),
        }
    }
}

/// The bytes of a frame after the data of its chunk: none, or the trailer. Anything else is an error with its size.
fn frame_rest(content: usize, before: usize, header: &Header) -> Result<usize, usize> {
    let rest = content
        .checked_sub(before)
        .and_then(|left| left.checked_sub(header.data as usize));
    match rest {
        Some(rest) if rest == 0 || rest == header.trailer as usize => Ok(rest),
        other => Err(other.unwrap_or(content)),
    }
}
