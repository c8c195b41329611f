//! The program `azaion` as its users start it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod bad_input;
mod common;
mod convert;
mod demo;
mod import;
mod queue;
