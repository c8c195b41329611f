//! Backups by the shipped units: the timers fire and make up for what they missed, the password is a credential, a failure
//! raises the alert, and the unit writes nowhere else than it should.

use std::path::Path;

use suite::Machine;

use crate::site::{NO_BROKER, PATIENCE, configured};

const UNIT: &str = "azaion-backup.service";
const DRILL: &str = "azaion-backup-drill.service";
const REPOSITORY: &str = "/srv/backup";

/// A machine with a tree and a configured repository; none where backups are not built.
fn with_backups(test: &str) -> Option<Machine> {
    let own = std::env::current_exe().ok()?;
    let built = own.ancestors().nth(2).map(|folder| folder.join("azaion-backup"));
    if !built.is_some_and(|program| program.is_file()) {
        eprintln!("skipped: {test}: azaion-backup is not built: cargo build -p backup");
        return None;
    }
    let machine = configured(test, NO_BROKER)?;
    let config = format!("backup:\n  repository: {REPOSITORY}\n  check_parts: 1\n");
    machine.write("/etc/azaion/config.yaml", 0o640, config).unwrap();
    machine
        .ask(&["chown", "root:azaion", "/etc/azaion/config.yaml"])
        .unwrap();
    machine
        .write("/etc/credstore/azaion.backup-password", 0o600, "a password\n")
        .unwrap();
    machine
        .ask(&[
            "install", "-d", "-o", "azaion", "-g", "azaion", "-m", "700", REPOSITORY,
        ])
        .unwrap();
    for unit in [UNIT, DRILL] {
        machine
            .drop_in(
                unit,
                "place",
                &format!("[Service]\nReadWritePaths={REPOSITORY}\n"),
            )
            .unwrap();
    }
    put(&machine, "/azaion/data/images/cell-1.jpg", "pixels");
    put(
        &machine,
        "/azaion/data/labels/cell-1.txt",
        "1 0.5 0.5 0.25 0.25\n",
    );
    put(&machine, "/azaion/classes.json", "[]");
    Some(machine)
}

fn put(machine: &Machine, path: &str, text: &str) {
    machine.write(path, 0o640, text).unwrap();
    machine.ask(&["chown", "azaion:azaion", path]).unwrap();
}

fn record(machine: &Machine) -> serde_json::Value {
    let text = machine.read("/azaion/status/backup.json").unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn start_timer(machine: &Machine, timer: &str) {
    machine.ask(&["systemctl", "start", timer]).unwrap();
}

#[test]
fn the_timers_take_a_backup_and_a_drill_that_were_missed_and_what_is_there_restores() {
    let test = "the_timers_take_a_backup_and_a_drill_that_were_missed_and_what_is_there_restores";
    let Some(machine) = with_backups(test) else { return };
    for (timer, part) in [
        ("azaion-backup.timer", "backup"),
        ("azaion-backup-drill.timer", "drill"),
    ] {
        // It was last there three years ago; what was missed comes at once, without the timer's random delay.
        let no_delay = "[Timer]\nRandomizedDelaySec=0\n";
        machine.drop_in(timer, "now", no_delay).unwrap();
        let stamp = format!("/var/lib/systemd/timers/stamp-{timer}");
        machine.write(&stamp, 0o644, "").unwrap();
        machine.ask(&["touch", "--date=3 years ago", &stamp]).unwrap();
        start_timer(&machine, timer);
        machine
            .wait(part, PATIENCE, || Ok(record(&machine)[part].is_object()))
            .unwrap();
    }
    machine
        .await_property(DRILL, "ActiveState", "inactive", PATIENCE)
        .unwrap();
    for unit in [UNIT, DRILL] {
        assert_eq!(machine.property(unit, "Result").unwrap(), "success", "{unit}");
    }
    let record = record(&machine);
    assert_eq!(record["check"]["problems"], serde_json::json!([]));
    assert_eq!(record["drill"]["problems"], serde_json::json!([]));
    assert_eq!(record["error"], serde_json::Value::Null);
    let next = machine
        .property("azaion-backup.timer", "NextElapseUSecRealtime")
        .unwrap();
    assert!(!next.is_empty(), "the next one is planned");

    // By hand, as root, with the same configuration: the tree is the service's user's again.
    machine.write("/run/password", 0o600, "a password\n").unwrap();
    let config =
        format!("root_dir: /azaion\nbackup:\n  repository: {REPOSITORY}\n  password_file: /run/password\n");
    machine.write("/run/restore.yaml", 0o600, config).unwrap();
    machine
        .ask(&["install", "-d", "-o", "azaion", "-g", "azaion", "/srv/restored"])
        .unwrap();
    let restore = "azaion backup restore --config /run/restore.yaml --to /srv/restored";
    machine.ask(&restore.split(' ').collect::<Vec<_>>()).unwrap();
    let image = "/srv/restored/data/images/cell-1.jpg";
    assert_eq!(machine.read(image).unwrap(), "pixels");
    assert_eq!(
        machine.ask(&["stat", "--format=%U:%G %a", image]).unwrap(),
        "azaion:azaion 640"
    );
}

#[test]
fn a_backup_that_fails_raises_the_alert_and_no_password_is_in_the_journal() {
    let test = "a_backup_that_fails_raises_the_alert_and_no_password_is_in_the_journal";
    let Some(machine) = with_backups(test) else { return };
    machine.ask(&["systemctl", "start", UNIT]).unwrap();
    machine
        .write("/etc/credstore/azaion.backup-password", 0o600, "an0ther\n")
        .unwrap();
    machine.run(&["systemctl", "start", UNIT]).unwrap();
    assert_eq!(machine.property(UNIT, "Result").unwrap(), "exit-code");
    machine
        .wait("the alert", PATIENCE, || {
            let alerts = machine.ask(&["ls", "/azaion/status/alerts"])?;
            Ok(alerts.contains(UNIT))
        })
        .unwrap();
    let said = machine.journal(UNIT).unwrap();
    let said: String = said.iter().map(ToString::to_string).collect();
    assert!(
        said.contains("the password does not open the repository"),
        "{said}"
    );
    assert!(
        !said.contains("an0ther") && !said.contains("a password"),
        "{said}"
    );
    assert!(
        record(&machine)["error"]["reason"]
            .as_str()
            .unwrap()
            .contains("password")
    );
    assert!(!Path::new(REPOSITORY).exists(), "it is the machine's, not ours");
}
