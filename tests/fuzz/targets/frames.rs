//! Frames of the stream protocol, the chunks apart: the first bytes are the head.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stream::rabbit::wire::{self, HEAD_BYTES, Head};

fuzz_target!(|bytes: &[u8]| {
    let Some((head, content)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
    let Ok(head) = Head::parse(*head) else { return };
    // Lists and texts of what a frame holds, never of what it only says it holds.
    fuzz::within(64 * content.len() + (4 << 10), || {
        // An error is as good as a frame.
        let _ = wire::parse(head, content);
    });
});
