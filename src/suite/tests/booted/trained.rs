//! Training runs of the real program in its real unit, on a few drawn scenes: what interrupts them, what ends them, what begins
//! them. The unit is as it ships but for three things: where libtorch is, a short pause before a restart, and limits of seconds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runs::{Phase, Run, State, Status};
use suite::{LIBTORCH, Machine};

use crate::site::{PATIENCE, QUEUE};
use crate::training::TRAIN;

const ROOT: &str = "/azaion";
const MODELS: &str = "/azaion/models";
const RESUME: &str = "azaion-train-resume.service";
const NEW: &str = "azaion-train-new.service";
const TIMER: &str = "azaion-train-new.timer";
/// How long a step may take here. The unit's own limit is a quarter of an hour.
const STEP_LIMIT: &str = "5s";

/// A machine with scenes to train on, where azaion-train is built.
fn ready(test: &str, settings: &str) -> Option<Machine> {
    let machine = Machine::for_test(test)?;
    for (file, why) in [
        (
            "/usr/bin/azaion-train",
            "azaion-train is not built: cargo build -p trainer",
        ),
        (LIBTORCH, "libtorch is not here: cargo xtask setup"),
    ] {
        if !machine.run(&["test", "-e", file]).unwrap().status.success() {
            eprintln!("skipped: {test}: {why}");
            return None;
        }
    }
    draw(&machine, "a", 20);
    configure(&machine, settings);
    let unit = format!("[Service]\nEnvironment=LD_LIBRARY_PATH={LIBTORCH}\nRestartSec=100ms\n");
    machine.drop_in(TRAIN, "here", &unit).unwrap();
    // There is no broker here, and a boot is done when its units are.
    machine.ask(&["systemctl", "mask", QUEUE]).unwrap();
    machine.ask(&["systemctl", "enable", "azaion.target"]).unwrap();
    Some(machine)
}

fn configure(machine: &Machine, settings: &str) {
    let config = format!(
        "training: {{model: yolo26n, batch_size: 2, imgsz: 64, workers: 1, device: cpu, threads: 1, nbs: 4, precision: fp32, \
         step_limit_s: 5, {settings}}}\n"
    );
    machine.write("/etc/azaion/config.yaml", 0o640, config).unwrap();
    machine
        .ask(&["chgrp", "azaion", "/etc/azaion/config.yaml"])
        .unwrap();
}

/// Puts so many validated annotations into the tree.
fn draw(machine: &Machine, prefix: &str, count: u64) {
    let scenes = tempfile::tempdir().unwrap();
    cli::scenes::draw_into(scenes.path(), prefix.len() as u64 + count, count).unwrap();
    for part in ["images", "labels"] {
        for entry in std::fs::read_dir(scenes.path().join(part)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            std::fs::copy(entry.path(), machine.path(&format!("/azaion/data/{part}/{name}"))).unwrap();
        }
    }
    let classes = cli::scenes::classes().unwrap().to_json();
    machine.write("/azaion/classes.json", 0o640, classes).unwrap();
    machine.ask(&["chown", "-R", "azaion:azaion", ROOT]).unwrap();
}

/// The latest run of the tree.
fn latest(machine: &Machine) -> Run {
    Run::all(&machine.path(ROOT)).unwrap().pop().unwrap()
}

fn folder(machine: &Machine, run: &Run) -> PathBuf {
    machine.path(ROOT).join(&run.folder)
}

/// Where the latest run stands, by the process that trains it now; none while that has not begun to train.
fn standing(machine: &Machine) -> Option<Status> {
    let pid = machine.property(TRAIN, "MainPID").unwrap();
    let run = Run::all(&machine.path(ROOT)).unwrap().pop()?;
    let status = Status::read(&folder(machine, &run)).ok().flatten()?;
    (status.pid.to_string() == pid).then_some(status)
}

/// Waits until the run is active and has trained on a batch of the epoch behind `epoch`.
fn await_epoch_after(machine: &Machine, epoch: u32) -> u32 {
    let mut last = 0;
    machine
        .wait("the next epoch", PATIENCE, || {
            let status = standing(machine);
            last = status.as_ref().map_or(0, |status| status.epoch);
            Ok(last > epoch && status.is_some_and(|status| status.batch > 0))
        })
        .unwrap();
    assert_eq!(machine.property(TRAIN, "ActiveState").unwrap(), "active");
    last
}

fn await_state(machine: &Machine, state: &str) {
    machine
        .await_property(TRAIN, "ActiveState", state, PATIENCE)
        .unwrap();
}

fn signal(machine: &Machine, signal: &str) {
    let signal = format!("--signal={signal}");
    machine
        .ask(&["systemctl", "kill", "--kill-whom=main", &signal, TRAIN])
        .unwrap();
}

/// All that a unit has said since the journal begins.
fn said(machine: &Machine, unit: &str) -> String {
    let entries = machine.journal(unit).unwrap();
    let lines = entries
        .iter()
        .filter_map(|entry| Some(entry["MESSAGE"].as_str()?.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_that_is_killed_hangs_and_loses_its_machine_ends_as_one_that_nobody_touched() {
    let test = "a_run_that_is_killed_hangs_and_loses_its_machine_ends_as_one_that_nobody_touched";
    let Some(mut machine) = ready(test, "epochs: 12") else {
        return;
    };
    machine.ask(&["systemctl", "start", TRAIN]).unwrap();
    await_state(&machine, "inactive");
    let untouched = latest(&machine);
    assert_eq!(untouched.state, State::Finished);

    // It is active when it has begun to train.
    machine.ask(&["systemctl", "start", TRAIN]).unwrap();
    let run = latest(&machine);
    assert_ne!(run.folder, untouched.folder);
    assert_eq!(standing(&machine).unwrap().phase, Phase::Training);
    let epoch = await_epoch_after(&machine, 1);
    assert_eq!(
        machine.property(TRAIN, "WatchdogUSec").unwrap(),
        STEP_LIMIT,
        "the limit of a step"
    );

    signal(&machine, "KILL");
    machine.await_property(TRAIN, "NRestarts", "1", PATIENCE).unwrap();
    let epoch = await_epoch_after(&machine, epoch);
    let alerts = machine.ask(&["ls", "/azaion/status/alerts"]).unwrap();
    assert!(alerts.contains(TRAIN), "{alerts}");

    signal(&machine, "STOP");
    machine.await_property(TRAIN, "NRestarts", "2", PATIENCE).unwrap();
    let told = said(&machine, TRAIN);
    for words in [
        "Watchdog timeout",
        "this is where every thread is",
        "stack of thread checkpoint",
    ] {
        assert!(told.contains(words), "no {words:?} in:\n{told}");
    }
    let epoch = await_epoch_after(&machine, epoch);

    machine.reboot().unwrap();
    let epoch = await_epoch_after(&machine, epoch);
    machine.reset().unwrap();
    await_epoch_after(&machine, epoch);

    await_state(&machine, "inactive");
    assert_eq!(latest(&machine).folder, run.folder, "no further run was begun");
    assert_eq!(latest(&machine).state, State::Finished);
    let left = |run: &Run| trial::training::left(&folder(&machine, run)).unwrap();
    assert_eq!(left(&run), left(&untouched));
}

#[test]
fn what_a_person_has_ended_goes_on_when_a_person_starts_it_and_not_by_a_boot() {
    let test = "what_a_person_has_ended_goes_on_when_a_person_starts_it_and_not_by_a_boot";
    let Some(mut machine) = ready(test, "epochs: 500") else {
        return;
    };
    let azaion = |machine: &Machine, verb: &str| machine.ask(&["azaion", "train", verb]).unwrap();
    let stays = |machine: &Machine| {
        machine.ask(&["systemctl", "restart", "azaion.target"]).unwrap();
        machine
            .await_property(RESUME, "ActiveState", "inactive", PATIENCE)
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(machine.property(TRAIN, "ActiveState").unwrap(), "inactive");
    };

    azaion(&machine, "start");
    let epoch = await_epoch_after(&machine, 0);
    let line = azaion(&machine, "status");
    assert!(
        line.contains("training; epoch") && line.contains(" of 500, "),
        "{line}"
    );
    azaion(&machine, "drain");
    await_state(&machine, "inactive");
    let status = Status::read(&folder(&machine, &latest(&machine)))
        .unwrap()
        .unwrap();
    assert_eq!(status.phase, Phase::Stopped);
    assert_eq!(status.saved.unwrap().batch, status.batches, "behind an epoch");
    let line = azaion(&machine, "status");
    assert!(line.contains("it waits for azaion train start"), "{line}");
    machine.reboot().unwrap();
    stays(&machine);
    let told = said(&machine, RESUME);
    assert!(told.contains("waits for a person: it was asked to end"), "{told}");

    azaion(&machine, "start");
    let epoch = await_epoch_after(&machine, epoch);
    azaion(&machine, "stop");
    await_state(&machine, "inactive");
    assert_eq!(machine.property(TRAIN, "Result").unwrap(), "success");
    machine.reset().unwrap();
    stays(&machine);

    // What only the service manager has stopped is left alone by all that a deployment does, and goes on with the next boot.
    azaion(&machine, "start");
    let epoch = await_epoch_after(&machine, epoch);
    machine.ask(&["systemctl", "stop", TRAIN]).unwrap();
    stays(&machine);
    machine.reset().unwrap();
    await_epoch_after(&machine, epoch - 1);
    azaion(&machine, "stop");
    await_state(&machine, "inactive");
    assert_eq!(
        Run::all(&machine.path(ROOT)).unwrap().len(),
        1,
        "one run all the time"
    );
}

#[test]
fn a_run_begins_by_itself_when_enough_is_new_once() {
    let test = "a_run_begins_by_itself_when_enough_is_new_once";
    let settings = "epochs: 2, new_annotations: 4";
    let Some(machine) = ready(test, settings) else {
        return;
    };
    let runs = || Run::all(&machine.path(ROOT)).unwrap();
    let look = |why: &str| {
        machine.ask(&["systemctl", "start", NEW]).unwrap();
        let told = said(&machine, NEW);
        assert!(
            told.lines().any(|line| line.contains(why)),
            "no {why:?} in:\n{told}"
        );
        assert_eq!(machine.property(NEW, "ActiveState").unwrap(), "inactive");
    };
    look("no model is in service");
    machine.ask(&["systemctl", "start", TRAIN]).unwrap();
    look("is not finished");
    await_state(&machine, "inactive");
    look("0 new annotations and 0 relabelled ones");
    draw(&machine, "b", 3);
    look("3 new annotations and 0 relabelled ones");
    draw(&machine, "c", 1);
    let hour = machine.ask(&["date", "+%H"]).unwrap().parse::<u8>().unwrap();
    let hours = format!("{}:00-{}:00", (hour + 2) % 24, (hour + 3) % 24);
    configure(&machine, &format!("{settings}, hours: '{hours}'"));
    look("is not among training.hours");
    configure(&machine, settings);
    assert_eq!(runs().len(), 1);

    let soon = "[Timer]\nOnCalendar=\nOnActiveSec=1s\nAccuracySec=100ms\n";
    machine.drop_in(TIMER, "soon", soon).unwrap();
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    machine
        .wait("the run", PATIENCE, || Ok(runs().len() == 2))
        .unwrap();
    let [first, second] = &runs()[..] else {
        unreachable!()
    };
    assert_eq!(
        Path::new(&second.model),
        Path::new(&first.name()).join(runs::BEST)
    );
    machine
        .wait("its end", PATIENCE, || {
            Ok(latest(&machine).state == State::Finished)
        })
        .unwrap();
    await_state(&machine, "inactive");
    look("0 new annotations and 0 relabelled ones");
    let models = machine.ask(&["ls", "-A", MODELS]).unwrap();
    assert!(!models.contains("next"), "the order is done: {models}");
    assert_eq!(runs().len(), 2);
}
