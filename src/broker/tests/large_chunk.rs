//! A chunk of 300 MB through a buffer of 16 MB: memory is bounded by the buffer and the largest message, not by the chunk.
//! Alone in its process, because it measures that process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where anything is not as it should be"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, PASSWORD, StreamOptions, USER, Version};
use stream::rabbit::{Options, RabbitSource};
use stream::{Limits, Source};
use tokio::time::timeout;
use zeroize::Zeroizing;

const BUFFER: usize = 16 << 20;
const MESSAGE: usize = 600_000;
const LARGE: usize = 512;
/// A broker takes twice as many messages into a chunk as into the one before while more are waiting: these small ones
/// come first, so that the large ones meet in one chunk.
const SMALL: usize = 508;
const MESSAGES: usize = SMALL + LARGE;
/// What the process may need beside the buffer: itself, a runtime, buffers of the connection.
const REST_KB: u64 = 12 << 10;

#[tokio::test]
async fn a_chunk_of_300_mb_of_rabbitmq_3_10_needs_no_more_memory_than_the_buffer() {
    bounded(
        "a_chunk_of_300_mb_of_rabbitmq_3_10_needs_no_more_memory_than_the_buffer",
        Version::V3_10,
    )
    .await;
}

#[tokio::test]
async fn a_chunk_of_300_mb_of_rabbitmq_4_0_needs_no_more_memory_than_the_buffer() {
    bounded(
        "a_chunk_of_300_mb_of_rabbitmq_4_0_needs_no_more_memory_than_the_buffer",
        Version::V4_0,
    )
    .await;
}

async fn bounded(test: &str, version: Version) {
    // In one process the one would pay for what the other uses.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    if let Some(broker) = Broker::for_test(test, version) {
        publish(&broker);
        read(&broker).await;
    }
}

fn size(number: usize) -> usize {
    if number < SMALL { 1 } else { MESSAGE }
}

fn message(number: usize) -> Vec<u8> {
    vec![number as u8; size(number)]
}

/// One frame, so that all of it is waiting when the broker writes.
fn publish(broker: &Broker) {
    broker.create_stream("large", &StreamOptions::default()).unwrap();
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(message).collect();
    let mut publisher = broker.publisher("large").unwrap();
    publisher.send(&messages).unwrap();
    publisher.confirm().unwrap();
    let chunks = broker.client().unwrap().read("large", MESSAGES as u64).unwrap();
    let largest = chunks.iter().map(|chunk| chunk.data.len()).max().unwrap();
    assert!(largest > 250_000_000, "the largest chunk has {largest} bytes");
}

async fn read(broker: &Broker) {
    let password = Arc::new(|| Ok(Zeroizing::new(PASSWORD.to_owned())));
    let before = measure_from_now();
    let started = Instant::now();
    let mut source = RabbitSource::start(Options {
        port: broker.port(),
        buffer: BUFFER,
        ..Options::new("large", USER, password)
    });
    let (mut count, mut first) = (0, None);
    while count < MESSAGES {
        let limits = Limits {
            max_bytes: BUFFER / 4,
            ..Limits::default()
        };
        let Ok(batch) = timeout(Duration::from_secs(120), source.next(limits)).await else {
            panic!("nothing came: {:?}", source.watch().borrow().clone());
        };
        let batch = batch.unwrap().unwrap();
        first.get_or_insert_with(|| started.elapsed());
        for message in &batch.messages {
            assert_eq!((message.offset, message.bytes.len()), (count as u64, size(count)));
            assert!(message.bytes.iter().all(|byte| *byte == count as u8));
            count += 1;
        }
        source.durable(batch.next_offset());
    }
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak_kb().saturating_sub(before);
    eprintln!(
        "{}: {peak} kB more at the peak, buffer {} bytes, first message after {:.2} s, all after {seconds:.2} s",
        broker.version(),
        source.peak_bytes(),
        first.unwrap().as_secs_f64(),
    );
    assert!(source.peak_bytes() <= BUFFER + MESSAGE, "{}", source.peak_bytes());
    assert!(peak <= (BUFFER as u64 >> 10) + REST_KB, "{peak} kB");
    source.close().await;
}

/// Forgets the highest memory so far; what is resident now, in kB.
fn measure_from_now() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kb()
}

fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
