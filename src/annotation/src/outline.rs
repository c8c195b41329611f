//! What can be told of a message that cannot be used: for the person who looks into the quarantine.
//!
//! An [`Outline`] is read leniently, up to where the bytes stop making sense. It is made of sizes, a status and a name that
//! is safe to print: no text of the message, no e-mail address, no byte of an image.

use bytes::Bytes;

use crate::{Limits, Name, Status, amqp, body, decode::property_status, gzip};

/// What a message shows of itself; none for what it lacks, or what lies behind the first broken byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// What it says about its annotations: by the application property, else by the body.
    pub status: Option<Status>,
    /// The name of a single annotation, if it is a safe one.
    pub name: Option<Name>,
    /// How many names a bulk message says it lists.
    pub names: Option<u32>,
    /// Length of the body in bytes.
    pub body_bytes: Option<usize>,
    /// Length of the body once inflated, where it is compressed.
    pub inflated_bytes: Option<usize>,
    /// Length of the detections' JSON in bytes.
    pub detections_bytes: Option<usize>,
    /// Length of the image in bytes.
    pub image_bytes: Option<usize>,
}

impl Outline {
    /// Reads as much of `raw` as can be read. Total: any bytes give an outline.
    pub fn of(raw: &Bytes, limits: &Limits) -> Self {
        let mut outline = Self::default();
        let Ok(envelope) = amqp::decode(raw) else {
            return outline;
        };
        outline.status = envelope
            .status
            .and_then(|property| property_status(property).ok());
        outline.body_bytes = Some(envelope.body.len());
        let mut body = envelope.body;
        if gzip::is_gzip(&body) {
            let Ok(inflated) = gzip::inflate(&body, limits.inflated_bytes, &mut Vec::new()) else {
                return outline;
            };
            outline.inflated_bytes = Some(inflated.len());
            body = inflated;
        }
        // Where it breaks is the decoder's to say.
        let _ = body::outline(&body, limits, &mut outline);
        outline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, Role, Timestamp, encode};

    fn annotation(detections: &str) -> Vec<u8> {
        encode::annotation(&encode::Annotation {
            name: "cell-a",
            status: Status::Created,
            created: Timestamp::from_secs(0),
            media_name: "slide",
            time_us: 0,
            image_extension: "jpg",
            detections,
            image: Some(b"pixels"),
            role: Role::Operator,
            email: "someone@example.org",
            origin: Origin::Manual,
        })
    }

    fn of(raw: Vec<u8>) -> Outline {
        Outline::of(&raw.into(), &Limits::default())
    }

    #[test]
    fn a_message_with_broken_detections_still_shows_its_name_and_its_sizes() {
        let body = annotation("no JSON");
        let whole = Outline {
            status: Some(Status::Created),
            name: Some(Name::new("cell-a").unwrap()),
            body_bytes: Some(body.len()),
            detections_bytes: Some(7),
            image_bytes: Some(6),
            ..Outline::default()
        };
        assert_eq!(of(encode::message(&body, encode::Property::Absent)), whole);

        let gzip = encode::gzip(&body);
        let compressed = Outline {
            body_bytes: Some(gzip.len()),
            inflated_bytes: Some(body.len()),
            ..whole
        };
        assert_eq!(
            of(encode::message(&gzip, encode::Property::Number(Status::Created))),
            compressed
        );
    }

    #[test]
    fn a_bulk_message_shows_how_many_names_it_lists() {
        let body = encode::bulk(&encode::Bulk {
            names: &["cell-a", "../cell"],
            status: Status::Deleted,
            email: "someone@example.org",
            created: Timestamp::from_secs(0),
        });
        let outline = of(encode::message(&body, encode::Property::Absent));
        assert_eq!((outline.names, outline.status), (Some(2), Some(Status::Deleted)));
    }

    #[test]
    fn every_truncation_gives_an_outline_that_shows_no_text_of_the_message() {
        let raw = encode::message(&annotation("[]"), encode::Property::Name(Status::Created));
        for length in 0..raw.len() {
            let shown = format!("{:?}", of(raw[..length].to_vec()));
            assert!(!shown.contains("example") && !shown.contains("slide"), "{shown}");
        }
    }
}
