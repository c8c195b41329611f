//! The JSON of detections in a sound message.
#![no_main]

use annotation::encode::{self, Annotation, Property};
use annotation::{Origin, Role, Status, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|detections: &str| {
    let body = encode::annotation(&Annotation {
        name: "cell-a",
        status: Status::Edited,
        created: Timestamp::from_secs(0),
        media_name: "",
        time_us: 0,
        image_extension: "",
        detections,
        image: None,
        role: Role::Operator,
        email: "",
        origin: Origin::Manual,
    });
    let raw = encode::message(&body, Property::Absent);
    fuzz::decode(raw, fuzz::promised_for_a_body(body.len()));
});
