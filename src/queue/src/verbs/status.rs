//! `status`: where the queue is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use store::{Counts, Paths};

use super::{Error, utc};

/// Where the queue is. Read beside a running writer, so each number can be a moment behind the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The root of the tree.
    pub root: PathBuf,
    /// The offset of the next message to read.
    pub offset: u64,
    /// Annotations by home.
    pub annotations: Annotations,
    /// Messages in quarantine, by the kind of reason.
    pub quarantined: BTreeMap<String, usize>,
    /// Mentions of names that were unknown.
    pub missed: usize,
    /// The last line of the ledger.
    pub last_event: Option<LastEvent>,
    /// The process that has the tree open for writing.
    pub writer_pid: Option<u32>,
    /// What the disk has left.
    pub free_bytes: u64,
}

/// How many annotations live where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Annotations {
    /// Validated.
    pub data: usize,
    /// Not validated yet.
    pub seed: usize,
    /// Deleted.
    pub deleted: usize,
    /// Set aside by dataset forming.
    pub corrupted: usize,
}

/// What happened last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastEvent {
    /// When, in UTC.
    pub time: String,
    /// The message's offset; none for what was found when the ledger was made anew.
    pub offset: Option<u64>,
    /// What.
    pub event: &'static str,
    /// To which annotation.
    pub name: String,
}

impl From<store::ledger::Entry> for LastEvent {
    fn from(entry: store::ledger::Entry) -> Self {
        Self {
            time: utc(entry.time),
            offset: entry.offset,
            event: entry.event.as_str(),
            name: entry.name.to_string(),
        }
    }
}

/// Looks at everything, and locks nothing.
pub fn standing(paths: &Paths) -> Result<Standing, Error> {
    let Counts {
        data,
        seed,
        deleted,
        corrupted,
        ..
    } = Counts::of(paths)?;
    let mut quarantined = BTreeMap::new();
    for refused in store::quarantine::list(&paths.quarantine())? {
        *quarantined.entry(refused.record.kind).or_default() += 1;
    }
    Ok(Standing {
        root: paths.root().to_owned(),
        offset: store::offset::read(&paths.offset_file())?,
        annotations: Annotations {
            data,
            seed,
            deleted,
            corrupted,
        },
        quarantined,
        missed: store::unmatched::read(&paths.unmatched_file())?.len(),
        last_event: store::ledger::last(&paths.ledger_file())?.map(Into::into),
        writer_pid: store::writer(paths)?,
        free_bytes: store::free_bytes(paths)?,
    })
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Annotations {
            data,
            seed,
            deleted,
            corrupted,
        } = self.annotations;
        writeln!(f, "root         {}", self.root.display())?;
        writeln!(f, "next offset  {}", self.offset)?;
        writeln!(
            f,
            "annotations  {data} data, {seed} seed, {deleted} deleted, {corrupted} corrupted"
        )?;
        let kinds: Vec<_> = self
            .quarantined
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "quarantine   {}", or_none(&kinds.join(", ")))?;
        writeln!(f, "missed       {}", self.missed)?;
        let last = self.last_event.as_ref().map(|last| {
            let at = last
                .offset
                .map_or_else(String::new, |offset| format!(" at offset {offset}"));
            format!("{} {} {}{at}", last.time, last.event, last.name)
        });
        writeln!(f, "last event   {}", or_none(last.as_deref().unwrap_or_default()))?;
        let writer = self.writer_pid.map(|pid| format!("process {pid}"));
        writeln!(
            f,
            "writer       {}",
            or_none(writer.as_deref().unwrap_or_default())
        )?;
        writeln!(f, "disk         {:.1} GB free", self.free_bytes as f64 / 1e9)
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
