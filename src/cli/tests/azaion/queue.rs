//! `azaion queue` as an operator types it: what comes out where, and with which exit code.

use crate::common::{azaion, last_line, yolo_folder};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{fs, path::Path};

/// A tree that has read a stream file of `count` annotations, and that file.
fn tree(folder: &Path, count: u64) {
    yolo_folder(&folder.join("set"), count);
    azaion(&["import", "yolo"])
        .arg(folder.join("set"))
        .arg("--to")
        .arg(folder.join("annotations.stream"))
        .assert()
        .success();
    replay(folder, "tree").assert().success();
}

fn replay(folder: &Path, to: &str) -> assert_cmd::Command {
    let mut command = azaion(&["queue", "replay", "--from", "0", "--json"]);
    command.arg("--to").arg(folder.join(to));
    command.arg("--stream").arg(folder.join("annotations.stream"));
    command
}

fn ask(folder: &Path, verb: &[&str]) -> assert_cmd::Command {
    let mut command = azaion(&["queue"]);
    command.args(verb).arg("--root").arg(folder.join("tree"));
    command
}

#[test]
fn a_stream_is_read_into_a_tree_that_is_looked_at_and_agrees_with_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), 3);
    let done = ask(folder.path(), &["status", "--json"]).assert().success();
    let status = last_line(&done.get_output().stdout);
    assert_eq!(status["offset"], 3);
    assert_eq!(status["annotations"]["data"], 3, "a validator made them");

    ask(folder.path(), &["status"])
        .assert()
        .success()
        .stdout(contains("next offset  3"));
    ask(folder.path(), &["verify"])
        .assert()
        .success()
        .stdout(contains("3 annotations: tree and ledger agree"));
    ask(folder.path(), &["history", "s01"])
        .assert()
        .success()
        .stdout(contains("created    Validator    data"));
    // Again: there is nothing left to read.
    let again = replay(folder.path(), "tree").assert().success();
    assert_eq!(last_line(&again.get_output().stdout)["counters"]["processed"], 0);
}

#[test]
fn a_difference_is_told_with_exit_code_2_and_a_new_ledger_settles_it() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), 2);
    fs::write(
        folder.path().join("tree/data/labels/s00.txt"),
        "1 0.5 0.5 0.2 0.2\n",
    )
    .unwrap();
    let found = ask(folder.path(), &["verify", "--json"]).assert().code(2);
    assert_eq!(
        last_line(&found.get_output().stdout)["differences"][0]["name"],
        "s00"
    );
    ask(folder.path(), &["rebuild-ledger"]).assert().success();
    ask(folder.path(), &["verify"]).assert().success();
}

#[test]
fn a_message_that_stays_in_quarantine_is_told_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 2);
    fs::write(folder.path().join("set/labels/s00.txt"), "0 1.5 0.5 0.1 0.1\n").unwrap();
    azaion(&["import", "yolo"])
        .arg(folder.path().join("set"))
        .arg("--to")
        .arg(folder.path().join("annotations.stream"))
        .assert()
        .success();
    replay(folder.path(), "tree").assert().success();

    ask(folder.path(), &["quarantine", "list"])
        .assert()
        .success()
        .stdout(contains("detections").and(contains("1 message")));
    ask(folder.path(), &["quarantine", "show", "0"])
        .assert()
        .success()
        .stdout(contains("name         s00"));
    ask(folder.path(), &["quarantine", "replay", "--all"])
        .assert()
        .code(2)
        .stdout(contains("0 used, 1 stayed"));
}

#[test]
fn what_cannot_be_done_is_said_on_stderr_with_exit_code_1_and_bad_usage_with_64() {
    let folder = tempfile::tempdir().unwrap();
    azaion(&["queue", "status", "--root", "/nowhere/azaion"])
        .assert()
        .code(1)
        .stderr(contains("/nowhere/azaion does not exist"));
    azaion(&["queue", "verify", "--config"])
        .arg(folder.path().join("config.yaml"))
        .assert()
        .code(1)
        .stderr(contains("with --root DIR no configuration is needed"));
    for arguments in [
        &["queue", "quarantine", "replay"][..],
        &["queue", "quarantine", "replay", "--all", "3"],
        &["queue", "history", "../cell"],
        &["queue", "status", "--root", "a", "--config", "b"],
    ] {
        azaion(arguments).assert().code(64);
    }
}
