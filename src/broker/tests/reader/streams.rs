//! Streams that are not yet there, are deleted, made anew, or shortened by retention.

use broker::{Broker, StreamOptions, Version};
use stream::rabbit::{Options, Patience, RabbitSource};
use stream::{Error, Source};

use crate::common::{assert_are, end, numbered, options, publish, take, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_is_not_what_it_was_is_told_by_rabbitmq_3_10() {
    told(
        "a_stream_that_is_not_what_it_was_is_told_by_rabbitmq_3_10",
        Version::V3_10,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_is_not_what_it_was_is_told_by_rabbitmq_4_0() {
    told(
        "a_stream_that_is_not_what_it_was_is_told_by_rabbitmq_4_0",
        Version::V4_0,
    )
    .await;
}

async fn told(test: &str, version: Version) {
    let Some(broker) = Broker::for_test(test, version) else {
        return;
    };
    not_yet_there(&broker).await;
    deleted_and_made_anew(&broker).await;
    shortened(&broker).await;
}

async fn not_yet_there(broker: &Broker) {
    let mut source = RabbitSource::start(options(broker, "later"));
    until(&source, "told", |source| {
        source.watch().borrow().trouble.is_some()
    })
    .await;
    let trouble = source.watch().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("exist"), "{trouble}");

    broker.create_stream("later", &StreamOptions::default()).unwrap();
    let expected = numbered(0..20);
    publish(broker, "later", &expected);
    assert_are(&take(&mut source, 20).await, &expected);
    source.close().await;

    let mut source = RabbitSource::start(Options {
        patience: Patience::Tries(2),
        ..options(broker, "never")
    });
    let error = end(&mut source).await;
    assert!(matches!(error, Error::Broker { tries: 2, .. }), "{error}");
}

/// A stream of the same name that is shorter than what was read is not taken for the one that was read.
async fn deleted_and_made_anew(broker: &Broker) {
    broker.create_stream("anew", &StreamOptions::default()).unwrap();
    let expected = numbered(0..30);
    publish(broker, "anew", &expected);
    let mut source = RabbitSource::start(options(broker, "anew"));
    assert_are(&take(&mut source, 30).await, &expected);

    broker.delete_stream("anew").unwrap();
    until(&source, "told", |source| !source.watch().borrow().subscribed).await;
    broker.create_stream("anew", &StreamOptions::default()).unwrap();
    publish(broker, "anew", &expected[..10]);

    let error = end(&mut source).await;
    assert!(
        matches!(
            error,
            Error::BeyondEnd {
                from: 30,
                next: 10,
                ..
            }
        ),
        "{error}"
    );
}

/// What retention deleted before it was read is named, and passed over only where that is accepted.
async fn shortened(broker: &Broker) {
    let small = StreamOptions {
        max_length_bytes: Some(4_000_000),
        segment_bytes: Some(1_000_000),
        max_age: None,
    };
    broker.create_stream("short", &small).unwrap();
    let expected = numbered(0..2000);
    publish(broker, "short", &expected);

    let mut source = RabbitSource::start(Options {
        from: 3,
        ..options(broker, "short")
    });
    let error = end(&mut source).await;
    let Error::Gap { from: 3, first, .. } = error else {
        panic!("{error}");
    };
    assert!(first > 3 && first < 2000, "{first}");

    let mut source = RabbitSource::start(Options {
        from: 3,
        accept_loss_before: first,
        ..options(broker, "short")
    });
    let messages = take(&mut source, 2000 - first as usize).await;
    assert_eq!(messages[0].offset, first);
    assert!(messages[0].bytes == expected[first as usize]);
    assert_eq!(messages.last().unwrap().offset, 1999);
    source.close().await;
}
