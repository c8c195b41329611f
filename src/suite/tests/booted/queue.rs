//! The life of the queue: readiness, watchdog, crash and alert, the end, a new password.

use std::time::{Duration, Instant};

use broker::USER;
use serde_json::Value;

use crate::site::{NO_BROKER, PATIENCE, QUEUE, SECRET, Site, configured};

const ALERTS: &str = "/azaion/status/alerts";

#[test]
fn the_queue_is_active_only_when_it_has_subscribed() {
    let Some(site) = Site::new("the_queue_is_active_only_when_it_has_subscribed") else {
        return;
    };
    let machine = &site.machine;
    machine
        .ask(&["systemctl", "start", "--no-block", "azaion.target"])
        .unwrap();
    machine
        .wait("word of the missing stream", PATIENCE, || {
            Ok(machine.property(QUEUE, "StatusText")?.contains("does not exist"))
        })
        .unwrap();
    assert_eq!(machine.property(QUEUE, "ActiveState").unwrap(), "activating");

    site.create_stream();

    machine
        .await_property(QUEUE, "ActiveState", "active", PATIENCE)
        .unwrap();
    site.deliver(&mut site.publisher());
    machine
        .wait("a status line", PATIENCE, || {
            Ok(machine.property(QUEUE, "StatusText")?.starts_with("offset 1, "))
        })
        .unwrap();
}

#[test]
fn a_hung_queue_is_killed_by_its_watchdog_and_comes_back() {
    let Some(site) = Site::new("a_hung_queue_is_killed_by_its_watchdog_and_comes_back") else {
        return;
    };
    let machine = &site.machine;
    site.create_stream();
    machine
        .drop_in(QUEUE, "watchdog", "[Service]\nWatchdogSec=6\n")
        .unwrap();
    machine.ask(&["systemctl", "start", QUEUE]).unwrap();
    let mut publisher = site.publisher();
    site.deliver(&mut publisher);
    // Nothing but heartbeats arrives, for longer than the watchdog waits.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(
        machine.property(QUEUE, "NRestarts").unwrap(),
        "0",
        "an idle queue is no hung one"
    );
    let hung = site.pid();

    site.signal("STOP");

    site.await_return(&hung);
    let said: Vec<Value> = machine.journal(QUEUE).unwrap();
    assert!(
        said.iter().any(|entry| entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.contains("Watchdog timeout"))),
        "{said:?}"
    );
    site.deliver(&mut publisher);
}

#[test]
fn a_crash_of_the_queue_raises_the_alert_and_a_stop_does_not() {
    let test = "a_crash_of_the_queue_raises_the_alert_and_a_stop_does_not";
    // It waits for a broker that never comes, and crashes as well as one at work.
    let Some(machine) = configured(test, NO_BROKER) else {
        return;
    };
    machine.ask(&["systemctl", "start", "--no-block", QUEUE]).unwrap();
    let started = || {
        machine
            .property(QUEUE, "StatusText")
            .unwrap()
            .starts_with("waits for the broker")
    };
    machine.wait("the queue", PATIENCE, || Ok(started())).unwrap();
    let records = || {
        let found = machine.ask(&["find", ALERTS, "-name", "*.json"]).unwrap();
        found.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let crashed = machine.property(QUEUE, "MainPID").unwrap();
    assert_eq!(records(), Vec::<String>::new());

    machine
        .ask(&["systemctl", "kill", "--kill-whom=main", "--signal=ABRT", QUEUE])
        .unwrap();

    machine
        .wait("the alert's record", PATIENCE, || Ok(!records().is_empty()))
        .unwrap();
    let record: Value = serde_json::from_str(&machine.read(&records()[0]).unwrap()).unwrap();
    assert_eq!(record["unit"], QUEUE);
    assert_eq!(record["state"]["exec_main_status"], 6, "{record}");
    assert_eq!(record["missing"], serde_json::json!([]), "{record}");
    let lines = record["journal"].as_array().unwrap();
    let said = |text: &str| {
        lines
            .iter()
            .any(|line| line["message"].as_str().unwrap().contains(text))
    };
    assert!(
        said("Connection refused"),
        "why it waited is in the record: {record}"
    );
    let alert = machine.journal(&format!("azaion-alert@{QUEUE}.service")).unwrap();
    assert!(
        alert.iter().any(|entry| entry["PRIORITY"] == "3"),
        "told at ERROR: {alert:?}"
    );

    machine
        .wait("the queue's return", PATIENCE, || {
            let pid = machine.property(QUEUE, "MainPID")?;
            Ok(pid != crashed && pid != "0" && started())
        })
        .unwrap();
    machine.ask(&["systemctl", "stop", QUEUE]).unwrap();
    assert_eq!(machine.property(QUEUE, "Result").unwrap(), "success");
    assert_eq!(records().len(), 1, "a stop is no failure");
}

#[test]
fn the_queue_ends_within_thirty_seconds_of_a_sigterm() {
    let Some(site) = Site::at_work("the_queue_ends_within_thirty_seconds_of_a_sigterm") else {
        return;
    };
    let machine = &site.machine;
    let mut publisher = site.publisher();
    // More than it takes before it is told to stop.
    let messages = vec![vec![7_u8; 4096]; 5_000];
    for _ in 0..8 {
        publisher.send(&messages).unwrap();
    }
    machine
        .wait("the first batch", PATIENCE, || Ok(site.offset() > 0))
        .unwrap();

    let begun = Instant::now();
    machine.ask(&["systemctl", "stop", QUEUE]).unwrap();
    let took = begun.elapsed();

    println!("ended {took:?} after SIGTERM, at offset {}", site.offset());
    assert!(took < Duration::from_secs(30), "{took:?}");
    // A queue that had to be killed has the result "timeout".
    assert_eq!(machine.property(QUEUE, "Result").unwrap(), "success");
    assert_eq!(machine.property(QUEUE, "ExecMainStatus").unwrap(), "0");
}

#[test]
fn a_changed_password_is_taken_by_try_reload_or_restart() {
    let Some(site) = Site::at_work("a_changed_password_is_taken_by_try_reload_or_restart") else {
        return;
    };
    let machine = &site.machine;
    // It stays connected: its own log-in is from before.
    let mut publisher = site.publisher();
    site.deliver(&mut publisher);
    let before = site.pid();
    let change = || site.broker.ctl(&["change_password", USER, "rotated"]);
    machine.on_its_network(change).unwrap().unwrap();

    machine.write(SECRET, 0o600, "rotated\n").unwrap();
    machine
        .ask(&["systemctl", "try-reload-or-restart", QUEUE])
        .unwrap();

    site.await_return(&before);
    site.deliver(&mut publisher);
    let said = serde_json::to_string(&machine.journal(QUEUE).unwrap()).unwrap();
    assert!(!said.contains("rotated") && !said.contains("refused"), "{said}");
}
