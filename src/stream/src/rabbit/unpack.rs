//! Messages that were packed together, taken apart.
//!
//! Never more than the declared length is unpacked, and that must be within a limit, so that a bomb costs no more than
//! it says. zstd is read by ruzstd: it only decompresses, in safe Rust and without a C library, which makes it the
//! smallest and the safest for foreign bytes. snappy and lz4 come in their framed formats; snappy without a frame,
//! which some producers write, is told by its first bytes.

use std::io::Read;

use bytes::{Buf, Bytes};

use super::chunk::PackedEntry;
use crate::{Message, Packed};

/// How a framed snappy stream begins.
const SNAPPY_FRAME: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// A zstd stream may ask for this much of history however short it is: what encoders ask for by default.
const ZSTD_WINDOW: u64 = 8 << 20;

/// The messages of an entry; the entry as it came, as one, if they cannot be told apart.
///
/// At most `limit` bytes are unpacked. An entry that says it holds no message gives none.
pub fn unpack(entry: &PackedEntry, limit: usize) -> Vec<Message> {
    if entry.messages == 0 {
        return Vec::new();
    }
    let messages = decompress(entry, limit).and_then(|bytes| split(entry, bytes));
    messages.unwrap_or_else(|reason| {
        vec![Message {
            offset: entry.offset,
            bytes: entry.whole.clone(),
            packed: Some(Packed {
                messages: u32::from(entry.messages),
                reason,
            }),
        }]
    })
}

fn decompress(entry: &PackedEntry, limit: usize) -> Result<Bytes, String> {
    let length = entry.unpacked as usize;
    if length > limit {
        return Err(format!(
            "says that it unpacks to {length} bytes, the limit is {limit} bytes"
        ));
    }
    let body = entry.body();
    let packed: &[u8] = &body;
    match entry.compression {
        0 if packed.len() == length => Ok(body),
        0 => Err(format!("holds {} bytes and says {length}", packed.len())),
        1 => read_all("gzip", length, flate2::read::MultiGzDecoder::new(packed)),
        2 if packed.starts_with(SNAPPY_FRAME) => {
            read_all("snappy", length, snap::read::FrameDecoder::new(packed))
        }
        2 => raw_snappy(length, packed),
        3 => read_all("lz4", length, lz4_flex::frame::FrameDecoder::new(packed)),
        4 => {
            let window = ZSTD_WINDOW.max(length as u64);
            let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, window)
                .map_err(|error| format!("is no usable zstd: {error}"))?;
            read_all("zstd", length, decoder)
        }
        other => Err(format!("has the unknown compression {other}")),
    }
}

/// Exactly `length` bytes, or an error.
fn read_all(name: &str, length: usize, decoder: impl Read) -> Result<Bytes, String> {
    let mut bytes = Vec::with_capacity(length);
    decoder
        .take(length as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("is no usable {name}: {error}"))?;
    match bytes.len() {
        read if read == length => Ok(bytes.into()),
        read if read < length => Err(format!("unpacks to {read} bytes and says {length}")),
        _ => Err(format!("unpacks to more than the {length} bytes it says")),
    }
}

fn raw_snappy(length: usize, packed: &[u8]) -> Result<Bytes, String> {
    let unusable = |error| format!("is no usable snappy: {error}");
    let found = snap::raw::decompress_len(packed).map_err(unusable)?;
    if found != length {
        return Err(format!("unpacks to {found} bytes and says {length}"));
    }
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(packed)
        .map_err(unusable)?;
    Ok(bytes.into())
}

/// Messages with their lengths (u32) before them.
fn split(entry: &PackedEntry, mut bytes: Bytes) -> Result<Vec<Message>, String> {
    let count = usize::from(entry.messages);
    if bytes.len() < 4 * count {
        return Err(format!(
            "says {count} messages and unpacks to {} bytes",
            bytes.len()
        ));
    }
    let mut messages = Vec::with_capacity(count);
    for offset in (entry.offset..).take(count) {
        let length = bytes.try_get_u32().unwrap_or(u32::MAX) as usize;
        if length > bytes.len() {
            return Err(format!(
                "ends within message {} of {count}",
                offset - entry.offset + 1
            ));
        }
        messages.push(Message::new(offset, bytes.split_to(length)));
    }
    if bytes.is_empty() {
        Ok(messages)
    } else {
        Err(format!("has {} bytes after its {count} messages", bytes.len()))
    }
}
