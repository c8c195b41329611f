//! Bodies that were compressed by gzip (QUE-2): told by their magic bytes, inflated up to a limit.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::{DecodeError, Note};

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether this is a gzip stream. A MessagePack body never begins so: 0x1f would be the number 31.
pub(crate) fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// Inflates all members of `compressed`, at most `limit` bytes; a stream that would give more is an error.
pub(crate) fn inflate(compressed: &[u8], limit: usize, notes: &mut Vec<Note>) -> Result<Bytes, DecodeError> {
    let mut inflated = Vec::new();
    let mut rest = compressed;
    while is_gzip(rest) {
        // One byte more than allowed tells "too much" from "exactly enough".
        let room = limit.saturating_sub(inflated.len()) as u64 + 1;
        let mut decoder = GzDecoder::new(rest);
        decoder
            .by_ref()
            .take(room)
            .read_to_end(&mut inflated)
            .map_err(|error| DecodeError::Gzip {
                at: inflated.len(),
                reason: error.kind().to_string(),
            })?;
        if inflated.len() > limit {
            return Err(DecodeError::TooLarge {
                what: "inflated gzip body",
                size: None,
                limit,
            });
        }
        rest = decoder.into_inner();
    }
    if !rest.is_empty() {
        notes.push(Note::TrailingGzipBytes { count: rest.len() });
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    fn inflate_all(compressed: &[u8], limit: usize) -> (Result<Bytes, DecodeError>, Vec<Note>) {
        let mut notes = Vec::new();
        let result = inflate(compressed, limit, &mut notes);
        (result, notes)
    }

    #[test]
    fn several_members_are_one_body_and_the_rest_is_noted() {
        let two = [encode::gzip(b"cells "), encode::gzip(b"and shapes")].concat();
        assert_eq!(
            inflate_all(&two, 100),
            (Ok(Bytes::from_static(b"cells and shapes")), vec![])
        );
        let padded = [&two[..], b"\0\0\0"].concat();
        assert_eq!(
            inflate_all(&padded, 100).1,
            [Note::TrailingGzipBytes { count: 3 }]
        );
    }

    #[test]
    fn a_bomb_is_an_error_at_the_limit() {
        let bomb = encode::gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        let limit = 9_999_999;
        let error = inflate_all(&bomb, limit).0.unwrap_err();
        assert_eq!(
            error,
            DecodeError::TooLarge {
                what: "inflated gzip body",
                size: None,
                limit
            }
        );
        assert_eq!(inflate_all(&bomb, 10_000_000).0.unwrap().len(), 10_000_000);
        let two = [encode::gzip(b"12345"), encode::gzip(b"6")].concat();
        assert!(inflate_all(&two, 5).0.is_err());
    }

    #[test]
    fn every_truncation_and_a_wrong_checksum_are_errors() {
        let whole = encode::gzip(b"cells and shapes");
        for length in 2..whole.len() {
            assert_eq!(
                inflate_all(&whole[..length], 100).0.unwrap_err().kind(),
                "gzip",
                "{length}"
            );
        }
        let mut wrong = whole.clone();
        let crc = whole.len() - 8;
        wrong[crc] ^= 1;
        assert_eq!(inflate_all(&wrong, 100).0.unwrap_err().kind(), "gzip");
    }
}
