//! What happened between two passes: the records that failed units and training runs leave in `status/alerts/`.
//!
//! `azaion alert UNIT` and the trainer write a file each (`store::alerts`). Each is taken in once, by its name; one that
//! cannot be read is an event too. Old ones are removed here, for nobody else does.

use crate::catalog;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::{collections::BTreeSet, fs, io, path::Path};

/// The records that are kept: the newest.
const KEPT: usize = 500;
/// What happened longer ago when records are read for the first time is history.
const NEWS: SignedDuration = SignedDuration::from_hours(1);
/// Lines of the journal that go with an alert.
const LINES: usize = 20;
/// A record is some lines of a journal, not more.
const MOST_BYTES: u64 = 1 << 20;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The alert's code.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// In words.
    pub what: String,
    /// The last lines of the journal, the oldest first.
    pub journal: Vec<String>,
}

/// As `azaion alert` and the trainer write it.
#[derive(Debug, Deserialize)]
struct Record {
    time: Timestamp,
    unit: String,
    alert: Option<String>,
    message: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    journal: Vec<Line>,
}

#[derive(Debug, Default, Deserialize)]
struct State {
    result: Option<String>,
    exec_main_code: Option<i64>,
    exec_main_status: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Line {
    message: String,
}

/// What is new in the folder, the oldest first; `taken` is brought up to date.
///
/// # Errors
/// The folder cannot be read.
pub fn news(folder: &Path, taken: &mut BTreeSet<String>, now: Timestamp) -> io::Result<Vec<Event>> {
    let names = match fs::read_dir(folder) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
            .collect::<BTreeSet<String>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    let is_first = taken.is_empty();
    let mut events: Vec<Event> = names
        .difference(taken)
        .map(|name| event(&folder.join(name), name, now))
        .filter(|event| !is_first || now.duration_since(event.at) <= NEWS)
        .collect();
    events.sort_by_key(|event| event.at);
    let old = names.len().saturating_sub(KEPT);
    for name in names.iter().take(old) {
        if let Err(error) = fs::remove_file(folder.join(name)) {
            tracing::warn!(%error, name, "an old record of an alert cannot be removed");
        }
    }
    *taken = names.into_iter().skip(old).collect();
    Ok(events)
}

fn event(path: &Path, name: &str, now: Timestamp) -> Event {
    match read(path) {
        Ok(record) => record.event(),
        Err(error) => Event {
            code: catalog::UNIT_FAILED.to_owned(),
            subject: name.to_owned(),
            at: now,
            what: format!("a record of an alert that cannot be read: {error}"),
            journal: Vec::new(),
        },
    }
}

fn read(path: &Path) -> io::Result<Record> {
    if fs::metadata(path)?.len() > MOST_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

impl Record {
    fn event(self) -> Event {
        let what = self.message.clone().unwrap_or_else(|| self.state.told());
        let skipped = self.journal.len().saturating_sub(LINES);
        let (code, subject) = match self.alert {
            // Readings of the driver speak of the same.
            Some(code) if code == catalog::GPU_HOT => (code, catalog::GPUS.to_owned()),
            Some(code) => (code, self.unit),
            None if self.unit == "azaion-queue.service" => (catalog::QUEUE_DOWN.to_owned(), self.unit),
            None => (catalog::UNIT_FAILED.to_owned(), self.unit),
        };
        Event {
            code,
            subject,
            at: self.time,
            what,
            journal: self
                .journal
                .into_iter()
                .skip(skipped)
                .map(|line| line.message)
                .collect(),
        }
    }
}

impl State {
    /// How the process ended.
    fn told(&self) -> String {
        let result = self.result.as_deref().unwrap_or("unknown");
        match (self.exec_main_code, self.exec_main_status) {
            (Some(1), Some(status)) => format!("it ended with exit code {status} ({result})"),
            (Some(2 | 3), Some(signal)) => format!("it was ended by signal {signal} ({result})"),
            _ => format!("it failed ({result})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn each_record_is_taken_once_and_one_that_is_damaged_is_an_event_too() {
        let folder = tempfile::tempdir().unwrap();
        let (now, mut taken) = (at("2026-03-28T14:30:00Z"), BTreeSet::new());
        assert_eq!(news(&folder.path().join("gone"), &mut taken, now).unwrap(), []);
        for (name, text) in [
            (
                "2026-03-28T142900Z-azaion-queue.service.json",
                r#"{"version":1,"time":"2026-03-28T14:29:00Z","unit":"azaion-queue.service",
                    "state":{"result":"signal","exec_main_code":2,"exec_main_status":9},
                    "journal":[{"priority":6,"message":"queue is ready"},{"priority":null,"message":"killed"}],"missing":[]}"#,
            ),
            (
                "2026-03-28T142901Z-ALR-4.json",
                r#"{"version":1,"time":"2026-03-28T14:29:01Z","unit":"azaion-train.service","alert":"ALR-4","message":"loss is NaN"}"#,
            ),
            (
                "2026-03-28T100000Z-old.json",
                r#"{"version":1,"time":"2026-03-28T10:00:00Z","unit":"azaion-x.service"}"#,
            ),
            ("2026-03-28T142902Z-cut.json", "{\"version\":"),
            (".azaion-tmp.json", ""),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = news(folder.path(), &mut taken, now).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|event| (event.code.as_str(), event.subject.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("ALR-2", "azaion-queue.service"),
                ("ALR-4", "azaion-train.service"),
                ("ALR-12", "2026-03-28T142902Z-cut.json"),
            ]
        );
        assert_eq!(found[0].what, "it was ended by signal 9 (signal)");
        assert_eq!(found[0].journal, ["queue is ready", "killed"]);
        assert_eq!(found[1].what, "loss is NaN");
        assert_eq!(news(folder.path(), &mut taken, now).unwrap(), []);

        // Later ones are news whatever time they tell.
        let late = r#"{"version":1,"time":"2026-03-20T00:00:00Z","unit":"azaion-queue.service"}"#;
        fs::write(folder.path().join("2026-03-20T000000Z-late.json"), late).unwrap();
        assert_eq!(news(folder.path(), &mut taken, now).unwrap().len(), 1);
    }

    #[test]
    fn old_records_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 3 {
            let text = r#"{"time":"2026-03-28T14:29:00Z","unit":"azaion-train.service"}"#;
            fs::write(folder.path().join(format!("2026-{number:05}.json")), text).unwrap();
        }
        let mut taken = BTreeSet::from(["before".to_owned()]);
        let found = news(folder.path(), &mut taken, at("2026-03-28T14:30:00Z")).unwrap();
        assert_eq!(found.len(), KEPT + 3);
        assert_eq!(
            (taken.len(), fs::read_dir(folder.path()).unwrap().count()),
            (KEPT, KEPT)
        );
        assert!(!folder.path().join("2026-00002.json").exists());
    }
}
