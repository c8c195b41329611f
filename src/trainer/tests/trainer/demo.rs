//! The main job, end to end, as a person starts it.

use crate::common::{azaion, last_line, small_demo};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

fn path(json: &serde_json::Value, name: &str) -> PathBuf {
    PathBuf::from(
        json["paths"][name]
            .as_str()
            .unwrap_or_else(|| panic!("no path {name} in {json}")),
    )
}

#[test]
fn a_demo_ends_with_a_model_that_detects_and_measures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    let done = small_demo(&root).assert().success();
    let json = last_line(&done.get_output().stdout);
    assert_eq!(
        (json["messages"].as_u64(), json["quarantined"].as_u64()),
        (Some(20), Some(0))
    );
    assert_eq!(
        json["images"],
        serde_json::json!({ "train": 14, "valid": 4, "test": 2 })
    );
    for key in ["mAP50", "mAP50_95", "precision", "recall"] {
        assert!(
            (0.0..=1.0).contains(&json[key].as_f64().unwrap()),
            "{key} in {json}"
        );
    }
    for stage in ["annotations", "queue", "dataset", "training", "total"] {
        assert!(
            json["seconds"][stage].as_f64().unwrap() > 0.0 || stage == "queue",
            "{stage} in {json}"
        );
    }
    let report = fs::read_to_string(path(&json, "report")).unwrap();
    assert!(report.contains("<svg") && !report.contains("<script") && !report.contains("http://"));
    assert_eq!(
        fs::read_to_string(path(&json, "results"))
            .unwrap()
            .lines()
            .count(),
        4
    );
    assert!(fs::symlink_metadata(path(&json, "model")).unwrap().is_symlink());

    let model = path(&json, "model");
    let image = root.join("data/images/scene-000000.jpg");
    let out = folder.path().join("drawn");
    let detected = azaion(&[
        "detect",
        "--json",
        "--conf",
        "0.0001",
        "--threads",
        "1",
        "--model",
    ])
    .arg(&model)
    .arg(&image)
    .arg("--out")
    .arg(&out)
    .assert()
    .success();
    let detected = last_line(&detected.get_output().stdout);
    assert_eq!(detected[0]["image"].as_str(), image.to_str());
    for b in detected[0]["boxes"].as_array().unwrap() {
        assert_eq!(b.as_array().unwrap().len(), 6, "{b}");
    }
    assert!(
        fs::read(out.join("scene-000000.jpg"))
            .unwrap()
            .starts_with(&[0xff, 0xd8])
    );

    for (head, expected) in [("one2many", &json), ("one2one", &json["one2one"])] {
        let measured = azaion(&[
            "model",
            "val",
            "--json",
            "--device",
            "cpu",
            "--threads",
            "1",
            "--batch",
            "8",
            "--head",
            head,
            "--model",
        ])
        .arg(&model)
        .arg("--data")
        .arg(path(&json, "data"))
        .assert()
        .success();
        let measured = last_line(&measured.get_output().stdout);
        assert_eq!(measured["mAP50"], expected["mAP50"], "{head}");
        assert_eq!(measured["recall"], expected["recall"], "{head}");
        assert!(!measured["per_class"].as_array().unwrap().is_empty());
    }
}

/// Bytes of the best model and of the table of epochs without its column of seconds.
fn outcome(root: &Path) -> (Vec<u8>, Vec<String>) {
    let run = fs::read_dir(root.join("models"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.is_dir())
        .unwrap();
    let table = fs::read_to_string(run.join("results.csv")).unwrap();
    let without_time = |line: &str| {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields.remove(1);
        fields.join(",")
    };
    (
        fs::read(run.join("best.pt")).unwrap(),
        table.lines().map(without_time).collect(),
    )
}

#[test]
fn the_same_seed_gives_the_same_weights_to_the_bit_also_after_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    small_demo(&whole).assert().success();

    let mut command = std::process::Command::new(small_demo(&broken).get_program());
    let mut child = command
        .args(small_demo(&broken).get_args())
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let first = lines
        .find(|line| line.contains("epoch   1/3"))
        .expect("an epoch is reported");
    // Into the second epoch, where gradients are being accumulated.
    std::thread::sleep(std::time::Duration::from_millis(100));
    interrupt(child.id());
    let rest: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(75), "{first}\n{}", rest.join("\n"));
    assert!(
        rest.iter().any(|line| line.contains("goes on from here")),
        "{rest:?}"
    );

    let resumed = small_demo(&broken).assert().success();
    let told = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
    assert!(told.contains("goes on in epoch"), "{told}");
    let ((a, a_rows), (b, b_rows)) = (outcome(&whole), outcome(&broken));
    assert_eq!(a_rows, b_rows);
    assert!(a == b, "the weights differ");
}

fn interrupt(process: u32) {
    let kill = std::process::Command::new("kill")
        .args(["-INT", &process.to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
}

#[test]
fn a_finished_demo_shows_its_result_again_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    let first = small_demo(&root).assert().success();
    let before = outcome(&root);
    let again = small_demo(&root).assert().success();
    assert_eq!(
        last_line(&again.get_output().stdout),
        last_line(&first.get_output().stdout)
    );
    assert_eq!(outcome(&root), before);
}
