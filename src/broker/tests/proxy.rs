//! The network between a client and a server, with a server that sends back what it gets.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use broker::{Network, Proxy};

/// Echoes on every connection, for as long as the test's process lives.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut from = connection.unwrap();
            let mut to = from.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    port
}

fn connect(proxy: &Proxy) -> TcpStream {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    connection
}

fn exchange(connection: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    connection.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    connection.read_exact(&mut back)?;
    Ok(back)
}

#[test]
fn a_good_network_passes_on_and_a_cut_one_ends_connections_but_takes_new_ones() {
    let proxy = Proxy::to(echo()).unwrap();
    let mut connection = connect(&proxy);
    assert_eq!(exchange(&mut connection, b"pear").unwrap(), b"pear");

    proxy.cut();

    assert!(exchange(&mut connection, b"pear").is_err());
    assert_eq!(exchange(&mut connect(&proxy), b"plum").unwrap(), b"plum");
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_stalled_network_delivers_later_what_it_took() {
    let proxy = Proxy::to(echo()).unwrap();
    let mut connection = connect(&proxy);
    assert_eq!(exchange(&mut connection, b"pear").unwrap(), b"pear");

    proxy.becomes(Network::Stalled);
    connection
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let stalled = exchange(&mut connection, b"plum").unwrap_err();
    assert!(
        matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{stalled}"
    );

    proxy.becomes(Network::Good);
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut back = [0; 4];
    connection.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"plum");
}

#[test]
fn a_refusing_network_takes_no_connection_until_it_is_good_again() {
    let proxy = Proxy::to(echo()).unwrap();
    let mut open = connect(&proxy);
    assert_eq!(exchange(&mut open, b"pear").unwrap(), b"pear");

    proxy.becomes(Network::Refusing);
    let refused = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).is_err();
    within_ten_seconds(refused);
    assert_eq!(
        exchange(&mut open, b"plum").unwrap(),
        b"plum",
        "what is open stays"
    );

    proxy.becomes(Network::Good);
    within_ten_seconds(|| !refused());
}

fn within_ten_seconds(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn slow_and_narrow_networks_take_their_time() {
    let proxy = Proxy::to(echo()).unwrap();
    let mut connection = connect(&proxy);
    proxy.becomes(Network::Slow(Duration::from_millis(50)));
    let started = Instant::now();
    exchange(&mut connection, b"pear").unwrap();
    assert!(started.elapsed() >= Duration::from_millis(100), "there and back");

    proxy.becomes(Network::Narrow(1 << 20));
    let started = Instant::now();
    exchange(&mut connection, &[7; 100 << 10]).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(95));
}
