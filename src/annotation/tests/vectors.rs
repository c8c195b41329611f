//! Messages made by another implementation decode to what they were made from.
//!
//! `vectors.txt` was written by `tests/reference/annotation_vectors.py` with Python's msgpack and an AMQP 1.0 encoder of
//! its own. A vector named `bad_<kind>_<what>` must be refused with that kind of error.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what only prepares a test may panic too"
)]

use std::collections::BTreeMap;

use annotation::{
    Annotation, AnnotationStatus, Bulk, BulkStatus, DecodeError, Decoded, Label, Message, Name, Note, Origin,
    Redacted, Role, Row, Timestamp, decode, decode_shared,
};
use bytes::Bytes;

const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9";

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let vectors: BTreeMap<_, _> = include_str!("vectors.txt")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, hex.as_bytes().chunks(2).map(byte).collect()))
        .collect();
    assert_eq!(vectors.len(), 61, "a vector was added or lost: update the tests");
    vectors
}

/// What the script's `annotation()` holds by default.
fn cell() -> Annotation {
    Annotation {
        name: Name::new("cell-1").unwrap(),
        status: AnnotationStatus::Created,
        created: Timestamp::from_secs(1_774_708_200),
        media_name: "slide 7.png".into(),
        time_us: 1_500_000,
        image_extension: ".jpg".into(),
        label: Label {
            rows: vec![
                Row::new(0, 0.586719, 0.576042, 0.360938, 0.414583).unwrap(),
                Row::new(2, 0.25, 1e-7, 0.0625, 2e-7).unwrap(),
            ],
        },
        confidences: vec![Some(0.875), None],
        image: Some(Bytes::from_static(JPEG)),
        role: Role::Validator,
        email: Redacted::new("someone@example.org"),
        origin: Origin::Manual,
    }
}

fn decoded(name: &str) -> Decoded {
    decode(&vectors()[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn assert_annotation(name: &str, expected: Annotation) {
    let Decoded { message, notes } = decoded(name);
    assert_eq!(message, Message::Annotation(expected), "{name}");
    assert_eq!(notes, [], "{name}");
}

#[test]
fn every_way_to_write_one_annotation_decodes_to_the_same() {
    for way in [
        "string_key_int",
        "symbol_key_ubyte",
        "long",
        "name",
        "symbol_name",
        "no_property",
        "other_properties",
        "gzip",
        "map",
        "map_reversed",
        "long_keys",
        "all_sections",
        "amqp_value",
    ] {
        assert_annotation(&format!("created_{way}"), cell());
    }
}

#[test]
fn timestamps_of_all_widths_are_read() {
    let at = |secs, nanos| Annotation {
        created: Timestamp::new(secs, nanos).unwrap(),
        ..cell()
    };
    assert_annotation("created_timestamp_64", at(1_774_708_200, 123_456_789));
    assert_annotation("created_timestamp_96", at(-1, 5));
}

#[test]
fn an_annotation_without_detections_is_a_background_image() {
    assert_annotation(
        "created_background",
        Annotation {
            label: Label::default(),
            confidences: vec![],
            ..cell()
        },
    );
}

#[test]
fn an_edited_annotation_may_come_without_its_image() {
    let edited = Annotation {
        status: AnnotationStatus::Edited,
        ..cell()
    };
    let without = Annotation {
        image: None,
        ..edited.clone()
    };
    assert_annotation(
        "edited_nil_image",
        Annotation {
            role: Role::Operator,
            ..without.clone()
        },
    );
    assert_annotation(
        "edited_empty_image",
        Annotation {
            role: Role::ApiAdmin,
            ..without
        },
    );
    assert_annotation(
        "edited_with_image",
        Annotation {
            role: Role::Admin,
            origin: Origin::Ai,
            ..edited
        },
    );
}

#[test]
fn unknown_fields_and_trailing_bytes_are_tolerated_and_noted() {
    let Decoded { message, notes } = decoded("created_tail");
    assert_eq!(message, Message::Annotation(cell()));
    assert_eq!(
        notes,
        [Note::UnknownFields { count: 2 }, Note::TrailingBytes { count: 2 }]
    );
}

#[test]
fn a_bulk_message_keeps_its_good_names_beside_a_bad_one() {
    let name = |text| Name::new(text);
    let names = vec![name("cell-1"), name("no/name"), name("cell-2")];
    assert!(names[1].is_err());
    let bare = Bulk {
        names,
        status: BulkStatus::Validated,
        email: None,
        created: None,
    };
    let full = Bulk {
        email: Some(Redacted::new("someone@example.org")),
        created: Some(Timestamp::from_secs(1_774_708_200)),
        ..bare.clone()
    };
    assert_eq!(decoded("validated_full").message, Message::Bulk(full));
    assert_eq!(
        decoded("validated_names_only").message,
        Message::Bulk(bare.clone())
    );
    assert_eq!(
        decoded("deleted_map").message,
        Message::Bulk(Bulk {
            status: BulkStatus::Deleted,
            ..bare
        })
    );
}

#[test]
fn what_is_wrong_is_refused_by_kind_and_without_personal_data() {
    let mut checked = 0;
    for (name, raw) in vectors() {
        let Some((kind, _)) = name.strip_prefix("bad_").and_then(|rest| rest.split_once('_')) else {
            continue;
        };
        let error = decode(&raw).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(
                !shown.contains("someone") && !shown.contains("example"),
                "{name}: {shown}"
            );
        }
        checked += 1;
    }
    assert_eq!(checked, 38);
}

#[test]
fn errors_say_what_and_where() {
    let text = |name: &str| decode(&vectors()[name]).unwrap_err().to_string();
    assert_eq!(
        text("bad_field_role"),
        "createdRole (index 7) is 11, which stands for nothing known"
    );
    assert_eq!(text("bad_field_twice"), "name (index 1) is there twice");
    assert_eq!(text("bad_field_short"), "detections (index 5) is missing");
    assert_eq!(
        text("bad_field_date_as_text"),
        "createdDate (index 0) must be a timestamp (extension -1), found a string"
    );
    assert_eq!(
        text("bad_status-disagrees_property_edited"),
        "application property AnnotationStatus says Edited, the body says Created; the producer must send one status"
    );
    assert!(text("bad_detections_nan").starts_with("detections (index 5), detection 1, w: not valid JSON"));
    assert!(text("bad_amqp_sequence").contains("an amqp-sequence"));
}

#[test]
fn the_image_is_not_copied() {
    let raw = Bytes::from(vectors().remove("created_no_property").unwrap());
    let Message::Annotation(annotation) = decode_shared(&raw, &Default::default()).unwrap().message else {
        panic!("an annotation");
    };
    let image = annotation.image.unwrap();
    assert!(raw.as_ptr_range().contains(&image.as_ptr()));
}

#[test]
fn what_is_larger_than_the_limits_is_refused() {
    let raw = Bytes::from(vectors().remove("created_gzip").unwrap());
    let check = |limits: annotation::Limits, what: &str| {
        let error = decode_shared(&raw, &limits).unwrap_err();
        assert!(matches!(&error, DecodeError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    check(
        annotation::Limits {
            message_bytes: raw.len() - 1,
            ..Default::default()
        },
        "message",
    );
    check(
        annotation::Limits {
            inflated_bytes: 200,
            ..Default::default()
        },
        "inflated gzip body",
    );
    check(
        annotation::Limits {
            image_bytes: JPEG.len() - 1,
            ..Default::default()
        },
        "image is 22 bytes",
    );
    let detections = annotation::Limits {
        detections: 1,
        ..Default::default()
    };
    assert_eq!(decode_shared(&raw, &detections).unwrap_err().kind(), "detections");
    let bulk = Bytes::from(vectors().remove("validated_full").unwrap());
    let names = annotation::Limits {
        names: 2,
        ..Default::default()
    };
    assert_eq!(decode_shared(&bulk, &names).unwrap_err().kind(), "field");
}
