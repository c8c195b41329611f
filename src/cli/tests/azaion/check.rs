//! `azaion check`: what would keep a start from succeeding is found before, each with what to do.

use crate::common::{beside, image, label, last_line, write, yolo_folder};
use broker::{Broker, PASSWORD, StreamOptions, USER, Version};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const TRAINS: &str = "echo '2 steps in 0.1 s'";

/// A machine where everything is right: a broker with the stream, a tree with annotations, a training program.
struct Machine {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Machine {
    fn new(training: &str) -> Self {
        let (folder, program) = beside(training);
        yolo_folder(&folder.path().join("tree/data"), 5);
        Self { folder, program }
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn config(&self, port: u16, password: &str, more: &str) {
        let secret = self.folder.path().join("password");
        write(&secret, password, 0o600);
        let text = format!(
            "root_dir: {}\nrabbitmq: {{port: {port}, user: {USER}, password_file: {}, queue_name: cells}}\n{more}",
            self.tree().display(),
            secret.display()
        );
        fs::write(self.folder.path().join("config.yaml"), text).unwrap();
    }

    /// The exit code and the report.
    fn check(&self) -> (i32, Value) {
        let done = Command::new(&self.program)
            .args(["check", "--json", "--config"])
            .arg(self.folder.path().join("config.yaml"))
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let said = [done.stdout.as_slice(), &done.stderr].concat();
        assert!(
            !String::from_utf8_lossy(&said).contains(PASSWORD),
            "a password is shown"
        );
        (done.status.code().unwrap(), last_line(&done.stdout))
    }
}

/// What a check found, as one text, if that is a problem.
fn problem(report: &Value, check: &str) -> Option<String> {
    let checks = report["checks"].as_array().unwrap();
    let checked = checks.iter().find(|checked| checked["check"] == check).unwrap();
    let problems: Vec<String> = checked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["grade"] == "problem")
        .inspect(|finding| assert!(finding["next"].is_string(), "{finding} says not what to do"))
        .map(Value::to_string)
        .collect();
    (!problems.is_empty()).then(|| problems.join("\n"))
}

/// A port at which nobody listens.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn where_everything_is_right_nothing_is_found_and_the_broker_says_what_is_not() {
    let test = "where_everything_is_right_nothing_is_found_and_the_broker_says_what_is_not";
    let Some(mut broker) = Broker::for_test(test, Version::V4_0) else {
        return;
    };
    let machine = Machine::new(TRAINS);
    machine.config(broker.port(), PASSWORD, "");
    let (code, report) = machine.check();
    let found = problem(&report, "broker").unwrap();
    assert!(code == 2 && found.contains("does not exist"), "{report}");

    broker.create_stream("cells", &StreamOptions::default()).unwrap();
    let mut publisher = broker.publisher("cells").unwrap();
    publisher.send(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
    publisher.confirm().unwrap();
    let (code, report) = machine.check();
    assert_eq!((code, &report["problems"]), (0, &0.into()), "{report}");
    for check in [
        "configuration",
        "secrets",
        "tree",
        "broker",
        "disk",
        "gpu",
        "labels",
        "training",
    ] {
        assert_eq!(problem(&report, check), None);
    }
    assert!(report.to_string().contains("2 steps in 0.1 s"), "{report}");
    assert!(
        !machine.tree().join("offset.yaml").exists(),
        "a check changes nothing"
    );

    machine.config(broker.port(), "wrong", "");
    let (code, report) = machine.check();
    let found = problem(&report, "broker").unwrap();
    assert!(code == 2 && found.contains("refused"), "{found}");

    machine.config(broker.port(), PASSWORD, "");
    fs::write(machine.tree().join("offset.yaml"), "version: 1\noffset: 70\n").unwrap();
    let (code, report) = machine.check();
    assert!(code == 2 && problem(&report, "broker").is_some(), "{report}");
    fs::remove_file(machine.tree().join("offset.yaml")).unwrap();

    broker.kill().unwrap();
    let (code, report) = machine.check();
    let found = problem(&report, "broker").unwrap();
    assert!(code == 2 && found.contains("cannot reach the broker"), "{found}");
}

#[test]
fn a_configuration_that_is_none_is_all_that_is_told() {
    let machine = Machine::new(TRAINS);
    machine.config(1, PASSWORD, "training: {epochs: 0, imgsz: 100}\n");
    let (code, report) = machine.check();
    assert_eq!(code, 2);
    assert_eq!(report["problems"], 2, "{report}");
    assert_eq!(report["checks"].as_array().unwrap().len(), 1);
    assert!(
        problem(&report, "configuration")
            .unwrap()
            .contains("training.imgsz")
    );
}

#[test]
fn a_secret_that_is_not_there_or_open_is_found() {
    let machine = Machine::new(TRAINS);
    machine.config(
        free_port(),
        PASSWORD,
        "api: {email: a@example.org, password_file: /nowhere/secret}\n",
    );
    let secret = machine.folder.path().join("password");
    write(&secret, PASSWORD, 0o644);
    let (code, report) = machine.check();
    let found = problem(&report, "secrets").unwrap();
    assert!(
        code == 2 && found.contains("chmod o-rwx") && found.contains("/nowhere/secret"),
        "{found}"
    );
}

#[test]
fn annotations_that_are_bad_are_named() {
    let machine = Machine::new(TRAINS);
    machine.config(free_port(), PASSWORD, "");
    let data = machine.tree().join("data");
    // yolo_folder makes images and labels of the same names, as the tree does.
    fs::write(label(&data, 1), "0 1.5 0.5 0.1 0.1\n").unwrap();
    fs::write(image(&data, 2), "this is no image").unwrap();
    fs::remove_file(image(&data, 3)).unwrap();
    let (code, report) = machine.check();
    let found = problem(&report, "labels").unwrap();
    assert_eq!(code, 2);
    for name in ["3 of 5", "s01: its label", "s02: its image", "s03: its image"] {
        assert!(found.contains(name), "{name} in {found}");
    }
}

#[test]
fn a_tree_that_takes_no_files_is_found() {
    let test = "a_tree_that_takes_no_files_is_found";
    let machine = Machine::new(TRAINS);
    machine.config(free_port(), PASSWORD, "");
    let tree = machine.tree();
    let mount = |arguments: &[&str]| {
        let status = Command::new("mount")
            .args(arguments)
            .arg(&tree)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs"]) {
        eprintln!("skipped: {test}: mounting a tmpfs needs root");
        return;
    }
    let unmount = Unmount(&tree);
    assert!(mount(&["-o", "remount,ro"]));
    let (code, report) = machine.check();
    let found = problem(&report, "tree").unwrap();
    assert!(
        code == 2 && found.contains("Read-only") && found.contains("ReadWritePaths"),
        "{found}"
    );

    assert!(mount(&["-o", "remount,rw"]));
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o777)).unwrap();
    let (_, report) = machine.check();
    assert!(
        problem(&report, "tree")
            .unwrap()
            .contains("every user can change it")
    );
    assert!(problem(&report, "disk").unwrap().contains("0.0 GB free"));
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0, "the probe is removed");
    drop(unmount);

    fs::remove_dir_all(&tree).unwrap();
    let (_, report) = machine.check();
    assert!(problem(&report, "tree").unwrap().contains("install -d"));
}

#[test]
fn a_folder_that_the_trees_owner_cannot_write_in_is_found_by_root() {
    let test = "a_folder_that_the_trees_owner_cannot_write_in_is_found_by_root";
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: {test}: only root's probes succeed everywhere");
        return;
    }
    let machine = Machine::new(TRAINS);
    machine.config(free_port(), PASSWORD, "");
    std::os::unix::fs::chown(machine.tree(), Some(65534), None).unwrap();
    let (code, report) = machine.check();
    let found = problem(&report, "tree").unwrap();
    assert!(
        code == 2 && found.contains("data/images") && found.contains("chown -R --reference"),
        "{found}"
    );
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // A test that failed has said more than this could.
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn the_ledger_tells_the_pace_at_which_the_disk_fills() {
    let machine = Machine::new(TRAINS);
    machine.config(free_port(), PASSWORD, "");
    let (set, stream) = (
        machine.folder.path().join("set"),
        machine.folder.path().join("file.stream"),
    );
    fs::remove_dir_all(machine.tree()).unwrap();
    yolo_folder(&set, 5);
    let azaion = |arguments: &[&str], path: &Path| {
        let done = Command::new(&machine.program)
            .args(arguments)
            .arg(path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    azaion(&["import", "yolo", "--to", stream.to_str().unwrap()], &set);
    azaion(
        &[
            "queue",
            "replay",
            "--from",
            "0",
            "--stream",
            stream.to_str().unwrap(),
            "--to",
        ],
        &machine.tree(),
    );
    let (_, report) = machine.check();
    let told = report["checks"].to_string();
    assert!(told.contains("GB came in the last day: full in"), "{told}");

    fs::write(machine.tree().join("ledger.log"), "no ledger\n").unwrap();
    let (code, report) = machine.check();
    let found = problem(&report, "disk").unwrap();
    assert!(code == 2 && found.contains("ledger.log"), "{found}");
}

#[test]
fn training_that_fails_is_found_and_one_that_is_not_installed_is_noted() {
    let machine = Machine::new("echo 'no memory left' >&2; exit 3");
    machine.config(free_port(), PASSWORD, "");
    let (_, report) = machine.check();
    let found = problem(&report, "training").unwrap();
    assert!(
        found.contains("exit status: 3") && found.contains("no memory left"),
        "{found}"
    );

    fs::remove_file(machine.folder.path().join("azaion-train")).unwrap();
    let (_, report) = machine.check();
    assert_eq!(problem(&report, "training"), None);
    assert!(
        report.to_string().contains("install the training package"),
        "{report}"
    );
}

#[test]
fn a_gpu_that_is_asked_for_and_not_there_is_found() {
    let machine = Machine::new("printf '%s ' \"$@\"");
    machine.config(free_port(), PASSWORD, "training: {device: 'cuda:99'}\n");
    let (code, report) = machine.check();
    assert_eq!(code, 2);
    assert!(
        problem(&report, "gpu")
            .unwrap()
            .contains("training.device is cuda:99")
    );
    assert!(
        report.to_string().contains("probe --steps 2 --device cuda:99"),
        "{report}"
    );
}
