//! Decoders of foreign bytes under libFuzzer: whatever comes in, they must neither panic nor take more memory than
//! they promise.
//!
//! `cargo xtask fuzz NAME [--minutes N]` runs a target; it needs cargo-fuzz (`cargo install --locked cargo-fuzz`), and no
//! nightly compiler: safe code has nothing for a sanitizer to find, so that the run does without, and the bound on
//! memory is kept by an allocator of this crate. `seeds/` is what `python3 tests/fuzz/seeds.py` makes; the corpus that
//! grows from it, and findings (`artifacts/`), stay out of the repository. A finding becomes a test of its decoder.

use annotation::{Limits, Message, Outline, decode_shared};
use bytes::Bytes;
use cap::Cap;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `decode`, in which an allocation fails, and so ends the process, once it holds more than `limit` bytes.
pub fn within<T>(limit: usize, decode: impl FnOnce() -> T) -> T {
    let bound = |limit| {
        ALLOCATOR
            .set_limit(limit)
            .expect("more than what is allocated now");
    };
    bound(ALLOCATOR.allocated().saturating_add(limit));
    let value = decode();
    bound(usize::MAX);
    value
}

/// What `pt::read` may take for a pickle and a file of these lengths (the head of the crate).
pub fn promised(pickle: usize, file: usize) -> usize {
    512 * pickle + file + (64 << 10)
}

/// What a compressed body may become in a fuzz run.
const INFLATED: usize = 1 << 20;

/// What `annotation::decode_shared` may take for a body of this length: names are the most, of which each may be one byte.
pub fn promised_for_a_body(length: usize) -> usize {
    40 * length + (64 << 10)
}

/// What it may take for a message of this length, whose body may be compressed: deflate makes at most 1032 of one.
pub fn promised_for_a_message(length: usize) -> usize {
    promised_for_a_body(length + (1032 * length).min(INFLATED))
}

/// Decodes a message within `limit` bytes, and holds it to what the queue relies on.
pub fn decode(raw: Vec<u8>, limit: usize) {
    let raw = Bytes::from(raw);
    let limits = Limits {
        inflated_bytes: INFLATED,
        ..Limits::default()
    };
    within(limit, || {
        let outline = Outline::of(&raw, &limits);
        let decoded = match decode_shared(&raw, &limits) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert!(error.to_string().len() < 1000, "an error quotes the message");
                return;
            }
        };
        assert_eq!(outline.status, Some(decoded.message.status()));
        if let Message::Annotation(annotation) = decoded.message {
            assert_eq!(outline.name.as_ref(), Some(&annotation.name));
            assert_eq!(annotation.label.rows.len(), annotation.confidences.len());
            let text = annotation.label.to_string();
            assert_eq!(text.parse(), Ok(annotation.label), "{text}");
        }
    });
}
