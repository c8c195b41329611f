//! A stream in one file: the embedded default where there is no broker.
//!
//! One [`FileWriter`] appends, any number of [`FileSource`]s read, also while it is written. The offset of a message is
//! its index in the file. After a kill or a power cut the file ends in at most one torn tail, which readers take for
//! the end and the next writer cuts off; damage anywhere else is an error that names the place, never a silent skip.
//!
//! # Layout, version 1 (all numbers little-endian)
//!
//! ```text
//! header   16 bytes   "azstream"  version u32  crc32 of the 12 bytes before it
//! record   12 bytes   length u32  crc32 of the payload u32  crc32 of the 8 bytes before it
//!          payload    `length` bytes
//! ```
//!
//! The head of a record has a checksum of its own, so that a damaged length is told from a tail that was not written to
//! its end. A tail counts as torn if it is shorter than the record that it begins, if it holds nothing but zeros (a
//! file system may leave those after a power cut), or if it is the last record and its payload does not match.

mod reader;
mod scan;
mod writer;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::Error;

pub use reader::FileSource;
pub use writer::FileWriter;

const MAGIC: &[u8; 8] = b"azstream";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 16;
const HEAD_BYTES: usize = 12;

/// The largest message that a stream file takes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// The header of a file.
fn header() -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    let (begin, crc) = header.split_at_mut(12);
    let (magic, version) = begin.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    version.copy_from_slice(&VERSION.to_le_bytes());
    crc.copy_from_slice(&crc32fast::hash(begin).to_le_bytes());
    header
}

/// The head of a record: how long its payload is and what that must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    length: usize,
    crc: u32,
}

impl Head {
    /// The head of `payload`, which must not be larger than [`MAX_MESSAGE_BYTES`].
    fn of(payload: &[u8]) -> Self {
        Self {
            length: payload.len(),
            crc: crc32fast::hash(payload),
        }
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let (begin, own_crc) = bytes.split_at_mut(8);
        let (length, crc) = begin.split_at_mut(4);
        length.copy_from_slice(&(self.length as u32).to_le_bytes());
        crc.copy_from_slice(&self.crc.to_le_bytes());
        own_crc.copy_from_slice(&crc32fast::hash(begin).to_le_bytes());
        bytes
    }

    /// None if the head does not match its own checksum or says more than a message can be.
    fn from_bytes(bytes: [u8; HEAD_BYTES]) -> Option<Self> {
        let (begin, own_crc) = bytes.split_at(8);
        let (length, crc) = begin.split_at(4);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let head = Self {
            length: number(length)? as usize,
            crc: number(crc)?,
        };
        let intact = number(own_crc)? == crc32fast::hash(begin);
        (intact && head.length <= MAX_MESSAGE_BYTES).then_some(head)
    }

    fn matches(self, payload: &[u8]) -> bool {
        payload.len() == self.length && crc32fast::hash(payload) == self.crc
    }

    /// The whole record's size.
    const fn record_bytes(self) -> u64 {
        (HEAD_BYTES + self.length) as u64
    }
}

const BAD_HEAD: &str = "the head of the record does not match its checksum";
const BAD_PAYLOAD: &str = "the payload does not match its checksum";

/// An open stream file and its path, for errors.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    /// Takes an open file after a look at its header.
    fn check(file: File, path: &Path) -> Result<Self, Error> {
        let log = Self {
            file,
            path: path.to_owned(),
        };
        let not_a_stream = |problem| Error::NotAStream {
            path: path.to_owned(),
            problem,
        };
        if !log.metadata()?.is_file() {
            return Err(not_a_stream("it is no regular file"));
        }
        let mut found = [0; HEADER_BYTES as usize];
        if log.length()? < HEADER_BYTES {
            return Err(not_a_stream("it is shorter than a header"));
        }
        log.read_at(&mut found, 0)?;
        let (begin, crc) = found.split_at(12);
        let (magic, version) = begin.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(not_a_stream("it does not begin with \"azstream\""));
        }
        if crc != crc32fast::hash(begin).to_le_bytes() {
            return Err(not_a_stream("its header is damaged"));
        }
        if version != VERSION.to_le_bytes() {
            let found = version
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | u32::from(byte));
            return Err(Error::Version {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
        Ok(log)
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::Io { action, path, source }
    }

    fn damaged(&self, at: Position, problem: &'static str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            position: at.byte,
            offset: at.offset,
            problem,
        }
    }

    fn metadata(&self) -> Result<std::fs::Metadata, Error> {
        self.file.metadata().map_err(self.io("look at"))
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(self.metadata()?.len())
    }

    /// The head of the record at `at`; none if what is there is no head. The file must reach that far.
    fn head(&self, at: Position) -> Result<Option<Head>, Error> {
        let mut bytes = [0; HEAD_BYTES];
        self.read_at(&mut bytes, at.byte)?;
        Ok(Head::from_bytes(bytes))
    }

    /// Fills `buffer` from the bytes at `position`.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, position).map_err(self.io("read"))
    }
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// The byte where the next record begins.
    byte: u64,
    /// The offset of that record.
    offset: u64,
}

impl Position {
    const START: Self = Self {
        byte: HEADER_BYTES,
        offset: 0,
    };

    const fn after(self, head: Head) -> Self {
        Self {
            byte: self.byte + head.record_bytes(),
            offset: self.offset + 1,
        }
    }
}
