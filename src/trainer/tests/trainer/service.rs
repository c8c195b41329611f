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

/// Starts it and stops it again when it has trained on a batch.
fn interrupt(folder: &Path, config: &Path) {
    let mut daemon = start(folder, config);
    under_way(&folder.join("tree"));
    Command::new("kill")
        .arg(daemon.id().to_string())
        .status()
        .unwrap();
    assert!(daemon.wait().unwrap().success());
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

#[test]
fn an_image_that_vanished_is_named_and_the_run_waits_for_a_person() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 4);
    let root = folder.join("tree");
    interrupt(folder, &config);
    let dataset = fs::read_dir(root.join("datasets")).unwrap();
    let images = dataset.map(|entry| entry.unwrap().path().join("train/images"));
    let images = images.into_iter().find(|path| path.is_dir()).unwrap();
    let gone = fs::read_dir(images).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&gone).unwrap();

    assert_eq!(start(folder, &config).wait().unwrap().code(), Some(2));
    let name = gone.file_stem().unwrap().to_str().unwrap();
    let vanished = format!("1 of its images vanished ({name})");
    assert!(log(folder).contains(&vanished), "{}", log(folder));
    let held = ::runs::held(&root).unwrap();
    assert!(held.contains(&vanished), "{held}");

    let done = azaion(&["--config", config.to_str().unwrap(), "--resume-anyway"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(
        said.contains(&vanished) && said.contains("training finished"),
        "{said}"
    );
    assert_eq!(::runs::held(&root), None);
}

#[test]
fn a_run_whose_base_is_gone_goes_on_from_its_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 1);
    let root = folder.join("tree");
    assert!(start(folder, &config).wait().unwrap().success());
    let base = runs(&root).pop().unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("yolo26n", &format!("{base}/best.pt"));
    fs::write(&config, text.replace("epochs: 1", "epochs: 6")).unwrap();
    interrupt_with(start(folder, &config), &root, 2);
    fs::remove_dir_all(root.join("models").join(base)).unwrap();
    assert!(start(folder, &config).wait().unwrap().success());
    let [run] = &runs(&root)[..] else {
        panic!("{:?}", runs(&root))
    };
    assert_eq!(run_file(&root, run)["state"], "finished");
}

#[test]
fn of_two_starts_at_once_one_trains_and_the_other_says_which() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let config = tree(folder, "yolo26n", 2);
    let mut two = [start(folder, &config), start(folder, &config)];
    let mut codes = two.each_mut().map(|daemon| daemon.wait().unwrap().code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)]);
    let said = log(folder);
    let by = |daemon: &Child| said.contains(&format!("is in use by process {}", daemon.id()));
    assert!(two.iter().any(by), "{said}");
    let [run] = &runs(&folder.join("tree"))[..] else {
        panic!("{:?}", runs(&folder.join("tree")))
    };
    assert_eq!(run_file(&folder.join("tree"), run)["state"], "finished");
}

/// A clock in libc's place, as many seconds from the true one as a file says.
const CLOCK: &str = r#"
    #define _GNU_SOURCE
    #include <stdio.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    int clock_gettime(clockid_t clock, struct timespec *now) {
        int done = syscall(SYS_clock_gettime, clock, now);
        if (clock == CLOCK_REALTIME) {
            long seconds = 0;
            FILE *file = fopen(OFFSET, "r");
            if (file) {
                if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
                fclose(file);
            }
            now->tv_sec += seconds;
        }
        return done;
    }
"#;

#[test]
fn a_clock_that_jumps_changes_neither_the_run_nor_its_name() {
    const DAY: i64 = 24 * 3600;
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let (source, library, offset) = (folder.join("c.c"), folder.join("c.so"), folder.join("offset"));
    fs::write(&source, CLOCK).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .arg(format!("-DOFFSET=\"{}\"", offset.display()))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a_clock_that_jumps_changes_neither_the_run_nor_its_name: no C compiler");
        return;
    }
    let begin = |folder: &Path, config: &Path| {
        let log = fs::File::create(folder.join("log")).unwrap();
        Command::new(assert_cmd::cargo::cargo_bin("azaion-train"))
            .arg("--config")
            .arg(config)
            .env("OMP_NUM_THREADS", "1")
            .env("LD_PRELOAD", &library)
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .unwrap()
    };
    let set = |seconds: i64| fs::write(&offset, seconds.to_string()).unwrap();
    let place = |name: &str| {
        let place = folder.join(name);
        (place.clone(), tree(&place, "yolo26n", 8))
    };

    // One run beside a clock that stands still in its offset, one whose clock jumps while it trains, and between its starts.
    set(0);
    let (steady, config) = place("steady");
    assert!(begin(&steady, &config).wait().unwrap().success());
    let (jumped, config) = place("jumped");
    let root = jumped.join("tree");
    set(400 * DAY);
    let ahead = (jiff::Zoned::now() + jiff::Span::new().days(400)).date();
    let mut daemon = begin(&jumped, &config);
    under_way(&root);
    let [name] = &runs(&root)[..] else {
        panic!("{:?}", runs(&root))
    };
    let (name, at) = (name.clone(), status(&root).unwrap().epoch);
    set(-400 * DAY);
    let begun = Instant::now();
    while status(&root).is_none_or(|status| status.epoch < at + 2) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill")
        .arg(daemon.id().to_string())
        .status()
        .unwrap();
    assert!(daemon.wait().unwrap().success());
    set(3 * DAY);
    assert!(begin(&jumped, &config).wait().unwrap().success());

    assert_eq!(
        runs(&root),
        std::slice::from_ref(&name),
        "it is one run under one name"
    );
    assert_eq!(name, format!("azaion-{ahead}"));
    assert_eq!(status(&root).unwrap().phase, ::runs::Phase::Finished);
    let left = |place: &Path| {
        let run = runs(&place.join("tree")).pop().unwrap();
        trial::training::left(&place.join("tree/models").join(run)).unwrap()
    };
    assert_eq!(left(&jumped), left(&steady));
    // Seconds of a run are counted, not subtracted.
    let csv = fs::read_to_string(root.join("models").join(&name).join("results.csv")).unwrap();
    let times: Vec<f64> = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap().trim().parse().unwrap())
        .collect();
    assert!(
        times.is_sorted() && times.iter().all(|time| (0.0..3600.0).contains(time)),
        "{times:?}"
    );

    // The next run, begun on an earlier day by the clock, is the one that goes on.
    set(-2 * DAY);
    interrupt_with(begin(&jumped, &config), &root, 2);
    let all = runs(&root);
    assert_eq!(all.len(), 2, "{all:?}");
    set(5 * DAY);
    interrupt_with(begin(&jumped, &config), &root, 2);
    assert_eq!(runs(&root), all, "no third run");
}

/// Stops a process when the open run, one of `count`, is trained by it.
fn interrupt_with(mut daemon: Child, root: &Path, count: usize) {
    let begun = Instant::now();
    let trained = || {
        let open = ::runs::Run::open(root).unwrap()?;
        ::runs::Status::read(&root.join(&open.folder)).unwrap()
    };
    while runs(root).len() < count
        || trained().is_none_or(|status| status.pid != daemon.id() || status.batch == 0)
    {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill")
        .arg(daemon.id().to_string())
        .status()
        .unwrap();
    assert!(daemon.wait().unwrap().success());
}
