//! The status as text, for a terminal: the verdict, then what is wrong and what to type, then how things are.

use crate::{
    Grade,
    checks::disk::{bytes, hours},
    status::Status,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::fmt::{self, Write as _};

/// The text.
#[must_use]
pub fn text(status: &Status, now: Timestamp) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, status, now);
    out
}

fn write(out: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    writeln!(out, "{}: {}", status.verdict.grade, status.verdict.line)?;
    writeln!(out, "{}, as of {}", status.root, time(status.at))?;
    if let Some(stale) = status.staleness(now) {
        writeln!(out, "STALE: {stale}")?;
    }
    for alert in &status.alerts {
        let silenced = if alert.silenced { ", silenced" } else { "" };
        writeln!(
            out,
            "\n{} {} ({}{silenced})",
            alert.code, alert.title, alert.severity
        )?;
        writeln!(out, "  {}: {}", alert.subject, alert.what)?;
        writeln!(out, "  since {}; type next: {}", time(alert.since), alert.next)?;
    }
    writeln!(out)?;
    for (name, value) in lines(status) {
        writeln!(out, "{name:<10} {value}")?;
    }
    let found: Vec<_> = status
        .readings
        .iter()
        .filter(|one| one.grade >= Grade::Skipped)
        .collect();
    if !found.is_empty() {
        writeln!(out)?;
    }
    for reading in found {
        writeln!(
            out,
            "{:<8} {}: {}: {}",
            reading.grade, reading.check, reading.subject, reading.what
        )?;
    }
    Ok(())
}

fn lines(status: &Status) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let queue = &status.queue;
    let mut parts = vec![queue.offset.map_or_else(
        || "nothing read yet".to_owned(),
        |offset| format!("offset {offset}"),
    )];
    parts.extend(queue.rate.map(|rate| format!("{rate:.1} messages/s")));
    parts.extend(queue.lag.map(|lag| format!("{lag} waiting")));
    parts.extend(queue.quarantined.map(|count| format!("{count} in quarantine")));
    lines.push(("queue", parts.join(", ")));
    if let Some(run) = &status.training {
        let mut parts = vec![format!(
            "{} {}, epoch {} of {}",
            run.run, run.phase, run.epoch, run.epochs
        )];
        parts.extend(run.loss.map(|loss| format!("loss {loss:.3}")));
        parts.extend(run.map50.map(|map50| format!("mAP50 {map50:.3}")));
        parts.extend(
            run.seconds_left
                .map(|left| format!("{} left", hours(SignedDuration::from_secs(left as i64)))),
        );
        parts.extend(run.saved.map(|saved| format!("saved {}", time(saved))));
        lines.push(("training", parts.join(", ")));
    }
    for gpu in &status.gpus {
        let mut parts = vec![gpu.name.clone()];
        parts.extend(gpu.celsius.map(|celsius| format!("{celsius} °C")));
        parts.extend(gpu.busy_pct.map(|busy| format!("{busy} % busy")));
        parts.extend(gpu.used_bytes.map(|used| format!("{} in use", bytes(used))));
        parts.extend(gpu.error.clone());
        lines.push(("gpu", parts.join(", ")));
    }
    if let Some(disk) = &status.disk {
        let mut parts = vec![format!(
            "{:.0} % used, {} free",
            disk.used_pct(),
            bytes(disk.free)
        )];
        parts.extend(
            disk.full_in
                .map(|left| format!("full in {} at this rate", hours(left))),
        );
        let folders = status.folders.iter().flat_map(|folders| &folders.bytes);
        parts.extend(folders.map(|(name, size)| format!("{name} {}", bytes(*size))));
        lines.push(("disk", parts.join(", ")));
    }
    if let Some(model) = &status.model {
        lines.push(("model", format!("of {}", model.run)));
    }
    if let Some(taken) = status.backups.as_ref().and_then(|all| all.backup.as_ref()) {
        let at = Timestamp::from_second(taken.at.try_into().unwrap_or(i64::MAX))
            .map_or_else(|_| "?".to_owned(), time);
        lines.push((
            "backup",
            format!("{at}, {} files, {}", taken.files, bytes(taken.bytes)),
        ));
    }
    let units = status.units.iter().filter(|unit| unit.name.ends_with(".service"));
    let units: Vec<_> = units
        .map(|unit| format!("{} {}", unit.name.trim_end_matches(".service"), unit.active))
        .collect();
    if !units.is_empty() {
        lines.push(("units", units.join(", ")));
    }
    lines
}

fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%F %H:%M:%S")
        .to_string()
}
