//! Messages of three publishers: the harness's own, Python's rstream, and the official client for Rust.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use annotation::{BulkStatus, DecodeError};
use broker::{Broker, Compression, PASSWORD, StreamOptions, USER, Version, pack, write_authority};
use rabbitmq_stream_client::types::{Message as OfficialMessage, SimpleValue};
use rabbitmq_stream_client::{ConfirmationStatus, Environment};
use stream::rabbit::{RabbitSource, Tls};
use stream::{Message, Source};
use tokio::time::timeout;
use xtask::workspace::process_env;

use crate::common::{assert_are, assert_silent, numbered, options, publish, take, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_of_every_publisher_arrive_as_they_were_sent_through_rabbitmq_3_10() {
    arrive(
        "messages_of_every_publisher_arrive_as_they_were_sent_through_rabbitmq_3_10",
        Version::V3_10,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_of_every_publisher_arrive_as_they_were_sent_through_rabbitmq_4_0() {
    arrive(
        "messages_of_every_publisher_arrive_as_they_were_sent_through_rabbitmq_4_0",
        Version::V4_0,
    )
    .await;
}

async fn arrive(test: &str, version: Version) {
    let Some(broker) = Broker::for_test(test, version) else {
        return;
    };
    plain(&broker).await;
    packed(&broker).await;
    packed_and_broken(&broker).await;
    tls(&broker).await;
    // It cannot shake hands with 3.10.
    if version == Version::V4_0 {
        official(&broker).await;
    }
    match xtask::rstream::find(&process_env) {
        Some(python) => {
            rstream(&broker, &python).await;
            rstream_amqp(&broker, &python).await;
        }
        None => eprintln!("skipped: {test}: rstream is not here: cargo xtask setup --brokers brings it"),
    }
}

fn create(broker: &Broker, stream: &str) {
    broker.create_stream(stream, &StreamOptions::default()).unwrap();
}

/// Bodies of every size class, the empty one too.
async fn plain(broker: &Broker) {
    create(broker, "plain");
    let mut expected = vec![Vec::new(), vec![0], vec![0xff; 300 << 10]];
    expected.extend(numbered(0..500));
    publish(broker, "plain", &expected);

    let mut source = RabbitSource::start(options(broker, "plain"));
    assert_are(&take(&mut source, expected.len()).await, &expected);
    assert_silent(&mut source).await;
    source.close().await;

    // From any offset on, whether a chunk begins there or not.
    for from in [1, 7, 250] {
        let mut source = RabbitSource::start(stream::rabbit::Options {
            from,
            ..options(broker, "plain")
        });
        let messages = take(&mut source, expected.len() - from as usize).await;
        assert_eq!(messages[0].offset, from);
        assert!(messages[0].bytes == expected[from as usize]);
        source.close().await;
    }
}

fn compress(compression: Compression, packed: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => packed.to_vec(),
        Compression::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(packed).unwrap();
            writer.finish().unwrap()
        }
        Compression::Snappy => {
            let mut compressed = Vec::new();
            snap::read::FrameEncoder::new(packed)
                .read_to_end(&mut compressed)
                .unwrap();
            compressed
        }
        Compression::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
            writer.write_all(packed).unwrap();
            writer.finish().unwrap()
        }
        Compression::Zstd => {
            ruzstd::encoding::compress_to_vec(packed, ruzstd::encoding::CompressionLevel::Fastest)
        }
    }
}

const COMPRESSIONS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Packed entries of every compression between plain messages.
async fn packed(broker: &Broker) {
    create(broker, "packed");
    let expected = numbered(0..600);
    let mut publisher = broker.publisher("packed").unwrap();
    for (compression, hundred) in COMPRESSIONS.iter().zip(expected.chunks(100)) {
        let (plain, together) = hundred.split_at(10);
        publisher.send(plain).unwrap();
        let packed = pack(together);
        publisher
            .send_packed(
                *compression,
                90,
                packed.len() as u32,
                &compress(*compression, &packed),
            )
            .unwrap();
    }
    publisher.send(&expected[500..]).unwrap();
    publisher.confirm().unwrap();

    let mut source = RabbitSource::start(options(broker, "packed"));
    assert_are(&take(&mut source, 600).await, &expected);
    source.close().await;

    // In the middle of an entry: the broker sends the whole of it.
    let mut source = RabbitSource::start(stream::rabbit::Options {
        from: 150,
        ..options(broker, "packed")
    });
    let messages = take(&mut source, 450).await;
    assert_eq!((messages[0].offset, messages.len()), (150, 450));
    assert!(messages[0].bytes == expected[150]);
    source.close().await;
}

/// An entry that cannot be taken apart is one message that says so; those behind it have their offsets.
async fn packed_and_broken(broker: &Broker) {
    create(broker, "broken");
    let mut publisher = broker.publisher("broken").unwrap();
    for compression in COMPRESSIONS {
        publisher
            .send_packed(compression, 7, 1000, b"no such thing")
            .unwrap();
        publisher.confirm().unwrap();
    }
    publisher.send(&[b"pear"]).unwrap();
    publisher.confirm().unwrap();

    let mut source = RabbitSource::start(options(broker, "broken"));
    let messages = take(&mut source, COMPRESSIONS.len() + 1).await;
    let (last, packed) = messages.split_last().unwrap();
    for (number, message) in packed.iter().enumerate() {
        assert_eq!(message.offset, 7 * number as u64);
        assert_eq!(message.packed.as_ref().unwrap().messages, 7);
    }
    assert_eq!((last.offset, last.bytes.as_ref()), (35, b"pear".as_slice()));
    source.close().await;
}

async fn tls(broker: &Broker) {
    create(broker, "secret");
    let expected = numbered(0..50);
    publish(broker, "secret", &expected);
    let with = |ca_file| stream::rabbit::Options {
        port: broker.tls_port(),
        tls: Some(Tls {
            ca_file: Some(ca_file),
        }),
        ..options(broker, "secret")
    };

    let mut source = RabbitSource::start(with(broker.authority()));
    assert_are(&take(&mut source, 50).await, &expected);
    source.close().await;

    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("ca.pem");
    write_authority(&other).unwrap();
    let source = RabbitSource::start(with(other));
    until(&source, "refused", |source| {
        source.watch().borrow().trouble.is_some()
    })
    .await;
    assert!(!source.watch().borrow().subscribed);
    let trouble = source.watch().borrow().trouble.clone().unwrap();
    assert!(trouble.to_lowercase().contains("certificate"), "{trouble}");
}

/// Every type of integer that its encoder has, as the status of a bulk message.
async fn official(broker: &Broker) {
    create(broker, "official");
    let environment = Environment::builder()
        .host("127.0.0.1")
        .port(broker.port())
        .username(USER)
        .password(PASSWORD)
        .build()
        .await
        .unwrap();
    let producer = environment.producer().build("official").await.unwrap();
    let statuses: Vec<(i128, SimpleValue)> = vec![
        (30, 30_u8.into()),
        (251, 251_u8.into()),
        (30, 30_u16.into()),
        (40, 40_u32.into()),
        (0, 0_u32.into()),
        (70_000, 70_000_u32.into()),
        (40, 40_u64.into()),
        (1 << 40, (1_u64 << 40).into()),
        (-5, (-5_i8).into()),
        (-300, (-300_i16).into()),
        (-5, (-5_i32).into()),
        (-70_000, (-70_000_i32).into()),
        // Not -5 as a long: its encoder gives that a wrong length, and the broker never confirms the frame.
        (-(1 << 40), (-(1_i64 << 40)).into()),
    ];
    // Its own way to wait for a confirmation gives up after a second.
    let (sender, mut confirmations) = tokio::sync::mpsc::unbounded_channel();
    for (_, value) in &statuses {
        let message = OfficialMessage::builder()
            .message_annotations()
            .insert("x-opt-row", 7_i32)
            .message_builder()
            .properties()
            .subject("cells")
            .content_type("application/msgpack")
            .group_sequence(3)
            .message_builder()
            .application_properties()
            .insert("AnnotationStatus", value.clone())
            .message_builder()
            .body(BULK)
            .build();
        let sender = sender.clone();
        let confirmed = move |result: Result<ConfirmationStatus, _>| {
            let _ = sender.send(result.is_ok_and(|status| status.confirmed()));
            async {}
        };
        producer.send(message, confirmed).await.unwrap();
        let confirmed = timeout(Duration::from_secs(10), confirmations.recv()).await;
        assert_eq!(confirmed.ok().flatten(), Some(true), "{value:?}");
    }
    producer.close().await.unwrap();

    let mut source = RabbitSource::start(options(broker, "official"));
    let messages = take(&mut source, statuses.len()).await;
    assert_are(&messages, &held(broker, "official", statuses.len()));
    for ((number, _), message) in statuses.iter().zip(&messages) {
        assert_status(message, *number, "official");
    }
    source.close().await;
}

/// A bulk message whose status is the property's: `[["cell-1"]]` in MessagePack.
const BULK: &[u8] = b"\x91\x91\xa6cell-1";

fn assert_status(message: &Message, number: i128, name: &str) {
    match (number, annotation::decode(&message.bytes)) {
        (30 | 40, Ok(decoded)) => {
            let annotation::Message::Bulk(bulk) = decoded.message else {
                panic!("{name}: no bulk message");
            };
            let status = if number == 30 {
                BulkStatus::Validated
            } else {
                BulkStatus::Deleted
            };
            assert_eq!(bulk.status, status, "{name}");
        }
        (_, Err(DecodeError::StatusNumber { number: found })) => assert_eq!(found, number, "{name}"),
        (_, other) => panic!("{name}: {other:?}"),
    }
}

/// What the broker holds.
fn held(broker: &Broker, stream: &str, count: usize) -> Vec<Vec<u8>> {
    let chunks = broker.client().unwrap().read(stream, count as u64).unwrap();
    chunks
        .iter()
        .flat_map(|chunk| chunk.plain_messages().unwrap())
        .map(<[u8]>::to_vec)
        .collect()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/broker")
        .join(name)
}

/// Runs a script with what it is to publish, and gives what it printed.
fn run(python: &Path, name: &str, broker: &Broker, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(python)
        .arg(script(name))
        .args([&broker.port().to_string(), USER, PASSWORD])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn rstream(broker: &Broker, python: &Path) {
    let expected = numbered(0..300);
    for kind in ["plain", "none", "gzip"] {
        let stream = format!("rstream-{kind}");
        create(broker, &stream);
        run(
            python,
            "publish.py",
            broker,
            &[&stream, kind, "100"],
            &pack(&expected),
        );
        let mut source = RabbitSource::start(options(broker, &stream));
        assert_are(&take(&mut source, 300).await, &expected);
        source.close().await;
    }
}

async fn rstream_amqp(broker: &Broker, python: &Path) {
    create(broker, "amqp");
    let printed = run(python, "publish_amqp.py", broker, &["amqp"], b"");
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split(' ').collect()).collect();
    assert!(lines.len() > 40, "{printed}");

    let mut source = RabbitSource::start(options(broker, "amqp"));
    let messages = take(&mut source, lines.len()).await;
    for (line, message) in lines.iter().zip(&messages) {
        let [name, number, hexadecimal] = line.as_slice() else {
            panic!("{line:?}");
        };
        assert_eq!(hex(&message.bytes), *hexadecimal, "{name}");
        assert_status(message, number.parse().unwrap(), name);
    }
    assert_eq!(messages.len(), lines.len());
    source.close().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
