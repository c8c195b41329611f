//! Chunks against a model that has all the bytes at once, however they arrive; and any bytes at all.

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};
use stream::rabbit::{
    chunk::{self, Damage, HEADER_BYTES, Header, Step},
    unpack, wire,
};

use crate::broker::{Chunk, Entry, Packed};

/// The entries of a chunk whose data arrives in parts of these sizes, again and again.
fn decode(chunk: &Chunk, parts: &[usize]) -> Result<Vec<chunk::Entry>, Damage> {
    let header = Header::parse(chunk.bytes[..HEADER_BYTES].try_into().unwrap())?;
    let mut arriving = &chunk.bytes[HEADER_BYTES..];
    let mut parts = parts.iter().cycle();
    let (mut entries, mut data, mut decoded) = (header.entries(), BytesMut::new(), Vec::new());
    loop {
        match entries.next(&mut data)? {
            Step::End => return Ok(decoded),
            Step::Entry(entry) => decoded.push(entry),
            Step::Needs(bytes) => {
                assert!(bytes > data.len() && bytes <= entries.bytes_left());
                let (part, rest) =
                    arriving.split_at(arriving.len().min(parts.next().map_or(1, |&part| part)));
                data.extend_from_slice(part);
                arriving = rest;
            }
        }
    }
}

/// What `decode` must give.
fn model(first: u64, entries: &[Entry]) -> Vec<chunk::Entry> {
    let mut offset = first;
    let mut decoded = Vec::new();
    for entry in entries {
        decoded.push(match entry {
            Entry::Plain(message) => chunk::Entry::Plain {
                offset,
                bytes: Bytes::copy_from_slice(message),
            },
            Entry::Packed(packed) => chunk::Entry::Packed(chunk::PackedEntry {
                offset,
                compression: packed.compression,
                messages: packed.messages,
                unpacked: packed.unpacked,
                whole: entry.bytes().into(),
            }),
        });
        offset += u64::from(entry.records());
    }
    decoded
}

fn packed() -> impl Strategy<Value = Packed> {
    (0..8_u8, any::<u16>(), any::<u32>(), vec(any::<u8>(), 0..60)).prop_map(
        |(compression, messages, unpacked, body)| Packed {
            compression,
            messages,
            unpacked,
            body,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        vec(any::<u8>(), 0..60).prop_map(Entry::Plain),
        packed().prop_map(Entry::Packed),
    ]
}

proptest! {
    #[test]
    fn a_chunk_is_read_the_same_however_it_arrives(
        first in 0..u64::MAX / 2,
        entries in vec(entry(), 0..12),
        parts in vec(1..40_usize, 1..6),
    ) {
        let decoded = decode(&Chunk::new(first, &entries), &parts);
        prop_assert_eq!(decoded.unwrap(), model(first, &entries));
    }

    #[test]
    fn a_chunk_that_ends_too_early_is_never_read_to_its_end(
        entries in vec(entry(), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let data: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
        let records = entries.iter().map(Entry::records).sum();
        let cut = Chunk::with_data(0, 0, entries.len() as u16, records, &data[..cut.index(data.len())], b"");
        prop_assert!(decode(&cut, &[7]).is_err());
    }

    #[test]
    fn any_bytes_are_a_chunk_or_an_error(
        header in vec(any::<u8>(), HEADER_BYTES),
        entries in 0..9_u16,
        records in 0..20_u32,
        data in vec(any::<u8>(), 0..200),
    ) {
        let _ = Header::parse(header.as_slice().try_into().unwrap());
        let _ = decode(&Chunk::with_data(0, 0, entries, records, &data, b""), &[3, 50]);
    }

    #[test]
    fn any_bytes_are_packed_messages_or_one_message(
        compression in 0..8_u8,
        messages in 1..9_u16,
        unpacked in 0..300_u32,
        body in vec(any::<u8>(), 0..200),
    ) {
        let entry = Entry::Packed(Packed { compression, messages, unpacked, body });
        let chunk::Entry::Packed(packed) = model(5, std::slice::from_ref(&entry)).remove(0) else { unreachable!() };
        let unpacked = unpack(&packed, 1000);
        let offsets: u64 = unpacked.iter().map(|message| message.next_offset() - message.offset).sum();
        prop_assert_eq!(offsets, u64::from(messages));
        prop_assert_eq!(unpacked[0].offset, 5);
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in vec(any::<u8>(), 8..300), key in 0..30_u16, response: bool) {
        let _ = wire::Head::parse(bytes[..8].try_into().unwrap());
        for key in [key | u16::from(response) << 15, u16::from_be_bytes([bytes[0], bytes[1]])] {
            let head = wire::Head { content: bytes.len(), key, version: 1 };
            let _ = wire::parse(head, &bytes);
        }
    }
}
