//! What ends a connection or keeps one from being made. All of it is tried again; [`crate::Error`] holds what is not.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::{
    chunk::Damage,
    wire::{Broker, Malformed, ResponseCode},
};

/// Why there is no subscription.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error(
        "cannot reach the broker {address}: {source}; check the network, and the host and port in the configuration"
    )]
    Connect { address: String, source: io::Error },
    #[error(
        "no secure connection to {address}: {source}; check tls, tls_ca_file and the certificate's names"
    )]
    Tls { address: String, source: io::Error },
    #[error("the certificates in {} are unusable: {problem}; check tls_ca_file", path.display())]
    Authority { path: PathBuf, problem: String },
    #[error("this system has no usable certificates: {0}; install them, or set tls_ca_file")]
    NoAuthorities(String),
    #[error("{0:?} is no host name that a certificate can have; check the host in the configuration")]
    HostName(String),
    #[error("the password cannot be read: {0}")]
    Password(String),
    #[error("{0} is longer than the protocol allows; check the configuration")]
    TooLong(&'static str),
    #[error("the broker cannot check a user and password: it offers {0}")]
    Mechanisms(String),
    #[error("the broker refused {what}: {code}; {remedy}")]
    Refused {
        what: &'static str,
        code: ResponseCode,
        remedy: &'static str,
    },
    #[error("the broker was silent for {seconds} s; it hangs, or the network is cut")]
    Silent { seconds: u64 },
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the broker closed the connection without a word; its log may say why")]
    Ended,
    #[error("the broker closed the connection: {reason} ({code})")]
    Closed {
        id: u32,
        code: ResponseCode,
        reason: String,
    },
    #[error("the stream was deleted or moved ({0})")]
    Moved(ResponseCode),
    #[error("{0}; is this the port of the stream protocol?")]
    Malformed(#[from] Malformed),
    #[error(
        "the broker sent a frame of {bytes} bytes with key {key}; is this the port of the stream protocol?"
    )]
    Oversize { key: u16, bytes: usize },
    #[error("the broker answered {0} out of turn")]
    OutOfTurn(&'static str),
    #[error("the chunk at offset {offset} is damaged: {problem}")]
    Damaged { offset: u64, problem: Problem },
    #[error("the broker sent offsets {first} to {next} again, where {expected} was next")]
    Backwards { first: u64, next: u64, expected: u64 },
    #[error("this broker does not hold the stream; trying those that do")]
    Elsewhere(Vec<Broker>),
    #[error("the stream ends before offset {next}, but reading goes on at {from}")]
    BeyondEnd { from: u64, next: u64 },
}

/// What is wrong with a chunk.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Structure(#[from] Damage),
    #[error("its checksum is {found:08x} and says {said:08x}")]
    Checksum { found: u32, said: u32 },
    #[error("its frame has {0} bytes that belong to nothing")]
    Frame(usize),
}

/// What ends a session: what is tried again, and what is not.
#[derive(Debug)]
pub(super) enum Stop {
    Trouble(Trouble),
    Fatal(crate::Error),
    /// Nobody reads any more.
    Abandoned,
}

impl<T: Into<Trouble>> From<T> for Stop {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}
