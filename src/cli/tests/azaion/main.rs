//! The program `azaion` as its users start it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod alert;
mod check;
mod common;
mod config;
mod dataset;
mod deploy;
mod import;
mod queue;
mod runs;
mod split;
