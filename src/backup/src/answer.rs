//! What the verbs answer: text for people, or one JSON value.

use crate::{restore::Restored, round::Ran, vault::name};
use rustic_core::repofile::SnapshotFile;
use serde::Serialize;
use std::fmt;
use store::backups::{Checked, Drilled};

/// Of a snapshot's name, what a list shows.
const SHORT: usize = 8;

/// A backup in the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its name.
    pub snapshot: String,
    /// When it was begun: RFC 3339.
    pub time: String,
    /// The machine.
    pub host: String,
    /// What it begins at again, as `offset N`.
    pub begins: String,
    /// How many files it holds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What it added to the repository, in bytes.
    pub added_bytes: u64,
}

impl From<&SnapshotFile> for Listed {
    fn from(snapshot: &SnapshotFile) -> Self {
        let summary = snapshot.summary.clone().unwrap_or_default();
        Self {
            snapshot: name(snapshot),
            time: utc(snapshot.time.timestamp().as_second()),
            host: snapshot.hostname.clone(),
            begins: snapshot.description.clone().unwrap_or_default(),
            files: summary.total_files_processed,
            bytes: summary.total_bytes_processed,
            added_bytes: summary.data_added_packed,
        }
    }
}

fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// All backups that there are.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<Listed>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no backups");
        }
        for listed in &self.0 {
            writeln!(
                f,
                "{}  {}  {:<16}  {:>9} files {:>10}  {:>10} new",
                short(&listed.snapshot),
                listed.time,
                listed.begins,
                listed.files,
                size(listed.bytes),
                size(listed.added_bytes)
            )?;
        }
        Ok(())
    }
}

/// An answer, told to people.
pub struct Told<'a, T>(pub &'a T);

impl fmt::Display for Told<'_, Ran> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran {
            backup,
            forgotten,
            check,
        } = self.0;
        writeln!(
            f,
            "backup {}: {} files, {}, {} new, in {:.1} s; begins again at offset {}",
            short(&backup.snapshot),
            backup.files,
            size(backup.bytes),
            size(backup.added_bytes),
            backup.duration_s,
            backup.offset
        )?;
        if *forgotten > 0 {
            writeln!(f, "{forgotten} earlier ones are not kept any more")?;
        }
        Told(check).fmt(f)
    }
}

impl fmt::Display for Told<'_, Checked> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked {
            part,
            parts,
            problems,
            ..
        } = self.0;
        match parts {
            0 => write!(f, "checked without reading data back")?,
            1 => write!(f, "checked, all of the data read back")?,
            parts => write!(f, "checked, part {} of {parts} of the data read back", part + 1)?,
        }
        told(f, problems)
    }
}

impl fmt::Display for Told<'_, Drilled> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Drilled {
            snapshot,
            files,
            same_in_tree,
            model,
            problems,
            ..
        } = self.0;
        writeln!(
            f,
            "{files} files of backup {} restored and compared, {same_in_tree} of them with the tree",
            short(snapshot)
        )?;
        write!(f, "model {model}")?;
        told(f, problems)
    }
}

fn told(f: &mut fmt::Formatter<'_>, problems: &[String]) -> fmt::Result {
    if problems.is_empty() {
        return writeln!(f, ": nothing is wrong");
    }
    writeln!(f, ":")?;
    problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
}

impl fmt::Display for Told<'_, Restored> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Restored {
            snapshot,
            to,
            files,
            bytes,
            offset,
        } = self.0;
        writeln!(
            f,
            "{}: {files} files, {}, of backup {}; the queue goes on at offset {offset}",
            to.display(),
            size(*bytes),
            short(snapshot)
        )
    }
}

fn short(name: &str) -> &str {
    name.get(..SHORT).unwrap_or(name)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, told) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (2_500_000, "2.5 MB"),
            (7_000_000_000_000, "7.0 TB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn a_check_says_what_it_read_and_what_is_wrong() {
        let mut checked = Checked {
            at: 0,
            part: 2,
            parts: 30,
            problems: Vec::new(),
        };
        assert_eq!(
            Told(&checked).to_string(),
            "checked, part 3 of 30 of the data read back: nothing is wrong\n"
        );
        checked.problems.push("pack 0123 is gone".into());
        assert!(
            Told(&checked)
                .to_string()
                .ends_with("read back:\n  pack 0123 is gone\n")
        );
    }
}
