//! Health by the shipped units: its timers fire, a crash is an alert within seconds, a queue that systemd gave up on is started
//! again, and none of it writes outside the status folder.

use std::time::{Duration, Instant};

use serde_json::Value;
use suite::Machine;

use crate::site::{NO_BROKER, PATIENCE, configured};

const QUEUE: &str = "azaion-queue.service";
const HEALTH: &str = "azaion-health.service";
/// A crash is told within this.
const SOON: Duration = Duration::from_secs(10);

fn with_health(test: &str) -> Option<Machine> {
    let own = std::env::current_exe().ok()?;
    let built = own.ancestors().nth(2).map(|folder| folder.join("azaion-health"));
    if !built.is_some_and(|program| program.is_file()) {
        eprintln!("skipped: {test}: azaion-health is not built: cargo build -p health");
        return None;
    }
    configured(test, NO_BROKER)
}

fn json(machine: &Machine, name: &str) -> Value {
    let text = machine
        .read(&format!("/azaion/status/{name}"))
        .unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Codes of the alerts that stand, with what they are about.
fn standing(machine: &Machine) -> Vec<(String, String)> {
    let status = json(machine, "status.json");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
    alerts
        .iter()
        .map(|alert| (text(&alert["code"]), text(&alert["subject"])))
        .collect()
}

#[test]
fn a_crash_is_an_alert_within_ten_seconds_and_the_queue_is_started_again() {
    let test = "a_crash_is_an_alert_within_ten_seconds_and_the_queue_is_started_again";
    let Some(machine) = with_health(test) else { return };
    machine
        .ask(&["systemctl", "start", "azaion-health.path"])
        .unwrap();
    machine.ask(&["systemctl", "start", HEALTH]).unwrap();
    assert_eq!(machine.property(HEALTH, "Result").unwrap(), "success");
    let status = json(&machine, "status.json");
    let units = status["units"].to_string();
    assert!(
        units.contains("azaion-health.service"),
        "systemd was asked: {status:#}"
    );

    // It crashes once, and systemd gives up at once.
    machine
        .drop_in(QUEUE, "once", "[Unit]\nStartLimitBurst=1\n")
        .unwrap();
    machine.ask(&["systemctl", "start", "--no-block", QUEUE]).unwrap();
    machine
        .wait("the queue", PATIENCE, || {
            Ok(machine
                .property(QUEUE, "StatusText")
                .unwrap()
                .starts_with("waits for the broker"))
        })
        .unwrap();
    let crashed = machine.property(QUEUE, "MainPID").unwrap();
    let begun = Instant::now();
    machine
        .ask(&["systemctl", "kill", "--kill-whom=main", "--signal=ABRT", QUEUE])
        .unwrap();
    machine
        .wait("the alert", SOON, || {
            Ok(standing(&machine).contains(&("ALR-2".into(), QUEUE.into())))
        })
        .unwrap();
    println!("told after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SOON);
    let book = json(&machine, "alerts.json");
    assert!(
        book.to_string().contains("queue started"),
        "with the last lines of its journal: {book:#}"
    );
    let page = machine.read("/azaion/status/index.html").unwrap();
    assert!(page.contains("queue process crashed"));

    // A look later it runs again.
    machine
        .wait("the queue", PATIENCE, || {
            machine.run(&["systemctl", "start", HEALTH])?;
            let pid = machine.property(QUEUE, "MainPID")?;
            Ok(pid != "0" && pid != crashed)
        })
        .unwrap();
}

#[test]
fn the_timers_look_as_soon_as_the_machine_is_up_and_write_in_the_status_folder_alone() {
    let test = "the_timers_look_as_soon_as_the_machine_is_up_and_write_in_the_status_folder_alone";
    let Some(machine) = with_health(test) else { return };
    for timer in ["azaion-health.timer", "azaion-health-full.timer"] {
        machine
            .drop_in(
                timer,
                "now",
                "[Timer]\nOnActiveSec=\nOnActiveSec=1s\nAccuracySec=1s\n",
            )
            .unwrap();
        machine.ask(&["systemctl", "start", timer]).unwrap();
    }
    machine
        .wait("both passes", PATIENCE, || {
            Ok(json(&machine, "status.json")["full_at"].is_string())
        })
        .unwrap();
    for unit in [HEALTH, "azaion-health-full.service"] {
        machine
            .await_property(unit, "ActiveState", "inactive", PATIENCE)
            .unwrap();
        assert_eq!(machine.property(unit, "Result").unwrap(), "success", "{unit}");
    }
    let newer = [
        "find",
        "/azaion",
        "-newer",
        "/etc/azaion/config.yaml",
        "-type",
        "f",
        "-not",
        "-path",
        "/azaion/status/*",
    ];
    assert_eq!(machine.ask(&newer).unwrap(), "");
    let status = machine.run(&["azaion", "status"]).unwrap();
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("broker: 127.0.0.1:"),
        "{status:?}"
    );
}
