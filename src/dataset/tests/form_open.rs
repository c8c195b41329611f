//! Opening datasets of third parties: the forms that `data.yaml` takes in the wild.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not what they call"
)]

use std::fs;
use std::path::{Path, PathBuf};

use dataset::yaml::YamlError;
use dataset::{DataYaml, Dataset, Split};
use image::{ImageFormat, RgbImage};

struct Folder(tempfile::TempDir);

impl Folder {
    /// Two images to learn from, one to be judged by; the second has no label file.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.image("train/images/a.jpg", 20, 10);
        folder.image("train/images/deep/b.png", 10, 20);
        folder.image("val/images/c.jpg", 10, 10);
        folder.write("train/labels/a.txt", "1 0.5 0.5 0.5 0.5\n");
        folder.write("val/labels/c.txt", "0 0.5 0.5 0.5 0.5\n");
        folder
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    fn image(&self, file: &str, width: u32, height: u32) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::new(width, height)
            .save_with_format(&path, ImageFormat::from_path(&path).unwrap())
            .unwrap();
    }

    fn yaml(&self, text: &str) -> PathBuf {
        self.write("data.yaml", text);
        self.path("data.yaml")
    }

    fn open(&self, text: &str, split: Split) -> Result<Dataset, YamlError> {
        Dataset::open(&self.yaml(text), split)
    }
}

fn images(dataset: &Dataset) -> Vec<String> {
    let file_name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    dataset.items.iter().map(|item| file_name(&item.image)).collect()
}

#[test]
fn folders_may_be_relative_absolute_below_path_or_listed() {
    let folder = Folder::new();
    let root = folder.path("");
    let root = root.display();
    folder.write(
        "lists/train.txt",
        "../train/images/a.jpg\n\n./../train/images/deep/b.png\n",
    );
    for text in [
        "train: train/images\nval: val/images\nnames: [red, white]\n".to_owned(),
        format!("path: {root}\ntrain: train/images\nval: val/images\nnames: [red, white]\n"),
        format!("train: {root}train/images\nval: {root}val/images\nnames: {{0: red, 1: white}}\n"),
        "path: .\ntrain: [train/images]\nvalid: val\nnc: 2\nnames:\n  - red\n  - white\n".to_owned(),
        "train: ../train/images\nval: ../val/images\nnc: 2\nnames: [red, white]\nroboflow: {x: 1}\n"
            .to_owned(),
        "path: /nonexistent/before/a/move\ntrain: train/images\nval: val/images\nnames: [red, white]\n"
            .to_owned(),
        "train: lists/train.txt\nval: val/images\ntest:\nnames: [red, white]\n".to_owned(),
    ] {
        let train = folder.open(&text, Split::Train).unwrap();
        assert_eq!(images(&train), ["a.jpg", "b.png"], "{text}");
        assert_eq!(train.names, ["red", "white"], "{text}");
        assert_eq!(
            images(&folder.open(&text, Split::Valid).unwrap()),
            ["c.jpg"],
            "{text}"
        );
        assert!(
            matches!(
                folder.open(&text, Split::Test),
                Err(YamlError::NoSplit { key: "test", .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn an_image_without_a_label_file_is_background_and_sizes_are_known() {
    let folder = Folder::new();
    let train = folder
        .open("train: train/images\nnames: [red, white]\n", Split::Train)
        .unwrap();
    assert_eq!(train.items[0].label.rows[0].class, 1);
    assert_eq!(train.items[0].size, (20, 10));
    assert!(train.items[1].label.rows.is_empty());
    assert_eq!(train.items[1].size, (10, 20));
    assert_eq!(train.nc, 2);
}

#[test]
fn items_are_sorted_by_path_string() {
    let folder = Folder::new();
    // By string `a-1` comes before `a/1` ('-' before '/'); by component it would come after.
    folder.image("sorted/images/a/1.jpg", 8, 8);
    folder.image("sorted/images/a-1.jpg", 8, 8);
    folder.image("sorted/images/B.jpg", 8, 8);
    let dataset = folder
        .open("train: sorted/images\nnames: [x]\n", Split::Train)
        .unwrap();
    assert_eq!(images(&dataset), ["B.jpg", "a-1.jpg", "1.jpg"]);
}

#[test]
fn what_cannot_be_used_is_skipped_and_counted() {
    let folder = Folder::new();
    folder.image("train/images/bad-label.jpg", 8, 8);
    folder.write("train/labels/bad-label.txt", "0 0.5 0.5 0.1\n");
    folder.image("train/images/class-2.jpg", 8, 8);
    folder.write("train/labels/class-2.txt", "2 0.5 0.5 0.1 0.1\n");
    folder.write("train/images/no-image.jpg", "hello");
    folder.write("train/images/notes.md", "not looked at");
    let train = folder
        .open("train: train/images\nnames: [red, white]\n", Split::Train)
        .unwrap();
    assert_eq!(images(&train), ["a.jpg", "b.png"]);
    let mut reasons: Vec<String> = train.skipped.iter().map(|skip| skip.reason.clone()).collect();
    reasons.sort();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons.iter().any(|reason| reason.contains("line 1")),
        "{reasons:?}"
    );
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("class 2, but there are 2 classes")),
        "{reasons:?}"
    );
}

#[test]
fn class_names_are_read_as_they_are_written() {
    let folder = Folder::new();
    let names = |text: &str| DataYaml::read(&folder.yaml(text)).map(|yaml| yaml.names);
    assert_eq!(names("names: [yes, 007, '1.0']").unwrap(), ["yes", "007", "1.0"]);
    assert_eq!(names("names: {1: b, 0: a}").unwrap(), ["a", "b"]);
    assert_eq!(names("nc: 2").unwrap(), ["Class-0", "Class-1"]);
    for (text, expected) in [
        ("nc: 3\nnames: [a, b]", "nc is 3, but 2 are named"),
        ("names: {0: a, 2: b}", "class 2 is named but class 1 is not"),
        ("train: x", "neither `names` nor `nc`"),
        ("names: []", "there is none"),
        ("nc: 81", "at most 80"),
        ("nc: 18446744073709551615", "at most 80"),
    ] {
        let error = names(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn mistakes_say_what_is_wrong_and_where() {
    let folder = Folder::new();
    for (text, expected) in [
        ("train: nowhere\nnames: [a]\n", "nowhere, which does not exist"),
        ("train: empty\nnames: [a]\n", "holds no usable image (0 skipped)"),
        ("train: {a: b}\nnames: [a]\n", "a path or a list of paths"),
        ("train: [\nnames", "not usable"),
        ("names: 3\n", "a list of class names"),
    ] {
        fs::create_dir_all(folder.path("empty")).unwrap();
        let error = folder.open(text, Split::Train).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("data.yaml"),
            "{text}: {error}"
        );
    }
    assert!(matches!(
        DataYaml::read(Path::new("/nonexistent/data.yaml")),
        Err(YamlError::Io { .. })
    ));
}
