//! Ports on loopback that nobody else takes: below the range from which the system gives ports to outgoing connections,
//! so that they are still free when a broker is started again.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

/// Above the ports of well-known services, below those of outgoing connections (32768 on Linux).
const RANGE: Range<u16> = 20_000..32_000;
const A_BROKERS: u16 = 4;

/// The ports of one broker, held as long as this lives.
pub(crate) struct Ports {
    first: u16,
    /// The same number of UDP, which brokers do not use: whoever holds it owns the block, in every process.
    _held: UdpSocket,
}

impl Ports {
    pub(crate) fn take() -> io::Result<Self> {
        let blocks = RANGE.len() / usize::from(A_BROKERS);
        let start = std::process::id() as usize;
        for block in (0..blocks).map(|n| (start + n) % blocks) {
            let first = RANGE.start + u16::try_from(block).unwrap_or_default() * A_BROKERS;
            let Ok(held) = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)) else {
                continue;
            };
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if (first..first + A_BROKERS).all(free) {
                return Ok(Self { first, _held: held });
            }
        }
        Err(io::Error::other(format!(
            "no four ports in a row are free on loopback from {} to {}",
            RANGE.start, RANGE.end
        )))
    }

    pub(crate) fn stream(&self) -> u16 {
        self.first
    }

    pub(crate) fn stream_tls(&self) -> u16 {
        self.first + 1
    }

    /// Erlang's distribution, which rabbitmqctl uses.
    pub(crate) fn distribution(&self) -> u16 {
        self.first + 2
    }

    /// Erlang's port mapper.
    pub(crate) fn mapper(&self) -> u16 {
        self.first + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_brokers_have_different_ports_and_a_dropped_block_is_free_again() {
        let one = Ports::take().unwrap();
        let two = Ports::take().unwrap();
        assert_ne!(one.stream(), two.stream());
        let first = one.stream();
        drop(one);
        assert_eq!(Ports::take().unwrap().stream(), first);
    }
}
