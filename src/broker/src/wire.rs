//! Frames of the stream protocol: a length, a key, a version, and fields in network byte order.

use std::io::{self, Read};

pub(crate) const DECLARE_PUBLISHER: u16 = 0x01;
pub(crate) const PUBLISH: u16 = 0x02;
pub(crate) const PUBLISH_CONFIRM: u16 = 0x03;
pub(crate) const PUBLISH_ERROR: u16 = 0x04;
pub(crate) const SUBSCRIBE: u16 = 0x07;
pub(crate) const DELIVER: u16 = 0x08;
pub(crate) const CREDIT: u16 = 0x09;
pub(crate) const CREATE: u16 = 0x0d;
pub(crate) const DELETE: u16 = 0x0e;
pub(crate) const PEER_PROPERTIES: u16 = 0x11;
pub(crate) const SASL_HANDSHAKE: u16 = 0x12;
pub(crate) const SASL_AUTHENTICATE: u16 = 0x13;
pub(crate) const TUNE: u16 = 0x14;
pub(crate) const OPEN: u16 = 0x15;
pub(crate) const CLOSE: u16 = 0x16;
pub(crate) const HEARTBEAT: u16 = 0x17;
/// The bit of a key that makes it a response.
pub(crate) const RESPONSE: u16 = 0x8000;
const VERSION: u16 = 1;

/// A frame being written.
pub(crate) struct Out(Vec<u8>);

impl Out {
    pub(crate) fn new(key: u16) -> Self {
        Self::with_capacity(key, 64)
    }

    pub(crate) fn with_capacity(key: u16, bytes: usize) -> Self {
        let mut frame = Self(Vec::with_capacity(bytes + 8));
        frame.0.extend([0; 4]);
        frame.u16(key).u16(VERSION);
        frame
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.u16(text.len() as u16);
        self.0.extend(text.as_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
        self
    }

    pub(crate) fn map(&mut self, pairs: &[(&str, &str)]) -> &mut Self {
        self.u32(pairs.len() as u32);
        for (key, value) in pairs {
            self.string(key).string(value);
        }
        self
    }

    /// The whole frame, its length in front.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// A frame that was read.
pub(crate) struct In {
    pub(crate) key: u16,
    body: Vec<u8>,
    at: usize,
}

impl In {
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut body)?;
        let mut frame = Self { key: 0, body, at: 0 };
        frame.key = frame.u16()?;
        frame.u16()?;
        Ok(frame)
    }

    pub(crate) fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let end = self.at.saturating_add(count);
        let taken = self.body.get(self.at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> io::Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> io::Result<u16> {
        let mut value = [0; 2];
        value.copy_from_slice(self.take(2)?);
        Ok(u16::from_be_bytes(value))
    }

    pub(crate) fn u32(&mut self) -> io::Result<u32> {
        let mut value = [0; 4];
        value.copy_from_slice(self.take(4)?);
        Ok(u32::from_be_bytes(value))
    }

    pub(crate) fn u64(&mut self) -> io::Result<u64> {
        let mut value = [0; 8];
        value.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(value))
    }

    pub(crate) fn string(&mut self) -> io::Result<String> {
        let length = usize::from(self.u16()?);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}
