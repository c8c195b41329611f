//! Annotations as they travel: the message of the stream, its parts, and the text forms they take on disk.
//!
//! Everything here is pure: bytes or text in, typed values or an error out; no file, no socket, no clock. [`decode`] is
//! total: whatever bytes a stranger sends, it returns a [`Decoded`] message or a [`DecodeError`], within the
//! [`Limits`], and never panics. [`encode`] is the producer's side of the same formats. A value of [`Name`], [`Row`] or
//! [`ClassList`] has been checked once and needs no second check. The formats are those of QUE-1, QUE-2, QUE-4, LBL-1
//! and LBL-2.

mod amqp;
mod body;
mod class;
mod decode;
mod detections;
pub mod encode;
mod error;
mod gzip;
mod image;
mod label;
mod message;
mod msgpack;
mod name;
mod outline;
mod status;

pub use amqp::{AmqpError, AmqpProblem};
pub use class::{Class, ClassError, ClassList, Color, Condition};
pub use decode::{Limits, decode, decode_shared};
pub use error::{DecodeError, DetectionProblem, FieldProblem};
pub use image::{ImageKind, sniff_image};
pub use label::{Field, Label, LabelError, LabelProblem, MAX_CLASS, Row, RowError};
pub use message::{Annotation, Bulk, Decoded, Message, Note, Redacted, Timestamp};
pub use msgpack::{Malformed, MalformedProblem};
pub use name::{Name, NameError};
pub use outline::Outline;
pub use status::{AnnotationStatus, BulkStatus, Origin, Role, Status};
