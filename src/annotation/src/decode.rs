//! The way of a message from bytes to a value: AMQP 1.0, perhaps gzip, MessagePack, JSON (QUE-1, QUE-2).

use bytes::Bytes;

use crate::{
    DecodeError, Decoded, Status,
    amqp::{self, StatusProperty},
    body, gzip,
};

/// How large things may be. The defaults are far above anything a producer sends and far below what would hurt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The whole message, in bytes.
    pub message_bytes: usize,
    /// A gzip-compressed body once inflated, in bytes.
    pub inflated_bytes: usize,
    /// The image, in bytes.
    pub image_bytes: usize,
    /// Detections of one annotation.
    pub detections: usize,
    /// Names of one bulk message.
    pub names: usize,
    /// How deep MessagePack values may be nested in what is skipped.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            message_bytes: 128 * MIB,
            inflated_bytes: 128 * MIB,
            image_bytes: 64 * MIB,
            detections: 100_000,
            names: 100_000,
            depth: 64,
        }
    }
}

impl Limits {
    pub(crate) const fn check(
        &self,
        what: &'static str,
        size: usize,
        limit: usize,
    ) -> Result<(), DecodeError> {
        if size <= limit {
            Ok(())
        } else {
            Err(DecodeError::TooLarge {
                what,
                size: Some(size),
                limit,
            })
        }
    }
}

/// Decodes a message with the default [`Limits`]. Total: any bytes give a message or an error.
///
/// This copies the bytes once; a caller that holds them as [`Bytes`] uses [`decode_shared`], which does not.
pub fn decode(raw: &[u8]) -> Result<Decoded, DecodeError> {
    let limits = Limits::default();
    limits.check("message", raw.len(), limits.message_bytes)?;
    decode_shared(&Bytes::copy_from_slice(raw), &limits)
}

/// Decodes a message without copying its image: the image is a slice of `raw`, unless the body is compressed or came in
/// several sections. Total: any bytes give a message or an error.
pub fn decode_shared(raw: &Bytes, limits: &Limits) -> Result<Decoded, DecodeError> {
    limits.check("message", raw.len(), limits.message_bytes)?;
    let envelope = amqp::decode(raw)?;
    let property = envelope.status.map(property_status).transpose()?;
    let mut notes = Vec::new();
    let body = if gzip::is_gzip(&envelope.body) {
        gzip::inflate(&envelope.body, limits.inflated_bytes, &mut notes)?
    } else {
        envelope.body
    };
    let message = body::read(&body, property, limits, &mut notes)?;
    Ok(Decoded { message, notes })
}

pub(crate) fn property_status(property: StatusProperty<'_>) -> Result<Status, DecodeError> {
    match property {
        StatusProperty::Number(number) => {
            Status::from_number(number).ok_or(DecodeError::StatusNumber { number })
        }
        StatusProperty::Name(name) => std::str::from_utf8(name)
            .ok()
            .and_then(Status::from_name)
            .ok_or(DecodeError::StatusName),
        StatusProperty::Other => Err(DecodeError::StatusName),
    }
}
