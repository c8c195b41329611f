//! A broker's life in the hands of a test: what was confirmed outlives every end, a frozen one is silent, a dropped one is
//! gone. Both versions; where one is not here the test says that it is skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use broker::{Broker, Client, ClientError, Compression, PASSWORD, StreamOptions, USER, Version, pack};

fn messages(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| format!("cell {n}").into_bytes()).collect()
}

fn read(broker: &Broker, stream: &str, until: u64) -> Vec<Vec<u8>> {
    broker.await_stream(stream).unwrap();
    let chunks = broker.client().unwrap().read(stream, until).unwrap();
    chunks
        .iter()
        .flat_map(|chunk| chunk.plain_messages().unwrap())
        .map(<[u8]>::to_vec)
        .collect()
}

fn life(test: &str, version: Version) {
    let started = Instant::now();
    let Some(mut broker) = Broker::for_test(test, version) else {
        return;
    };
    eprintln!("{version}: up in {:.1} s", started.elapsed().as_secs_f64());
    broker.create_stream("cells", &StreamOptions::default()).unwrap();
    let mut publisher = broker.publisher("cells").unwrap();
    publisher.send(&messages(0..500)).unwrap();
    publisher.confirm().unwrap();

    broker.kill().unwrap();
    assert!(broker.client().is_err(), "a killed broker answers nobody");
    let started = Instant::now();
    broker.restart().unwrap();
    eprintln!("{version}: up again in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(read(&broker, "cells", 500), messages(0..500));

    let mut publisher = broker.publisher("cells").unwrap();
    publisher.send(&messages(500..600)).unwrap();
    publisher.confirm().unwrap();
    broker.restart().unwrap();
    assert_eq!(read(&broker, "cells", 600), messages(0..600));

    frozen(&broker);
    shapes(&broker);
    refusals(&broker);
    let listed = broker.ctl(&["list_users"]).unwrap();
    assert!(listed.contains(USER), "{listed}");

    let port = broker.port();
    drop(broker);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

/// Connections to a frozen broker are made, by the system, and get no answer; thawed, it goes on as if nothing had been.
fn frozen(broker: &Broker) {
    broker.freeze().unwrap();
    let port = broker.port();
    let waiting = std::thread::spawn(move || Client::connect(port, USER, PASSWORD).map(|_| Instant::now()));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!waiting.is_finished(), "a frozen broker answers nobody");
    let thawed = Instant::now();
    broker.thaw().unwrap();
    assert!(waiting.join().unwrap().unwrap() >= thawed);
}

fn shapes(broker: &Broker) {
    broker.create_stream("shapes", &StreamOptions::default()).unwrap();
    let mut publisher = broker.publisher("shapes").unwrap();
    for message in messages(0..3) {
        publisher.send(&[message]).unwrap();
        publisher.confirm().unwrap();
    }
    let packed = pack(&messages(3..1003));
    publisher
        .send_packed(Compression::None, 1000, packed.len() as u32, &packed)
        .unwrap();
    publisher.confirm().unwrap();

    let chunks = broker.client().unwrap().read("shapes", 1003).unwrap();
    let shape: Vec<(u64, u16, u32)> = chunks
        .iter()
        .map(|chunk| (chunk.first, chunk.entries, chunk.messages))
        .collect();
    assert_eq!(shape, [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1000)]);
    assert_eq!(
        chunks[3].plain_messages(),
        None,
        "packed messages are not plain ones"
    );
}

fn refusals(broker: &Broker) {
    let code = |result: Result<(), ClientError>| match result {
        Err(ClientError::Refused { code, .. }) => code,
        other => unreachable!("{other:?}"),
    };
    const NO_STREAM: u16 = 2;
    const EXISTS: u16 = 5;
    const BAD_PASSWORD: u16 = 8;
    let again = broker.create_stream("shapes", &StreamOptions::default());
    assert_eq!(code(again), EXISTS);
    broker.delete_stream("shapes").unwrap();
    assert_eq!(code(broker.delete_stream("shapes")), NO_STREAM);
    let stranger = Client::connect(broker.port(), USER, "pears").map(|_| ());
    assert_eq!(code(stranger), BAD_PASSWORD);
}

#[test]
fn what_was_confirmed_outlives_every_end_of_rabbitmq_3_10() {
    life(
        "what_was_confirmed_outlives_every_end_of_rabbitmq_3_10",
        Version::V3_10,
    );
}

#[test]
fn what_was_confirmed_outlives_every_end_of_rabbitmq_4_0() {
    life(
        "what_was_confirmed_outlives_every_end_of_rabbitmq_4_0",
        Version::V4_0,
    );
}
