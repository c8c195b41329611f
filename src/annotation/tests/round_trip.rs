//! What the encoder writes the decoder reads back, and no bytes make the decoder panic.

#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use annotation::{
    Annotation, AnnotationStatus, Bulk, BulkStatus, Decoded, Label, MAX_CLASS, Message, Name, Origin,
    Redacted, Role, Row, Timestamp, decode,
    encode::{self, Property},
};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}".prop_map(|text| Name::new(&text).unwrap())
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    // The three wire forms are about as likely as each other.
    let secs = prop_oneof![0..1_i64 << 32, 0..1_i64 << 34, any::<i64>()];
    (secs, prop_oneof![Just(0), 0..1_000_000_000_u32])
        .prop_map(|(secs, nanos)| Timestamp::new(secs, nanos).unwrap())
}

fn row() -> impl Strategy<Value = Row> {
    let fraction = || (0..=1_f32.to_bits()).prop_map(f32::from_bits);
    let extent = || (1..=1_f32.to_bits()).prop_map(f32::from_bits);
    (0..=MAX_CLASS, fraction(), fraction(), extent(), extent())
        .prop_map(|(class, cx, cy, w, h)| Row::new(class, cx, cy, w, h).unwrap())
}

prop_compose! {
    fn any_annotation()(
        name in name(),
        created_status in any::<bool>(),
        created in timestamp(),
        media_name in any::<String>(),
        time_us in any::<i64>(),
        image_extension in "\\.?(jpg|png|bmp|webp)?",
        rows in vec((row(), option::of(0.0..=1.0_f32)), 0..6),
        image in vec(any::<u8>(), 1..400),
        image_on_edit in any::<bool>(),
        role in select(vec![Role::Operator, Role::Validator, Role::CompanionPC, Role::Admin, Role::ApiAdmin]),
        email in any::<String>(),
        origin in select(vec![Origin::Ai, Origin::Manual]),
    ) -> Annotation {
        let status = if created_status { AnnotationStatus::Created } else { AnnotationStatus::Edited };
        let (rows, confidences) = rows.into_iter().unzip();
        let image = (created_status || image_on_edit).then(|| Bytes::from(image));
        Annotation {
            name, status, created, media_name, time_us, image_extension, label: Label { rows }, confidences, image,
            role, email: Redacted::new(email), origin,
        }
    }
}

fn body(annotation: &Annotation) -> Vec<u8> {
    encode::annotation(&encode::Annotation {
        name: annotation.name.as_str(),
        status: annotation.status.into(),
        created: annotation.created,
        media_name: &annotation.media_name,
        time_us: annotation.time_us,
        image_extension: &annotation.image_extension,
        detections: &encode::detections(&annotation.label, &annotation.confidences),
        image: annotation.image.as_deref(),
        role: annotation.role,
        email: annotation.email.expose(),
        origin: annotation.origin,
    })
}

proptest! {
    #[test]
    fn an_annotation_survives_the_wire(annotation in any_annotation(), way in 0..6) {
        let status = annotation.status.into();
        let property = [Property::Absent, Property::Number(status), Property::Name(status)][way as usize % 3];
        let body = body(&annotation);
        let body = if way < 3 { body } else { encode::gzip(&body) };
        let decoded = decode(&encode::message(&body, property)).unwrap();
        prop_assert_eq!(decoded, Decoded { message: Message::Annotation(annotation), notes: vec![] });
    }

    #[test]
    fn a_bulk_message_survives_the_wire(
        texts in vec("[A-Za-z0-9./ ]{0,12}", 0..40),
        deleted in any::<bool>(),
        email in any::<String>(),
        created in timestamp(),
        property_absent in any::<bool>(),
    ) {
        let names: Vec<&str> = texts.iter().map(String::as_str).collect();
        let status = if deleted { BulkStatus::Deleted } else { BulkStatus::Validated };
        let fields = encode::Bulk { names: &names, status: status.into(), email: &email, created };
        let property = if property_absent { Property::Absent } else { Property::Number(status.into()) };
        let expected = Bulk {
            names: names.iter().map(|name| Name::new(name)).collect(),
            status,
            email: Some(Redacted::new(email.clone())),
            created: Some(created),
        };
        let decoded = decode(&encode::message(&encode::bulk(&fields), property)).unwrap();
        prop_assert_eq!(decoded, Decoded { message: Message::Bulk(expected), notes: vec![] });
    }

    #[test]
    fn out_of_range_rows_are_sent_and_then_refused(good in row(), bad in prop_oneof![1.0001..1e300_f64, -1e300..-1e-30]) {
        let row = [good.class.into(), good.cx.into(), bad, good.w.into(), good.h.into()];
        let detections = encode::raw_detections(&[row]);
        let message = created_with(&detections);
        let error = decode(&message).unwrap_err();
        prop_assert_eq!(error.kind(), "detections");
        prop_assert!(error.to_string().contains("detection 0, y"), "{}", error);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn random_bodies_never_panic(body in vec(any::<u8>(), 0..300), gzip in any::<bool>()) {
        let body = if gzip { encode::gzip(&body) } else { body };
        let _ = decode(&encode::message(&body, Property::Absent));
    }

    #[test]
    fn damaged_messages_never_panic(
        annotation in any_annotation(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut raw = encode::message(&body(&annotation), Property::Number(annotation.status.into()));
        for (index, byte) in damage {
            let length = raw.len();
            raw[index.index(length)] = byte;
        }
        if let Some(cut) = cut {
            raw.truncate(cut.index(raw.len()));
        }
        if let Err(error) = decode(&raw) {
            prop_assert!(!error.to_string().is_empty() && !error.kind().is_empty());
        }
    }
}

#[test]
fn every_truncation_of_a_message_is_refused() {
    let whole = created_with("[]");
    for length in 0..whole.len() {
        assert!(decode(&whole[..length]).is_err(), "{length}");
    }
    assert!(decode(&whole).is_ok());
}

#[test]
fn a_row_that_is_no_number_is_sent_and_then_refused() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = created_with(&encode::raw_detections(&[[0.0, 0.5, 0.5, 0.1, bad]]));
        let error = decode(&message).unwrap_err().to_string();
        assert!(error.contains("detection 0, h"), "{error}");
    }
}

fn created_with(detections: &str) -> Vec<u8> {
    let body = encode::annotation(&encode::Annotation {
        name: "shape-1",
        status: annotation::Status::Created,
        created: Timestamp::from_secs(0),
        media_name: "",
        time_us: 0,
        image_extension: "jpg",
        detections,
        image: Some(b"\xff\xd8\xff"),
        role: Role::Validator,
        email: "",
        origin: Origin::Manual,
    });
    encode::message(&body, Property::Number(annotation::Status::Created))
}
