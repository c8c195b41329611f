//! Private RabbitMQ brokers for tests, soak runs and benchmarks; never shipped.
//!
//! [`Broker`] is a real RabbitMQ of one of the versions that `cargo xtask setup --brokers` brings, alone in a folder, on
//! ports of its own on loopback: it can be killed, frozen, stopped and started again on the same data. [`Publisher`] and
//! [`Client`] speak the stream protocol to it, [`Proxy`] is a network between it and a client that can be cut.
//! Everything ends when its handle is dropped, and when the process that holds the handle dies; nothing else is touched.
//!
//! The protocol is written from RabbitMQ's description of it (PROTOCOL.adoc of the stream plugin).

mod broker;
mod client;
mod ports;
mod proxy;
mod publisher;
mod room;
mod tls;
mod wire;

pub use broker::{Broker, Error, Options, PASSWORD, StreamOptions, USER};
pub use client::{Chunk, Client, ClientError};
pub use proxy::{Network, Proxy};
pub use publisher::{Compression, Publisher, pack};
pub use tls::{TlsError, write_authority};
pub use xtask::brokers::Version;
