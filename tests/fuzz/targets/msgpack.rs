//! MessagePack bodies in a sound message. Compressed ones are left to whole messages: no checksum keeps those from being read.
#![no_main]

use annotation::Status;
use annotation::encode::{self, Property};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if body.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    for property in [
        Property::Absent,
        Property::Number(Status::Edited),
        Property::Name(Status::Deleted),
    ] {
        let raw = encode::message(body, property);
        fuzz::decode(raw, fuzz::promised_for_a_body(body.len()));
    }
});
