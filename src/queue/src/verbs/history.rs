//! `history`: what the ledger tells of one annotation.

use std::fmt;

use annotation::Name;
use serde::Serialize;
use store::{Paths, ledger};

use super::{Error, utc};

/// What happened to an annotation, in the order it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// The annotation.
    pub name: String,
    /// What happened.
    pub events: Vec<Line>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in UTC.
    pub time: String,
    /// The message's offset; none for what was found when the ledger was made anew.
    pub offset: Option<u64>,
    /// What.
    pub event: &'static str,
    /// Who did it, where the message tells.
    pub role: Option<&'static str>,
    /// Where the annotation was then.
    pub home: Option<&'static str>,
    /// SHA-256 of the image, where it was new.
    pub image: Option<String>,
    /// SHA-256 of the label file, where it was new.
    pub label: Option<String>,
    /// The number of the source media, where the message that brought the image tells.
    pub media: Option<String>,
}

impl From<ledger::Entry> for Line {
    fn from(entry: ledger::Entry) -> Self {
        Self {
            time: utc(entry.time),
            offset: entry.offset,
            event: entry.event.as_str(),
            role: entry.role.map(|role| role.as_str()),
            home: entry.home.map(store::Home::as_str),
            image: entry.image.map(|digest| digest.to_string()),
            label: entry.label.map(|digest| digest.to_string()),
            media: entry.media.map(|media| media.to_string()),
        }
    }
}

/// Looks through the ledger, which is read once and checked on the way.
pub fn history(paths: &Paths, name: &Name) -> Result<History, Error> {
    let entries = ledger::read(&paths.ledger_file())?.about(name)?;
    Ok(History {
        name: name.to_string(),
        events: entries.into_iter().map(Into::into).collect(),
    })
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.events.is_empty() {
            return writeln!(f, "the ledger does not know {}", self.name);
        }
        for line in &self.events {
            let offset = line
                .offset
                .map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            let digest = |digest: &Option<String>| match digest {
                Some(digest) => digest.get(..12).unwrap_or_default().to_owned(),
                None => "-".to_owned(),
            };
            write!(
                f,
                "{}  {offset:>10}  {:<9}  {:<11}  {:<9}  image {}  label {}",
                line.time,
                line.event,
                line.role.unwrap_or("-"),
                line.home.unwrap_or("-"),
                digest(&line.image),
                digest(&line.label),
            )?;
            match &line.media {
                Some(media) => writeln!(f, "  media {media}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
