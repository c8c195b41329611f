//! A run's TensorBoard events: a file of its own for every process that trains it, in the run's folder.
//!
//! Steps are epochs, from 1. A file begins with a restart at its first step: TensorBoard then forgets what older files say of
//! it and later ones, which is what a run did that was killed between an epoch's events and its checkpoint. Files are read in
//! the order of their names, so a new one is named behind those that are there, whatever the clock says. Records are
//! appended and not synced: a power cut costs the newest, and a reader stops where a record is torn.

use crate::Error;
use report::events::{self, Value};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// How the name of every events file begins; the time it was begun at follows, in seconds since 1970.
const PREFIX: &str = "events.out.tfevents.";

/// Writes the events of one process.
pub(crate) struct EventLog {
    folder: PathBuf,
    file: Option<File>,
}

impl EventLog {
    /// Nothing is written before the first step.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
        }
    }

    /// Appends a step. After an error the next step begins a new file: this one may end in half a record.
    pub(crate) fn write(&mut self, step: u32, values: &[Value]) -> Result<(), Error> {
        let file = self.file.take();
        let written = file.map_or_else(|| self.begin(step), Ok).and_then(|mut file| {
            file.write_all(&events::step(now(), step.into(), values))?;
            Ok(file)
        });
        match written {
            Ok(file) => {
                self.file = Some(file);
                Ok(())
            }
            Err(source) => Err(Error::Read {
                path: self.folder.join(format!("{PREFIX}*")),
                source,
            }),
        }
    }

    fn begin(&self, step: u32) -> io::Result<File> {
        let secs = (now() as u64).max(newest(&self.folder)?.saturating_add(1));
        let name = format!("{PREFIX}{secs:010}.azaion.{}.0", std::process::id());
        let mut file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(self.folder.join(name))?;
        file.write_all(&events::version(now()))?;
        file.write_all(&events::restart(now(), step.into()))?;
        Ok(file)
    }
}

/// The time in the name of the newest events file; 0 where there is none.
fn newest(folder: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let secs = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok());
        newest = newest.max(secs.unwrap_or(0));
    }
    Ok(newest)
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_process_begins_a_file_behind_the_others_though_the_clock_went_back() {
        let folder = tempfile::tempdir().unwrap();
        let future = format!("{PREFIX}9999999990.azaion.1.0");
        fs::write(folder.path().join(&future), "x").unwrap();
        let mut log = EventLog::new(folder.path());
        for step in 1..3 {
            let value = Value::Scalar {
                tag: "train/box_loss".into(),
                value: 1.0,
            };
            log.write(step, &[value]).unwrap();
        }
        let names = names(folder.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(
            names[0] == future && names[1].contains("tfevents.9999999991.azaion."),
            "{names:?}"
        );
    }

    #[test]
    fn nothing_is_made_before_there_is_a_step_and_a_folder_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::new(&folder.path().join("gone"));
        assert!(
            log.write(1, &[])
                .unwrap_err()
                .to_string()
                .contains("gone/events.out")
        );
        drop(EventLog::new(folder.path()));
        assert!(names(folder.path()).is_empty());
    }
}
