//! The machine: what is asked of the service manager and the journal, and what they are told. Ctrl-C reaches none of the
//! programs that this takes: what was begun is finished or taken back.

use super::facts::{FIELDS, Line, PROPERTIES, Unit};
use crate::manager::answer;
use service::child;
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The unit that a switch restarts and confirms.
pub(super) const QUEUE: &str = "azaion-queue.service";
/// Its failure keeps the queue from starting.
pub(super) const CONFIG: &str = "azaion-config.service";
/// What a switch never touches.
pub(super) const TRAIN: &str = "azaion-train.service";
/// Where systemd keeps what it passes to the queue.
const CREDENTIALS: &str = "/run/credentials/azaion-queue.service";

/// How a unit is.
pub(super) fn unit(name: &str) -> Result<Unit, String> {
    let mut command = Command::new("systemctl");
    command.args(["show", PROPERTIES, "--", name]).process_group(0);
    answer(&mut command).map(|shown| Unit::read(&shown))
}

/// The last entries of these units, oldest first.
pub(super) fn lines(units: &[&str], last: usize) -> Result<Vec<Line>, String> {
    let mut command = Command::new("journalctl");
    for unit in units {
        command.args(["--unit", unit]);
    }
    command.args(["--lines", &last.to_string(), "--output", "json", FIELDS]);
    command.args(["--no-pager", "--quiet"]).process_group(0);
    answer(&mut command).map(|text| Line::read(&text))
}

/// Tells the service manager something.
pub(super) fn tell(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("systemctl");
    answer(command.args(arguments).process_group(0)).map(drop)
}

/// Lets a whole NixOS activate itself.
pub(super) fn activate_system(switch: &Path, limit: Duration) -> Result<(), String> {
    let place = switch.display();
    match child::ask(Command::new(switch).arg("switch").process_group(0), limit) {
        Ok(answer) if answer.status.success() => Ok(()),
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("{place} switch ended with {}: {last}", answer.status))
        }
        Err(error) => Err(format!("{place} switch: {error}")),
    }
}

/// The folder with what systemd passes to the queue, while it runs and for those who may look.
pub(super) fn credentials() -> Option<&'static Path> {
    Some(Path::new(CREDENTIALS)).filter(|folder| folder.is_dir())
}

/// Microseconds by the clock of the service manager's timestamps.
pub(super) fn uptime_us() -> u64 {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    clock.map_or(0, |now| Duration::from(now).as_micros() as u64)
}

/// Microseconds since 1970, the clock of the journal.
pub(super) fn clock_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64
}
