//! A MessagePack reader over a slice: one value at a time, borrowed, bounded (QUE-2).
//!
//! Lengths are checked against what is left before anything is taken, so no length can make it allocate. Nested values
//! are only ever skipped, with a stack of its own and a limit of depth. Facts: the MessagePack specification.

use rmp::Marker;
use thiserror::Error;

use crate::Timestamp;

/// The extension type of a timestamp.
const TIMESTAMP: i8 = -1;

/// Where the bytes stop being MessagePack, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at byte {at} of the body: {problem}")]
pub struct Malformed {
    /// Position in the (inflated) body, from 0.
    pub at: usize,
    /// What is wrong there.
    pub problem: MalformedProblem,
}

/// What is wrong with a MessagePack body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MalformedProblem {
    /// A value reaches past the end.
    #[error("a value of {wanted} bytes where only {left} are left: truncated")]
    Truncated {
        /// Bytes that the value says it has.
        wanted: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// The byte 0xc1, which is never used.
    #[error("0xc1, which MessagePack never uses")]
    Reserved,
    /// Arrays or maps within each other beyond the limit.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The body is neither an array nor a map.
    #[error("the body is {found}; it must be an array, or a map with integer keys")]
    NotAMessage {
        /// What it is.
        found: &'static str,
    },
    /// A key of the map is no integer.
    #[error("a key of the map is {found}; keys must be integers")]
    Key {
        /// What it is.
        found: &'static str,
    },
}

/// One value; of arrays and maps only the head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool,
    Int(i128),
    Float,
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(u32),
    Map(u32),
    Ext(i8, &'a [u8]),
}

impl Token<'_> {
    /// Its type's name, for errors.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float => "a float",
            Self::Str(_) => "a string",
            Self::Bin(_) => "binary",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
            Self::Ext(..) => "an extension",
        }
    }

    /// How many values follow that belong to this one.
    const fn children(&self) -> u64 {
        match self {
            Self::Array(count) => *count as u64,
            Self::Map(count) => *count as u64 * 2,
            _ => 0,
        }
    }

    /// The timestamp, if this is one of the three forms of extension type -1.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        let Self::Ext(TIMESTAMP, payload) = *self else {
            return None;
        };
        if let Ok(secs) = payload.try_into() {
            Some(Timestamp::from_secs(i64::from(u32::from_be_bytes(secs))))
        } else if let Ok(packed) = payload.try_into() {
            let packed = u64::from_be_bytes(packed);
            // 30 bits of nanoseconds above 34 bits of seconds.
            Timestamp::new((packed & ((1 << 34) - 1)) as i64, (packed >> 34) as u32)
        } else {
            let (nanos, secs) = payload.split_first_chunk::<4>()?;
            Timestamp::new(
                i64::from_be_bytes(secs.try_into().ok()?),
                u32::from_be_bytes(*nanos),
            )
        }
    }
}

/// A position in a MessagePack body.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) const fn error(&self, problem: MalformedProblem) -> Malformed {
        Malformed { at: self.at, problem }
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..wanted) else {
            return Err(self.error(MalformedProblem::Truncated {
                wanted,
                left: rest.len(),
            }));
        };
        self.at += wanted;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn unsigned(&mut self, width: usize) -> Result<u32, Malformed> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    fn sized(&mut self, width: usize) -> Result<&'a [u8], Malformed> {
        let length = self.unsigned(width)?;
        self.take(length as usize)
    }

    fn ext(&mut self, length: usize) -> Result<Token<'a>, Malformed> {
        let [kind] = self.array()?;
        Ok(Token::Ext(kind as i8, self.take(length)?))
    }

    /// Reads one value, or the head of an array or a map.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let [marker] = self.array()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::True | Marker::False => Token::Bool,
            Marker::FixPos(number) => Token::Int(number.into()),
            Marker::FixNeg(number) => Token::Int(number.into()),
            Marker::U8 => Token::Int(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Token::Int(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Token::Int(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Token::Int(u64::from_be_bytes(self.array()?).into()),
            Marker::I8 => Token::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Token::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Token::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Token::Int(i64::from_be_bytes(self.array()?).into()),
            Marker::F32 => self.take(4).map(|_| Token::Float)?,
            Marker::F64 => self.take(8).map(|_| Token::Float)?,
            Marker::FixStr(length) => Token::Str(self.take(length.into())?),
            Marker::Str8 => Token::Str(self.sized(1)?),
            Marker::Str16 => Token::Str(self.sized(2)?),
            Marker::Str32 => Token::Str(self.sized(4)?),
            Marker::Bin8 => Token::Bin(self.sized(1)?),
            Marker::Bin16 => Token::Bin(self.sized(2)?),
            Marker::Bin32 => Token::Bin(self.sized(4)?),
            Marker::FixArray(count) => Token::Array(count.into()),
            Marker::Array16 => Token::Array(self.unsigned(2)?),
            Marker::Array32 => Token::Array(self.unsigned(4)?),
            Marker::FixMap(count) => Token::Map(count.into()),
            Marker::Map16 => Token::Map(self.unsigned(2)?),
            Marker::Map32 => Token::Map(self.unsigned(4)?),
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 => self.sized_ext(1)?,
            Marker::Ext16 => self.sized_ext(2)?,
            Marker::Ext32 => self.sized_ext(4)?,
            Marker::Reserved => {
                return Err(Malformed {
                    at: self.at - 1,
                    problem: MalformedProblem::Reserved,
                });
            }
        })
    }

    fn sized_ext(&mut self, width: usize) -> Result<Token<'a>, Malformed> {
        let length = self.unsigned(width)?;
        self.ext(length as usize)
    }

    /// Steps over one value and everything in it. `limit` bounds how deep arrays and maps may lie in each other.
    pub(crate) fn skip(&mut self, limit: usize) -> Result<(), Malformed> {
        // How many values are still to come at each open level.
        let mut open: Vec<u64> = Vec::new();
        loop {
            let children = self.token()?.children();
            if children > 0 {
                if open.len() >= limit {
                    return Err(self.error(MalformedProblem::TooDeep { limit }));
                }
                open.push(children);
                continue;
            }
            loop {
                let Some(last) = open.last_mut() else {
                    return Ok(());
                };
                *last -= 1;
                if *last > 0 {
                    break;
                }
                open.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(bytes: &[u8]) -> Token<'_> {
        let mut reader = Reader::new(bytes);
        let token = reader.token().unwrap();
        assert_eq!(reader.left(), 0);
        token
    }

    #[test]
    fn integers_of_every_width_and_sign() {
        let five: [&[u8]; 6] = [
            b"\x05",
            b"\xcc\x05",
            b"\xcd\0\x05",
            b"\xce\0\0\0\x05",
            b"\xd0\x05",
            b"\xd3\0\0\0\0\0\0\0\x05",
        ];
        for bytes in five {
            assert_eq!(token(bytes), Token::Int(5), "{bytes:x?}");
        }
        let minus_five: [&[u8]; 4] = [b"\xfb", b"\xd0\xfb", b"\xd1\xff\xfb", b"\xd2\xff\xff\xff\xfb"];
        for bytes in minus_five {
            assert_eq!(token(bytes), Token::Int(-5), "{bytes:x?}");
        }
        assert_eq!(
            token(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            Token::Int(u64::MAX.into())
        );
    }

    #[test]
    fn strings_and_binaries_of_every_width() {
        for bytes in [
            &b"\xa2ab"[..],
            b"\xd9\x02ab",
            b"\xda\0\x02ab",
            b"\xdb\0\0\0\x02ab",
        ] {
            assert_eq!(token(bytes), Token::Str(b"ab"), "{bytes:x?}");
        }
        for bytes in [&b"\xc4\x02ab"[..], b"\xc5\0\x02ab", b"\xc6\0\0\0\x02ab"] {
            assert_eq!(token(bytes), Token::Bin(b"ab"), "{bytes:x?}");
        }
    }

    #[test]
    fn timestamps_of_all_three_widths() {
        assert_eq!(
            token(b"\xd6\xff\xff\xff\xff\xff").timestamp(),
            Timestamp::new(0xffff_ffff, 0)
        );
        // 500,000,000 ns << 34 | 1 s
        let packed = (500_000_000_u64 << 34 | 1).to_be_bytes();
        assert_eq!(
            token(&[&b"\xd7\xff"[..], &packed].concat()).timestamp(),
            Timestamp::new(1, 500_000_000)
        );
        let wide = b"\xc7\x0c\xff\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(token(wide).timestamp(), Timestamp::new(-1, 7));
    }

    #[test]
    fn other_extensions_and_widths_are_no_timestamp() {
        let too_many_nanos = (1_000_000_000_u64 << 34).to_be_bytes();
        assert_eq!(
            token(&[&b"\xd7\xff"[..], &too_many_nanos].concat()).timestamp(),
            None
        );
        for bytes in [
            &b"\xd6\x01\0\0\0\0"[..],
            b"\xd5\xff\0\0",
            b"\xc7\x00\xff",
            b"\x05",
            b"\xc7\x0d\xff0123456789abc",
        ] {
            assert_eq!(token(bytes).timestamp(), None, "{bytes:x?}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_truncated_and_take_nothing() {
        for bytes in [
            &b"\xc6\xff\xff\xff\xff"[..],
            b"\xdb\xff\xff\xff\xffa",
            b"\xc9\xff\xff\xff\xff\xff",
            b"\xcd\0",
            b"",
        ] {
            let error = Reader::new(bytes).token().unwrap_err();
            assert!(
                matches!(error.problem, MalformedProblem::Truncated { .. }),
                "{bytes:x?}: {error}"
            );
        }
        assert_eq!(
            Reader::new(b"\xc1").token(),
            Err(Malformed {
                at: 0,
                problem: MalformedProblem::Reserved
            })
        );
    }

    #[test]
    fn skipping_steps_over_whole_values() {
        let nested = b"\x93\x92\x01\xc0\x81\xa1k\x91\x90\xca\0\0\0\0\x2a";
        let mut reader = Reader::new(nested);
        reader.skip(3).unwrap();
        assert_eq!(reader.token(), Ok(Token::Int(42)));
        let too_deep = Reader::new(nested).skip(2).unwrap_err();
        assert_eq!(too_deep.problem, MalformedProblem::TooDeep { limit: 2 });
    }

    #[test]
    fn ten_thousand_levels_are_an_error() {
        let bomb = [0x91].repeat(10_000);
        assert!(matches!(
            Reader::new(&bomb).skip(64).unwrap_err().problem,
            MalformedProblem::TooDeep { limit: 64 }
        ));
        let many = b"\xdd\xff\xff\xff\xff\xc0\xc0";
        assert!(matches!(
            Reader::new(many).skip(64).unwrap_err().problem,
            MalformedProblem::Truncated { .. }
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_skipped_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while reader.left() > 0 && reader.skip(16).is_ok() {}
        }
    }
}
