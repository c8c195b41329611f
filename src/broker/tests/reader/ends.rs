//! Brokers that are killed, frozen and restarted, and networks that are cut, while messages are read: all of them arrive,
//! once, in order.

use std::time::{Duration, Instant};

use broker::{Broker, Network, Proxy, StreamOptions, Version};
use stream::Source;
use stream::rabbit::{Options, RabbitSource};

use crate::common::{assert_are, assert_silent, numbered, options, publish, take, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_doubled_whatever_happens_to_rabbitmq_3_10() {
    survive(
        "nothing_is_lost_or_doubled_whatever_happens_to_rabbitmq_3_10",
        Version::V3_10,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_or_doubled_whatever_happens_to_rabbitmq_4_0() {
    survive(
        "nothing_is_lost_or_doubled_whatever_happens_to_rabbitmq_4_0",
        Version::V4_0,
    )
    .await;
}

async fn survive(test: &str, version: Version) {
    let Some(mut broker) = Broker::for_test(test, version) else {
        return;
    };
    broker.create_stream("cells", &StreamOptions::default()).unwrap();
    let proxy = Proxy::to(broker.port()).unwrap();
    let mut source = RabbitSource::start(Options {
        port: proxy.port(),
        ..options(&broker, "cells")
    });
    let all = numbered(0..1400);
    let mut read = Vec::new();

    publish(&broker, "cells", &all[..200]);
    read.extend(take(&mut source, 200).await);

    network(&proxy, &source).await;
    publish(&broker, "cells", &all[200..400]);
    read.extend(take(&mut source, 200).await);

    // Cut again and again in the middle of what is read.
    publish(&broker, "cells", &all[400..800]);
    proxy.becomes(Network::Narrow(2 << 20));
    while read.len() < 800 {
        read.extend(take(&mut source, 1).await);
        proxy.cut();
    }
    proxy.becomes(Network::Good);

    frozen(&broker, &source).await;
    publish(&broker, "cells", &all[800..1000]);
    read.extend(take(&mut source, 200).await);

    publish(&broker, "cells", &all[1000..1200]);
    broker.kill().unwrap();
    until(&source, "told", |source| !source.watch().borrow().subscribed).await;
    broker.restart().unwrap();
    read.extend(take(&mut source, 1200 - read.len()).await);

    broker.restart().unwrap();
    broker.await_stream("cells").unwrap();
    publish(&broker, "cells", &all[1200..]);
    read.extend(take(&mut source, 200).await);

    assert_are(&read, &all);
    assert_silent(&mut source).await;
    source.close().await;
}

/// A network that delivers nothing is noticed by the heartbeats that do not come; one that refuses is tried again.
async fn network(proxy: &Proxy, source: &RabbitSource) {
    proxy.becomes(Network::Stalled);
    let stalled = Instant::now();
    until(source, "told", |source| !source.watch().borrow().subscribed).await;
    assert!(
        stalled.elapsed() < Duration::from_secs(4),
        "two heartbeats are two seconds"
    );
    proxy.becomes(Network::Refusing);
    proxy.cut();
    let signs = source.watch().borrow().signs;
    until(source, "tried", |source| source.watch().borrow().signs > signs).await;
    proxy.becomes(Network::Good);
    until(source, "subscribed", |source| source.watch().borrow().subscribed).await;
}

async fn frozen(broker: &Broker, source: &RabbitSource) {
    until(source, "subscribed", |source| source.watch().borrow().subscribed).await;
    broker.freeze().unwrap();
    let frozen = Instant::now();
    until(source, "told", |source| !source.watch().borrow().subscribed).await;
    assert!(
        frozen.elapsed() < Duration::from_secs(4),
        "two heartbeats are two seconds"
    );
    broker.thaw().unwrap();
}
