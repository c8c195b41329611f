//! The rules of labels and classes against a real, published data set (BCCD, 364 images of blood cells).
//!
//! Its conversion is plain and keeps two boxes without extent; exactly these must be refused. The data set lies beside
//! the project, not in it; where it is absent the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use annotation::{
    ClassList, Field, Label, LabelProblem, Message, Origin, Role, Status, Timestamp, decode,
    encode::{self, Property},
};

fn data(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?;
    let folder = beside.join("shared").join("data").join("bccd");
    if !folder.is_dir() {
        eprintln!("{test}: skipped, the BCCD data set is not here");
        return None;
    }
    Some(folder)
}

fn labels(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder.join("labels"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut labels: Vec<_> = entries
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    labels.sort();
    labels
}

#[test]
fn exactly_the_two_boxes_without_extent_are_refused() {
    let Some(folder) = data("exactly_the_two_boxes_without_extent_are_refused") else {
        return;
    };
    let mut refused = Vec::new();
    let mut rows = 0;
    for (name, text) in labels(&folder) {
        match Label::parse_bytes(&text) {
            Ok(label) => rows += label.rows.len(),
            Err(error) => {
                assert!(
                    matches!(&error.problem, LabelProblem::Row(row) if row.field() == Field::W),
                    "{name}: {error}"
                );
                refused.push(name);
            }
        }
    }
    assert_eq!(refused, ["BloodImage_00338", "BloodImage_00343"]);
    assert!(rows > 4000, "{rows}");
}

#[test]
fn every_label_survives_the_wire_and_the_disk() {
    let Some(folder) = data("every_label_survives_the_wire_and_the_disk") else {
        return;
    };
    for (name, text) in labels(&folder) {
        let Ok(label) = Label::parse_bytes(&text) else {
            continue;
        };
        let body = encode::annotation(&encode::Annotation {
            name: &name,
            status: Status::Created,
            created: Timestamp::from_secs(0),
            media_name: "bccd",
            time_us: 0,
            image_extension: "jpg",
            detections: &encode::detections(&label, &[]),
            image: Some(b"\xff\xd8\xff"),
            role: Role::Validator,
            email: "",
            origin: Origin::Manual,
        });
        let message = decode(&encode::message(&body, Property::Number(Status::Created)))
            .unwrap()
            .message;
        let Message::Annotation(annotation) = message else {
            unreachable!("Created is one annotation")
        };
        assert_eq!(
            Label::parse(&annotation.label.to_string()).unwrap(),
            label,
            "{name}"
        );
    }
}

#[test]
fn its_classes_are_read() {
    let Some(folder) = data("its_classes_are_read") else {
        return;
    };
    let classes = ClassList::parse(&fs::read_to_string(folder.join("classes.json")).unwrap()).unwrap();
    let names = classes.names80();
    assert_eq!(names[..4], ["RBC", "WBC", "Platelets", "Class-3"]);
    assert_eq!(
        (names[22].as_str(), names[42].as_str()),
        ("Platelets (Wint)", "Platelets (Night)")
    );
}
