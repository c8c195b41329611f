//! The part of AMQP 1.0 that a stream's messages need: sections, one application property, the body (QUE-1).
//!
//! A message is a run of sections, each a described value. This reader walks all of them - header, delivery and message
//! annotations, properties, application properties, one or several data sections or an amqp-value, footer - and keeps
//! the `AnnotationStatus` property and the body. The body is a slice of the message unless it came in parts. What is
//! not needed is stepped over by its size and never descended into, so depth and time are bounded by the message's
//! length. Facts: OASIS AMQP 1.0 part 1 (types) and part 3.2 (message format).

use bytes::Bytes;
use thiserror::Error;

/// How deep a descriptor may itself be described. Real descriptors are plain numbers or symbols.
const MAX_DESCRIPTOR_DEPTH: u8 = 4;

const STATUS_KEY: &[u8] = b"AnnotationStatus";

/// Where the bytes stop being an AMQP 1.0 message, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at byte {at}: {problem}")]
pub struct AmqpError {
    /// Position in the message, from 0.
    pub at: usize,
    /// What is wrong there.
    pub problem: AmqpProblem,
}

/// What is wrong with an AMQP 1.0 message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AmqpProblem {
    /// A value reaches past the end of what holds it.
    #[error("a value of {wanted} bytes where only {left} are left: truncated")]
    Truncated {
        /// Bytes that the value says it has.
        wanted: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// A section must begin with a descriptor.
    #[error("0x{byte:02x} where a section should begin; this is no AMQP 1.0 message")]
    NotASection {
        /// What is there instead.
        byte: u8,
    },
    /// The descriptor is none of a message's sections.
    #[error("the descriptor is none of a message's sections")]
    UnknownSection,
    /// A type code that AMQP 1.0 does not have.
    #[error("type code 0x{code:02x} does not exist")]
    UnknownType {
        /// The code.
        code: u8,
    },
    /// Descriptors within descriptors.
    #[error("descriptors are nested deeper than {MAX_DESCRIPTOR_DEPTH}")]
    TooDeep,
    /// The application properties are no map, or one whose size and count do not fit its entries.
    #[error("the application properties are no well-formed map")]
    Properties,
    /// Something that may come once came twice.
    #[error("a second {what}")]
    Twice {
        /// What came twice.
        what: &'static str,
    },
    /// The body is not what a producer of annotations sends.
    #[error("the body is {found}; the producer must send binary data sections")]
    Body {
        /// What it is.
        found: &'static str,
    },
    /// There is no body.
    #[error("the message has no body; the producer must send binary data sections")]
    NoBody,
}

/// What the queue needs of a message.
#[derive(Debug, PartialEq)]
pub(crate) struct Envelope<'a> {
    /// The application property `AnnotationStatus`, if there is one that is not null.
    pub status: Option<StatusProperty<'a>>,
    /// The body's bytes.
    pub body: Bytes,
}

/// The value of the application property `AnnotationStatus`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum StatusProperty<'a> {
    /// An integer of any width and sign.
    Number(i128),
    /// A string or symbol, not yet known to be UTF-8.
    Name(&'a [u8]),
    /// Anything else.
    Other,
}

/// Reads a whole message.
pub(crate) fn decode(raw: &Bytes) -> Result<Envelope<'_>, AmqpError> {
    let mut cursor = Cursor { bytes: raw, at: 0 };
    let mut properties_seen = false;
    let mut status = None;
    let mut body = Body::None;
    while let Some(section) = cursor.section()? {
        let at = cursor.at;
        let error = |problem| AmqpError { at, problem };
        let value = cursor.value()?;
        match section {
            Section::Skipped => {}
            Section::ApplicationProperties => {
                if properties_seen {
                    return Err(error(AmqpProblem::Twice {
                        what: "application-properties section",
                    }));
                }
                properties_seen = true;
                status = status_property(value, at)?;
            }
            Section::Data => body.add_data(value).map_err(error)?,
            Section::Value => body.set_value(value).map_err(error)?,
            Section::Sequence => {
                return Err(error(AmqpProblem::Body {
                    found: "an amqp-sequence",
                }));
            }
        }
    }
    let body = match body {
        Body::Data(slice) | Body::Value(slice) => raw.slice_ref(slice),
        Body::Joined(joined) => joined.into(),
        Body::None => {
            return Err(AmqpError {
                at: raw.len(),
                problem: AmqpProblem::NoBody,
            });
        }
    };
    Ok(Envelope { status, body })
}

/// The sections that matter; the others are stepped over.
enum Section {
    ApplicationProperties,
    Data,
    Sequence,
    Value,
    Skipped,
}

/// What was found of the body so far.
enum Body<'a> {
    None,
    Data(&'a [u8]),
    Joined(Vec<u8>),
    Value(&'a [u8]),
}

impl<'a> Body<'a> {
    /// Data sections come one or many and count as one run of bytes.
    fn add_data(&mut self, value: Value<'a>) -> Result<(), AmqpProblem> {
        let Value::Binary(more) = value else {
            return Err(AmqpProblem::Body {
                found: "a data section that holds no binary",
            });
        };
        match self {
            Self::None => *self = Self::Data(more),
            Self::Data(first) => *self = Self::Joined([first, more].concat()),
            Self::Joined(all) => all.extend_from_slice(more),
            Self::Value(_) => {
                return Err(AmqpProblem::Twice {
                    what: "body of another kind",
                });
            }
        }
        Ok(())
    }

    fn set_value(&mut self, value: Value<'a>) -> Result<(), AmqpProblem> {
        let Value::Binary(bytes) = value else {
            return Err(AmqpProblem::Body {
                found: "an amqp-value that is no binary",
            });
        };
        match self {
            Self::None => *self = Self::Value(bytes),
            _ => return Err(AmqpProblem::Twice { what: "body" }),
        }
        Ok(())
    }
}

/// Looks for `AnnotationStatus` in the application properties. `at` is where they begin, for errors.
fn status_property(properties: Value<'_>, at: usize) -> Result<Option<StatusProperty<'_>>, AmqpError> {
    let malformed = || AmqpError {
        at,
        problem: AmqpProblem::Properties,
    };
    let (mut entries, count) = match properties {
        Value::Map { entries, count } => (entries, count),
        Value::Null => return Ok(None),
        _ => return Err(malformed()),
    };
    if count % 2 != 0 {
        return Err(malformed());
    }
    let mut found = None;
    for _ in 0..count / 2 {
        let key = entries.value()?;
        let value_at = entries.at;
        let value = entries.value()?;
        if !matches!(key, Value::Text(STATUS_KEY)) {
            continue;
        }
        let status = match value {
            Value::Null => None,
            Value::Int(number) => Some(StatusProperty::Number(number)),
            Value::Text(name) => Some(StatusProperty::Name(name)),
            _ => Some(StatusProperty::Other),
        };
        if found.replace(status).is_some() {
            let problem = AmqpProblem::Twice {
                what: "AnnotationStatus property",
            };
            return Err(AmqpError {
                at: value_at,
                problem,
            });
        }
    }
    if entries.at != entries.bytes.len() {
        return Err(malformed());
    }
    Ok(found.flatten())
}

/// A value, as far as anyone here looks into it.
enum Value<'a> {
    Null,
    Int(i128),
    /// A string or a symbol.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    /// A map, with its entries still unread.
    Map {
        entries: Cursor<'a>,
        count: u32,
    },
    Other,
}

/// A position in the message. A cursor within a map ends with the map, and its positions are still the message's.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn error(&self, problem: AmqpProblem) -> AmqpError {
        AmqpError { at: self.at, problem }
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], AmqpError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..wanted) else {
            return Err(self.error(AmqpProblem::Truncated {
                wanted,
                left: rest.len(),
            }));
        };
        self.at += wanted;
        Ok(taken)
    }

    /// A big-endian unsigned number of `width` bytes, at most 4.
    fn size(&mut self, width: usize) -> Result<u32, AmqpError> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |size, &byte| size << 8 | u32::from(byte)))
    }

    /// The descriptor of the next section; none at the end of the message.
    fn section(&mut self) -> Result<Option<Section>, AmqpError> {
        match self.bytes.get(self.at) {
            None => return Ok(None),
            Some(0) => {}
            Some(&byte) => return Err(self.error(AmqpProblem::NotASection { byte })),
        }
        let begin = self.at;
        self.at += 1;
        let section = match self.value()? {
            Value::Int(0x70..=0x73 | 0x78) => Section::Skipped,
            Value::Int(0x74) | Value::Text(b"amqp:application-properties:map") => {
                Section::ApplicationProperties
            }
            Value::Int(0x75) | Value::Text(b"amqp:data:binary") => Section::Data,
            Value::Int(0x76) | Value::Text(b"amqp:amqp-sequence:list") => Section::Sequence,
            Value::Int(0x77) | Value::Text(b"amqp:amqp-value:*") => Section::Value,
            Value::Text(
                b"amqp:header:list"
                | b"amqp:delivery-annotations:map"
                | b"amqp:message-annotations:map"
                | b"amqp:properties:list"
                | b"amqp:footer:map",
            ) => Section::Skipped,
            _ => {
                return Err(AmqpError {
                    at: begin,
                    problem: AmqpProblem::UnknownSection,
                });
            }
        };
        Ok(Some(section))
    }

    /// Reads one value, whatever it is.
    fn value(&mut self) -> Result<Value<'a>, AmqpError> {
        self.value_at_depth(0)
    }

    fn value_at_depth(&mut self, depth: u8) -> Result<Value<'a>, AmqpError> {
        if depth > MAX_DESCRIPTOR_DEPTH {
            return Err(self.error(AmqpProblem::TooDeep));
        }
        let mut described = false;
        loop {
            let begin = self.at;
            let code = self.size(1)? as u8;
            if code == 0 {
                self.value_at_depth(depth + 1)?;
                described = true;
                continue;
            }
            let value = self.primitive(code, begin)?;
            // A described value is of a type of someone's own, and nothing here knows any.
            return Ok(if described { Value::Other } else { value });
        }
    }

    /// The upper half of a type code says how long the value is, even for codes that nobody uses yet.
    fn primitive(&mut self, code: u8, begin: usize) -> Result<Value<'a>, AmqpError> {
        let length = match code >> 4 {
            0x4 => 0,
            0x5 => 1,
            0x6 => 2,
            0x7 => 4,
            0x8 => 8,
            0x9 => 16,
            0xa | 0xc | 0xe => self.size(1)? as usize,
            0xb | 0xd | 0xf => self.size(4)? as usize,
            _ => {
                return Err(AmqpError {
                    at: begin,
                    problem: AmqpProblem::UnknownType { code },
                });
            }
        };
        let payload = self.take(length)?;
        Ok(match code {
            0x40 => Value::Null,
            0x43 | 0x44 => Value::Int(0),
            0x50 | 0x60 | 0x70 | 0x80 | 0x52 | 0x53 => Value::Int(unsigned(payload)),
            0x51 | 0x61 | 0x71 | 0x81 | 0x54 | 0x55 => Value::Int(signed(payload)),
            0xa0 | 0xb0 => Value::Binary(payload),
            0xa1 | 0xb1 | 0xa3 | 0xb3 => Value::Text(payload),
            0xc1 | 0xd1 => {
                let mut entries = Cursor {
                    bytes: self.bytes.get(..self.at).unwrap_or_default(),
                    at: self.at - length,
                };
                let count = entries.size(if code == 0xc1 { 1 } else { 4 })?;
                Value::Map { entries, count }
            }
            _ => Value::Other,
        })
    }
}

fn unsigned(big_endian: &[u8]) -> i128 {
    big_endian
        .iter()
        .fold(0, |number, &byte| number << 8 | i128::from(byte))
}

fn signed(big_endian: &[u8]) -> i128 {
    let sign = if big_endian.first().is_some_and(|&byte| byte >= 0x80) {
        -1
    } else {
        0
    };
    big_endian
        .iter()
        .fold(sign, |number, &byte| number << 8 | i128::from(byte))
}

#[cfg(test)]
mod tests;
