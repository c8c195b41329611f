//! What needs libtorch is in another program: this one does without, and runs the other where it is asked to.

use crate::common::{azaion, beside, program};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{fs, os::unix::process::ExitStatusExt, process::Command};

#[test]
fn the_operators_tool_needs_no_libtorch() {
    let Ok(asked) = Command::new("ldd").arg(azaion(&[]).get_program()).output() else {
        eprintln!("skipped: the_operators_tool_needs_no_libtorch: no ldd on PATH");
        return;
    };
    let libraries = String::from_utf8(asked.stdout).unwrap();
    assert!(
        asked.status.success() && libraries.contains("libc.so"),
        "{libraries}"
    );
    for library in ["torch", "libc10", "gomp", "libstdc++"] {
        assert!(!libraries.contains(library), "{libraries}");
    }
}

#[test]
fn help_lists_every_verb() {
    let mut shown = azaion(&["--help"]).assert().success();
    for verb in [
        "demo", "detect", "model", "backup", "import", "queue", "dataset", "why", "blame", "config", "check",
        "alert", "runs", "train", "top",
    ] {
        shown = shown.stdout(contains(format!("\n  {verb} ")));
    }
}

#[test]
fn a_verb_that_needs_libtorch_goes_to_the_program_beside_with_every_argument() {
    let (_folder, own) = beside("printf '%s|' \"$@\"; exit 75");
    for (arguments, passed) in [
        (&["demo"][..], "demo|"),
        (&["demo", "--help"], "demo|--help|"),
        (
            &["demo", "--epochs", "0", "-v", "--", "a b"],
            "demo|--epochs|0|-v|--|a b|",
        ),
        (
            &["-vv", "detect", "--model", "m.pt", "x"],
            "-v|-v|detect|--model|m.pt|x|",
        ),
        (&["model", "val", "-h"], "model|val|-h|"),
    ] {
        let done = Command::new(&own).args(arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), passed, "{arguments:?}");
        assert_eq!(done.status.code(), Some(75), "{arguments:?}");
    }
}

#[test]
fn backups_are_another_programs_and_its_verbs_go_there_as_they_are() {
    let (folder, own) = beside("exit 1");
    let there = folder.path().join("azaion-backup");
    program(&there, "printf '%s|' \"$@\"; exit 75");
    for (arguments, passed) in [
        (&["backup", "run"][..], "run|"),
        (&["backup", "--help"], "--help|"),
        (
            &["-v", "backup", "restore", "--to", "a b"],
            "-v|restore|--to|a b|",
        ),
    ] {
        let done = Command::new(&own).args(arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), passed, "{arguments:?}");
        assert_eq!(done.status.code(), Some(75), "{arguments:?}");
    }
    fs::remove_file(there).unwrap();
    assert_cmd::Command::new(own)
        .args(["backup", "run"])
        .env("PATH", "/nowhere")
        .assert()
        .code(1)
        .stderr(contains("install the backup package"));
}

#[test]
fn it_runs_in_the_place_of_the_tool_so_that_signals_are_its_own() {
    let (_folder, own) = beside("echo $$; kill -TERM $$; sleep 60");
    let child = Command::new(own)
        .arg("demo")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), process.to_string());
    assert_eq!(done.status.signal(), Some(15));
}

#[test]
fn it_is_looked_for_on_path_where_it_is_not_beside() {
    let (folder, own) = beside("exit 1");
    fs::remove_file(folder.path().join("azaion-train")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    program(&elsewhere.path().join("azaion-train"), "exit 7");
    let done = Command::new(own)
        .arg("detect")
        .env("PATH", elsewhere.path())
        .status()
        .unwrap();
    assert_eq!(done.code(), Some(7));
}

#[test]
fn without_the_training_package_the_error_says_what_to_install() {
    let (folder, own) = beside("");
    fs::remove_file(folder.path().join("azaion-train")).unwrap();
    assert_cmd::Command::new(own)
        .args(["model", "val"])
        .env("PATH", "/nowhere")
        .assert()
        .code(1)
        .stderr(contains("install the training package").and(contains(folder.path().to_str().unwrap())));
}
