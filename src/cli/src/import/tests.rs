//! The importer as an operator meets it: folders in, messages and reasons out.

use std::collections::BTreeMap;
use std::path::Path;

use annotation::{Message, decode};
use stream::Source;
use stream::file::FileSource;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (file, content) in files {
            let path = folder.dir().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("set")
    }

    fn stream(&self) -> PathBuf {
        self.0.path().join("out.stream")
    }

    fn import(&self) -> Result<ImportSummary, ImportError> {
        yolo(&self.dir(), &self.stream(), |_, _| {})
    }

    fn raw(&self) -> Vec<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut source = FileSource::open(&self.stream(), 0, false).unwrap();
        let mut raw = Vec::new();
        while let Some(batch) = runtime.block_on(source.next(stream::Limits::default())).unwrap() {
            raw.extend(batch.messages.into_iter().map(|message| message.bytes.to_vec()));
        }
        raw
    }

    fn annotations(&self) -> Vec<annotation::Annotation> {
        let annotation = |raw: &Vec<u8>| match decode(raw).unwrap().message {
            Message::Annotation(annotation) => annotation,
            Message::Bulk(_) => panic!("a bulk message"),
        };
        self.raw().iter().map(annotation).collect()
    }
}

fn names(annotations: &[annotation::Annotation]) -> Vec<&str> {
    annotations
        .iter()
        .map(|annotation| annotation.name.as_str())
        .collect()
}

#[test]
fn a_pair_becomes_a_message_of_a_validator() {
    let set = Folder::with(&[
        ("images/a.b.JPG", "pixels"),
        ("labels/a.b.txt", "3 0.586719 0.5 0.25 1\n"),
    ]);
    let summary = set.import().unwrap();
    assert_eq!(
        (summary.messages, summary.detections, summary.skipped.len()),
        (1, 1, 0)
    );
    let [annotation] = &set.annotations()[..] else {
        panic!("one message")
    };
    assert_eq!(annotation.name.as_str(), "a.b");
    assert_eq!(annotation.label.to_string(), "3 0.586719 0.5 0.25 1\n");
    assert_eq!(annotation.image.as_deref(), Some(&b"pixels"[..]));
    assert_eq!(
        (annotation.role, annotation.origin),
        (Role::Validator, Origin::Manual)
    );
    assert_eq!(annotation.status, annotation::AnnotationStatus::Created);
    assert_eq!(annotation.image_extension, "jpg");
    assert_eq!(annotation.media_name, "images/a.b.JPG");
}

#[test]
fn folders_may_be_flat_or_divided_either_way_and_order_is_by_path() {
    for (images, labels) in [
        (["images/b.jpg", "images/a.png"], ["labels/b.txt", "labels/a.txt"]),
        (
            ["images/train/b.jpg", "images/test/a.png"],
            ["labels/train/b.txt", "labels/test/a.txt"],
        ),
        (
            ["train/images/b.jpg", "test/images/a.png"],
            ["train/labels/b.txt", "test/labels/a.txt"],
        ),
    ] {
        let set = Folder::with(&[
            (images[0], "x"),
            (images[1], "x"),
            (labels[0], ""),
            (labels[1], ""),
        ]);
        assert_eq!(set.import().unwrap().messages, 2);
        assert_eq!(names(&set.annotations()), ["a", "b"], "{images:?}");
    }
}

#[test]
fn rows_out_of_range_are_sent_for_the_queue_to_judge() {
    for row in [
        "0 1.5 0.5 0.1 0.1",
        "80 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0 0.1",
        "-1 0.5 0.5 0.1 0.1",
        "0.5 0 0 1 1",
    ] {
        let set = Folder::with(&[("images/a.jpg", "x"), ("labels/a.txt", row)]);
        assert_eq!(set.import().unwrap().messages, 1, "{row}");
        let kind = decode(&set.raw()[0]).unwrap_err();
        assert!(kind.to_string().contains("detection"), "{row}: {kind}");
    }
}

#[test]
fn an_empty_label_is_a_background_image() {
    for text in ["", "\n \r\n", "\u{feff}"] {
        let set = Folder::with(&[("images/a.jpg", "x"), ("labels/a.txt", text)]);
        assert_eq!(set.import().unwrap().detections, 0);
        assert!(set.annotations()[0].label.rows.is_empty());
    }
}

#[test]
fn what_no_message_can_express_is_skipped_with_its_reason() {
    let set = Folder::with(&[
        ("images/good.jpg", "x"),
        ("labels/good.txt", ""),
        ("images/three.jpg", "x"),
        ("labels/three.txt", "0 0.5 0.5 0.1 0.1\n0 0.5 0.5\n"),
        ("images/words.jpg", "x"),
        ("labels/words.txt", "a b c d e"),
        ("images/nan.jpg", "x"),
        ("labels/nan.txt", "0 nan 0.5 0.1 0.1"),
        ("images/un safe.jpg", "x"),
        ("labels/un safe.txt", ""),
        ("images/lonely.jpg", "x"),
        ("labels/orphan.txt", ""),
        ("images/good.png", "x"),
        ("images/scan.tif", "x"),
        ("images/.hidden", "x"),
    ]);
    let summary = set.import().unwrap();
    assert_eq!(names(&set.annotations()), ["good"]);
    let skipped: BTreeMap<String, String> = summary
        .skipped
        .iter()
        .map(|(path, skip)| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                skip.to_string(),
            )
        })
        .collect();
    for (file, reason) in [
        ("three.txt", "line 2: 3 fields"),
        ("words.txt", "line 1: a field is not a number"),
        ("nan.txt", "line 1: a field is not a number"),
        ("un safe.jpg", "name"),
        ("lonely.jpg", "an image without a label file"),
        ("orphan.txt", "a label file without an image"),
        ("good.png", "good.jpg has the same name"),
        ("scan.tif", "not a JPEG"),
    ] {
        let actual = skipped.get(file).map_or("(not skipped)", String::as_str);
        assert!(actual.contains(reason), "{file}: {actual}");
    }
    assert_eq!(skipped.len(), 8, "{skipped:?}");
}

#[test]
fn importing_twice_gives_the_same_messages_again() {
    let set = Folder::with(&[("images/a.jpg", "x"), ("labels/a.txt", "0 0.5 0.5 0.1 0.1")]);
    set.import().unwrap();
    set.import().unwrap();
    let raw = set.raw();
    assert_eq!(raw.len(), 2);
    assert_eq!(raw[0], raw[1]);
}

#[test]
fn a_folder_that_is_no_dataset_is_told_so_and_leaves_no_stream() {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("labels/a.txt", "")], "no folder `images`"),
        (&[("images/a.jpg", "x")], "no folder `labels`"),
        (&[("readme.txt", "x")], "no folder `images`"),
        (&[("images/a.jpg", "x"), ("labels/b.txt", "")], "2 files skipped"),
        (&[("images/a.jpg", "x"), ("labels/a.txt", "x")], "1 files skipped"),
    ];
    for (files, expected) in cases {
        let set = Folder::with(files);
        let error = set.import().unwrap_err().to_string();
        assert!(error.contains(expected), "{files:?}: {error}");
        assert!(!set.stream().exists());
    }
    let error = yolo(Path::new("/nonexistent"), Path::new("/nonexistent/x"), |_, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Io { .. }), "{error}");
}

#[test]
fn lists_of_names_or_paths_become_a_division() {
    let set = Folder::with(&[
        ("train.txt", "a\n./images/b.c.jpg\n\n"),
        ("val.txt", "images/d.png"),
        ("test.txt", "e"),
    ]);
    let name = |name: &str| Name::new(name).unwrap();
    let expected = FixedSplit::new(
        [name("a"), name("b.c")].into(),
        [name("d")].into(),
        Some([name("e")].into()),
    );
    assert_eq!(splits(&set.dir()).unwrap(), Some(expected.unwrap()));
    assert_eq!(splits(&Folder::with(&[("readme.txt", "")]).dir()).unwrap(), None);
}

#[test]
fn half_a_division_is_an_error() {
    for (file, expected) in [
        ("train.txt", "no val.txt"),
        ("val.txt", "no train.txt"),
        ("test.txt", "no train.txt"),
    ] {
        let error = splits(&Folder::with(&[(file, "a")]).dir())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let twice = Folder::with(&[("train.txt", "a"), ("val.txt", "a")]);
    assert!(
        splits(&twice.dir())
            .unwrap_err()
            .to_string()
            .contains("a is listed for train and for valid")
    );
}
