//! Chunks: the unit in which a stream is stored, checked and delivered.
//!
//! A chunk is a header of 48 bytes and data: entries, each one message or several packed together. [`Entries`] takes
//! them from whatever part of the data has arrived, without a copy and without looking at anything twice. Decoding is
//! total: any bytes give entries, or an error that names the byte. Facts: the description of the format in osiris, the
//! log that RabbitMQ's streams are built on, and what brokers 3.10.8 and 4.0.5 sent.
//!
//! Offsets are taken by all chunks, also by those in which the broker keeps its own books (the places of consumers, the
//! counters of named producers): between the messages of a stream there can be offsets that are no message's.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Bytes of a chunk's header.
pub const HEADER_BYTES: usize = 48;

/// Magic and version of the format.
const MAGIC: u8 = 0x50;
/// Bytes before a message: its length.
const PLAIN_HEAD: usize = 4;
/// Bytes before packed messages: compression, count, length unpacked, length.
const PACKED_HEAD: usize = 11;

/// A chunk that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{problem} (byte {position})")]
pub struct Damage {
    /// The byte of the chunk's data where that was noticed.
    pub position: u32,
    /// What is wrong.
    pub problem: &'static str,
}

/// What a chunk says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether it holds messages; the broker's own books otherwise.
    pub holds_messages: bool,
    /// Entries in the data.
    pub entries: u16,
    /// Offsets that it takes.
    pub records: u32,
    /// The first of them.
    pub first: u64,
    /// CRC-32 of the data.
    pub crc: u32,
    /// Bytes of the data.
    pub data: u32,
    /// Bytes of the broker's own that may follow the data.
    pub trailer: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Damage> {
        let damage = |problem| Damage { position: 0, problem };
        if bytes[0] != MAGIC {
            return Err(damage("it is no chunk of a known format"));
        }
        if bytes[1] > 2 {
            return Err(damage("its kind is unknown"));
        }
        let header = Self {
            holds_messages: bytes[1] == 0,
            entries: u16::from_be_bytes([bytes[2], bytes[3]]),
            records: number(&bytes[4..8]) as u32,
            first: number(&bytes[24..32]),
            crc: number(&bytes[32..36]) as u32,
            data: number(&bytes[36..40]) as u32,
            trailer: number(&bytes[40..44]) as u32,
        };
        if header.first.checked_add(u64::from(header.records)).is_none() {
            return Err(damage("its offsets go beyond the largest number"));
        }
        Ok(header)
    }

    /// The offset after its last.
    pub fn next_offset(&self) -> u64 {
        self.first.saturating_add(u64::from(self.records))
    }

    /// Its entries, none of them taken yet.
    pub fn entries(&self) -> Entries {
        Entries {
            entries_left: self.entries,
            records_left: self.records,
            next_offset: self.first,
            position: 0,
            length: self.data,
        }
    }
}

/// Up to eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// An entry of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A message.
    Plain {
        /// Its offset.
        offset: u64,
        /// The message.
        bytes: Bytes,
    },
    /// Messages packed together.
    Packed(PackedEntry),
}

/// Messages that a producer packed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedEntry {
    /// The offset of the first.
    pub offset: u64,
    /// How they are compressed: 0 not at all, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub compression: u8,
    /// How many there are.
    pub messages: u16,
    /// Bytes unpacked.
    pub unpacked: u32,
    /// The whole entry as it came.
    pub whole: Bytes,
}

impl PackedEntry {
    /// What is packed.
    pub fn body(&self) -> Bytes {
        self.whole.slice(PACKED_HEAD.min(self.whole.len())..)
    }
}

/// What comes next in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An entry.
    Entry(Entry),
    /// Nothing before so many bytes have arrived.
    Needs(usize),
    /// Nothing more.
    End,
}

/// The entries of a chunk that are still to be taken.
#[derive(Debug, Clone)]
pub struct Entries {
    entries_left: u16,
    records_left: u32,
    next_offset: u64,
    /// Bytes of the data that were taken.
    position: u32,
    length: u32,
}

impl Entries {
    /// How many entries are still to come.
    pub fn left(&self) -> usize {
        usize::from(self.entries_left)
    }

    /// Bytes of the data that no entry has been taken from yet.
    pub fn bytes_left(&self) -> usize {
        (self.length - self.position) as usize
    }

    /// Takes the next entry off the front of `data`, which is what has arrived of the bytes that are left.
    pub fn next(&mut self, data: &mut BytesMut) -> Result<Step, Damage> {
        if self.entries_left == 0 {
            return self.end();
        }
        let Some(&first) = data.first() else {
            return self.needs(PLAIN_HEAD);
        };
        if first & 0x80 == 0 {
            self.plain(data)
        } else {
            self.packed(data)
        }
    }

    fn plain(&mut self, data: &mut BytesMut) -> Result<Step, Damage> {
        let Some(head) = data.get(..PLAIN_HEAD) else {
            return self.needs(PLAIN_HEAD);
        };
        let size = PLAIN_HEAD + number(head) as usize;
        if data.len() < size {
            return self.needs(size);
        }
        let offset = self.pass(size, 1)?;
        let bytes = data.split_to(size).freeze().split_off(PLAIN_HEAD);
        Ok(Step::Entry(Entry::Plain { offset, bytes }))
    }

    fn packed(&mut self, data: &mut BytesMut) -> Result<Step, Damage> {
        let Some(head) = data.get(..PACKED_HEAD) else {
            return self.needs(PACKED_HEAD);
        };
        let (compression, messages) = (head[0] >> 4 & 0x7, number(&head[1..3]) as u16);
        let unpacked = number(&head[3..7]) as u32;
        let size = PACKED_HEAD.saturating_add(number(&head[7..11]) as usize);
        if data.len() < size {
            return self.needs(size);
        }
        let offset = self.pass(size, u32::from(messages))?;
        Ok(Step::Entry(Entry::Packed(PackedEntry {
            offset,
            compression,
            messages,
            unpacked,
            whole: data.split_to(size).freeze(),
        })))
    }

    /// Steps over an entry of `size` bytes that takes `records` offsets, and gives the first of them.
    fn pass(&mut self, size: usize, records: u32) -> Result<u64, Damage> {
        if size > self.bytes_left() {
            return Err(self.damage("an entry reaches past the end of the data"));
        }
        self.records_left = self
            .records_left
            .checked_sub(records)
            .ok_or_else(|| self.damage("its entries hold more messages than it says"))?;
        self.entries_left -= 1;
        self.position += size as u32;
        let offset = self.next_offset;
        self.next_offset += u64::from(records);
        Ok(offset)
    }

    fn needs(&self, bytes: usize) -> Result<Step, Damage> {
        if bytes > self.bytes_left() {
            return Err(self.damage("an entry reaches past the end of the data"));
        }
        Ok(Step::Needs(bytes))
    }

    fn end(&self) -> Result<Step, Damage> {
        if self.bytes_left() > 0 {
            return Err(self.damage("there is more data than entries"));
        }
        if self.records_left > 0 {
            return Err(self.damage("its entries hold fewer messages than it says"));
        }
        Ok(Step::End)
    }

    fn damage(&self, problem: &'static str) -> Damage {
        Damage {
            position: self.position,
            problem,
        }
    }
}
