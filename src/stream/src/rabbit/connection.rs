//! One connection to a broker: reading frames, logging in, asking.

use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use crc32fast::Hasher;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::timeout,
};

use super::{
    Options, State,
    transport::{self, Duplex},
    trouble::Trouble,
    wire::{self, Broker, HEAD_BYTES, Head, Incoming, MAX_TEXT_BYTES, ResponseCode, key},
};

/// What is read at once where the destination is not known yet.
const READ_BYTES: usize = 64 << 10;
/// The largest frame that is no chunk: far more than a broker's answers take.
const MAX_CONTENT: usize = 1 << 20;
/// Brokers from this version on tell where a stream ends, and which versions of commands they speak.
const STATS_SINCE: (u32, u32) = (3, 11);

/// What a broker sends, frame by frame.
pub(super) struct Inbound<'a> {
    wire: Wire<'a>,
    buffer: BytesMut,
}

/// The bytes that arrive, and how long none may.
struct Wire<'a> {
    read: ReadHalf<Box<dyn Duplex>>,
    silence: Duration,
    state: &'a State,
}

impl Wire<'_> {
    /// Only time spent here counts as silence: none passes while nobody reads.
    async fn read(&mut self, target: &mut (impl BufMut + Send)) -> Result<usize, Trouble> {
        match timeout(self.silence, self.read.read_buf(target)).await {
            Err(_) => Err(Trouble::Silent {
                seconds: self.silence.as_secs(),
            }),
            Ok(Err(error)) => Err(Trouble::Broken(error)),
            Ok(Ok(0)) => Err(Trouble::Ended),
            Ok(Ok(read)) => {
                self.state.sign();
                Ok(read)
            }
        }
    }
}

impl Inbound<'_> {
    /// The head of the next frame.
    pub(super) async fn head(&mut self) -> Result<Head, Trouble> {
        Ok(Head::parse(self.take::<HEAD_BYTES>().await?)?)
    }

    /// The content of a frame that is no chunk.
    pub(super) async fn content(&mut self, head: Head) -> Result<Incoming, Trouble> {
        if head.content > MAX_CONTENT {
            return Err(Trouble::Oversize {
                key: head.key,
                bytes: head.content,
            });
        }
        self.ensure(head.content).await?;
        let incoming = wire::parse(head, self.buffer.get(..head.content).unwrap_or_default())?;
        self.buffer.advance(head.content);
        Ok(incoming)
    }

    /// The next `BYTES` bytes.
    pub(super) async fn take<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Trouble> {
        self.ensure(BYTES).await?;
        let mut taken = [0; BYTES];
        self.buffer.copy_to_slice(&mut taken);
        Ok(taken)
    }

    /// Appends the next `bytes` bytes to `data`, which has room for them.
    pub(super) async fn append(
        &mut self,
        data: &mut BytesMut,
        bytes: usize,
        hasher: &mut Hasher,
    ) -> Result<(), Trouble> {
        let mut left = bytes;
        let here = left.min(self.buffer.len());
        data.extend_from_slice(&self.buffer[..here]);
        self.buffer.advance(here);
        left -= here;
        let mut hashed = data.len() - here;
        while left > 0 {
            hasher.update(&data[hashed..]);
            hashed = data.len();
            left -= self.wire.read(&mut (&mut *data).limit(left)).await?;
        }
        hasher.update(&data[hashed..]);
        Ok(())
    }

    /// Reads `bytes` bytes without keeping them.
    pub(super) async fn skip(&mut self, bytes: usize, hasher: &mut Hasher) -> Result<(), Trouble> {
        let mut left = bytes;
        while left > 0 {
            self.ensure(1).await?;
            let here = left.min(self.buffer.len());
            hasher.update(&self.buffer[..here]);
            self.buffer.advance(here);
            left -= here;
        }
        Ok(())
    }

    /// Waits until the buffer holds `bytes` bytes.
    async fn ensure(&mut self, bytes: usize) -> Result<(), Trouble> {
        while self.buffer.len() < bytes {
            self.buffer.reserve(bytes.max(READ_BYTES) - self.buffer.len());
            self.wire.read(&mut self.buffer).await?;
        }
        Ok(())
    }
}

/// What is sent to a broker.
pub(super) struct Outbound {
    write: WriteHalf<Box<dyn Duplex>>,
    last_id: u32,
}

impl Outbound {
    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), Trouble> {
        self.write.write_all(frame).await?;
        self.write.flush().await?;
        Ok(())
    }

    /// Sends a request with the next number.
    pub(super) async fn request(&mut self, frame: impl FnOnce(u32) -> wire::Outgoing) -> Result<(), Trouble> {
        self.last_id += 1;
        self.send(&frame(self.last_id)).await
    }
}

/// A connection on which a user is logged in.
pub(super) struct Connection<'a> {
    pub inbound: Inbound<'a>,
    pub outbound: Outbound,
    pub broker: Broker,
    /// The broker's version, in its words.
    pub version: String,
    /// Whether it answers StreamStats.
    pub has_stats: bool,
}

impl<'a> Connection<'a> {
    /// Connects and logs in.
    pub(super) async fn open(options: &Options, broker: Broker, state: &'a State) -> Result<Self, Trouble> {
        for (what, text) in [
            ("the user's name", &options.user),
            ("the virtual host's name", &options.virtual_host),
            ("the stream's name", &options.stream),
        ] {
            if text.len() > MAX_TEXT_BYTES {
                return Err(Trouble::TooLong(what));
            }
        }
        let silence = options.silence();
        let duplex = transport::connect(&broker, options.tls.as_ref(), silence).await?;
        let (read, write) = tokio::io::split(duplex);
        let mut connection = Self {
            inbound: Inbound {
                wire: Wire { read, silence, state },
                buffer: BytesMut::new(),
            },
            outbound: Outbound { write, last_id: 0 },
            broker,
            version: String::new(),
            has_stats: false,
        };
        connection.introduce().await?;
        connection.log_in(options).await?;
        connection.tune(options).await?;
        let open = |id| wire::open(id, &options.virtual_host);
        connection.outbound.request(open).await?;
        connection
            .expect_ok(
                key::OPEN,
                "access to the virtual host",
                "check virtual_host and the user's permissions",
            )
            .await?;
        if connection.has_stats {
            connection
                .outbound
                .request(wire::exchange_command_versions)
                .await?;
            connection
                .expect_ok(
                    key::EXCHANGE_COMMAND_VERSIONS,
                    "its versions",
                    "check the broker's version",
                )
                .await?;
        }
        Ok(connection)
    }

    async fn introduce(&mut self) -> Result<(), Trouble> {
        let properties = [
            ("product", "azaion"),
            ("platform", "Rust"),
            ("version", env!("CARGO_PKG_VERSION")),
            ("connection_name", "azaion reader"),
        ];
        self.outbound
            .request(|id| wire::peer_properties(id, &properties))
            .await?;
        match self.answer().await? {
            Incoming::PeerProperties { code, properties } if code == ResponseCode::OK => {
                let version = properties.into_iter().find(|(name, _)| name == "version");
                self.version = version.map(|(_, version)| version).unwrap_or_default();
                self.has_stats = major_minor(&self.version) >= Some(STATS_SINCE);
                Ok(())
            }
            _ => Err(Trouble::OutOfTurn("to peer properties")),
        }
    }

    async fn log_in(&mut self, options: &Options) -> Result<(), Trouble> {
        self.outbound.request(wire::sasl_handshake).await?;
        let Incoming::SaslHandshake { mechanisms, .. } = self.answer().await? else {
            return Err(Trouble::OutOfTurn("to the login's handshake"));
        };
        if !mechanisms.iter().any(|mechanism| mechanism == "PLAIN") {
            return Err(Trouble::Mechanisms(mechanisms.join(", ")));
        }
        let password = (options.password)().map_err(Trouble::Password)?;
        if password.len() > MAX_TEXT_BYTES {
            return Err(Trouble::TooLong("the password"));
        }
        self.outbound
            .request(|id| wire::sasl_plain(id, &options.user, &password))
            .await?;
        drop(password);
        self.expect_ok(key::SASL_AUTHENTICATE, "the login", "check user and password")
            .await
    }

    async fn tune(&mut self, options: &Options) -> Result<(), Trouble> {
        let Incoming::Tune { frame_max, .. } = self.answer().await? else {
            return Err(Trouble::OutOfTurn("before tuning"));
        };
        let heartbeat = options.heartbeat.as_secs().clamp(1, u64::from(u32::MAX)) as u32;
        self.outbound.send(&wire::tune(frame_max, heartbeat)).await
    }

    /// The next thing that the broker says which is an answer.
    pub(super) async fn answer(&mut self) -> Result<Incoming, Trouble> {
        loop {
            let head = self.inbound.head().await?;
            if head.key == key::DELIVER {
                return Err(Trouble::OutOfTurn("with a chunk"));
            }
            match self.inbound.content(head).await? {
                Incoming::Heartbeat | Incoming::Other { .. } => {}
                Incoming::Close { id, code, reason } => return Err(Trouble::Closed { id, code, reason }),
                Incoming::MetadataUpdate { code, .. } => return Err(Trouble::Moved(code)),
                incoming => return Ok(incoming),
            }
        }
    }

    /// Waits for the answer to a request and refuses everything but "ok".
    pub(super) async fn expect_ok(
        &mut self,
        asked: u16,
        what: &'static str,
        remedy: &'static str,
    ) -> Result<(), Trouble> {
        match self.answer().await? {
            Incoming::Response { key, code, .. } if key == asked => accept(code, what, remedy),
            _ => Err(Trouble::OutOfTurn(what)),
        }
    }

    /// The brokers that hold the stream, the replicas first.
    pub(super) async fn holders(&mut self, stream: &str) -> Result<Vec<Broker>, Trouble> {
        self.outbound
            .request(|id| wire::metadata_query(id, stream))
            .await?;
        match self.answer().await? {
            Incoming::Metadata { brokers, .. } => Ok(brokers),
            _ => Err(Trouble::OutOfTurn("to metadata")),
        }
    }

    /// Ends the connection in good order: says so and waits for the broker to hang up.
    pub(super) async fn close(&mut self, subscription: Option<u8>) -> Result<(), Trouble> {
        if let Some(subscription) = subscription {
            self.outbound
                .request(|id| wire::unsubscribe(id, subscription))
                .await?;
        }
        self.outbound.request(wire::close).await?;
        self.outbound.write.shutdown().await?;
        loop {
            let here = self.inbound.buffer.len().max(1);
            self.inbound.skip(here, &mut Hasher::new()).await?;
        }
    }
}

/// Refuses everything but "ok".
pub(super) fn accept(code: ResponseCode, what: &'static str, remedy: &'static str) -> Result<(), Trouble> {
    if code == ResponseCode::OK {
        return Ok(());
    }
    Err(Trouble::Refused { what, code, remedy })
}

/// The first two numbers of a version.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let has_stats = |version| major_minor(version) >= Some(STATS_SINCE);
        assert!(
            has_stats("3.11.0") && has_stats("3.13.7") && has_stats("4.0.5") && has_stats("10.0.0-beta.1")
        );
        assert!(!has_stats("3.10.8") && !has_stats("3.9.13") && !has_stats("") && !has_stats("x.y"));
    }
}
