//! The producer's side: from an annotation to the bytes of its message.
//!
//! Import, demo and tests publish with this, so it is a faithful producer: [`Annotation`] takes the fields as the
//! producer has them, unchecked, and what is wrong with them is for the queue to find. The parts compose:
//! `message(&gzip(&annotation(&fields)), Property::Number(Status::Created))`.

use std::{fmt::Write as _, io::Write as _};

use flate2::{Compression, GzBuilder};
use rmp::encode::{self as pack, ByteBuf};

use crate::{Label, Origin, Role, Status, Timestamp};

/// The fields of an annotation message, unchecked.
#[derive(Debug, Clone, Copy)]
pub struct Annotation<'a> {
    /// Its name.
    pub name: &'a str,
    /// Created or Edited; the others make a message that is refused.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// Where the image was taken from.
    pub media_name: &'a str,
    /// The position in the source media, in microseconds.
    pub time_us: i64,
    /// The image's extension.
    pub image_extension: &'a str,
    /// The JSON list of detections, see [`detections`] and [`raw_detections`].
    pub detections: &'a str,
    /// The image file's bytes; none is sent as nil.
    pub image: Option<&'a [u8]>,
    /// Who made it.
    pub role: Role,
    /// The e-mail address of who made it.
    pub email: &'a str,
    /// Whether a model or a person drew the boxes.
    pub origin: Origin,
}

/// The fields of a bulk message, unchecked.
#[derive(Debug, Clone, Copy)]
pub struct Bulk<'a> {
    /// The names.
    pub names: &'a [&'a str],
    /// Validated or Deleted; the others make a message that is refused.
    pub status: Status,
    /// The e-mail address of who did it.
    pub email: &'a str,
    /// When.
    pub created: Timestamp,
}

/// How the application property `AnnotationStatus` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Not at all: the body's status decides.
    Absent,
    /// As a small signed integer, which is how the client libraries write numbers of this size.
    Number(Status),
    /// As its name.
    Name(Status),
}

/// The MessagePack body of an annotation.
pub fn annotation(fields: &Annotation<'_>) -> Vec<u8> {
    const FIXED: usize = 128;
    let texts = fields.name.len() + fields.media_name.len() + fields.detections.len() + fields.email.len();
    let image = fields.image.map_or(0, <[u8]>::len);
    let mut packer = Packer(ByteBuf::with_capacity(FIXED + texts + image));
    packer.array(11);
    packer.timestamp(fields.created);
    packer.text(fields.name);
    packer.text(fields.media_name);
    packer.integer(fields.time_us);
    packer.text(fields.image_extension);
    packer.text(fields.detections);
    packer.binary(fields.image);
    packer.integer(fields.role.number().into());
    packer.text(fields.email);
    packer.integer(fields.origin.number().into());
    packer.integer(fields.status.number().into());
    packer.0.into_vec()
}

/// The MessagePack body of a bulk message.
pub fn bulk(fields: &Bulk<'_>) -> Vec<u8> {
    let mut packer = Packer(ByteBuf::new());
    packer.array(4);
    packer.array(fields.names.len());
    for name in fields.names {
        packer.text(name);
    }
    packer.integer(fields.status.number().into());
    packer.text(fields.email);
    packer.timestamp(fields.created);
    packer.0.into_vec()
}

/// The JSON text of valid detections; `confidences` may be shorter than the label.
pub fn detections(label: &Label, confidences: &[Option<f32>]) -> String {
    let confidences = confidences.iter().copied().chain(std::iter::repeat(None));
    let rows = label.rows.iter().zip(confidences);
    list(rows.map(|(row, confidence)| {
        // The f32 itself is written, not the f64 next to it, so that the text is as short as the label's.
        let mut text = object(row.class, row.cx, row.cy, row.w, row.h);
        if let Some(confidence) = confidence {
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"confidence\":{confidence}}}"));
        }
        text
    }))
}

/// The JSON text of rows `class cx cy w h` of any numbers, valid or not. A number that is not finite is written as it
/// is, which is not JSON: the decoder names it.
pub fn raw_detections(rows: &[[f64; 5]]) -> String {
    list(
        rows.iter()
            .map(|&[class, cx, cy, w, h]| object(class, cx, cy, w, h)),
    )
}

fn object<C: std::fmt::Display, N: std::fmt::Display>(class: C, cx: N, cy: N, w: N, h: N) -> String {
    format!("{{\"cls\":{class},\"x\":{cx},\"y\":{cy},\"w\":{w},\"h\":{h}}}")
}

fn list(objects: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for (index, object) in objects.enumerate() {
        let separator = if index == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{object}");
    }
    text.push(']');
    text
}

/// A body compressed by gzip, the same bytes every time.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    // Writing to a Vec does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// An AMQP 1.0 message: application properties, unless the property is absent, and one data section.
pub fn message(body: &[u8], property: Property) -> Vec<u8> {
    const PREFIX: usize = 64;
    let mut raw = Vec::with_capacity(PREFIX + body.len());
    match property {
        Property::Absent => {}
        Property::Number(status) => application_properties(&mut raw, &[0x54, status.number()]),
        Property::Name(status) => {
            let name = status.as_str().as_bytes();
            application_properties(&mut raw, &[&[0xa1, name.len() as u8], name].concat());
        }
    }
    raw.extend([0x00, 0x53, 0x75]);
    match u8::try_from(body.len()) {
        Ok(length) => raw.extend([0xa0, length]),
        Err(_) => {
            raw.push(0xb0);
            raw.extend((body.len() as u32).to_be_bytes());
        }
    }
    raw.extend_from_slice(body);
    raw
}

/// A map with one entry: the string `AnnotationStatus` and this value.
fn application_properties(raw: &mut Vec<u8>, value: &[u8]) {
    const KEY: &[u8] = b"AnnotationStatus";
    let count_and_entry = 1 + 2 + KEY.len() + value.len();
    raw.extend([
        0x00,
        0x53,
        0x74,
        0xc1,
        count_and_entry as u8,
        2,
        0xa1,
        KEY.len() as u8,
    ]);
    raw.extend_from_slice(KEY);
    raw.extend_from_slice(value);
}

/// Writes MessagePack to memory, which cannot fail: rmp's errors for a [`ByteBuf`] have no values.
struct Packer(ByteBuf);

impl Packer {
    fn array(&mut self, length: usize) {
        let Ok(_) = pack::write_array_len(&mut self.0, length as u32);
    }

    fn text(&mut self, text: &str) {
        let Ok(()) = pack::write_str(&mut self.0, text);
    }

    fn integer(&mut self, number: i64) {
        let Ok(_) = pack::write_sint(&mut self.0, number);
    }

    fn binary(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                let Ok(()) = pack::write_bin(&mut self.0, bytes);
            }
            None => {
                let Ok(()) = pack::write_nil(&mut self.0);
            }
        }
    }

    /// The narrowest of the three forms that holds it.
    fn timestamp(&mut self, at: Timestamp) {
        let (secs, nanos) = (at.secs(), at.nanos());
        let mut ext = |payload: &[u8]| {
            let Ok(_) = pack::write_ext_meta(&mut self.0, payload.len() as u32, -1);
            self.0.as_mut_vec().extend_from_slice(payload);
        };
        match (u32::try_from(secs), u64::try_from(secs)) {
            (Ok(secs), _) if nanos == 0 => ext(&secs.to_be_bytes()),
            (_, Ok(secs)) if secs >> 34 == 0 => ext(&(u64::from(nanos) << 34 | secs).to_be_bytes()),
            _ => ext(&[&nanos.to_be_bytes()[..], &secs.to_be_bytes()].concat()),
        }
    }
}
