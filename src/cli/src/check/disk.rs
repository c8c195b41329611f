//! The disk: how much is free, and for how long at the pace of the last day, which the ledger tells.

use super::{Context, Finding};
use queue::verbs;
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};
use store::{
    Home, Paths,
    ledger::{self, Entry, Event},
};

/// Below this the next dataset or checkpoint may not fit.
const LEAST_FREE: u64 = 2_000_000_000;
/// Over a weekend nobody makes room.
const LEAST_DAYS: f64 = 3.0;
/// Time to order a disk.
const FEW_DAYS: f64 = 14.0;
const DAY: u64 = 24 * 60 * 60;
/// So many of the day's files are looked at; the others are taken to be as large.
const SAMPLED: usize = 2000;

pub(crate) fn look(context: &Context) -> Vec<Finding> {
    let paths = verbs::layout(&context.config);
    let place = paths.root().display().to_string();
    if !paths.root().is_dir() {
        return vec![Finding::note(
            place,
            "not looked at: there is no tree",
            "see the tree's own finding",
        )];
    }
    let free = match store::free_bytes(&paths) {
        Ok(free) => free,
        Err(error) => return vec![Finding::problem(place, error, "make the tree")],
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    match last_day(&paths, now) {
        Ok(came) => vec![judge(place, free, came)],
        Err(error) => vec![
            judge(place, free, 0),
            Finding::problem(
                paths.ledger_file().display(),
                error,
                "compare the tree with it: azaion queue verify",
            ),
        ],
    }
}

/// Bytes that came into the tree in the day before `now`, estimated from a sample of their files.
fn last_day(paths: &Paths, now: u64) -> store::Result<u64> {
    if !paths.ledger_file().exists() {
        return Ok(0);
    }
    let mut came: Vec<Entry> = Vec::new();
    let mut count = 0usize;
    for entry in ledger::read(&paths.ledger_file())? {
        let entry = entry?;
        if entry.event == Event::Created && entry.time + DAY > now {
            // The first of every so many stay, so that the sample is from all of the day and does not grow.
            if count.is_multiple_of(1 + count / SAMPLED) {
                came.push(entry);
            }
            count += 1;
        }
    }
    let sizes: Vec<u64> = came.iter().filter_map(|entry| size(paths, entry)).collect();
    let mean = sizes.iter().sum::<u64>() as f64 / sizes.len().max(1) as f64;
    Ok((mean * count as f64) as u64)
}

/// Of an annotation's two files, wherever they are by now.
fn size(paths: &Paths, entry: &Entry) -> Option<u64> {
    Home::ALL.iter().find_map(|home| {
        let image = fs::metadata(paths.image(*home, &entry.name)).ok()?;
        let label = fs::metadata(paths.label(*home, &entry.name)).ok()?;
        Some(image.len() + label.len())
    })
}

fn judge(place: String, free: u64, came: u64) -> Finding {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let days = free as f64 / came as f64;
    let what = if came == 0 {
        format!("{:.1} GB free, nothing came in the last day", gigabytes(free))
    } else {
        format!(
            "{:.1} GB free, {:.2} GB came in the last day: full in {days:.0} days",
            gigabytes(free),
            gigabytes(came)
        )
    };
    if free < LEAST_FREE || days < LEAST_DAYS {
        Finding::problem(place, what, "make room: old datasets and runs, or a larger disk")
    } else if days < FEW_DAYS {
        Finding::note(place, what, "plan for a larger disk")
    } else {
        Finding::right(place, what)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    #[test]
    fn the_forecast_decides() {
        let grade = |free, came| judge("/azaion".into(), free, came).grade;
        let gb = 1_000_000_000;
        assert_eq!(grade(100 * gb, 0), Grade::Ok);
        assert_eq!(grade(100 * gb, gb), Grade::Ok);
        assert_eq!(grade(100 * gb, 10 * gb), Grade::Note);
        assert_eq!(grade(100 * gb, 50 * gb), Grade::Problem);
        assert_eq!(grade(gb, 0), Grade::Problem);
        let told = judge("/azaion".into(), 100 * gb, 10 * gb).what;
        assert_eq!(
            told,
            "100.0 GB free, 10.00 GB came in the last day: full in 10 days"
        );
    }
}
