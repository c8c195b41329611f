//! `azaion runs` and `azaion top` over trees as they are found: runs that are done, damaged, moved, half written.

use crate::common::{azaion, last_line};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use runs::{Begin, Run, State};
use std::{fs, path::Path};

/// A run with this many epochs, whose best is the last one.
fn finished(root: &Path, epochs: u32, lr0: f64) -> String {
    fs::create_dir_all(root.join("models")).unwrap();
    let begin = Begin {
        dataset: "datasets/azaion-2026-03-28".into(),
        dataset_hash: Some("ab12".into()),
        model: "yolo26n".into(),
        hyper: serde_json::json!({"epochs": epochs, "lr0": lr0, "imgsz": 640}),
    };
    let mut run = Run::begin(root, begin).unwrap();
    let rows: Vec<report::EpochRow> = (1..=epochs)
        .map(|epoch| report::EpochRow {
            epoch,
            time_s: 60.0 * f64::from(epoch),
            train: [1.0, 0.5, 0.25],
            map50: f64::from(epoch) / 10.0,
            map50_95: f64::from(epoch) / 20.0,
            ..report::EpochRow::default()
        })
        .collect();
    let folder = root.join(&run.folder);
    fs::write(folder.join("results.csv"), report::results_csv(&rows)).unwrap();
    run.end(root, State::Finished).unwrap();
    run.name()
}

fn at<'a>(verb: &[&'a str], root: &'a Path) -> Vec<&'a str> {
    [verb, &["--root", root.to_str().unwrap()]].concat()
}

#[test]
fn the_questions_of_units_are_answered_by_exit_code_and_in_words() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    finished(root, 1, 0.01);
    let asked = || azaion(&at(&["train", "interrupted"], root)).assert();
    asked().code(2).stdout(contains("no run is open"));
    let begin = Begin {
        dataset: "datasets/azaion-2026-03-28".into(),
        dataset_hash: None,
        model: "yolo26n".into(),
        hyper: serde_json::json!({}),
    };
    let open = Run::begin(root, begin).unwrap();
    asked().success().stdout(contains(open.name()));
    ::runs::hold(root, "a film is to be looked at").unwrap();
    asked()
        .code(2)
        .stdout(contains("waits for a person: a film is to be looked at"));
    azaion(&at(&["train", "status"], root))
        .assert()
        .success()
        .stdout(contains("it waits for azaion train start: a film is"));

    let config = root.join("config.yaml");
    fs::write(&config, format!("root_dir: {}\n", root.display())).unwrap();
    azaion(&["train", "new", "--config", config.to_str().unwrap()])
        .assert()
        .code(2)
        .stdout(contains("training.new_annotations is 0"));
}

#[test]
fn all_runs_are_listed_and_what_is_wrong_with_one_hides_no_other() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let whole = finished(root, 3, 0.01);
    let edited = finished(root, 4, 0.01);
    let csv = root.join("models").join(&edited).join("results.csv");
    fs::write(&csv, fs::read_to_string(&csv).unwrap().replace("0.15,", "a lot,")).unwrap();
    for (name, file, text) in [
        ("cut", "run.json", "{\"version\": 1"),
        ("half", "last.safetensors", ""),
        ("future", "run.json", "{\"version\": 7}"),
        ("notes", "notes.txt", "no run"),
    ] {
        fs::create_dir_all(root.join("models").join(name)).unwrap();
        fs::write(root.join("models").join(name).join(file), text).unwrap();
    }
    azaion(&at(&["runs", "list"], root))
        .assert()
        .success()
        .stdout(
            contains(whole.as_str())
                .and(contains("finished"))
                .and(contains("3/3"))
                .and(contains("0.150")),
        )
        .stdout(contains(
            "! results.csv, line 4, column \"metrics/mAP50-95(B)\": \"a lot\" is not a number",
        ))
        .stdout(
            contains("is no run's file")
                .and(contains("has version 7"))
                .and(contains("run.json is missing")),
        )
        .stdout(contains("notes").not());
    let told = azaion(&at(&["runs", "list", "--json"], root)).output().unwrap();
    let list = last_line(&told.stdout);
    assert_eq!(list.as_array().unwrap().len(), 5);
    let first = list
        .as_array()
        .unwrap()
        .iter()
        .find(|run| run["name"] == whole.as_str())
        .unwrap();
    assert_eq!(
        (&first["state"], &first["epochs_done"]),
        (&"finished".into(), &3.into())
    );
    assert_eq!(first["seconds"], 180.0);
    assert!(first["bytes"].as_u64().unwrap() > 500);
}

#[test]
fn one_is_shown_by_name_by_path_and_without_a_name_the_latest() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let first = finished(root, 2, 0.01);
    finished(root, 5, 0.02);
    azaion(&at(&["runs", "show", &first], root))
        .assert()
        .success()
        .stdout(contains("best        epoch 2: mAP50-95 0.100, mAP50 0.200"))
        .stdout(
            contains("datasets/azaion-2026-03-28, ab12")
                .and(contains("lr0"))
                .and(contains("0.01")),
        );
    azaion(&at(&["runs", "show"], root))
        .assert()
        .success()
        .stdout(contains("epochs      5/5"));
    let moved = root.join("kept");
    fs::rename(root.join("models").join(&first), &moved).unwrap();
    let path = moved.to_str().unwrap().to_owned();
    azaion(&["runs", "show", &path])
        .assert()
        .success()
        .stdout(contains("run         kept"));
    azaion(&at(&["runs", "show", &first], root))
        .assert()
        .code(1)
        .stderr(contains("azaion runs list names"));
    azaion(&at(&["runs", "report", &path], root))
        .assert()
        .code(1)
        .stderr(contains("no report yet"));
    fs::write(moved.join("report.html"), "x").unwrap();
    azaion(&at(&["runs", "report", &path], root))
        .assert()
        .success()
        .stdout(contains(format!("{path}/report.html\n")).and(contains("best        epoch 2")));
}

#[test]
fn two_differ_in_what_differs_and_in_what_they_reached() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (a, b) = (finished(root, 2, 0.01), finished(root, 4, 0.02));
    azaion(&at(&["runs", "diff", &a, &b], root))
        .assert()
        .success()
        .stdout(
            contains("epochs")
                .and(contains("lr0"))
                .and(contains("imgsz").not()),
        )
        .stdout(contains("1 hyper-parameters are the same").and(contains("+0.100")));
    let told = azaion(&at(&["runs", "diff", &a, &b, "--json"], root))
        .output()
        .unwrap();
    let diff = last_line(&told.stdout);
    assert_eq!(
        diff["begun_with"][1],
        serde_json::json!({"name": "lr0", "a": 0.01, "b": 0.02})
    );
    assert_eq!(diff["results"][2]["name"], "mAP50");
}

#[test]
fn the_screen_is_drawn_once_for_a_pipe_whatever_is_missing() {
    let root = tempfile::tempdir().unwrap();
    azaion(&at(&["top", "--once"], root.path()))
        .assert()
        .success()
        .stdout(
            contains("models is missing")
                .and(contains("nothing read yet"))
                .and(contains("free")),
        );
    let name = finished(root.path(), 3, 0.01);
    fs::write(root.path().join("offset.yaml"), "version: 1\noffset: 4711\n").unwrap();
    azaion(&at(&["top", "--size", "100x30", "--once"], root.path()))
        .assert()
        .success()
        .stdout(
            contains(name)
                .and(contains("next offset 4711"))
                .and(contains("epoch 3/3")),
        )
        .stdout(contains('\u{1b}').not());
    azaion(&at(&["top", "--once", "--size", "0x9"], root.path()))
        .assert()
        .code(64);
    let gone = root.path().join("gone");
    azaion(&at(&["top", "--once"], &gone))
        .assert()
        .success()
        .stdout(contains("gone"));
}
