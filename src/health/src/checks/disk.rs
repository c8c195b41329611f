//! The disk beneath the root (HLT-4): space, file numbers, and when it will be full. In full passes what its folders take.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog, forecast, past::Folders};
use jiff::{SignedDuration, Timestamp};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use std::path::Path;

const CHECK: &str = "disk";
/// An alert above this share, in percent; critical above the second.
const MUCH: f64 = 80.0;
const ALMOST_ALL: f64 = 95.0;
/// An alert is over that far below its limit.
const SLACK: f64 = 2.0;
/// It is told when the disk will be full within this, and over when it will not within half as long again.
const SOON: SignedDuration = SignedDuration::from_hours(48);
/// A disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes that can be used.
    pub total: u64,
    /// Bytes that are left.
    pub free: u64,
    /// Share of the file numbers in use, in percent; none where the file system has no such limit.
    pub inodes_pct: Option<f64>,
    /// When it will be full.
    pub full_in: Option<SignedDuration>,
}

impl Disk {
    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }

    /// Share in use, in percent.
    #[must_use]
    pub fn used_pct(&self) -> f64 {
        100.0 * self.used() as f64 / self.total.max(1) as f64
    }
}

pub(super) fn look(context: &Context) -> Found {
    let root = context.root();
    match of(
        root,
        &context
            .past
            .samples
            .iter()
            .filter_map(|one| Some((one.at, one.used?)))
            .collect::<Vec<_>>(),
        context.now,
    ) {
        Ok(disk) => Found {
            readings: judge(context, &disk),
            facts: Facts {
                disk: Some(disk),
                ..Facts::default()
            },
        },
        Err(error) => {
            let what = format!("the tree cannot be looked at: {error}");
            found(vec![
                Reading::problem(CHECK, root.display(), what).about(catalog::CHECK_BROKEN),
            ])
        }
    }
}

fn of(root: &Path, samples: &[(Timestamp, u64)], now: Timestamp) -> nix::Result<Disk> {
    let stat = statvfs(root)?;
    // As df does: what is kept for root is neither free nor used.
    let used = stat.blocks().saturating_sub(stat.blocks_free()) * stat.fragment_size();
    let free = stat.blocks_available() * stat.fragment_size();
    let inodes_pct = (stat.files() > 0)
        .then(|| 100.0 * stat.files().saturating_sub(stat.files_free()) as f64 / stat.files() as f64);
    let mut samples = samples.to_vec();
    samples.retain(|(at, _)| *at <= now);
    samples.push((now, used));
    Ok(Disk {
        total: used + free,
        free,
        inodes_pct,
        full_in: forecast::full_in(&samples, free),
    })
}

fn judge(context: &Context, disk: &Disk) -> Vec<Reading> {
    let place = context.root().display();
    let is_firing = |alert| context.book.is_firing(alert, &place.to_string());
    let above = |value: f64, limit: f64, alert| value > if is_firing(alert) { limit - SLACK } else { limit };
    let used = disk.used_pct();
    let what = format!("{used:.0} % used, {} free", bytes(disk.free));
    let mut readings = vec![
        grade(
            above(used, ALMOST_ALL, catalog::DISK_FULL),
            Reading::problem(CHECK, &place, &what),
        )
        .about(catalog::DISK_FULL),
        grade(
            above(used, MUCH, catalog::DISK_FILLING),
            Reading::warning(CHECK, &place, &what),
        )
        .about(catalog::DISK_FILLING),
    ];
    let soon = if is_firing(catalog::DISK_FORECAST) {
        SOON + SOON / 2
    } else {
        SOON
    };
    let forecast = match disk.full_in {
        Some(left) => grade(
            left < soon,
            Reading::warning(CHECK, &place, format!("full in {} at this rate", hours(left))),
        ),
        None => Reading::ok(CHECK, &place, "does not fill up at this rate"),
    };
    readings.push(forecast.about(catalog::DISK_FORECAST));
    if let Some(inodes) = disk.inodes_pct {
        let what = format!("{inodes:.0} % of the file numbers used");
        readings.push(
            grade(
                above(inodes, 90.0, catalog::INODES),
                Reading::problem(CHECK, &place, what),
            )
            .about(catalog::INODES),
        );
    }
    readings
}

/// As it is, or as it should be.
fn grade(is_so: bool, reading: Reading) -> Reading {
    if is_so {
        reading
    } else {
        Reading {
            grade: crate::Grade::Ok,
            ..reading
        }
    }
}

/// What the folders of the tree take.
pub(super) fn measure(context: &Context) -> Found {
    let bytes = store::usage::folders(context.root(), None).map(|folders| Folders {
        at: context.now,
        bytes: folders
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect(),
    });
    Found {
        readings: Vec::new(),
        facts: Facts {
            folders: bytes,
            ..Facts::default()
        },
    }
}

/// Bytes in words.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        ..1e6 => format!("{:.0} kB", bytes / 1e3),
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        ..1e10 => format!("{:.1} GB", bytes / 1e9),
        ..1e12 => format!("{:.0} GB", bytes / 1e9),
        _ => format!("{:.1} TB", bytes / 1e12),
    }
}

/// A long time in words.
#[must_use]
pub fn hours(time: SignedDuration) -> String {
    match time.as_hours() {
        0 => format!("{} min", time.as_mins()),
        hours @ 1..72 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::{Grade, alerts::silence::Silences};

    const TB: u64 = 1_000_000_000_000;

    fn disk(used_pct: u64, full_in: Option<i64>) -> Disk {
        Disk {
            total: TB,
            free: TB / 100 * (100 - used_pct),
            inodes_pct: Some(used_pct as f64),
            full_in: full_in.map(SignedDuration::from_hours),
        }
    }

    #[test]
    fn limits_have_two_edges() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let mut at = |used| {
            let readings = judge(&context, &disk(used, None));
            context
                .book
                .step(&readings, Vec::new(), &Silences::default(), context.now);
            [readings[0].grade, readings[1].grade]
        };
        let (ok, warning, problem) = (Grade::Ok, Grade::Warning, Grade::Problem);
        assert_eq!(at(80), [ok, ok]);
        assert_eq!(at(81), [ok, warning]);
        assert_eq!(at(79), [ok, warning]);
        assert_eq!(at(96), [problem, warning]);
        assert_eq!(at(94), [problem, warning]);
        assert_eq!(at(93), [ok, warning]);
        assert_eq!(at(78), [ok, ok]);
    }

    #[test]
    fn a_forecast_is_told_in_hours() {
        let root = tempfile::tempdir().unwrap();
        let context = context(root.path());
        let told = |hours| {
            let readings = judge(&context, &disk(50, hours));
            (readings[2].grade, readings[2].what.clone())
        };
        assert_eq!(
            told(Some(31)),
            (Grade::Warning, "full in 31 h at this rate".into())
        );
        assert_eq!(told(Some(49)).0, Grade::Ok);
        assert_eq!(told(None), (Grade::Ok, "does not fill up at this rate".into()));
    }

    #[test]
    fn numbers_are_told_in_units() {
        assert_eq!(
            [10_500, 2_000_000, 3_500_000_000, 31_000_000_000, 2 * TB].map(bytes),
            ["10 kB", "2 MB", "3.5 GB", "31 GB", "2.0 TB"]
        );
        assert_eq!(
            [0, 1, 71, 72].map(|h| hours(SignedDuration::from_hours(h))),
            ["0 min", "1 h", "71 h", "3 days"]
        );
    }
}
