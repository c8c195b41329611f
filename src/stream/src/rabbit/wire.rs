//! Frames of the RabbitMQ Streams protocol: what a reader sends, and what it hears but for the chunks ([`super::chunk`]).
//!
//! A frame is its length (u32), a key and a version (u16 each), and content; all numbers are big-endian. Decoding is
//! total: any bytes give a value, or an error that names the byte. Nothing is allocated for a length that the frame
//! does not hold. Facts: RabbitMQ's "Streams Protocol Reference" and what brokers 3.10.8 and 4.0.5 answered.
//!
//! QueryOffset and StoreOffset are left out: the place of a consumer is what is durable on its own disk, never what a
//! broker remembers.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// What a frame is, the highest bit (a response) apart.
pub mod key {
    /// The broker accepts a subscription.
    pub const SUBSCRIBE: u16 = 7;
    /// A chunk.
    pub const DELIVER: u16 = 8;
    /// How many more chunks may come.
    pub const CREDIT: u16 = 9;
    /// The end of a subscription.
    pub const UNSUBSCRIBE: u16 = 12;
    /// Which brokers hold a stream.
    pub const METADATA: u16 = 15;
    /// A stream is gone, or its place.
    pub const METADATA_UPDATE: u16 = 16;
    /// Who is speaking.
    pub const PEER_PROPERTIES: u16 = 17;
    /// Which ways to log in there are.
    pub const SASL_HANDSHAKE: u16 = 18;
    /// Logging in.
    pub const SASL_AUTHENTICATE: u16 = 19;
    /// Frame size and heartbeat.
    pub const TUNE: u16 = 20;
    /// Choosing the virtual host.
    pub const OPEN: u16 = 21;
    /// The end of a connection.
    pub const CLOSE: u16 = 22;
    /// A sign of life.
    pub const HEARTBEAT: u16 = 23;
    /// Whether a consumer of a group is the active one.
    pub const CONSUMER_UPDATE: u16 = 26;
    /// Which versions of each command are spoken.
    pub const EXCHANGE_COMMAND_VERSIONS: u16 = 27;
    /// Where a stream begins and ends.
    pub const STREAM_STATS: u16 = 28;
}

const RESPONSE: u16 = 0x8000;
const VERSION: u16 = 1;
/// The newest version of Deliver that is understood: it adds how far the stream is committed.
pub const DELIVER_VERSION: u16 = 2;

/// What a broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(pub u16);

impl ResponseCode {
    /// Done.
    pub const OK: Self = Self(0x01);
    /// There is no such stream.
    pub const NO_SUCH_STREAM: Self = Self(0x02);
    /// The stream is there, but not on this broker or not now.
    pub const NOT_AVAILABLE: Self = Self(0x06);
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            0x01 => "ok",
            0x02 => "the stream does not exist",
            0x03 => "the subscription id already exists",
            0x04 => "the subscription id does not exist",
            0x05 => "the stream already exists",
            0x06 => "the stream is not available",
            0x07 => "the login mechanism is not supported",
            0x08 => "wrong user or password",
            0x09 => "the login failed",
            0x0a => "the login wants another step",
            0x0b => "this user may log in from the broker's own host only",
            0x0c => "no access to the virtual host",
            0x0d => "the frame is unknown",
            0x0e => "the frame is too large",
            0x0f => "internal error of the broker",
            0x10 => "permission refused",
            0x11 => "a precondition failed",
            0x12 => "the publisher does not exist",
            0x13 => "there is no offset",
            other => return write!(f, "code {other}"),
        };
        f.write_str(words)
    }
}

/// A frame that is not what its key promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a frame with key {key} is malformed at byte {position}: {problem}")]
pub struct Malformed {
    /// The key of the frame.
    pub key: u16,
    /// The byte of the content where it stops making sense.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// The head that every frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the content, which follow.
    pub content: usize,
    /// What it is, with the bit of a response.
    pub key: u16,
    /// Version of the layout.
    pub version: u16,
}

/// Bytes of a [`Head`] with the length before it.
pub const HEAD_BYTES: usize = 8;

impl Head {
    /// Reads the first bytes of a frame.
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, Malformed> {
        let [a, b, c, d, k, l, v, w] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let key = u16::from_be_bytes([k, l]);
        let content = length.checked_sub(4).ok_or(Malformed {
            key,
            position: 0,
            problem: "the frame is shorter than its head",
        })?;
        Ok(Self {
            content,
            key,
            version: u16::from_be_bytes([v, w]),
        })
    }
}

/// A broker that holds a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Name or address, as the broker advertises it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What a broker says, the chunks apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An answer without more than its code.
    Response {
        /// What was asked for.
        key: u16,
        /// Which request.
        id: u32,
        /// The answer.
        code: ResponseCode,
    },
    /// Who the broker is.
    PeerProperties {
        /// The answer.
        code: ResponseCode,
        /// Names and values, `version` among them.
        properties: Vec<(String, String)>,
    },
    /// Ways to log in.
    SaslHandshake {
        /// The answer.
        code: ResponseCode,
        /// Their names.
        mechanisms: Vec<String>,
    },
    /// What the broker suggests.
    Tune {
        /// Largest frame in bytes, 0 for no limit.
        frame_max: u32,
        /// Seconds, 0 for none.
        heartbeat: u32,
    },
    /// Who holds a stream: replicas first, the leader last.
    Metadata {
        /// The answer for the one stream that was asked for.
        code: ResponseCode,
        /// The brokers.
        brokers: Vec<Broker>,
    },
    /// A stream was deleted or moved: its subscriptions are gone.
    MetadataUpdate {
        /// Why.
        code: ResponseCode,
        /// Which.
        stream: String,
    },
    /// Whether this consumer is the active one of its group.
    ConsumerUpdate {
        /// To answer with.
        id: u32,
        /// Whether it is.
        active: bool,
    },
    /// Where a stream begins and ends.
    StreamStats {
        /// The answer.
        code: ResponseCode,
        /// Names and values.
        stats: Vec<(String, i64)>,
    },
    /// A grant was refused: the subscription is unknown.
    CreditRefused {
        /// Why.
        code: ResponseCode,
        /// Which.
        subscription: u8,
    },
    /// The broker ends the connection.
    Close {
        /// To answer with.
        id: u32,
        /// Why.
        code: ResponseCode,
        /// In its words.
        reason: String,
    },
    /// A sign of life.
    Heartbeat,
    /// Something that this reader never asks for.
    Other {
        /// What.
        key: u16,
    },
}

/// Reads the content of a frame that holds no chunk.
pub fn parse(head: Head, content: &[u8]) -> Result<Incoming, Malformed> {
    let mut content = Content {
        key: head.key,
        bytes: content,
        position: 0,
    };
    let is_response = head.key & RESPONSE != 0;
    let incoming = match (is_response, head.key & !RESPONSE) {
        (_, key::TUNE) => Incoming::Tune {
            frame_max: content.u32()?,
            heartbeat: content.u32()?,
        },
        (_, key::HEARTBEAT) => Incoming::Heartbeat,
        (false, key::METADATA_UPDATE) => Incoming::MetadataUpdate {
            code: content.code()?,
            stream: content.string()?,
        },
        (false, key::CONSUMER_UPDATE) => {
            let id = content.u32()?;
            content.u8()?;
            let active = content.u8()? != 0;
            Incoming::ConsumerUpdate { id, active }
        }
        (false, key::CLOSE) => Incoming::Close {
            id: content.u32()?,
            code: content.code()?,
            reason: content.string()?,
        },
        (true, key::CREDIT) => Incoming::CreditRefused {
            code: content.code()?,
            subscription: content.u8()?,
        },
        (true, key::METADATA) => metadata(&mut content)?,
        (true, key) => response(key, &mut content)?,
        (false, key) => Incoming::Other { key },
    };
    Ok(incoming)
}

fn response(key: u16, content: &mut Content<'_>) -> Result<Incoming, Malformed> {
    let id = content.u32()?;
    let code = content.code()?;
    Ok(match key {
        key::PEER_PROPERTIES => Incoming::PeerProperties {
            code,
            properties: content.array(4, |content| Ok((content.string()?, content.string()?)))?,
        },
        key::SASL_HANDSHAKE => Incoming::SaslHandshake {
            code,
            mechanisms: content.array(2, Content::string)?,
        },
        key::STREAM_STATS => Incoming::StreamStats {
            code,
            stats: content.array(10, |content| Ok((content.string()?, content.i64()?)))?,
        },
        _ => Incoming::Response { key, id, code },
    })
}

fn metadata(content: &mut Content<'_>) -> Result<Incoming, Malformed> {
    content.u32()?;
    let brokers = content.array(8, |content| {
        Ok((content.u16()?, content.string()?, content.u32()?))
    })?;
    let streams = content.array(10, |content| {
        content.string()?;
        let code = content.code()?;
        let leader = content.u16()?;
        let mut holders = content.array(2, Content::u16)?;
        holders.push(leader);
        Ok((code, holders))
    })?;
    let (code, holders) = streams
        .into_iter()
        .next()
        .unwrap_or((ResponseCode::NO_SUCH_STREAM, Vec::new()));
    let broker = |reference: u16| {
        let (_, host, port) = brokers.iter().find(|(known, ..)| *known == reference)?;
        let port = u16::try_from(*port).ok()?;
        Some(Broker {
            host: host.clone(),
            port,
        })
    };
    Ok(Incoming::Metadata {
        code,
        brokers: holders.into_iter().filter_map(broker).collect(),
    })
}

/// The content of a frame, read from left to right.
struct Content<'a> {
    key: u16,
    bytes: &'a [u8],
    position: usize,
}

impl Content<'_> {
    fn malformed(&self, problem: &'static str) -> Malformed {
        Malformed {
            key: self.key,
            position: self.position,
            problem,
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.position.saturating_add(count);
        match self.bytes.get(self.position..end) {
            Some(bytes) => {
                self.position = end;
                Ok(bytes)
            }
            None => Err(self.malformed("it ends too early")),
        }
    }

    fn number<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Malformed> {
        let mut number = [0; BYTES];
        number.copy_from_slice(self.take(BYTES)?);
        Ok(number)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.number().map(u32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.number().map(i64::from_be_bytes)
    }

    fn code(&mut self) -> Result<ResponseCode, Malformed> {
        self.u16().map(ResponseCode)
    }

    /// A text; null is empty. What is not UTF-8 in it is replaced: it is only shown.
    fn string(&mut self) -> Result<String, Malformed> {
        let length = i16::from_be_bytes(self.number()?);
        if length == -1 {
            return Ok(String::new());
        }
        let length = usize::try_from(length).map_err(|_| self.malformed("a text has a negative length"))?;
        self.take(length)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A list whose elements take at least `least` bytes each, so that its length cannot promise more than there is.
    fn array<T>(
        &mut self,
        least: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = i32::from_be_bytes(self.number()?);
        if count == -1 {
            return Ok(Vec::new());
        }
        let count = usize::try_from(count).map_err(|_| self.malformed("a list has a negative length"))?;
        let left = self.bytes.len().saturating_sub(self.position);
        if count > left / least {
            return Err(self.malformed("a list is longer than the frame"));
        }
        (0..count).map(|_| element(self)).collect()
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the last chunk.
    Last,
    /// At the chunk that holds this offset.
    Offset(u64),
}

/// A frame to send, wiped after use: one of them holds the password.
pub type Outgoing = Zeroizing<Vec<u8>>;

/// The longest text that a frame takes here. Brokers allow 255 bytes for names; a password may be a token.
pub const MAX_TEXT_BYTES: usize = 8 << 10;

/// Says who is speaking.
pub fn peer_properties(id: u32, properties: &[(&str, &str)]) -> Outgoing {
    request(key::PEER_PROPERTIES, id, |frame| put_map(frame, properties))
}

/// Asks for the ways to log in.
pub fn sasl_handshake(id: u32) -> Outgoing {
    request(key::SASL_HANDSHAKE, id, |_| {})
}

/// Logs in with the mechanism PLAIN.
pub fn sasl_plain(id: u32, user: &str, password: &str) -> Outgoing {
    request(key::SASL_AUTHENTICATE, id, |frame| {
        put_text(frame, "PLAIN");
        put_u32(frame, (user.len() + password.len() + 2) as u32);
        for part in ["\0", user, "\0", password] {
            frame.extend_from_slice(part.as_bytes());
        }
    })
}

/// Agrees on frame size and heartbeat.
pub fn tune(frame_max: u32, heartbeat_s: u32) -> Outgoing {
    frame(key::TUNE | RESPONSE, |frame| {
        put_u32(frame, frame_max);
        put_u32(frame, heartbeat_s);
    })
}

/// Chooses the virtual host.
pub fn open(id: u32, virtual_host: &str) -> Outgoing {
    request(key::OPEN, id, |frame| put_text(frame, virtual_host))
}

/// Says which versions of the commands that a broker sends are understood.
pub fn exchange_command_versions(id: u32) -> Outgoing {
    request(key::EXCHANGE_COMMAND_VERSIONS, id, |frame| {
        put_u32(frame, 1);
        for number in [key::DELIVER, VERSION, DELIVER_VERSION] {
            put_u16(frame, number);
        }
    })
}

/// Asks where a stream begins and ends.
pub fn stream_stats(id: u32, stream: &str) -> Outgoing {
    request(key::STREAM_STATS, id, |frame| put_text(frame, stream))
}

/// Asks which brokers hold a stream.
pub fn metadata_query(id: u32, stream: &str) -> Outgoing {
    request(key::METADATA, id, |frame| {
        put_u32(frame, 1);
        put_text(frame, stream);
    })
}

/// Asks for the chunks from `start` on, `credit` of them at first. With `properties` of (name, value).
pub fn subscribe(
    id: u32,
    subscription: u8,
    stream: &str,
    start: Start,
    credit: u16,
    properties: &[(&str, &str)],
) -> Outgoing {
    request(key::SUBSCRIBE, id, |frame| {
        frame.push(subscription);
        put_text(frame, stream);
        put_start(frame, Some(start));
        put_u16(frame, credit);
        put_map(frame, properties);
    })
}

/// Allows `credit` more chunks.
pub fn credit(subscription: u8, credit: u16) -> Outgoing {
    frame(key::CREDIT, |frame| {
        frame.push(subscription);
        put_u16(frame, credit);
    })
}

/// Ends a subscription.
pub fn unsubscribe(id: u32, subscription: u8) -> Outgoing {
    request(key::UNSUBSCRIBE, id, |frame| frame.push(subscription))
}

/// A sign of life.
pub fn heartbeat() -> Outgoing {
    frame(key::HEARTBEAT, |_| {})
}

/// Ends the connection.
pub fn close(id: u32) -> Outgoing {
    request(key::CLOSE, id, |frame| {
        put_u16(frame, ResponseCode::OK.0);
        put_text(frame, "done");
    })
}

/// Answers the end of a connection.
pub fn close_response(id: u32) -> Outgoing {
    request(key::CLOSE | RESPONSE, id, |frame| {
        put_u16(frame, ResponseCode::OK.0)
    })
}

/// Answers where an active consumer of a group begins; none if it is not the active one.
pub fn consumer_update_response(id: u32, start: Option<Start>) -> Outgoing {
    request(key::CONSUMER_UPDATE | RESPONSE, id, |frame| {
        put_u16(frame, ResponseCode::OK.0);
        put_start(frame, start);
    })
}

fn request(key: u16, id: u32, content: impl FnOnce(&mut Vec<u8>)) -> Outgoing {
    frame(key, |frame| {
        put_u32(frame, id);
        content(frame);
    })
}

fn frame(key: u16, content: impl FnOnce(&mut Vec<u8>)) -> Outgoing {
    // Enough that no frame of names and a password is moved while it grows: a copy left behind is not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 * MAX_TEXT_BYTES));
    bytes.extend_from_slice(&[0; 4]);
    put_u16(&mut bytes, key);
    put_u16(&mut bytes, VERSION);
    content(&mut bytes);
    let length = (bytes.len() - 4) as u32;
    if let Some(place) = bytes.get_mut(..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

fn put_u16(frame: &mut Vec<u8>, number: u16) {
    frame.extend_from_slice(&number.to_be_bytes());
}

fn put_u32(frame: &mut Vec<u8>, number: u32) {
    frame.extend_from_slice(&number.to_be_bytes());
}

/// A text of at most [`MAX_TEXT_BYTES`], which callers make sure of.
fn put_text(frame: &mut Vec<u8>, text: &str) {
    put_u16(frame, text.len() as u16);
    frame.extend_from_slice(text.as_bytes());
}

fn put_map(frame: &mut Vec<u8>, map: &[(&str, &str)]) {
    put_u32(frame, map.len() as u32);
    for (name, value) in map {
        put_text(frame, name);
        put_text(frame, value);
    }
}

fn put_start(frame: &mut Vec<u8>, start: Option<Start>) {
    match start {
        None => put_u16(frame, 0),
        Some(Start::Last) => put_u16(frame, 2),
        Some(Start::Offset(offset)) => {
            put_u16(frame, 4);
            frame.extend_from_slice(&offset.to_be_bytes());
        }
    }
}
