//! What is wrong with the input is said clearly or counted, and what was there before stays as it was.

use crate::common::{azaion, contents, image, label, last_line, small_demo, yolo_folder};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{fs, path::Path, process::Stdio};

fn demo_of(dataset: &Path, root: &Path) -> assert_cmd::Command {
    let mut command = azaion(&[
        "demo",
        "--epochs",
        "1",
        "--imgsz",
        "64",
        "--batch",
        "4",
        "--threads",
        "1",
        "--json",
    ]);
    command.arg("--root").arg(root).arg("--dataset").arg(dataset);
    command
}

#[test]
fn a_folder_without_labels_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    demo_of(folder.path(), &folder.path().join("demo"))
        .assert()
        .code(1)
        .stderr(contains("no folder `labels`"));
}

#[test]
fn bad_annotations_are_kept_apart_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, root) = (folder.path().join("set"), folder.path().join("demo"));
    yolo_folder(&dataset, 16);
    fs::write(label(&dataset, 1), "0 0.5 0.5\n").unwrap();
    fs::write(label(&dataset, 2), "0 1.2 0.5 0.1 0.1\n").unwrap();
    fs::write(label(&dataset, 3), "80 0.5 0.5 0.1 0.1\n").unwrap();
    fs::write(image(&dataset, 4), "this is no image\n").unwrap();
    let whole = fs::read(image(&dataset, 5)).unwrap();
    fs::write(image(&dataset, 5), &whole[..whole.len() / 2]).unwrap();
    let before = contents(&dataset);

    let done = demo_of(&dataset, &root).assert().success();
    let json = last_line(&done.get_output().stdout);
    assert_eq!(json["skipped"], 1, "three fields cannot become a message: {json}");
    assert_eq!(json["messages"], 15);
    assert_eq!(json["quarantined"], 3, "1.2, class 80 and a text file: {json}");
    assert_eq!(json["refused"], 1, "the cut JPEG: {json}");
    let images = &json["images"];
    let formed: u64 = ["train", "valid", "test"]
        .iter()
        .map(|s| images[s].as_u64().unwrap())
        .sum();
    assert_eq!(formed, 11, "{json}");
    assert!(root.join("data-corrupted/images/s05.jpg").is_file());
    assert!(root.join("data-corrupted/labels/s05.txt").is_file());
    assert_eq!(
        fs::read_dir(root.join("quarantine")).unwrap().count(),
        6,
        "a message and its reason for each"
    );
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    for words in ["s01.txt", "s05"] {
        assert!(told.contains(words), "{words} is not named in:\n{told}");
    }
    assert_eq!(contents(&dataset), before, "the dataset itself is left as it was");
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    small_demo(Path::new("/proc/azaion-demo"))
        .assert()
        .code(1)
        .stderr(contains("/proc/azaion-demo"));
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let before = contents(folder.path());
    small_demo(folder.path())
        .assert()
        .code(1)
        .stderr(contains("thesis.tex"));
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn a_demo_with_other_settings_is_refused_with_both_values() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    small_demo(&root).assert().success();
    let before = contents(&root);
    small_demo(&root)
        .args(["--seed", "1"])
        .assert()
        .code(1)
        .stderr(contains("--seed 0 (now 1)"));
    assert_eq!(contents(&root), before);
}

#[test]
fn a_second_demo_in_the_same_root_is_told_who_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    let mut first = std::process::Command::new(small_demo(&root).get_program())
        .args(small_demo(&root).get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The lock file is there as soon as the tree is open.
    while !root.join("annotations.part").exists() && !root.join("annotations.stream").exists() {
        assert!(
            first.try_wait().unwrap().is_none(),
            "the first demo ended before the second began"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    small_demo(&root)
        .assert()
        .code(1)
        .stderr(contains(first.id().to_string()));
    assert!(first.wait().unwrap().success(), "the first is not disturbed");
}

#[test]
fn a_full_disk_is_told_and_the_demo_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|s| s.success())
    };
    if !mount("size=1m") {
        println!(
            "skipped a_full_disk_is_told_and_the_demo_goes_on_when_there_is_room: mounting a tmpfs needs root"
        );
        return;
    }
    let unmount = Unmount(&disk);
    let root = disk.join("demo");
    small_demo(&root)
        .assert()
        .code(1)
        .stderr(contains("No space left on device"));
    assert!(mount("remount,size=400m"));
    small_demo(&root).assert().success();
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // A test that failed has said more than this could.
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn files_that_are_no_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.pt");
    for bytes in [&b"not a model at all"[..], b"PK\x03\x04 cut short", b""] {
        fs::write(&model, bytes).unwrap();
        azaion(&["detect", "x.jpg", "--model"])
            .arg(&model)
            .assert()
            .code(1)
            .stderr(contains("model.pt"));
    }
    azaion(&["detect", "x.jpg", "--model", "absent.pt"])
        .assert()
        .code(1)
        .stderr(contains("absent.pt"));
}

#[test]
fn an_image_that_cannot_be_used_does_not_keep_the_others_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    small_demo(&root).assert().success();
    let bad = folder.path().join("bad.jpg");
    fs::write(&bad, "this is no image").unwrap();
    let good = root.join("data/images/scene-000001.jpg");
    let done = azaion(&["detect", "--json", "--model"])
        .arg(root.join("models/azaion.pt"))
        .args([&bad, &good])
        .assert()
        .code(1)
        .stderr(contains("bad.jpg"));
    let json = last_line(&done.get_output().stdout);
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["image"].as_str(), good.to_str());
}

#[test]
fn bad_usage_is_exit_code_64() {
    for arguments in [
        &["demo", "--epochs", "0"][..],
        &["detect"],
        &["frobnicate"],
        &["demo", "--model"],
    ] {
        azaion(arguments).assert().code(64);
    }
    let root = tempfile::tempdir().unwrap();
    small_demo(&root.path().join("d"))
        .args(["--model", "yolo11n"])
        .assert()
        .code(1)
        .stderr(contains("yolo26n"));
}

#[test]
fn a_gpu_that_is_not_there_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("set");
    yolo_folder(&dataset, 16);
    demo_of(&dataset, &folder.path().join("demo"))
        .args(["--device", "cuda:99"])
        .assert()
        .code(1)
        .stderr(contains("cuda:99").and(contains("cpu").or(contains("lower number"))));
    azaion(&["demo", "--device", "gpu"])
        .assert()
        .code(64)
        .stderr(contains("auto, cpu, cuda or cuda:N"));
}
