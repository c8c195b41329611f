//! Timers of systemd on a unit of the suite. Its own are those of backups.

use std::time::Duration;

use suite::Machine;

use crate::site::{NO_BROKER, PATIENCE, configured};

const UNIT: &str = "azaion-config.service";
const TIMER: &str = "azaion-probe.timer";

/// systemd's message that a start is done.
const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";

/// How often the unit has run.
fn runs(machine: &Machine) -> usize {
    let entries = machine.journal(UNIT).unwrap();
    entries
        .iter()
        .filter(|entry| entry["MESSAGE_ID"] == STARTED)
        .count()
}

fn timer(machine: &Machine, when: &str) {
    let text = format!("[Timer]\nUnit={UNIT}\nAccuracySec=100ms\n{when}\n");
    machine
        .write(&format!("/etc/systemd/system/{TIMER}"), 0o644, text)
        .unwrap();
    machine.ask(&["systemctl", "daemon-reload"]).unwrap();
}

#[test]
fn a_timer_fires_and_one_that_was_missed_fires_at_the_next_start() {
    let test = "a_timer_fires_and_one_that_was_missed_fires_at_the_next_start";
    let Some(machine) = configured(test, NO_BROKER) else {
        return;
    };
    let stamp = format!("/var/lib/systemd/timers/stamp-{TIMER}");

    timer(&machine, "OnActiveSec=1s");
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    machine
        .wait("the timer", PATIENCE, || Ok(runs(&machine) > 0))
        .unwrap();
    machine.ask(&["systemctl", "stop", TIMER]).unwrap();
    assert_eq!(runs(&machine), 1);

    // A yearly timer that fired a moment ago has missed nothing; one that fired three years ago has.
    timer(&machine, "OnCalendar=yearly\nPersistent=yes");
    machine.write(&stamp, 0o644, "").unwrap();
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(runs(&machine), 1, "nothing was missed");
    machine.ask(&["systemctl", "stop", TIMER]).unwrap();
    machine.ask(&["touch", "--date=3 years ago", &stamp]).unwrap();
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    machine
        .wait("what was missed", PATIENCE, || Ok(runs(&machine) == 2))
        .unwrap();
    assert_eq!(machine.property(UNIT, "Result").unwrap(), "success");
}
