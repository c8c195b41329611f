//! A connection to a broker's stream port: as much of the protocol as tests need, answered or refused at once.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

use crate::wire::{self, In, Out};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
const OK: u16 = 1;
/// Chunks under way at once.
const CREDIT: u16 = 10;

/// Why a broker did not do what it was asked for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection failed, or nothing came for a minute.
    #[error("the connection to the broker: {0}")]
    Io(#[from] io::Error),
    /// The broker said no.
    #[error("the broker refused command {command:#x} with code {code} (see the stream protocol)")]
    Refused {
        /// The command's key.
        command: u16,
        /// The protocol's response code.
        code: u16,
    },
    /// The broker ended the connection.
    #[error("the broker closed the connection: {0}")]
    Closed(String),
}

/// An open connection.
pub struct Client {
    out: TcpStream,
    reader: BufReader<TcpStream>,
    correlation: u32,
    /// Frames that came while an answer was awaited.
    waiting: VecDeque<In>,
}

/// A chunk as the broker keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The offset of its first message.
    pub first: u64,
    /// How many entries it holds; messages that were packed together are one.
    pub entries: u16,
    /// How many messages it holds.
    pub messages: u32,
    /// Its entries.
    pub data: Vec<u8>,
}

impl Chunk {
    fn parse(frame: &mut In) -> io::Result<Self> {
        frame.take(3)?; // subscription, magic, kind
        let entries = frame.u16()?;
        let messages = frame.u32()?;
        frame.take(16)?; // time, epoch
        let first = frame.u64()?;
        frame.u32()?; // checksum
        let length = frame.u32()? as usize;
        frame.take(8)?; // trailer, filter
        let data = frame.take(length)?.to_vec();
        Ok(Self {
            first,
            entries,
            messages,
            data,
        })
    }

    /// Its messages; none where some were packed together.
    #[must_use]
    pub fn plain_messages(&self) -> Option<Vec<&[u8]>> {
        let mut messages = Vec::new();
        let mut rest = self.data.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (message, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            messages.push(message);
            rest = after;
        }
        Some(messages)
    }
}

impl Client {
    /// Connects to `port` on loopback and logs in.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(port: u16, user: &str, password: &str) -> Result<Self, ClientError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let out = TcpStream::connect_timeout(&address, CONNECT)?;
        out.set_nodelay(true)?;
        out.set_read_timeout(Some(ANSWER))?;
        out.set_write_timeout(Some(ANSWER))?;
        let reader = BufReader::with_capacity(256 << 10, out.try_clone()?);
        let mut client = Self {
            out,
            reader,
            correlation: 0,
            waiting: VecDeque::new(),
        };
        client.call(wire::PEER_PROPERTIES, |frame| {
            frame.map(&[("product", "azaion tests")]);
        })?;
        client.call(wire::SASL_HANDSHAKE, |_| {})?;
        client.call(wire::SASL_AUTHENTICATE, |frame| {
            frame
                .string("PLAIN")
                .bytes(format!("\0{user}\0{password}").as_bytes());
        })?;
        client.tune()?;
        client.call(wire::OPEN, |frame| {
            frame.string("/");
        })?;
        Ok(client)
    }

    /// Takes the frame size that the broker offers, and no heartbeats.
    fn tune(&mut self) -> Result<(), ClientError> {
        let mut offer = self.next(wire::TUNE)?;
        let frame_max = offer.u32()?;
        let mut answer = Out::new(wire::TUNE);
        answer.u32(frame_max).u32(0);
        self.send(answer)
    }

    /// Creates a stream; `arguments` as the protocol names them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create(&mut self, stream: &str, arguments: &[(&str, &str)]) -> Result<(), ClientError> {
        self.call(wire::CREATE, |frame| {
            frame.string(stream).map(arguments);
        })
    }

    /// Deletes a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delete(&mut self, stream: &str) -> Result<(), ClientError> {
        self.call(wire::DELETE, |frame| {
            frame.string(stream);
        })
    }

    pub(crate) fn declare_publisher(&mut self, id: u8, stream: &str) -> Result<(), ClientError> {
        self.call(wire::DECLARE_PUBLISHER, |frame| {
            frame.u8(id).string("").string(stream);
        })
    }

    /// Every chunk of `stream` from its beginning up to the one that holds the message before offset `until`.
    ///
    /// # Errors
    /// [`ClientError`]; a time-out where the stream is shorter.
    pub fn read(mut self, stream: &str, until: u64) -> Result<Vec<Chunk>, ClientError> {
        const FIRST: u16 = 1;
        self.call(wire::SUBSCRIBE, |frame| {
            frame.u8(0).string(stream).u16(FIRST).u16(CREDIT).map(&[]);
        })?;
        let mut chunks: Vec<Chunk> = Vec::new();
        while chunks
            .last()
            .is_none_or(|last| last.first + u64::from(last.messages) < until)
        {
            let mut frame = self.next(wire::DELIVER)?;
            chunks.push(Chunk::parse(&mut frame)?);
            let mut credit = Out::new(wire::CREDIT);
            credit.u8(0).u16(1);
            self.send(credit)?;
        }
        Ok(chunks)
    }

    pub(crate) fn send(&mut self, frame: Out) -> Result<(), ClientError> {
        Ok(self.out.write_all(&frame.finish())?)
    }

    /// Sends a command and takes its answer's code.
    fn call(&mut self, key: u16, fields: impl FnOnce(&mut Out)) -> Result<(), ClientError> {
        self.correlation += 1;
        let mut frame = Out::new(key);
        frame.u32(self.correlation);
        fields(&mut frame);
        self.send(frame)?;
        loop {
            let mut answer = self.any()?;
            if answer.key != key | wire::RESPONSE {
                self.waiting.push_back(answer);
                continue;
            }
            answer.u32()?; // one command at a time: the answer is this one's
            return match answer.u16()? {
                OK => Ok(()),
                code => Err(ClientError::Refused { command: key, code }),
            };
        }
    }

    /// The next frame with this key; others are dropped.
    fn next(&mut self, key: u16) -> Result<In, ClientError> {
        loop {
            let frame = self.frame()?;
            if frame.key == key {
                return Ok(frame);
            }
        }
    }

    /// The next frame, those first that came while an answer was awaited.
    pub(crate) fn frame(&mut self) -> Result<In, ClientError> {
        match self.waiting.pop_front() {
            Some(frame) => Ok(frame),
            None => self.any(),
        }
    }

    fn any(&mut self) -> Result<In, ClientError> {
        loop {
            let mut frame = In::read(&mut self.reader)?;
            match frame.key {
                wire::HEARTBEAT => {}
                wire::CLOSE => {
                    frame.u32()?;
                    frame.u16()?;
                    return Err(ClientError::Closed(frame.string()?));
                }
                _ => return Ok(frame),
            }
        }
    }
}
