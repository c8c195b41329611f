//! A probe of training, as `azaion check` asks for it.

use crate::common::{azaion, last_line};
use predicates::str::contains;

#[test]
fn two_steps_are_taken_and_told_and_leave_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let done = azaion(&[
        "probe",
        "--steps",
        "2",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--json",
    ])
    .env("TMPDIR", scratch.path())
    .assert()
    .success();
    let told = last_line(&done.get_output().stdout);
    assert_eq!(told["steps"], 2, "{told}");
    assert!(told["loss"].as_f64().unwrap() > 0.0, "{told}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_device_that_is_not_there_is_said() {
    azaion(&["probe", "--device", "cuda:99"])
        .assert()
        .code(1)
        .stderr(contains("cuda:99"));
}
