//! Why a message cannot be used.
//!
//! The texts end up in quarantine records and logs, so they say what and where, and never repeat foreign text: no
//! e-mail address, no name, no image byte can get into them. [`DecodeError::kind`] is what operators filter by; its
//! strings are stable.

use thiserror::Error;

use crate::{AmqpError, AnnotationStatus, BulkStatus, Malformed, NameError, RowError, Status};

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DecodeError {
    /// Something is larger than the [`Limits`](crate::Limits) allow.
    #[error("the {what} is {}; the limit is {limit} bytes", size_text(*size))]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes, where that is known.
        size: Option<usize>,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not an AMQP 1.0 message, or not one with a binary body.
    #[error("AMQP 1.0 message, {0}")]
    Amqp(#[from] AmqpError),
    /// The property `AnnotationStatus` is a number that stands for no status.
    #[error("application property AnnotationStatus is {number}; it must be 10, 20, 30 or 40")]
    StatusNumber {
        /// The number.
        number: i128,
    },
    /// The property `AnnotationStatus` is a text that names no status, or no number or text at all.
    #[error(
        "application property AnnotationStatus is neither 10, 20, 30, 40 nor Created, Edited, Validated, Deleted"
    )]
    StatusName,
    /// Neither the property nor the body says the status.
    #[error("no status: neither the application property AnnotationStatus nor the body holds one")]
    StatusMissing,
    /// The property and the body say different things.
    #[error(
        "application property AnnotationStatus says {property}, the body says {body}; the producer must send one status"
    )]
    StatusDisagrees {
        /// The property's status.
        property: Status,
        /// The body's status.
        body: Status,
    },
    /// The body's shape is not that of its status.
    #[error("the body is {shape} but its status is {status}")]
    Layout {
        /// What the body looks like.
        shape: &'static str,
        /// The status it carries.
        status: Status,
    },
    /// A gzip stream that does not inflate.
    #[error("gzip body broken after {at} inflated bytes: {reason}")]
    Gzip {
        /// How many bytes came out before.
        at: usize,
        /// What the decoder says.
        reason: String,
    },
    /// Not MessagePack.
    #[error("MessagePack, {0}")]
    MessagePack(#[from] Malformed),
    /// A field of the message cannot be.
    #[error("{field} (index {index}) {problem}")]
    Field {
        /// Its index in the message.
        index: u8,
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// The annotation's name is no file name.
    #[error("unsafe name: {0}")]
    Name(#[from] NameError),
    /// The text of detections cannot be used.
    #[error("detections (index 5), {}: {problem}", place(*index, *field))]
    Detections {
        /// Which detection, from 0, if the text was read that far.
        index: Option<usize>,
        /// Which key of it.
        field: Option<&'static str>,
        /// What is wrong.
        problem: DetectionProblem,
    },
    /// A new annotation without an image.
    #[error("a Created annotation must carry its image (index 6)")]
    ImageMissing,
}

/// What is wrong with a field of a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// It is not there, or nil.
    #[error("is missing")]
    Missing,
    /// It is there twice (in a map).
    #[error("is there twice")]
    Twice,
    /// It is of another type.
    #[error("must be {expected}, found {found}")]
    Type {
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
    },
    /// It is a number that stands for nothing.
    #[error("is {number}, which stands for nothing known")]
    Unknown {
        /// The number.
        number: i128,
    },
    /// It is text that is not UTF-8.
    #[error("is not UTF-8 text")]
    NotUtf8,
    /// It is a list with more entries than allowed.
    #[error("has {count} entries; the limit is {limit}")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// What is wrong with the text of detections.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DetectionProblem {
    /// Not JSON, or not of the shape that is needed.
    #[error("{reason} at line {line} column {column}")]
    Json {
        /// Which of the ways to be wrong.
        reason: &'static str,
        /// Line in the text, from 1.
        line: usize,
        /// Column in the line.
        column: usize,
    },
    /// A key is missing.
    #[error("the key is missing")]
    Missing,
    /// A key is there twice, with different values.
    #[error("given twice, with different values")]
    Twice,
    /// The numbers are no valid row.
    #[error(transparent)]
    Row(RowError),
    /// A confidence outside 0..1.
    #[error("confidence is {value}, outside 0..1")]
    Confidence {
        /// What was given.
        value: f64,
    },
    /// More detections than allowed.
    #[error("more than {limit} detections")]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
}

impl DecodeError {
    /// A short, stable word for the kind of error, to count and to filter by.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Amqp(_) => "amqp",
            Self::StatusNumber { .. } | Self::StatusName => "status-unknown",
            Self::StatusMissing => "status-missing",
            Self::StatusDisagrees { .. } => "status-disagrees",
            Self::Layout { .. } => "layout",
            Self::Gzip { .. } => "gzip",
            Self::MessagePack(_) => "messagepack",
            Self::Field { .. } => "field",
            Self::Name(_) => "name",
            Self::Detections { .. } => "detections",
            Self::ImageMissing => "image-missing",
        }
    }

    pub(crate) fn annotation_layout(status: Status) -> Result<AnnotationStatus, Self> {
        match status {
            Status::Created => Ok(AnnotationStatus::Created),
            Status::Edited => Ok(AnnotationStatus::Edited),
            Status::Validated | Status::Deleted => Err(Self::Layout {
                shape: "a single annotation",
                status,
            }),
        }
    }

    pub(crate) fn bulk_layout(status: Status) -> Result<BulkStatus, Self> {
        match status {
            Status::Validated => Ok(BulkStatus::Validated),
            Status::Deleted => Ok(BulkStatus::Deleted),
            Status::Created | Status::Edited => Err(Self::Layout {
                shape: "a list of names",
                status,
            }),
        }
    }
}

fn size_text(size: Option<usize>) -> String {
    size.map_or_else(|| "too large".to_owned(), |size| format!("{size} bytes"))
}

fn place(index: Option<usize>, field: Option<&'static str>) -> String {
    match (index, field) {
        (Some(index), Some(field)) => format!("detection {index}, {field}"),
        (Some(index), None) => format!("detection {index}"),
        (None, _) => "the list".to_owned(),
    }
}
