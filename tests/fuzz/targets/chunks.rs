//! Chunks, however they arrive: the first byte says in which parts. What is packed in them is unpacked.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use stream::rabbit::{
    chunk::{Entry, HEADER_BYTES, Header, Step},
    unpack,
};

/// The most that packed messages may unpack to.
const UNPACKED: usize = 1 << 20;
/// What the decoders of compressed data take for themselves: zstd asks for the most.
const DECODERS: usize = 32 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((part, bytes)) = bytes.split_first() else { return };
    let Some((header, mut arriving)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    let Ok(header) = Header::parse(header) else { return };
    let part = usize::from(*part) + 1;
    // A message takes 4 bytes at least, and about 80 to hold it.
    fuzz::within(4 * bytes.len() + 32 * UNPACKED + DECODERS, || {
        let (mut entries, mut data, mut next) = (header.entries(), BytesMut::new(), header.first);
        while let Ok(step) = entries.next(&mut data) {
            match step {
                Step::End => {
                    assert_eq!(next, header.next_offset());
                    break;
                }
                Step::Needs(bytes) => {
                    assert!(bytes > data.len());
                    let (now, later) = arriving.split_at(part.min(arriving.len()));
                    if now.is_empty() {
                        break;
                    }
                    data.extend_from_slice(now);
                    arriving = later;
                }
                Step::Entry(Entry::Plain { offset, .. }) => {
                    assert_eq!(offset, next);
                    next += 1;
                }
                Step::Entry(Entry::Packed(packed)) => {
                    assert_eq!(packed.offset, next);
                    for message in unpack(&packed, UNPACKED) {
                        assert_eq!(message.offset, next);
                        next = message.next_offset();
                    }
                }
            }
        }
    });
});
