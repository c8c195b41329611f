//! The body of a message: MessagePack fields by position to a [`Message`] (QUE-2).
//!
//! Both forms, the array and the map with integer keys, are walked by the same [`Fields`], which hands out each index
//! with its value and steps over indices that no message has. Nil counts as missing. Which of the two layouts a body
//! has is decided by the status; where no application property gives one, by what lies at index 0.

use bytes::Bytes;

use crate::{
    Annotation, AnnotationStatus, Bulk, DecodeError, FieldProblem, Limits, MalformedProblem, Message, Name,
    NameError, Note, Origin, Outline, Redacted, Role, Status, Timestamp, detections,
    msgpack::{Reader, Token},
};

/// Reads a body. `property` is the status that the message's application property gave.
pub(crate) fn read(
    body: &Bytes,
    property: Option<Status>,
    limits: &Limits,
    notes: &mut Vec<Note>,
) -> Result<Message, DecodeError> {
    let bulk = match property {
        Some(status) => matches!(status, Status::Validated | Status::Deleted),
        None => starts_with_names(body, limits)?,
    };
    let mut fields = Fields::open(body, limits)?;
    let message = if bulk {
        Message::Bulk(BulkFields::collect(&mut fields)?.into_bulk(property)?)
    } else {
        Message::Annotation(AnnotationFields::collect(&mut fields)?.into_annotation(property, body, limits)?)
    };
    notes.extend(fields.notes());
    Ok(message)
}

/// Notes what a body shows, up to where it breaks.
pub(crate) fn outline(body: &[u8], limits: &Limits, outline: &mut Outline) -> Result<(), DecodeError> {
    let mut fields = Fields::open(body, limits)?;
    let property = outline.status;
    while let Some(index) = fields.next()? {
        let value = fields.reader.clone();
        match (index, fields.reader.token()?) {
            (Some(0), Token::Array(count)) => outline.names = Some(count),
            (Some(1), Token::Str(text)) => {
                let text = std::str::from_utf8(text).ok();
                outline.name = text.and_then(|text| Name::new(text).ok());
            }
            (Some(5), Token::Str(text)) => outline.detections_bytes = Some(text.len()),
            (Some(6), Token::Bin(image)) => outline.image_bytes = Some(image.len()),
            // Only a bulk message has it there, and only that can have a list of names.
            (Some(1), Token::Int(number)) => outline.status = property.or(Status::from_number(number)),
            (Some(10), Token::Int(number)) if outline.names.is_none() => {
                outline.status = property.or(Status::from_number(number));
            }
            _ => {}
        }
        fields.reader = value;
        fields.reader.skip(limits.depth)?;
    }
    Ok(())
}

/// Whether index 0 holds an array, as only the list of names does.
fn starts_with_names(body: &[u8], limits: &Limits) -> Result<bool, DecodeError> {
    let mut fields = Fields::open(body, limits)?;
    while let Some(index) = fields.next()? {
        if index == Some(0) {
            return Ok(matches!(fields.reader.token()?, Token::Array(_)));
        }
        fields.reader.skip(limits.depth)?;
    }
    Ok(false)
}

/// The fields of a body, one after the other.
struct Fields<'a> {
    reader: Reader<'a>,
    limits: &'a Limits,
    remaining: u32,
    /// The next index of an array; none for a map, where each key says it.
    position: Option<u32>,
    unknown: u32,
}

impl<'a> Fields<'a> {
    fn open(body: &'a [u8], limits: &'a Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let head = reader.clone();
        let (remaining, position) = match reader.token()? {
            Token::Array(count) => (count, Some(0)),
            Token::Map(count) => (count, None),
            other => {
                return Err(head
                    .error(MalformedProblem::NotAMessage {
                        found: other.type_name(),
                    })
                    .into());
            }
        };
        Ok(Self {
            reader,
            limits,
            remaining,
            position,
            unknown: 0,
        })
    }

    /// Moves to the next field, whose value the caller must then read. The inner option is none for an index that is
    /// too large for any message.
    fn next(&mut self) -> Result<Option<Option<u8>>, DecodeError> {
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return Ok(None);
        };
        self.remaining = remaining;
        let index = match &mut self.position {
            Some(position) => {
                let index = *position;
                *position += 1;
                u8::try_from(index).ok()
            }
            None => {
                let before = self.reader.clone();
                match self.reader.token()? {
                    Token::Int(key) => u8::try_from(key).ok(),
                    other => {
                        return Err(before
                            .error(MalformedProblem::Key {
                                found: other.type_name(),
                            })
                            .into());
                    }
                }
            }
        };
        Ok(Some(index))
    }

    fn skip_unknown(&mut self) -> Result<(), DecodeError> {
        self.unknown += 1;
        Ok(self.reader.skip(self.limits.depth)?)
    }

    /// The value of a known field; none if it is nil.
    fn value(&mut self) -> Result<Option<Token<'a>>, DecodeError> {
        Ok(Some(self.reader.token()?).filter(|token| *token != Token::Nil))
    }

    fn notes(&self) -> impl Iterator<Item = Note> {
        let unknown = (self.unknown > 0).then_some(Note::UnknownFields { count: self.unknown });
        let left = self.reader.left();
        unknown
            .into_iter()
            .chain((left > 0).then_some(Note::TrailingBytes { count: left }))
    }
}

/// A field of the wire: where it is, what it is called, and its value once it is found.
struct Slot<T> {
    index: u8,
    field: &'static str,
    seen: bool,
    value: Option<T>,
}

impl<T> Slot<T> {
    const fn new(index: u8, field: &'static str) -> Self {
        Self {
            index,
            field,
            seen: false,
            value: None,
        }
    }

    const fn error(&self, problem: FieldProblem) -> DecodeError {
        DecodeError::Field {
            index: self.index,
            field: self.field,
            problem,
        }
    }

    /// Reads the field's value with `convert`, which says the expected type where it finds another.
    fn read<'a>(
        &mut self,
        fields: &mut Fields<'a>,
        convert: impl FnOnce(Token<'a>) -> Result<T, FieldProblem>,
    ) -> Result<(), DecodeError> {
        if self.seen {
            return Err(self.error(FieldProblem::Twice));
        }
        self.seen = true;
        if let Some(token) = fields.value()? {
            self.value = Some(convert(token).map_err(|problem| self.error(problem))?);
        }
        Ok(())
    }

    fn require(self) -> Result<T, DecodeError> {
        let missing = self.error(FieldProblem::Missing);
        self.value.ok_or(missing)
    }
}

const fn wrong_type(expected: &'static str, found: &Token<'_>) -> FieldProblem {
    FieldProblem::Type {
        expected,
        found: found.type_name(),
    }
}

fn text<'a>(token: Token<'a>) -> Result<&'a str, FieldProblem> {
    match token {
        Token::Str(bytes) => std::str::from_utf8(bytes).map_err(|_| FieldProblem::NotUtf8),
        other => Err(wrong_type("a string", &other)),
    }
}

fn integer(token: Token<'_>) -> Result<i128, FieldProblem> {
    match token {
        Token::Int(number) => Ok(number),
        other => Err(wrong_type("an integer", &other)),
    }
}

fn timestamp(token: Token<'_>) -> Result<Timestamp, FieldProblem> {
    token
        .timestamp()
        .ok_or_else(|| wrong_type("a timestamp (extension -1)", &token))
}

fn binary<'a>(token: Token<'a>) -> Result<&'a [u8], FieldProblem> {
    match token {
        Token::Bin(bytes) => Ok(bytes),
        other => Err(wrong_type("binary", &other)),
    }
}

/// An integer that stands for a value of `T`.
fn coded<T>(token: Token<'_>, from_number: impl FnOnce(i128) -> Option<T>) -> Result<T, FieldProblem> {
    let number = integer(token)?;
    from_number(number).ok_or(FieldProblem::Unknown { number })
}

/// The status of the message, from its two places.
fn agreed_status(property: Option<Status>, body: Option<Status>) -> Result<Status, DecodeError> {
    match (property, body) {
        (Some(property), Some(body)) if property != body => {
            Err(DecodeError::StatusDisagrees { property, body })
        }
        (Some(status), _) | (None, Some(status)) => Ok(status),
        (None, None) => Err(DecodeError::StatusMissing),
    }
}

/// The fields of a single annotation, in the order of the wire.
struct AnnotationFields<'a> {
    created: Slot<Timestamp>,
    name: Slot<&'a str>,
    media_name: Slot<&'a str>,
    time_us: Slot<i64>,
    image_extension: Slot<&'a str>,
    detections: Slot<&'a str>,
    image: Slot<&'a [u8]>,
    role: Slot<Role>,
    email: Slot<&'a str>,
    origin: Slot<Origin>,
    status: Slot<Status>,
}

impl<'a> AnnotationFields<'a> {
    const fn new() -> Self {
        Self {
            created: Slot::new(0, "createdDate"),
            name: Slot::new(1, "name"),
            media_name: Slot::new(2, "originalMediaName"),
            time_us: Slot::new(3, "time"),
            image_extension: Slot::new(4, "imageExtension"),
            detections: Slot::new(5, "detections"),
            image: Slot::new(6, "image"),
            role: Slot::new(7, "createdRole"),
            email: Slot::new(8, "createdEmail"),
            origin: Slot::new(9, "source"),
            status: Slot::new(10, "status"),
        }
    }

    fn collect(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        let mut wire = Self::new();
        while let Some(index) = fields.next()? {
            match index {
                Some(0) => wire.created.read(fields, timestamp)?,
                Some(1) => wire.name.read(fields, text)?,
                Some(2) => wire.media_name.read(fields, text)?,
                Some(3) => wire
                    .time_us
                    .read(fields, |token| coded(token, |number| number.try_into().ok()))?,
                Some(4) => wire.image_extension.read(fields, text)?,
                Some(5) => wire.detections.read(fields, text)?,
                Some(6) => wire.image.read(fields, binary)?,
                Some(7) => wire.role.read(fields, |token| coded(token, Role::from_number))?,
                Some(8) => wire.email.read(fields, text)?,
                Some(9) => wire
                    .origin
                    .read(fields, |token| coded(token, Origin::from_number))?,
                Some(10) => wire
                    .status
                    .read(fields, |token| coded(token, Status::from_number))?,
                _ => fields.skip_unknown()?,
            }
        }
        Ok(wire)
    }

    fn into_annotation(
        self,
        property: Option<Status>,
        body: &Bytes,
        limits: &Limits,
    ) -> Result<Annotation, DecodeError> {
        let status = DecodeError::annotation_layout(agreed_status(property, self.status.value)?)?;
        let name = Name::new(self.name.require()?)?;
        let detections = detections::parse(self.detections.require()?, limits.detections)?;
        let image = self.image.value.filter(|image| !image.is_empty());
        match image {
            Some(image) => limits.check("image", image.len(), limits.image_bytes)?,
            None if status == AnnotationStatus::Created => return Err(DecodeError::ImageMissing),
            None => {}
        }
        Ok(Annotation {
            name,
            status,
            created: self.created.require()?,
            media_name: self.media_name.value.unwrap_or_default().to_owned(),
            time_us: self.time_us.require()?,
            image_extension: self.image_extension.value.unwrap_or_default().to_owned(),
            label: detections.label,
            confidences: detections.confidences,
            image: image.map(|image| body.slice_ref(image)),
            role: self.role.require()?,
            email: Redacted::new(self.email.value.unwrap_or_default()),
            origin: self.origin.require()?,
        })
    }
}

/// The fields of a bulk message, in the order of the wire.
struct BulkFields<'a> {
    names: Slot<Vec<Result<Name, NameError>>>,
    status: Slot<Status>,
    email: Slot<&'a str>,
    created: Slot<Timestamp>,
}

impl<'a> BulkFields<'a> {
    const fn new() -> Self {
        Self {
            names: Slot::new(0, "names"),
            status: Slot::new(1, "status"),
            email: Slot::new(2, "createdEmail"),
            created: Slot::new(3, "createdDate"),
        }
    }

    fn collect(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        let mut wire = Self::new();
        while let Some(index) = fields.next()? {
            match index {
                Some(0) => wire.read_names(fields)?,
                Some(1) => wire
                    .status
                    .read(fields, |token| coded(token, Status::from_number))?,
                Some(2) => wire.email.read(fields, text)?,
                Some(3) => wire.created.read(fields, timestamp)?,
                _ => fields.skip_unknown()?,
            }
        }
        Ok(wire)
    }

    /// The list of names. An entry that is text but no name is kept as an error of its own; the others still count.
    fn read_names(&mut self, fields: &mut Fields<'a>) -> Result<(), DecodeError> {
        let mut count = 0;
        self.names.read(fields, |token| match token {
            Token::Array(length) => {
                count = length as usize;
                Ok(Vec::new())
            }
            other => Err(wrong_type("an array of strings", &other)),
        })?;
        let limit = fields.limits.names;
        if count > limit {
            return Err(self.names.error(FieldProblem::TooMany { count, limit }));
        }
        let Some(names) = &mut self.names.value else {
            return Ok(());
        };
        names.reserve(count.min(fields.reader.left()));
        for _ in 0..count {
            let entry = text(fields.reader.token()?);
            let name = entry.map_err(|problem| DecodeError::Field {
                index: 0,
                field: "names",
                problem,
            })?;
            names.push(Name::new(name));
        }
        Ok(())
    }

    fn into_bulk(self, property: Option<Status>) -> Result<Bulk, DecodeError> {
        Ok(Bulk {
            status: DecodeError::bulk_layout(agreed_status(property, self.status.value)?)?,
            names: self.names.require()?,
            email: self.email.value.map(Redacted::new),
            created: self.created.value,
        })
    }
}
