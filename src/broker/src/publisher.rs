//! Messages into a stream, each confirmed by the broker: it has them on disk as far as it promises that at all.

use crate::client::{Client, ClientError};
use crate::wire::{self, Out};

/// Entries that may be unconfirmed at a time: their confirmations fit the buffers of the connection, so that neither side
/// waits for the other.
const WINDOW: u64 = 10_000;
/// The same in bytes: the broker keeps in memory what it has not written.
const WINDOW_BYTES: usize = 128 << 20;
const ID: u8 = 0;

/// How messages that were packed together are compressed; the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compression {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// A publisher with a connection of its own.
pub struct Publisher {
    client: Client,
    sent: u64,
    confirmed: u64,
    unconfirmed_bytes: usize,
}

/// Messages as they are packed together, before compression.
#[must_use]
pub fn pack<M: AsRef<[u8]>>(messages: &[M]) -> Vec<u8> {
    let mut packed = Vec::new();
    for message in messages.iter().map(AsRef::as_ref) {
        packed.extend((message.len() as u32).to_be_bytes());
        packed.extend(message);
    }
    packed
}

impl Publisher {
    /// A publisher to `stream` over `client`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(mut client: Client, stream: &str) -> Result<Self, ClientError> {
        client.declare_publisher(ID, stream)?;
        Ok(Self {
            client,
            sent: 0,
            confirmed: 0,
            unconfirmed_bytes: 0,
        })
    }

    /// Sends messages in one frame. Those that are sent without a pause may share chunks; what is confirmed before the next
    /// is sent ([`Self::confirm`]) does not share one with it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<(), ClientError> {
        let bytes = messages.iter().map(|message| message.as_ref().len() + 12).sum();
        let mut frame = Self::frame(messages.len(), bytes);
        for (id, message) in (self.sent..).zip(messages) {
            frame.u64(id).bytes(message.as_ref());
        }
        self.publish(frame, messages.len() as u64, bytes)
    }

    /// Sends messages that were packed together ([`pack`]) and compressed, as one entry. The broker looks at nothing of
    /// this: what is wrong arrives as it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send_packed(
        &mut self,
        compression: Compression,
        messages: u16,
        unpacked: u32,
        packed: &[u8],
    ) -> Result<(), ClientError> {
        let mut frame = Self::frame(1, packed.len() + 32);
        frame
            .u64(self.sent)
            .u8(0x80 | (compression as u8) << 4)
            .u16(messages)
            .u32(unpacked)
            .bytes(packed);
        self.publish(frame, 1, packed.len())
    }

    /// Waits until everything that was sent is confirmed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn confirm(&mut self) -> Result<(), ClientError> {
        self.confirm_all_but(0)
    }

    fn frame(entries: usize, bytes: usize) -> Out {
        let mut frame = Out::with_capacity(wire::PUBLISH, bytes + 16);
        frame.u8(ID).u32(entries as u32);
        frame
    }

    fn publish(&mut self, frame: Out, entries: u64, bytes: usize) -> Result<(), ClientError> {
        self.client.send(frame)?;
        self.sent += entries;
        self.unconfirmed_bytes += bytes;
        if self.unconfirmed_bytes > WINDOW_BYTES {
            self.confirm_all_but(0)?;
        }
        self.confirm_all_but(WINDOW)
    }

    fn confirm_all_but(&mut self, left: u64) -> Result<(), ClientError> {
        while self.sent - self.confirmed > left {
            let mut frame = self.client.frame()?;
            match frame.key {
                wire::PUBLISH_CONFIRM => {
                    frame.u8()?;
                    self.confirmed += u64::from(frame.u32()?);
                }
                wire::PUBLISH_ERROR => {
                    frame.take(1 + 4 + 8)?;
                    let code = frame.u16()?;
                    let command = wire::PUBLISH;
                    return Err(ClientError::Refused { command, code });
                }
                _ => {}
            }
        }
        if self.sent == self.confirmed {
            self.unconfirmed_bytes = 0;
        }
        Ok(())
    }
}
