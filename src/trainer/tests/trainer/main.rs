//! The program `azaion-train` as its users start it, by itself or through `azaion`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod bad_input;
mod common;
mod convert;
mod demo;
mod probe;
mod service;
mod soak;
mod through_azaion;
