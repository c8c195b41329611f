//! `quarantine list`, `show` and `replay`.
//!
//! A replay is the operator's doing, at that moment: the messages are processed in the order of their offsets on the tree as
//! it is now. What a batch of them did is durable before the first of them leaves the quarantine, so whoever is killed
//! can run it again; a message that was done already is then found done.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use annotation::{Limits, Outline, decode_shared};
use bytes::Bytes;
use serde::Serialize;
use store::quarantine::{self, Refused};
use store::{Paths, Tree};

use super::{Error, io, plural, utc};
use crate::rules::{self, Done, Outcome};

/// A message in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its offset.
    pub offset: u64,
    /// When it was refused, in UTC, where the file system tells.
    pub since: Option<String>,
    /// The kind of reason.
    pub kind: String,
    /// The reason in words.
    pub reason: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl From<&Refused> for Entry {
    fn from(refused: &Refused) -> Self {
        let secs = |time: SystemTime| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs());
        Self {
            offset: refused.record.offset,
            since: refused.since.and_then(secs).map(utc),
            kind: refused.record.kind.clone(),
            reason: refused.record.reason.clone(),
            bytes: refused.record.bytes,
            sha256: refused.record.sha256.clone(),
        }
    }
}

/// The messages in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Listed(pub Vec<Entry>);

/// All messages in quarantine, or those of one kind of reason, by offset.
pub fn list(paths: &Paths, kind: Option<&str>) -> Result<Listed, Error> {
    let all = quarantine::list(&paths.quarantine())?;
    let asked = all
        .iter()
        .filter(|refused| kind.is_none_or(|kind| refused.record.kind == kind));
    Ok(Listed(asked.map(Into::into).collect()))
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.0 {
            writeln!(
                f,
                "{:>10}  {:<20}  {:<16}  {:>10} bytes  {}",
                entry.offset,
                entry.since.as_deref().unwrap_or("-"),
                entry.kind,
                entry.bytes,
                entry.reason
            )?;
        }
        writeln!(f, "{}", plural(self.0.len(), "message"))
    }
}

/// What is known of the messages with one offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Shown(pub Vec<Look>);

/// What is known of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Its record.
    #[serde(flatten)]
    pub entry: Entry,
    /// What it says about its annotations, as far as it can be read.
    pub status: Option<&'static str>,
    /// The name of a single annotation, if it is a safe one.
    pub name: Option<String>,
    /// How many names a bulk message lists.
    pub names: Option<u32>,
    /// Length of the body.
    pub body_bytes: Option<usize>,
    /// Its length once inflated, where it is compressed.
    pub inflated_bytes: Option<usize>,
    /// Length of the detections' JSON.
    pub detections_bytes: Option<usize>,
    /// Length of the image.
    pub image_bytes: Option<usize>,
    /// Why it cannot be decoded now; none if it can.
    pub undecodable: Option<String>,
}

/// What is known of the message at `offset`.
pub fn show(paths: &Paths, offset: u64, limits: &Limits) -> Result<Shown, Error> {
    let looks = at(paths, offset)?.into_iter().map(|refused| {
        let bytes = Bytes::from(refused.read()?);
        let outline = Outline::of(&bytes, limits);
        let undecodable = decode_shared(&bytes, limits).err();
        Ok(Look {
            entry: Entry::from(&refused),
            status: outline.status.map(annotation::Status::as_str),
            name: outline.name.map(|name| name.to_string()),
            names: outline.names,
            body_bytes: outline.body_bytes,
            inflated_bytes: outline.inflated_bytes,
            detections_bytes: outline.detections_bytes,
            image_bytes: outline.image_bytes,
            undecodable: undecodable.map(|error| error.to_string()),
        })
    });
    looks.collect::<Result<_, Error>>().map(Shown)
}

fn at(paths: &Paths, offset: u64) -> Result<Vec<Refused>, Error> {
    let mut all = quarantine::list(&paths.quarantine())?;
    all.retain(|refused| refused.record.offset == offset);
    if all.is_empty() {
        return Err(Error::NotQuarantined { offset });
    }
    Ok(all)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|look| look.fmt(f))
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry {
            offset,
            since,
            kind,
            reason,
            bytes,
            sha256,
        } = &self.entry;
        let size = |bytes: Option<usize>| bytes.map(|bytes| format!("{bytes} bytes"));
        let rows = [
            ("offset", Some(offset.to_string())),
            ("refused", since.clone()),
            ("kind", Some(kind.clone())),
            ("reason", Some(reason.clone())),
            ("message", Some(format!("{bytes} bytes, SHA-256 {sha256}"))),
            ("status", self.status.map(str::to_owned)),
            ("name", self.name.clone()),
            ("names", self.names.map(|names| names.to_string())),
            ("body", size(self.body_bytes)),
            ("inflated", size(self.inflated_bytes)),
            ("detections", size(self.detections_bytes)),
            ("image", size(self.image_bytes)),
            ("undecodable", self.undecodable.clone()),
        ];
        for (what, value) in rows {
            if let Some(value) = value {
                writeln!(f, "{what:<12} {value}")?;
            }
        }
        Ok(())
    }
}

/// Writes the message at `offset`, as it came, into a new file that only this user may read.
pub fn save_message(paths: &Paths, offset: u64, file: &Path) -> Result<(), Error> {
    let found = at(paths, offset)?;
    let [refused] = &found[..] else {
        return Err(Error::Ambiguous {
            offset,
            count: found.len(),
            folder: paths.quarantine(),
        });
    };
    let bytes = refused.read()?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(io("write", file))
}

/// Which messages to process again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All in quarantine.
    All,
    /// Those with these offsets, each of which must be there.
    Offsets(Vec<u64>),
}

impl Selection {
    fn of(&self, mut all: Vec<Refused>) -> Result<Vec<Refused>, Error> {
        let Self::Offsets(offsets) = self else {
            return Ok(all);
        };
        let is_there = |offset: &u64| all.iter().any(|refused| refused.record.offset == *offset);
        if let Some(&offset) = offsets.iter().find(|offset| !is_there(offset)) {
            return Err(Error::NotQuarantined { offset });
        }
        all.retain(|refused| offsets.contains(&refused.record.offset));
        Ok(all)
    }
}

/// What processing messages again came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Those that were used, and have left the quarantine.
    pub used: Vec<Used>,
    /// Those that cannot be used by the present rules either.
    pub stayed: Vec<Stayed>,
}

/// A message that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Its offset.
    pub offset: u64,
    /// What it did, in words.
    pub did: String,
}

/// A message that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stayed {
    /// Its offset.
    pub offset: u64,
    /// The kind of reason.
    pub kind: String,
    /// The reason in words.
    pub reason: String,
}

/// Processes messages again. Needs a tree without a writer; the offset stays where it is.
pub fn replay_quarantined(
    paths: &Paths,
    selection: &Selection,
    limits: &Limits,
    mut progress: impl FnMut(u64, u64),
) -> Result<Replayed, Error> {
    let mut tree = Tree::open_at(paths.clone())?;
    let selected = selection.of(quarantine::list(&paths.quarantine())?)?;
    let total = selected.len() as u64;
    let mut replayed = Replayed::default();
    let mut rest = &selected[..];
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(batch_length(rest));
        process(&mut tree, batch, limits, &mut replayed)?;
        rest = behind;
        progress(total - rest.len() as u64, total);
    }
    Ok(replayed)
}

/// How many messages are processed together: as many as the queue takes at once.
fn batch_length(messages: &[Refused]) -> usize {
    let stream::Limits {
        max_messages,
        max_bytes,
    } = stream::Limits::default();
    let mut bytes = 0_u64;
    let fits = |refused: &&Refused| {
        bytes = bytes.saturating_add(refused.record.bytes);
        bytes <= max_bytes as u64
    };
    messages.iter().take(max_messages).take_while(fits).count().max(1)
}

fn process(
    tree: &mut Tree,
    batch: &[Refused],
    limits: &Limits,
    replayed: &mut Replayed,
) -> Result<(), Error> {
    let offset = tree.offset();
    let mut actions = tree.batch_again();
    let (mut used, mut leaving) = (Vec::new(), Vec::new());
    for refused in batch {
        let offset = refused.record.offset;
        let outcome = again(&mut actions, refused, limits)?;
        match outcome.refused {
            None => {
                let did = words(&outcome.done);
                used.push(Used { offset, did });
                leaving.push(refused.clone());
            }
            Some(rules::Refused { kind, reason }) => {
                let kind = kind.to_owned();
                replayed.stayed.push(Stayed { offset, kind, reason });
            }
        }
    }
    actions.commit(offset)?;
    tree.release(&leaving)?;
    for Used { offset, did } in &used {
        tracing::info!(offset, did, "message taken out of quarantine");
    }
    replayed.used.extend(used);
    Ok(())
}

/// What the rules make of a message out of quarantine.
fn again(actions: &mut store::Batch<'_>, refused: &Refused, limits: &Limits) -> store::Result<Outcome> {
    let record = &refused.record;
    if record.kind == PACKED {
        return Ok(Outcome::refused(PACKED, record.reason.clone()));
    }
    let bytes = match refused.read() {
        Ok(bytes) => Bytes::from(bytes),
        // One damaged file holds up nothing.
        Err(error @ store::Error::Format { .. }) => {
            return Ok(Outcome::refused("damaged", error.to_string()));
        }
        Err(error) => return Err(error),
    };
    match decode_shared(&bytes, limits) {
        Err(error) => Ok(Outcome::refused(error.kind(), error.to_string())),
        Ok(decoded) => rules::apply(actions, record.offset, decoded.message),
    }
}

/// The kind of what was several messages packed as one: nothing tells any more how.
const PACKED: &str = "packed";

fn words(done: &Done) -> String {
    match done {
        Done::Nothing => "nothing".to_owned(),
        Done::Created { name, .. } => format!("created {name}"),
        Done::Edited { name, .. } => format!("edited {name}"),
        Done::Duplicate { name } => format!("{name} is there already"),
        Done::Withdrawn { name } => format!("{name} is deleted or set aside and stays so"),
        Done::Missed => "the name is unknown".to_owned(),
        Done::Bulk {
            status,
            moved,
            in_place,
            unknown,
            withdrawn,
        } => format!(
            "{status}: {moved} moved, {in_place} there already, {unknown} unknown, {withdrawn} deleted or set aside"
        ),
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Used { offset, did } in &self.used {
            writeln!(f, "{offset:>10}  used    {did}")?;
        }
        for Stayed { offset, kind, reason } in &self.stayed {
            writeln!(f, "{offset:>10}  stayed  {kind}: {reason}")?;
        }
        writeln!(f, "{} used, {} stayed", self.used.len(), self.stayed.len())
    }
}
