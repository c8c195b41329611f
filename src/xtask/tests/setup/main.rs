//! Setting libtorch up from wheels of a few bytes: fresh, resumed, repaired, refused. pip is a script that copies from a
//! folder, so nothing here asks a network.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where anything is not as it should be"
)]

mod machine;

use std::fs;
use std::path::Path;

use machine::{Machine, RUNTIME, TORCH, assert_says, names, wheel};
use xtask::digest;
use xtask::libtorch::rehearsal::{Rehearsal, rehearse};
use xtask::libtorch::setup::{How, Wheels};
use xtask::libtorch::tree;

#[test]
fn a_folder_of_wheels_makes_a_tree_and_the_link_points_to_it() {
    let machine = Machine::new();

    let ready = machine.set_up_from_index().unwrap();

    assert_eq!(ready.how, How::Built);
    assert_eq!(ready.tree, machine.tree());
    assert_eq!(fs::read_link(machine.path(".libtorch")).unwrap(), machine.tree());
    assert_eq!(
        fs::read_to_string(machine.tree().join("build-version")).unwrap(),
        "2.13.0\n"
    );
    assert_eq!(
        fs::read_to_string(machine.tree().join("lib/libcudart.so.13")).unwrap(),
        "cuda"
    );
    assert!(
        !machine.tree().join("version.py").exists(),
        "only what a rule names is kept"
    );
    assert_eq!(
        names(&machine.path("cache")),
        ["libtorch-2.13.0-cpu", "setup.lock"]
    );
    assert_eq!(
        names(&machine.path("index")),
        [RUNTIME, TORCH],
        "a folder of the user's is left as it was"
    );
}

#[test]
fn the_marker_names_the_versions() {
    let machine = Machine::new();
    machine.set_up_from_index().unwrap();
    let marker = fs::read_to_string(machine.tree().join(tree::MARKER)).unwrap();
    assert!(
        marker.contains("torch==2.13.0 sha256:") && marker.contains("runtime==13.0 sha256:"),
        "{marker}"
    );
}

#[test]
fn a_complete_tree_needs_neither_wheels_nor_programs() {
    let machine = Machine::new();
    machine.set_up_from_index().unwrap();
    fs::remove_dir_all(machine.path("index")).unwrap();
    fs::remove_dir_all(machine.path("bin")).unwrap();
    fs::remove_file(machine.path(".libtorch")).unwrap();

    assert_eq!(machine.set_up(Wheels::Fetch).unwrap().how, How::Already);
    assert_eq!(
        fs::read_link(machine.path(".libtorch")).unwrap(),
        machine.tree(),
        "the link of a fresh clone is made"
    );
}

#[test]
fn fetched_wheels_go_once_the_tree_stands_unless_they_are_to_be_kept() {
    let machine = Machine::new();
    assert_eq!(machine.set_up(Wheels::Fetch).unwrap().how, How::Built);
    assert_eq!(machine.asked(), ["runtime", "torch"], "the small one first");
    assert_eq!(
        names(&machine.path("cache")),
        ["libtorch-2.13.0-cpu", "setup.lock"]
    );

    let machine = Machine::new();
    assert_eq!(machine.set_up(Wheels::FetchAndKeep).unwrap().how, How::Built);
    assert_eq!(names(&machine.path("cache/wheels")), [RUNTIME, TORCH]);
}

#[test]
fn a_corrupted_wheel_is_refused_with_what_was_expected_and_found() {
    let machine = Machine::new();
    let path = machine.path("index").join(TORCH);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let error = machine.set_up_from_index().unwrap_err();

    let found = digest::of_bytes(&bytes);
    assert_says(
        &error,
        &[
            TORCH,
            &machine.recipe.wheels[1].sha256,
            &found,
            "Delete that file",
            "cargo xtask setup",
        ],
    );
    assert!(!machine.tree().exists() && !machine.path(".libtorch").exists());
}

#[test]
fn wheels_missing_in_a_named_folder_are_listed_and_not_fetched() {
    let machine = Machine::new();
    fs::remove_file(machine.path("index").join(TORCH)).unwrap();

    let error = machine.set_up_from_index().unwrap_err();

    assert_says(
        &error,
        &[
            TORCH,
            &machine.recipe.wheels[1].sha256,
            "index",
            "cargo xtask setup",
        ],
    );
    assert!(
        !error.to_string().contains(RUNTIME),
        "what is there is not asked for: {error}"
    );
    assert!(machine.asked().is_empty());
}

#[test]
fn without_a_network_the_error_says_which_files_to_place_where_and_placing_them_is_enough() {
    let machine = Machine::new();
    machine.python("echo 'ERROR: name resolution failed' >&2; exit 1");

    let error = machine.set_up(Wheels::Fetch).unwrap_err();

    let folder = machine.path("cache/wheels");
    let pins: Vec<&str> = machine
        .recipe
        .wheels
        .iter()
        .map(|wheel| wheel.sha256.as_str())
        .collect();
    assert_says(
        &error,
        &[
            "name resolution failed",
            RUNTIME,
            pins[0],
            TORCH,
            pins[1],
            folder.to_str().unwrap(),
        ],
    );
    assert!(error.is_temporary());

    for file in [RUNTIME, TORCH] {
        fs::copy(machine.path("index").join(file), folder.join(file)).unwrap();
    }
    assert_eq!(machine.set_up(Wheels::Fetch).unwrap().how, How::Built);
}

#[test]
fn a_wheel_that_had_arrived_is_not_fetched_again() {
    let machine = Machine::new();
    machine.python("[ $project = torch ] && { echo lost the connection; exit 1; }");
    let error = machine.set_up(Wheels::Fetch).unwrap_err();
    assert_says(&error, &["torch==2.13.0", "lost the connection"]);
    assert!(!error.to_string().contains(RUNTIME), "{error}");
    machine.python("");

    assert_eq!(machine.set_up(Wheels::Fetch).unwrap().how, How::Built);

    assert_eq!(machine.asked(), ["runtime", "torch", "torch"]);
}

#[test]
fn what_a_killed_set_up_left_behind_is_cleared_away() {
    let machine = Machine::new();
    for half in [
        "cache/libtorch-2.13.0-cpu.partial/include/ATen",
        "cache/wheels/partial/tmp/pip-unpack-x",
    ] {
        fs::create_dir_all(machine.path(half)).unwrap();
        fs::write(machine.path(half).join("ATen.h"), "half a hea").unwrap();
    }

    assert_eq!(machine.set_up(Wheels::Fetch).unwrap().how, How::Built);

    assert_eq!(
        names(&machine.path("cache")),
        ["libtorch-2.13.0-cpu", "setup.lock"]
    );
    assert_eq!(names(&machine.tree().join("include/ATen")), ["ATen.h"]);
}

#[test]
fn half_a_wheel_of_a_killed_set_up_is_not_taken_for_one_that_pip_has_brought() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path("cache/wheels/partial")).unwrap();
    fs::write(machine.path("cache/wheels/partial").join(RUNTIME), "half").unwrap();
    machine.python("exit 0");

    let error = machine.set_up(Wheels::Fetch).unwrap_err();

    assert_says(&error, &["did not leave", RUNTIME]);
}

#[test]
fn another_file_than_the_pinned_one_from_the_index_is_thrown_away() {
    let machine = Machine::new();
    let other = wheel(
        &machine.path("index").join(RUNTIME),
        &[("nvidia/libcudart.so.13", "other")],
    );

    let error = machine.set_up(Wheels::Fetch).unwrap_err();

    assert_says(
        &error,
        &[
            RUNTIME,
            &machine.recipe.wheels[0].sha256,
            &other,
            "pip's configuration",
        ],
    );
    assert!(names(&machine.path("cache/wheels")).is_empty());
}

#[test]
fn a_tree_without_a_marker_is_adopted_if_its_every_file_is_right() {
    let machine = Machine::new();
    machine.set_up_from_index().unwrap();
    fs::remove_file(machine.tree().join(tree::MARKER)).unwrap();
    fs::remove_dir_all(machine.path("index")).unwrap();

    assert_eq!(machine.set_up_from_index().unwrap().how, How::Adopted);
    assert_eq!(machine.set_up_from_index().unwrap().how, How::Already);
}

#[test]
fn a_tree_without_a_marker_is_rebuilt_if_anything_in_it_differs() {
    type Spoil = fn(&Path);
    let spoils: [Spoil; 3] = [
        |tree| fs::write(tree.join("include/ATen/ATen.h"), "#pragma twice\n").unwrap(),
        |tree| fs::write(tree.join("include/more.h"), "").unwrap(),
        |tree| fs::remove_file(tree.join("lib/libtorch.so")).unwrap(),
    ];
    for spoil in spoils {
        let machine = Machine::new();
        machine.set_up_from_index().unwrap();
        fs::remove_file(machine.tree().join(tree::MARKER)).unwrap();
        spoil(&machine.tree());

        assert_eq!(machine.set_up_from_index().unwrap().how, How::Built);

        let listing = tree::Listing::read(&machine.tree(), |_| {}).unwrap();
        assert_eq!(listing.digest(), machine.recipe.digest);
        assert_eq!(
            names(&machine.path("cache")),
            ["libtorch-2.13.0-cpu", "setup.lock"]
        );
    }
}

#[test]
fn a_marked_tree_is_not_trusted_when_a_library_is_gone_or_the_pins_have_changed() {
    let mut machine = Machine::new();
    machine.set_up_from_index().unwrap();
    fs::write(machine.tree().join("lib/libtorch.so"), "").unwrap();
    assert_eq!(machine.set_up_from_index().unwrap().how, How::Built);

    machine.recipe.wheels[0].version = "13.1".into();
    assert_eq!(
        machine.set_up_from_index().unwrap().how,
        How::Adopted,
        "the files are the same, the marker is another"
    );
}

#[test]
fn a_tree_in_use_stays_when_it_cannot_be_rebuilt() {
    let machine = Machine::new();
    machine.set_up_from_index().unwrap();
    fs::write(machine.tree().join(tree::MARKER), "of other pins").unwrap();
    fs::write(machine.tree().join("include/more.h"), "").unwrap();
    fs::remove_file(machine.path("index").join(TORCH)).unwrap();

    machine.set_up_from_index().unwrap_err();

    assert!(machine.tree().join("lib/libtorch.so").exists());
}

#[test]
fn of_two_set_ups_at_once_one_builds_and_the_other_waits() {
    let machine = Machine::new();
    machine.python("sleep 0.3");
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| machine.set_up(Wheels::Fetch).unwrap().how);
        let two = scope.spawn(|| machine.set_up(Wheels::Fetch).unwrap().how);
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(
        matches!(
            (&one, &two),
            (How::Built, How::Already) | (How::Already, How::Built)
        ),
        "{one:?} {two:?}"
    );
    assert_eq!(machine.asked(), ["runtime", "torch"], "nothing is fetched twice");
}

#[test]
fn a_missing_python_or_pip_is_named_with_its_package() {
    let machine = Machine::new();
    fs::write(machine.path("bin/python3"), "#!/bin/sh\nexit 1\n").unwrap();
    assert_says(
        &machine.set_up(Wheels::Fetch).unwrap_err(),
        &["pip", "apt-get install python3-pip"],
    );
    fs::remove_file(machine.path("bin/python3")).unwrap();
    assert_says(
        &machine.set_up(Wheels::Fetch).unwrap_err(),
        &["python3 is missing", "apt-get install python3 "],
    );
}

#[test]
fn a_wheel_that_lacks_a_file_or_would_write_elsewhere_is_refused() {
    let mut machine = Machine::new();
    let path = machine.path("index").join(TORCH);
    machine.recipe.wheels[1].sha256 = wheel(&path, &[("torch/include/ATen/ATen.h", "x")]);
    assert_says(
        &machine.set_up_from_index().unwrap_err(),
        &[TORCH, "torch/lib/libtorch.so"],
    );

    let escaping = [
        ("torch/include/../../../escaped.h", "x"),
        ("torch/lib/libtorch.so", "t"),
    ];
    machine.recipe.wheels[1].sha256 = wheel(&path, &escaping);
    assert_says(&machine.set_up_from_index().unwrap_err(), &["leave the tree"]);
    assert!(!machine.path("escaped.h").exists() && !machine.tree().exists());
}

#[test]
fn wheels_that_give_another_tree_than_the_pinned_one_are_refused() {
    let mut machine = Machine::new();
    machine.recipe.digest = "0".repeat(64);
    assert_says(
        &machine.set_up_from_index().unwrap_err(),
        &["not the pinned one", "pins.rs"],
    );
    assert!(!machine.tree().exists());
}

#[test]
fn a_rehearsal_builds_afresh_from_kept_wheels_and_leaves_nothing() {
    let machine = Machine::new();
    let env = |_: &str| None;
    let rehearsed = || rehearse(&machine.recipe, &machine.path("cache"), &env);
    fs::create_dir(machine.path("cache")).unwrap();
    assert!(
        matches!(rehearsed().unwrap(), Rehearsal::NoWheels(folder) if folder == machine.path("cache/wheels"))
    );

    machine.set_up(Wheels::FetchAndKeep).unwrap();
    assert!(matches!(rehearsed().unwrap(), Rehearsal::Same { files: 4, .. }));
    assert_eq!(
        names(&machine.path("cache")),
        ["libtorch-2.13.0-cpu", "setup.lock", "wheels"]
    );
    assert_eq!(
        fs::read_link(machine.path(".libtorch")).unwrap(),
        machine.tree(),
        "the link in use is not touched"
    );

    fs::write(machine.tree().join("include/ATen/ATen.h"), "changed").unwrap();
    assert_says(
        &rehearsed().unwrap_err(),
        &["libtorch-2.13.0-cpu", "Delete that folder"],
    );
}
