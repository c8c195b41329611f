//! The service: one run by the configuration, ended and gone on with as systemd does it.

use crate::common::{azaion, yolo_folder};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A tree with twenty annotations, and a configuration.
fn tree(folder: &Path, model: &str, epochs: u32) -> PathBuf {
    let root = folder.join("tree");
    yolo_folder(&root.join("data"), 20);
    for sub in ["models", "datasets"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::write(
        root.join("classes.json"),
        cli::scenes::classes().unwrap().to_json(),
    )
    .unwrap();
    let config = folder.join("config.yaml");
    let text = format!(
        "root_dir: {}\ntraining: {{model: {model}, epochs: {epochs}, batch_size: 4, imgsz: 64, workers: 1, device: cpu}}\n",
        root.display()
    );
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    config
}

fn start(folder: &Path, config: &Path) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(assert_cmd::cargo::cargo_bin("azaion-train"))
        .arg("--config")
        .arg(config)
        .env("OMP_NUM_THREADS", "1")
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap()
}

fn run_file(root: &Path, run: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(root.join("models").join(run).join("run.json")).unwrap()).unwrap()
}

/// The runs of a tree, by name.
fn runs(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("azaion-"))
        .collect();
    names.sort();
    names
}

/// Where the run of a tree stands.
fn status(root: &Path) -> Option<runs::Status> {
    let run = runs(root).pop()?;
    runs::Status::read(&root.join("models").join(run)).unwrap()
}

/// Waits until the run has trained on a batch.
fn under_way(root: &Path) {
    let begun = Instant::now();
    while status(root).is_none_or(|status| status.batch == 0 && status.epoch < 2) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_that_is_stopped_goes_on_to_its_end_and_the_next_start_begins_another() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 6);
    let root = folder.join("tree");
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();

    // It is ready when it trains, and ends behind the batch in hand.
    let mut daemon = start(folder, &config);
    let mut told = Vec::new();
    let mut message = [0; 4096];
    while !told
        .iter()
        .any(|line: &String| line.starts_with("STATUS=epoch 2/6, loss "))
    {
        let length = manager.recv(&mut message).unwrap();
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        told.extend(text.lines().map(str::to_owned));
    }
    let at = |words: &str| told.iter().position(|line| line.starts_with(words));
    assert!(at("STATUS=dataset: ") < at("READY=1"), "{told:?}");
    assert!(at("READY=1") < at("STATUS=epoch "), "{told:?}");
    let asked = Instant::now();
    Command::new("kill")
        .arg(daemon.id().to_string())
        .status()
        .unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert!(log(folder).contains("training stopped"), "{}", log(folder));
    let [run] = &runs(&root)[..] else {
        panic!("{:?}", runs(&root))
    };
    assert_eq!(run_file(&root, run)["state"], "open");
    let status = ::runs::Status::read(&root.join("models").join(run))
        .unwrap()
        .unwrap();
    assert_eq!((status.phase, status.epochs), (::runs::Phase::Stopped, 6));
    assert!(status.map50.is_some() && status.saved.is_some());
    drop(manager);
    fs::remove_file(folder.join("notify")).unwrap();

    // Another dataset is not trained on in its place, and beside one that holds the lock nothing begins.
    let refused = |arguments: &[&str], words: &str| {
        let config = config.to_str().unwrap();
        let done = azaion(&[&["--config", config], arguments].concat())
            .assert()
            .code(1);
        let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(said.contains(words), "{said}");
    };
    refused(
        &["--dataset", "cells"],
        "is not finished, and it is on datasets/azaion-",
    );
    let lock = store::Lock::take(&root.join("models/.azaion-train.lock")).unwrap();
    refused(&[], &format!("is in use by process {}", std::process::id()));
    drop(lock);

    // The configuration changes under it: the run keeps what it began with, and says so.
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("epochs: 6", "epochs: 1")).unwrap();
    assert!(start(folder, &config).wait().unwrap().success());
    let said = log(folder);
    for words in [
        "training goes on",
        "the configuration now says otherwise",
        "training finished",
        "first model in service",
    ] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    assert_eq!(run_file(&root, run)["state"], "finished");
    let status = ::runs::Status::read(&root.join("models").join(run))
        .unwrap()
        .unwrap();
    assert_eq!((status.phase, status.epoch), (::runs::Phase::Finished, 6));
    let metrics = fs::read_to_string(root.join("status/metrics/training.prom")).unwrap();
    assert!(metrics.contains("\ntraining_epoch 6\n"), "{metrics}");
    assert_eq!(
        fs::read_link(root.join("models/azaion.pt")).unwrap(),
        Path::new(run).join("best.pt")
    );

    // The next run is another one, by the configuration of now; the model in service stays.
    assert!(start(folder, &config).wait().unwrap().success());
    let all = runs(&root);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(run_file(&root, &all[1])["hyper"]["epochs"], 1);
    assert_eq!(
        fs::read_link(root.join("models/azaion.pt")).unwrap(),
        Path::new(run).join("best.pt")
    );
}

#[test]
fn a_tree_of_which_no_dataset_can_be_formed_is_exit_code_2() {
    let scratch = tempfile::tempdir().unwrap();
    let config = tree(scratch.path(), "yolo26n", 1);
    fs::remove_dir_all(scratch.path().join("tree/data")).unwrap();
    let done = azaion(&["--config", config.to_str().unwrap()]).assert().code(2);
    let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(
        said.contains("no dataset can be formed") && said.contains("tree/data"),
        "{said}"
    );
    assert_eq!(runs(&scratch.path().join("tree")), [] as [String; 0]);
}

#[test]
fn a_base_model_that_is_not_there_is_told_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let config = tree(scratch.path(), "yolo26m.pt", 1);
    let done = azaion(&["--config", config.to_str().unwrap()]).assert().code(1);
    let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(
        said.contains("training.model yolo26m.pt: put the file into"),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(scratch.path().join("tree/datasets"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_run_that_is_told_to_abort_says_where_its_threads_are_and_goes_on_at_the_next_start() {
    use std::os::unix::process::ExitStatusExt;
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 4);
    let said = fs::File::create(folder.join("stderr")).unwrap();
    let mut daemon = Command::new(assert_cmd::cargo::cargo_bin("azaion-train"))
        .arg("--config")
        .arg(&config)
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    under_way(&folder.join("tree"));
    // What systemd's watchdog sends.
    Command::new("kill")
        .args(["-ABRT", &daemon.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(daemon.wait().unwrap().signal(), Some(6));
    let stacks = fs::read_to_string(folder.join("stderr")).unwrap();
    assert!(stacks.contains("this is where every thread is"), "{stacks}");
    for thread in ["azaion-train", "checkpoint"] {
        assert!(
            stacks.contains(&format!("stack of thread {thread}:\n")),
            "{stacks}"
        );
    }
    assert!(start(folder, &config).wait().unwrap().success());
    assert!(log(folder).contains("training finished"), "{}", log(folder));
}

#[test]
fn the_operators_verbs_reach_the_run_by_its_lock() {
    use cli::{
        train::{TrainCommand, run as ask},
        tree::TreeArgs,
    };
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 500);
    let root = folder.join("tree");
    let place = || TreeArgs {
        config: config.clone(),
        root: Some(root.clone()),
    };
    let nobody = ask(&TrainCommand::Drain(place())).unwrap_err().to_string();
    assert!(nobody.contains("no training run is under way"), "{nobody}");

    let mut daemon = start(folder, &config);
    under_way(&root);
    ask(&TrainCommand::Drain(place())).unwrap();
    assert!(daemon.wait().unwrap().success());
    let stopped = status(&root).unwrap();
    assert_eq!(stopped.phase, runs::Phase::Stopped);
    let saved = stopped.saved.unwrap();
    assert_eq!(saved.batch, stopped.batches, "behind an epoch: {saved:?}");
    assert!(ask(&TrainCommand::Stop(place())).is_err());
}

#[test]
fn a_run_that_only_a_person_can_help_is_exit_code_2_and_an_alert() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 20);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace(
            "device: cpu",
            "device: cpu, optimizer: SGD, lr0: 1000, weight_decay: 1, warmup_epochs: 0, nbs: 4, precision: fp32",
        ),
    )
    .unwrap();
    // Each step multiplies the weights by about a thousand, and by thirty when the rate was halved five times.
    let done = azaion(&["--config", config.to_str().unwrap()]).assert().code(2);
    let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(said.contains("after 5 returns to earlier checkpoints"), "{said}");
    let alerts = fs::read_dir(folder.join("tree").join(store::alerts::ALERTS)).unwrap();
    assert!(alerts.count() >= 1);
    // It is not finished: with a lower rate by hand it may go on, or be closed.
    let [run] = &runs(&folder.join("tree"))[..] else {
        panic!()
    };
    assert_eq!(run_file(&folder.join("tree"), run)["state"], "open");
}
