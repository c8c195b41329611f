//! Whole messages of the annotation queue: AMQP sections, perhaps gzip, MessagePack, JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzz::decode(bytes.to_vec(), fuzz::promised_for_a_message(bytes.len()));
});
