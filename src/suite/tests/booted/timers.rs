//! Timers of systemd on a unit of the suite. The suite has none of its own yet.

use std::time::Duration;

use suite::Machine;

use crate::site::{PATIENCE, configured};

const UNIT: &str = "azaion-config.service";
const TIMER: &str = "azaion-probe.timer";

/// When the unit ran last; empty if it never did.
fn last_run(machine: &Machine) -> String {
    machine.property(UNIT, "ExecMainStartTimestampMonotonic").unwrap()
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
    let Some(machine) = configured(test, 1) else {
        return;
    };
    let stamp = format!("/var/lib/systemd/timers/stamp-{TIMER}");
    let never = last_run(&machine);

    timer(&machine, "OnActiveSec=1s");
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    machine
        .wait("the timer", PATIENCE, || Ok(last_run(&machine) != never))
        .unwrap();
    machine.ask(&["systemctl", "stop", TIMER]).unwrap();
    let once = last_run(&machine);

    // A yearly timer that fired a moment ago has missed nothing; one that fired three years ago has.
    timer(&machine, "OnCalendar=yearly\nPersistent=yes");
    machine.write(&stamp, 0o644, "").unwrap();
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(last_run(&machine), once, "nothing was missed");
    machine.ask(&["systemctl", "stop", TIMER]).unwrap();
    machine.ask(&["touch", "--date=3 years ago", &stamp]).unwrap();
    machine.ask(&["systemctl", "start", TIMER]).unwrap();
    machine
        .wait("what was missed", PATIENCE, || Ok(last_run(&machine) != once))
        .unwrap();
    assert_eq!(machine.property(UNIT, "Result").unwrap(), "success");
}
