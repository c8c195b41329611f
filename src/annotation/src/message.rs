//! The messages of the annotation queue, after decoding (QUE-2).
//!
//! Nothing here prints an image or an e-mail address: `Debug` gives an image's length, and [`Redacted`] hides its text.

use std::fmt;

use bytes::Bytes;

use crate::{AnnotationStatus, BulkStatus, Label, Name, NameError, Origin, Role, Status};

/// A point in time: seconds since the Unix epoch and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    secs: i64,
    nanos: u32,
}

impl Timestamp {
    /// A timestamp; none if `nanos` is a second or more.
    pub const fn new(secs: i64, nanos: u32) -> Option<Self> {
        if nanos < 1_000_000_000 {
            Some(Self { secs, nanos })
        } else {
            None
        }
    }

    /// A timestamp of whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub const fn secs(self) -> i64 {
        self.secs
    }

    /// Nanoseconds within the second, below 1,000,000,000.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

/// Personal data, which no log shows (SEC-4): both `Debug` and `Display` print `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// Takes the text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who has a reason to see it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("[redacted]")
    }
}

/// One annotation, new or changed.
#[derive(Clone, PartialEq)]
pub struct Annotation {
    /// Its name, the stem of its files.
    pub name: Name,
    /// Created or Edited.
    pub status: AnnotationStatus,
    /// When it was made, by the producer's clock.
    pub created: Timestamp,
    /// The photograph or film it was taken from; empty if the producer did not say.
    pub media_name: String,
    /// The position in the source media, in microseconds.
    pub time_us: i64,
    /// The image's extension, by the producer; empty if it did not say.
    pub image_extension: String,
    /// The detections.
    pub label: Label,
    /// The confidence of each row of the label; none for a box that a person drew.
    pub confidences: Vec<Option<f32>>,
    /// The image file's bytes. Always there, and not empty, on Created.
    pub image: Option<Bytes>,
    /// Who made or changed it.
    pub role: Role,
    /// The e-mail address of who did.
    pub email: Redacted,
    /// Whether a model or a person drew the boxes.
    pub origin: Origin,
}

impl fmt::Debug for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Annotation")
            .field("name", &self.name)
            .field("status", &self.status)
            .field("created", &self.created)
            .field("media_name", &self.media_name)
            .field("time_us", &self.time_us)
            .field("image_extension", &self.image_extension)
            .field("label", &self.label)
            .field("confidences", &self.confidences)
            .field("image_bytes", &self.image.as_ref().map(Bytes::len))
            .field("role", &self.role)
            .field("email", &self.email)
            .field("origin", &self.origin)
            .finish()
    }
}

/// Many annotations, validated or deleted together.
#[derive(Debug, Clone, PartialEq)]
pub struct Bulk {
    /// The names in the message's order; one that is no [`Name`] does not spoil the others.
    pub names: Vec<Result<Name, NameError>>,
    /// Validated or Deleted.
    pub status: BulkStatus,
    /// The e-mail address of who did it, if the producer said.
    pub email: Option<Redacted>,
    /// When, by the producer's clock, if it said.
    pub created: Option<Timestamp>,
}

/// A message of the annotation queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Created or Edited.
    Annotation(Annotation),
    /// Validated or Deleted.
    Bulk(Bulk),
}

impl Message {
    /// What the message says about its annotations.
    pub fn status(&self) -> Status {
        match self {
            Self::Annotation(annotation) => annotation.status.into(),
            Self::Bulk(bulk) => bulk.status.into(),
        }
    }
}

/// A message and what was odd but tolerable about its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The message.
    pub message: Message,
    /// What was tolerated, in the order it was met.
    pub notes: Vec<Note>,
}

/// Something tolerated in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// The MessagePack value is followed by bytes that belong to nothing.
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The gzip stream is followed by bytes that belong to nothing.
    TrailingGzipBytes {
        /// How many.
        count: usize,
    },
    /// The array is longer, or the map has other keys, than the message has fields.
    UnknownFields {
        /// How many values were skipped.
        count: u32,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrailingBytes { count } => write!(f, "{count} bytes after the MessagePack body ignored"),
            Self::TrailingGzipBytes { count } => write!(f, "{count} bytes after the gzip stream ignored"),
            Self::UnknownFields { count } => write!(f, "{count} unknown fields ignored"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_image_nor_email() {
        let annotation = Annotation {
            name: Name::new("cell-1").unwrap(),
            status: AnnotationStatus::Created,
            created: Timestamp::from_secs(0),
            media_name: "film".into(),
            time_us: 0,
            image_extension: "jpg".into(),
            label: Label::default(),
            confidences: Vec::new(),
            image: Some(Bytes::from_static(b"SECRETPIXELS")),
            role: Role::Operator,
            email: Redacted::new("someone@example.org"),
            origin: Origin::Manual,
        };
        let shown = format!("{annotation:#?} {annotation:?} {}", annotation.email);
        assert!(
            !shown.contains("example") && !shown.contains("SECRET") && !shown.contains("83, 69"),
            "{shown}"
        );
        assert!(
            shown.contains("[redacted]") && shown.contains("image_bytes: Some(12)"),
            "{shown}"
        );
    }

    #[test]
    fn a_timestamp_has_less_than_a_second_of_nanoseconds() {
        assert!(Timestamp::new(-1, 999_999_999).is_some());
        assert_eq!(Timestamp::new(0, 1_000_000_000), None);
    }
}
