//! A reader of a broker, and what it reads.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, PASSWORD, USER};
use bytes::Bytes;
use stream::rabbit::{Options, RabbitSource};
use stream::{Error, Limits, Message, Source};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn options(broker: &Broker, stream: &str) -> Options {
    let password = Arc::new(|| Ok(Zeroizing::new(PASSWORD.to_owned())));
    Options {
        port: broker.port(),
        heartbeat: Duration::from_secs(1),
        ..Options::new(stream, USER, password)
    }
}

/// The next `count` messages, called durable as they come; their offsets are ascending.
pub async fn take(source: &mut RabbitSource, count: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    while messages.len() < count {
        messages.extend(next(source).await.unwrap());
    }
    assert!(messages.is_sorted_by(|a, b| a.next_offset() <= b.offset));
    messages
}

pub async fn next(source: &mut RabbitSource) -> Result<Vec<Message>, Error> {
    let waiting = timeout(PATIENCE, source.next(Limits::default()));
    let Ok(batch) = waiting.await else {
        panic!(
            "nothing came in {PATIENCE:?}: {:?}",
            source.watch().borrow().clone()
        );
    };
    let batch = batch?.unwrap();
    source.durable(batch.next_offset());
    Ok(batch.messages)
}

/// The error that ends the source.
pub async fn end(source: &mut RabbitSource) -> Error {
    loop {
        if let Err(error) = next(source).await {
            return error;
        }
    }
}

/// Nothing more comes.
pub async fn assert_silent(source: &mut RabbitSource) {
    let more = timeout(Duration::from_millis(500), source.next(Limits::default())).await;
    assert!(more.is_err(), "{more:?}");
}

/// Offsets from 0 on without a gap, and these bytes.
pub fn assert_are(messages: &[Message], expected: &[Vec<u8>]) {
    for (offset, (message, expected)) in (0..).zip(messages.iter().zip(expected)) {
        assert_eq!((message.offset, &message.packed), (offset, &None));
        assert!(
            message.bytes == Bytes::copy_from_slice(expected),
            "the bytes at offset {offset}"
        );
    }
    assert_eq!(messages.len(), expected.len());
}

/// Waits until `holds`.
pub async fn until(source: &RabbitSource, what: &str, holds: impl Fn(&RabbitSource) -> bool) {
    let waiting = async {
        while !holds(source) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, waiting).await.is_err() {
        panic!(
            "not {what} after {PATIENCE:?}: {:?}",
            source.watch().borrow().clone()
        );
    }
}

/// Numbered messages of many sizes.
pub fn numbered(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range
        .map(|n| {
            let mut message = format!("cell {n} ").into_bytes();
            message.resize(8 + (n as usize * 7919) % 20_000, n as u8);
            message
        })
        .collect()
}

/// Publishes in frames of ten, each confirmed.
pub fn publish(broker: &Broker, stream: &str, messages: &[Vec<u8>]) {
    let mut publisher = broker.publisher(stream).unwrap();
    for frame in messages.chunks(10) {
        publisher.send(frame).unwrap();
    }
    publisher.confirm().unwrap();
}
