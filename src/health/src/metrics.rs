//! `status/metrics/health.prom`: what a pass measured, for the textfile collector (MET-1).
//!
//! The queue and the trainer write files of their own (`queue.prom`, `training.prom`), so no name is here that is there.

use crate::{
    Grade,
    catalog::{KINDS, Severity},
    status::Status,
};
use service::metrics::{self, Family, Kind};

const GB: f64 = 1e9;

/// The file's text.
#[must_use]
pub fn text(status: &Status) -> String {
    let gauge = |name: &str, help: &str| Family::new(Kind::Gauge, name, help);
    let mut utilisation = gauge(
        "gpu_utilization_pct",
        "Processor time of the GPU in use, in percent.",
    );
    let mut memory = gauge("gpu_memory_used_mb", "Memory of the GPU in use, in megabytes.");
    let mut heat = gauge("gpu_temperature_c", "Temperature of the GPU in degrees Celsius.");
    for (index, gpu) in status.gpus.iter().enumerate() {
        let index = index.to_string();
        let labels = [("gpu", index.as_str())];
        let with = |family: Family, value: Option<f64>| match value {
            Some(value) => family.with(&labels, value),
            None => family,
        };
        utilisation = with(utilisation, gpu.busy_pct.map(f64::from));
        memory = with(memory, gpu.used_bytes.map(|bytes| bytes as f64 / 1e6));
        heat = with(heat, gpu.celsius.map(f64::from));
    }
    let folder = |name: &str| {
        let folders = status.folders.as_ref()?;
        folders
            .bytes
            .iter()
            .find(|(folder, _)| folder == name)
            .map(|(_, bytes)| *bytes as f64 / GB)
    };
    let disk = status.disk.as_ref();
    let backups = status.backups.as_ref();
    let mut alerts = gauge("azaion_alert_firing", "1 while an alert stands.");
    for kind in KINDS {
        let count = status
            .alerts
            .iter()
            .filter(|alert| alert.code == kind.code)
            .count();
        let severity = kind.severity.to_string();
        alerts = alerts.with(
            &[
                ("code", kind.code),
                ("severity", &severity),
                ("title", kind.title),
            ],
            count as f64,
        );
    }
    let mut units = gauge("azaion_unit_active", "1 while a unit is active.");
    let mut restarts = gauge(
        "azaion_unit_restarts",
        "Restarts by systemd since the unit was started by hand.",
    );
    for unit in status.units.iter().filter(|unit| unit.name.ends_with(".service")) {
        let labels = [("unit", unit.name.as_str())];
        units = units.with(&labels, f64::from(u8::from(unit.active == "active")));
        restarts = restarts.with(&labels, unit.restarts as f64);
    }
    let mut checks = gauge(
        "azaion_check_grade",
        "What a check found: 0 well, 1 a warning, 2 a problem.",
    );
    let mut names: Vec<&str> = status.readings.iter().map(|one| one.check.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = status.readings.iter().filter(|one| one.check == name);
        let worst = of.map(|one| one.grade).max().unwrap_or(Grade::Ok);
        let value = match worst {
            Grade::Ok | Grade::Skipped => 0.0,
            Grade::Warning => 1.0,
            Grade::Problem => 2.0,
        };
        checks = checks.with(&[("check", name)], value);
    }
    let worst = status.alerts.iter().map(|alert| alert.severity).max();
    let severity = worst.map_or(0.0, |severity| match severity {
        Severity::Low => 1.0,
        Severity::Medium => 2.0,
        Severity::High => 3.0,
        Severity::Critical => 4.0,
    });
    metrics::text(&[
        utilisation,
        memory,
        heat,
        Family::gauge(
            "disk_usage_azaion_gb",
            "Used on the disk beneath the tree, in gigabytes.",
            disk.map(|disk| disk.used() as f64 / GB),
        ),
        Family::gauge(
            "disk_usage_datasets_gb",
            "Taken by datasets beside what they share with data, in gigabytes.",
            folder("datasets"),
        ),
        Family::gauge(
            "disk_usage_models_gb",
            "Taken by models and checkpoints, in gigabytes.",
            folder("models"),
        ),
        Family::gauge(
            "disk_free_gb",
            "Left on the disk beneath the tree, in gigabytes.",
            disk.map(|disk| disk.free as f64 / GB),
        ),
        Family::gauge(
            "disk_full_in_hours",
            "Hours until the disk is full at the rate of the last hours.",
            disk.and_then(|disk| disk.full_in)
                .map(|left| left.as_secs_f64() / 3600.0),
        ),
        Family::gauge(
            "queue_quarantined_messages",
            "Messages in quarantine.",
            status.queue.quarantined.map(|count| count as f64),
        ),
        Family::gauge(
            "backup_last_success_timestamp_seconds",
            "When the last whole backup was made.",
            backups
                .and_then(|all| all.backup.as_ref())
                .map(|taken| taken.at as f64),
        ),
        Family::gauge(
            "backup_last_drill_timestamp_seconds",
            "When the last drill was made.",
            backups
                .and_then(|all| all.drill.as_ref())
                .map(|drill| drill.at as f64),
        ),
        Family::gauge(
            "azaion_worst_alert",
            "The worst alert that stands: 0 none, 1 low, 2 medium, 3 high, 4 critical.",
            severity,
        ),
        alerts,
        units,
        restarts,
        checks,
        Family::gauge(
            "health_updated_timestamp_seconds",
            "When these were measured.",
            status.at.as_second() as f64,
        ),
    ])
}
