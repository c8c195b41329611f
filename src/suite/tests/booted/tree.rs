//! The tree as the boot makes it. That no line has an age is held by `the_file_can_only_create`: a file cannot be made old here,
//! since its time of change is the clock's.

use crate::site::{NO_BROKER, configured};

#[test]
fn the_boot_makes_the_tree_and_no_clean_up_removes_from_it() {
    let Some(machine) = configured(
        "the_boot_makes_the_tree_and_no_clean_up_removes_from_it",
        NO_BROKER,
    ) else {
        return;
    };
    let folders = machine.ask(&["find", "/azaion", "-type", "d"]).unwrap();
    for folder in [
        "/azaion/data/images",
        "/azaion/data_deleted/labels",
        "/azaion/models",
        "/azaion/status/alerts",
    ] {
        assert!(
            folders.lines().any(|line| line == folder),
            "{folder} is missing:\n{folders}"
        );
    }
    for folder in folders.lines() {
        machine.ask(&["touch", &format!("{folder}/kept.jpg")]).unwrap();
    }
    let all = || {
        machine
            .ask(&["find", "/azaion", "-printf", "%p %s %U:%G\\n"])
            .unwrap()
    };
    let before = all();

    // What Debian runs daily, what it runs at boot, and the same for our file alone.
    machine
        .ask(&["systemctl", "start", "systemd-tmpfiles-clean.service"])
        .unwrap();
    for more in [["--exclude-prefix=/dev"], ["azaion.conf"]] {
        let boot = ["systemd-tmpfiles", "--create", "--clean", "--remove", "--boot"];
        // Other packages' lines may fail in a container; it says so with 65 or 73.
        machine.run(&[boot.as_slice(), &more].concat()).unwrap();
    }

    assert_eq!(all(), before);
}
