//! What the reader of a broker's stream promises, against a broker that does what a test wants to go wrong.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what only prepares a test may panic too"
)]

mod broker;
mod chunks;
mod secure;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{Broker, Chunk, Entry, Faults, Heard, PASSWORD, Packed};
use stream::{
    Error, Limits, Message, Source,
    rabbit::{Options, Patience, RabbitSource},
};
use tokio::time::{sleep, timeout};

const VERSIONS: [&str; 2] = ["3.10.8", "4.0.5"];
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn of_version(version: &'static str) -> Faults {
    Faults {
        version,
        ..Faults::default()
    }
}

async fn next(source: &mut RabbitSource) -> Result<Vec<Message>, Error> {
    let batch = timeout(LONG, source.next(Limits::default()))
        .await
        .expect("a message in time")?;
    Ok(batch.unwrap().messages)
}

/// Reads up to the offset `end`, with everything durable at once.
async fn read_to(source: &mut RabbitSource, end: u64) -> Result<Vec<Message>, Error> {
    let mut messages: Vec<Message> = Vec::new();
    while messages.last().is_none_or(|last| last.next_offset() < end) {
        messages.extend(next(source).await?);
        source.durable(messages.last().unwrap().next_offset());
    }
    Ok(messages)
}

fn seen(messages: &[Message]) -> Vec<(u64, &[u8])> {
    messages
        .iter()
        .map(|message| (message.offset, &message.bytes[..]))
        .collect()
}

/// Waits until something is so.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn error_of(options: Options) -> Error {
    let mut source = RabbitSource::start(options);
    match next(&mut source).await {
        Err(error) => error,
        Ok(messages) => panic!("{} messages", messages.len()),
    }
}

/// Two chunks of messages, and one of the broker's own books between them.
fn small_stream() -> Vec<Chunk> {
    vec![
        Chunk::of(0, &["cells", "", "shapes"]),
        Chunk::of_books(3),
        Chunk::of(4, &["fruit", "cones"]),
    ]
}

const SMALL: [(u64, &[u8]); 5] = [
    (0, b"cells"),
    (1, b""),
    (2, b"shapes"),
    (4, b"fruit"),
    (5, b"cones"),
];

#[tokio::test]
async fn every_message_comes_once_in_order_from_any_offset() {
    for version in VERSIONS {
        for from in 0..6 {
            let broker = Broker::start(small_stream(), of_version(version)).await;
            let mut source = RabbitSource::start(broker.options(from));
            let messages = read_to(&mut source, 6).await.unwrap();
            let wanted: Vec<_> = SMALL.into_iter().filter(|(offset, _)| *offset >= from).collect();
            assert_eq!(seen(&messages), wanted, "{version} from {from}");
            broker.publish(Chunk::of(6, &["more"]));
            assert_eq!(seen(&next(&mut source).await.unwrap()), [(6, b"more".as_slice())]);
            assert_eq!(source.watch().borrow().last_offset, Some(6));
            assert!(source.watch().borrow().subscribed && source.watch().borrow().trouble.is_none());
        }
    }
}

#[tokio::test]
async fn batches_keep_to_the_limits() {
    let broker = Broker::start(small_stream(), Faults::default()).await;
    let mut source = RabbitSource::start(broker.options(0));
    until("all is there", || source.watch().borrow().last_offset == Some(5)).await;
    let mut sizes = Vec::new();
    for (max_messages, max_bytes) in [(1, 99), (9, 6), (0, 0), (9, 99)] {
        let batch = source
            .next(Limits {
                max_messages,
                max_bytes,
            })
            .await
            .unwrap()
            .unwrap();
        sizes.push(batch.messages.len());
    }
    assert_eq!(sizes, [1, 2, 1, 1]);
}

#[tokio::test]
async fn what_follows_the_last_message_in_the_books_is_no_lag() {
    for version in VERSIONS {
        let broker = Broker::start(small_stream(), of_version(version)).await;
        let mut source = RabbitSource::start(broker.options(0));
        broker.publish(Chunk::of_books(6));
        read_to(&mut source, 6).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(source.watch().borrow().last_offset, Some(5), "{version}");
    }
}

#[tokio::test]
async fn an_empty_stream_is_waited_for() {
    for version in VERSIONS {
        let broker = Broker::start(Vec::new(), of_version(version)).await;
        let mut source = RabbitSource::start(broker.options(0));
        until("subscribed", || source.watch().borrow().subscribed).await;
        assert_eq!(source.watch().borrow().last_offset, None);
        broker.publish(Chunk::of(0, &["first"]));
        assert_eq!(
            seen(&next(&mut source).await.unwrap()),
            [(0, b"first".as_slice())]
        );
    }
}

/// Chunks of one message of 300 kB each.
fn large_messages(count: u64) -> Vec<Chunk> {
    (0..count)
        .map(|offset| Chunk::of(offset, &[vec![offset as u8; 300_000]]))
        .collect()
}

#[tokio::test]
async fn credit_goes_back_only_when_a_chunk_is_durable() {
    let broker = Broker::start(large_messages(6), Faults::default()).await;
    // Half of it holds two chunks.
    let mut source = RabbitSource::start(Options {
        buffer: 1_300_000,
        ..broker.options(0)
    });
    let credit = || broker.count(|heard| matches!(heard, Heard::Credit(..)));
    let mut read = next(&mut source).await.unwrap().len();
    while read < 2 {
        read += next(&mut source).await.unwrap().len();
    }
    assert!(
        timeout(Duration::from_millis(200), source.next(Limits::default()))
            .await
            .is_err()
    );
    // One credit came with the subscription and the second right after it.
    assert_eq!((read, credit()), (2, 1));
    source.durable(1);
    assert_eq!(next(&mut source).await.unwrap()[0].offset, 2);
    assert_eq!(credit(), 2);
}

#[tokio::test]
async fn a_full_buffer_stops_reading_but_no_heartbeat() {
    let messages: Vec<_> = (0..40).map(|cell| vec![cell; 250_000]).collect();
    let broker = Broker::start(vec![Chunk::of(0, &messages)], Faults::default()).await;
    let options = broker.options(0);
    let limit = options.buffer;
    let mut source = RabbitSource::start(options);
    let mut received = Vec::new();
    while let Ok(batch) = timeout(Duration::from_millis(500), source.next(Limits::default())).await {
        received.extend(batch.unwrap().unwrap().messages);
    }
    let bytes: usize = received.iter().map(|message| message.bytes.len()).sum();
    assert!(bytes > limit / 3 && bytes <= limit, "{bytes} of {limit}");
    let before = broker.count(|heard| *heard == Heard::Heartbeat);
    sleep(Duration::from_secs(3)).await;
    let heartbeats = broker.count(|heard| *heard == Heard::Heartbeat) - before;
    assert!(heartbeats >= 3, "{heartbeats}");
    // Nobody read for three heartbeats: that is no silence of the broker's.
    source.durable(received.last().unwrap().next_offset());
    received.extend(read_to(&mut source, 40).await.unwrap());
    let whole: Vec<_> = received.iter().map(|message| message.bytes.to_vec()).collect();
    assert!(whole == messages);
    assert!(source.peak_bytes() <= limit, "{}", source.peak_bytes());
    assert_eq!(broker.count(|heard| *heard == Heard::Connection), 1);
}

#[tokio::test]
async fn a_chunk_larger_than_the_buffer_is_checked_first_and_then_read_in_segments() {
    for version in VERSIONS {
        let messages: Vec<_> = (0..200_u8)
            .map(|cell| vec![cell; usize::from(cell) * 500])
            .collect();
        let chunks = vec![
            Chunk::of(0, &messages),
            Chunk::of(200, &messages),
            Chunk::of(400, &["last"]),
        ];
        let broker = Broker::start(chunks, of_version(version)).await;
        let options = broker.options(150);
        let limit = options.buffer;
        let mut source = RabbitSource::start(options);
        let received = read_to(&mut source, 401).await.unwrap();
        let offsets: Vec<_> = received.iter().map(|message| message.offset).collect();
        assert_eq!(offsets, (150..401).collect::<Vec<_>>(), "{version}");
        for message in &received[..250] {
            assert!(
                message.bytes == messages[message.offset as usize % 200],
                "{}",
                message.offset
            );
        }
        assert!(source.peak_bytes() <= limit, "{}", source.peak_bytes());
        let subscriptions = broker.count(|heard| matches!(heard, Heard::Subscribe(_, Some(_))));
        assert!((2..=3).contains(&subscriptions), "{subscriptions}");
    }
}

#[tokio::test]
async fn a_message_larger_than_the_buffer_passes_alone() {
    let large = vec![7; 9 << 20];
    let broker = Broker::start(
        vec![Chunk::of(0, &[b"a".to_vec(), large.clone(), b"b".to_vec()])],
        Faults::default(),
    )
    .await;
    let mut source = RabbitSource::start(broker.options(0));
    let received = read_to(&mut source, 3).await.unwrap();
    assert!(received[1].bytes == large && received.len() == 3);
    assert!(
        source.peak_bytes() < large.len() + (4 << 20),
        "{}",
        source.peak_bytes()
    );
}

#[tokio::test]
async fn a_silent_broker_is_noticed_within_two_heartbeats_and_left() {
    let broker = Broker::start(small_stream(), Faults::default()).await;
    let mut options = broker.options(0);
    options.patience = Patience::Forever;
    let mut source = RabbitSource::start(options);
    read_to(&mut source, 6).await.unwrap();
    broker.change(|faults| faults.silent_after = Some(0));
    let start = Instant::now();
    until("noticed", || source.watch().borrow().trouble.is_some()).await;
    assert!(
        start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let trouble = source.watch().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("silent for 2 s"), "{trouble}");
    broker.change(|faults| faults.silent_after = None);
    broker.publish(Chunk::of(6, &["more"]));
    assert_eq!(seen(&next(&mut source).await.unwrap()), [(6, b"more".as_slice())]);
}

#[tokio::test]
async fn heartbeats_keep_an_idle_connection_alive_both_ways() {
    let faults = Faults {
        heartbeats: Some(Duration::from_millis(900)),
        ..Faults::default()
    };
    let broker = Broker::start(small_stream(), faults).await;
    let mut source = RabbitSource::start(broker.options(0));
    read_to(&mut source, 6).await.unwrap();
    let (signs, connections) = (
        source.watch().borrow().signs,
        broker.count(|heard| *heard == Heard::Connection),
    );
    sleep(Duration::from_secs(4)).await;
    assert!(source.watch().borrow().subscribed && source.watch().borrow().signs >= signs + 3);
    assert_eq!(broker.count(|heard| *heard == Heard::Connection), connections);
    assert!(broker.count(|heard| *heard == Heard::Heartbeat) >= 6);
    assert!(broker.heard().contains(&Heard::Tune(1)));
}

#[tokio::test]
async fn a_connection_that_breaks_at_any_byte_loses_nothing_and_doubles_nothing() {
    for version in VERSIONS {
        let mut tasks = tokio::task::JoinSet::new();
        for cut in 0.. {
            let broker = Broker::start(small_stream(), of_version(version)).await;
            broker.cut_after(cut);
            tasks.spawn(async move {
                let mut source = RabbitSource::start(broker.options(0));
                let mut messages = read_to(&mut source, 6).await.unwrap();
                broker.publish(Chunk::of(6, &["more"]));
                messages.extend(next(&mut source).await.unwrap());
                assert_eq!(messages.len(), 6, "{cut}");
                assert_eq!(seen(&messages[..5]), SMALL, "{cut}");
                (cut, broker.was_cut())
            });
            if tasks.len() < 250 {
                continue;
            }
            let mut last = false;
            while let Some(done) = tasks.join_next().await {
                let (cut, was_cut) = done.unwrap();
                last |= !was_cut;
                assert!(was_cut || cut > 400, "{cut}");
            }
            if last {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_large_chunk_that_breaks_off_is_gone_on_with_and_not_checked_again() {
    let messages: Vec<_> = (0..60_u8).map(|cell| vec![cell; 100_000]).collect();
    let broker = Broker::start(vec![Chunk::of(0, &messages)], Faults::default()).await;
    broker.cut_after(10_000_000);
    let mut source = RabbitSource::start(broker.options(0));
    let received = read_to(&mut source, 60).await.unwrap();
    assert!(broker.was_cut());
    let offsets: Vec<_> = received.iter().map(|message| message.offset).collect();
    assert_eq!(offsets, (0..60).collect::<Vec<_>>());
    let subscriptions: Vec<_> = broker
        .heard()
        .into_iter()
        .filter_map(|heard| match heard {
            Heard::Subscribe(_, offset) => offset,
            _ => None,
        })
        .collect();
    assert!(
        subscriptions.len() == 3 && subscriptions[2] > 10,
        "{subscriptions:?}"
    );
}

fn packed(compression: u8, messages: &[&[u8]]) -> Packed {
    let plain: Vec<u8> = messages
        .iter()
        .flat_map(|message| Entry::Plain(message.to_vec()).bytes())
        .collect();
    let body = match compression {
        0 => plain.clone(),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        }
        2 => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(&plain).unwrap();
            encoder.into_inner().unwrap()
        }
        3 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        }
        4 => ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest),
        // Snappy without a frame.
        _ => snap::raw::Encoder::new().compress_vec(&plain).unwrap(),
    };
    Packed {
        compression: if compression > 4 { 2 } else { compression },
        messages: messages.len() as u16,
        unpacked: plain.len() as u32,
        body,
    }
}

#[tokio::test]
async fn packed_messages_of_every_compression_are_read() {
    let large = vec![9; 200_000];
    let messages: [&[u8]; 4] = [b"cells", b"", &large, b"fruit"];
    let entries: Vec<_> = (0..=5)
        .map(|compression| Entry::Packed(packed(compression, &messages)))
        .collect();
    for from in [0, 2, 9] {
        let broker = Broker::start(vec![Chunk::new(0, &entries)], Faults::default()).await;
        let mut source = RabbitSource::start(broker.options(from));
        let received = read_to(&mut source, 24).await.unwrap();
        assert_eq!(received.len(), 24 - from as usize);
        for (message, offset) in received.iter().zip(from..) {
            assert_eq!(message.offset, offset);
            assert!(
                message.packed.is_none() && message.bytes == messages[offset as usize % 4],
                "{offset}"
            );
        }
    }
}

#[tokio::test]
async fn packed_messages_that_cannot_be_unpacked_stay_one_and_block_nothing() {
    let broken = |change: fn(&mut Packed)| {
        let mut packed = packed(1, &[b"cells", b"fruit"]);
        change(&mut packed);
        Entry::Packed(packed)
    };
    let entries = [
        broken(|packed| packed.compression = 7),
        broken(|packed| packed.compression = 4),
        broken(|packed| packed.messages = 3),
        broken(|packed| packed.messages = 1),
        broken(|packed| packed.unpacked += 1),
        broken(|packed| packed.unpacked -= 1),
        broken(|packed| packed.unpacked = 200 << 20),
        broken(|packed| packed.body.truncate(12)),
        Entry::Plain(b"behind".to_vec()),
    ];
    let end: u32 = entries.iter().map(Entry::records).sum();
    let broker = Broker::start(vec![Chunk::new(0, &entries)], Faults::default()).await;
    let mut source = RabbitSource::start(broker.options(0));
    let received = read_to(&mut source, u64::from(end)).await.unwrap();
    assert_eq!(received.len(), entries.len());
    for (message, entry) in received.iter().zip(&entries).take(8) {
        let packed = message.packed.as_ref().unwrap();
        assert_eq!(packed.messages, entry.records());
        assert_eq!(message.bytes, entry.bytes());
        assert!(!packed.reason.is_empty());
    }
    assert_eq!(seen(&received[8..]), [(u64::from(end) - 1, b"behind".as_slice())]);
}

#[tokio::test]
async fn a_damaged_chunk_is_asked_for_again_and_nothing_of_it_is_handed_out() {
    let past_the_end = || Chunk::with_data(4, 0, 2, 2, b"\0\0\0\x05fruit\0\0\0\x09cones", b"");
    for version in VERSIONS {
        for damaged in [small_stream()[2].clone().damaged(), past_the_end()] {
            let faults = Faults {
                instead: vec![damaged],
                ..of_version(version)
            };
            let broker = Broker::start(small_stream(), faults).await;
            let mut source = RabbitSource::start(broker.options(0));
            assert_eq!(seen(&read_to(&mut source, 6).await.unwrap()), SMALL, "{version}");
        }
    }
}

#[tokio::test]
async fn a_large_chunk_that_comes_damaged_once_is_asked_for_again() {
    let messages: Vec<_> = (0..60_u8).map(|cell| vec![cell; 100_000]).collect();
    let whole = Chunk::of(0, &messages);
    let damaged = whole.clone().damaged();
    // When it is checked, and when it is read.
    for instead in [vec![damaged.clone()], vec![whole.clone(), damaged]] {
        let faults = Faults {
            instead,
            ..Faults::default()
        };
        let broker = Broker::start(vec![whole.clone()], faults).await;
        let received = read_to(&mut RabbitSource::start(broker.options(0)), 60)
            .await
            .unwrap();
        assert!(received.len() == 60);
        for (message, sent) in received.iter().zip(&messages) {
            assert!(message.bytes == *sent, "{}", message.offset);
        }
    }
}

#[tokio::test]
async fn a_chunk_that_stays_damaged_is_an_error_that_names_it() {
    let counts_disagree = Chunk::with_data(4, 0, 1, 2, b"\0\0\0\x01a", b"");
    let past_the_end = Chunk::with_data(4, 0, 1, 1, b"\0\0\0\x09a", b"");
    for damaged in [small_stream()[2].clone().damaged(), counts_disagree, past_the_end] {
        let mut chunks = small_stream();
        chunks[2] = damaged;
        let broker = Broker::start(chunks, Faults::default()).await;
        let mut source = RabbitSource::start(broker.options(0));
        let mut messages = Vec::new();
        let error = loop {
            match next(&mut source).await {
                Ok(more) => messages.extend(more),
                Err(error) => break error,
            }
        };
        assert!(seen(&messages).iter().all(|(offset, _)| *offset < 5));
        assert!(matches!(error, Error::DamagedChunk { offset: 4, .. }), "{error}");
        assert!(matches!(next(&mut source).await, Err(Error::Ended { .. })));
    }
}

#[tokio::test]
async fn a_trailer_after_the_data_is_passed_over() {
    let chunks = vec![
        Chunk::with_data(0, 0, 1, 1, b"\0\0\0\x01a", b"books"),
        Chunk::of(1, &["b"]),
    ];
    let broker = Broker::start(chunks, Faults::default()).await;
    let messages = read_to(&mut RabbitSource::start(broker.options(0)), 2)
        .await
        .unwrap();
    assert_eq!(seen(&messages), [(0, b"a".as_slice()), (1, b"b".as_slice())]);
}

#[tokio::test]
async fn messages_that_are_gone_are_an_error_unless_that_is_accepted() {
    for version in VERSIONS {
        let kept = || vec![Chunk::of(10, &["cells"]), Chunk::of(11, &["fruit"])];
        let broker = Broker::start(kept(), of_version(version)).await;
        let error = error_of(broker.options(3)).await;
        assert!(
            matches!(
                error,
                Error::Gap {
                    from: 3,
                    first: 10,
                    ..
                }
            ),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("7 messages") && text.contains("rabbitmq.accept_loss_before to 10"),
            "{text}"
        );

        let mut options = broker.options(3);
        options.accept_loss_before = 9;
        assert!(matches!(error_of(options).await, Error::Gap { .. }));
        let mut options = broker.options(3);
        options.accept_loss_before = 10;
        let messages = read_to(&mut RabbitSource::start(options), 12).await.unwrap();
        assert_eq!(
            seen(&messages),
            [(10, b"cells".as_slice()), (11, b"fruit".as_slice())]
        );
    }
}

#[tokio::test]
async fn offsets_missing_between_chunks_are_a_gap() {
    let chunks = vec![Chunk::of(0, &["cells"]), Chunk::of(2, &["fruit"])];
    let broker = Broker::start(chunks, Faults::default()).await;
    let mut source = RabbitSource::start(broker.options(0));
    assert_eq!(
        seen(&next(&mut source).await.unwrap()),
        [(0, b"cells".as_slice())]
    );
    assert!(matches!(
        next(&mut source).await,
        Err(Error::Gap {
            from: 1,
            first: 2,
            ..
        })
    ));
}

#[tokio::test]
async fn a_stream_that_ends_before_the_wanted_offset_is_an_error() {
    for version in VERSIONS {
        let broker = Broker::start(small_stream(), of_version(version)).await;
        let error = error_of(broker.options(7)).await;
        assert!(
            matches!(error, Error::BeyondEnd { from: 7, next: 6, .. }),
            "{error}"
        );
        let broker = Broker::start(Vec::new(), of_version(version)).await;
        assert!(matches!(
            error_of(broker.options(1)).await,
            Error::BeyondEnd { next: 0, .. }
        ));
    }
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_waited_for_and_one_made_anew_is_told_from_it() {
    let deleted = async |version| {
        let broker = Broker::start(small_stream(), of_version(version)).await;
        let mut options = broker.options(0);
        options.patience = Patience::Forever;
        let mut source = RabbitSource::start(options);
        read_to(&mut source, 6).await.unwrap();
        broker.change(|faults| faults.subscription = 2);
        broker.replace(Vec::new());
        until("noticed", || source.watch().borrow().trouble.is_some()).await;
        assert!(!source.watch().borrow().subscribed);
        until("the words", || {
            source
                .watch()
                .borrow()
                .clone()
                .trouble
                .is_some_and(|trouble| trouble.contains("does not exist"))
        })
        .await;
        broker.change(|faults| faults.subscription = 1);
        let error = next(&mut source).await.unwrap_err();
        assert!(
            matches!(error, Error::BeyondEnd { from: 6, next: 0, .. }),
            "{error}"
        );
    };
    let [older, newer] = VERSIONS;
    tokio::join!(deleted(older), deleted(newer));
}

#[tokio::test]
async fn a_stream_that_is_not_there_yet_is_waited_for() {
    let faults = Faults {
        subscription: 2,
        ..of_version("3.10.8")
    };
    let broker = Broker::start(small_stream(), faults).await;
    let mut source = RabbitSource::start(broker.options(0));
    until("noticed", || source.watch().borrow().trouble.is_some()).await;
    broker.change(|faults| faults.subscription = 1);
    assert_eq!(seen(&read_to(&mut source, 6).await.unwrap()), SMALL);
}

#[tokio::test]
async fn brokers_that_hold_the_stream_are_found_by_one_that_does_not() {
    let holder = Broker::start(small_stream(), Faults::default()).await;
    let faults = Faults {
        subscription: 6,
        elsewhere: vec![holder.port],
        ..Faults::default()
    };
    let other = Broker::start(small_stream(), faults).await;
    let messages = read_to(&mut RabbitSource::start(other.options(0)), 6)
        .await
        .unwrap();
    assert_eq!(seen(&messages), SMALL);
}

#[tokio::test]
async fn frames_that_make_no_sense_end_a_connection_and_no_more() {
    let garbage: [&[u8]; 5] = [
        b"",
        b"\0\x08",
        b"\0\x08\0\x01\0short",
        b"\0\x10\0\x01\0\x02\x7f\xff",
        &[0x17; 2 << 20],
    ];
    for garbage in garbage {
        let faults = Faults {
            garbage: Some(garbage.to_vec()),
            ..Faults::default()
        };
        let broker = Broker::start(small_stream(), faults).await;
        let mut source = RabbitSource::start(broker.options(0));
        assert_eq!(
            seen(&read_to(&mut source, 6).await.unwrap()),
            SMALL,
            "{:?}",
            garbage.get(..9)
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_asked_for_again_at_every_attempt_and_never_shown() {
    let faults = Faults {
        login: 8,
        ..Faults::default()
    };
    let broker = Broker::start(small_stream(), faults).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut options = broker.options(0);
    options.patience = Patience::Tries(2);
    let (count, password) = (Arc::clone(&asked), options.password);
    options.password = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        password()
    });
    assert!(!format!("{options:?}").contains(PASSWORD));
    let error = error_of(options).await.to_string();
    assert!(
        error.contains("wrong user or password") && error.contains("2 attempts"),
        "{error}"
    );
    assert!(!error.contains(PASSWORD));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(
        broker
            .heard()
            .contains(&Heard::Login(format!("\0reader\0{PASSWORD}")))
    );
}

#[tokio::test]
async fn a_closed_source_says_goodbye() {
    let broker = Broker::start(small_stream(), Faults::default()).await;
    let mut source = RabbitSource::start(broker.options(0));
    read_to(&mut source, 6).await.unwrap();
    let start = Instant::now();
    source.close().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(broker.heard().ends_with(&[Heard::Unsubscribe(0), Heard::Close]));

    let mut source = RabbitSource::start(broker.options(0));
    read_to(&mut source, 6).await.unwrap();
    drop(source);
    until("closed", || broker.count(|heard| *heard == Heard::Close) == 2).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_an_error_for_a_tool() {
    let broker = Broker::start(Vec::new(), Faults::default()).await;
    let mut options = broker.options(0);
    drop(broker);
    options.patience = Patience::Tries(1);
    let error = error_of(options).await.to_string();
    assert!(error.contains("cannot reach the broker 127.0.0.1"), "{error}");
}
