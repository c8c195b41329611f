//! The drill: what it restores, what it finds, and how it asks the model.

use crate::{
    common::{Place, messages},
    whole::furnished,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

#[test]
fn a_drill_restores_files_the_model_and_the_checkpoint_and_finds_them_as_they_are() {
    let mut place = furnished();
    place.config.backup.drill_files = 10;
    place.run();
    let drilled = place.round().drill().unwrap();
    assert_eq!(drilled.problems, [""; 0]);
    // Ten drawn, model and checkpoint, and perhaps one more for the image.
    assert!((12..=13).contains(&drilled.files), "{drilled:?}");
    assert!(drilled.same_in_tree >= 9, "{drilled:?}");
    assert!(
        drilled.model.starts_with("not asked: azaion-train is neither in"),
        "{drilled:?}"
    );
    let left = fs::read_dir(place.root().join("status")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().starts_with("drill-")),
        "{names:?}"
    );
}

#[test]
fn a_file_that_rotted_in_the_tree_is_found_by_its_name() {
    let mut place = furnished();
    place.config.backup.drill_files = 1_000_000;
    place.run();
    let path = place.root().join("classes.json");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"{}").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let drilled = place.round().drill().unwrap();
    assert_eq!(drilled.problems.len(), 1, "{drilled:?}");
    assert!(
        drilled.problems[0].starts_with("classes.json differs from the tree's"),
        "{drilled:?}"
    );
}

#[test]
fn a_label_that_is_not_what_the_ledger_says_was_written_is_found_by_its_name() {
    let mut place = Place::with(&messages(60, 10, 5));
    place.config.backup.drill_files = 1_000_000;
    let label = fs::read_dir(place.root().join("data/labels"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let right = fs::read(&label).unwrap();
    fs::write(&label, b"1 0.5 0.5 0.25 0.25\n").unwrap();
    place.run();
    // The tree has moved on since.
    fs::write(&label, right).unwrap();
    let drilled = place.round().drill().unwrap();
    assert_eq!(drilled.problems.len(), 1, "{drilled:?}");
    assert!(
        drilled.problems[0].contains("has other bytes than the ledger says"),
        "{drilled:?}"
    );
}

#[test]
fn the_restored_model_is_asked_about_a_restored_image_and_what_it_says_counts() {
    let place = furnished();
    place.run();
    let answer = |script: &str| drill_beside(&place, script);

    let good = answer(
        "#!/bin/sh\n[ -s \"$8\" ] && [ -s \"$9\" ] && echo \"[{\\\"boxes\\\": [[1,2,3,4,0.5,0]]}]\"\n",
    );
    assert!(good.status.success(), "{good:?}");
    let told = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(
        told.contains("model loaded, and found 1 object in an image: nothing is wrong"),
        "{told}"
    );

    let bad = answer("#!/bin/sh\necho 'no model' >&2\nexit 1\n");
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let told = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(
        told.contains("the restored model does not work") && told.contains("no model"),
        "{told}"
    );

    let odd = answer("#!/bin/sh\necho what\n");
    assert_eq!(odd.status.code(), Some(2), "{odd:?}");
}

/// A drill by the program, with another one in the training program's place beside it.
fn drill_beside(place: &Place, script: &str) -> Output {
    let programs = place.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let own = programs.join("azaion-backup");
    fs::copy(Path::new(env!("CARGO_BIN_EXE_azaion-backup")), &own).unwrap();
    let trainer = programs.join("azaion-train");
    fs::write(&trainer, script).unwrap();
    fs::set_permissions(&trainer, fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(own)
        .args(["drill", "--config"])
        .arg(place.config_file())
        .output()
        .unwrap()
}
