//! `stream::rabbit` against real brokers of both versions, and messages of three publishers. Every test ends in exactly the
//! messages that were published: what the broker holds is read back by the harness's own client, which shares no code
//! with the reader.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where anything is not as it should be"
)]

mod common;
mod ends;
mod messages;
mod streams;
