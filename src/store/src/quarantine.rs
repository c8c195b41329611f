//! `quarantine/`: the messages that could not be used, whole, with the reason (QUE-7).
//!
//! ```text
//! quarantine/{offset, 20 digits}.msg     the message as it came, every byte
//! quarantine/{offset, 20 digits}.json    {"version":1,"offset":..,"kind":"..","reason":"..","bytes":..,"sha256":".."}
//! ```
//! Both are a function of the message alone, so that a replay writes the same bytes; when it was refused is the files'
//! time stamp. An entry exists once its `.json` does. Should another message come with the same offset (a stream that was made
//! anew), both are kept: the second is called `{offset}-{first 16 digits of its SHA-256}`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};

const VERSION: u32 = 1;
const DAMAGED: &str = "restore both of its files from a backup, or remove both";

/// What is known about a refused message: the content of its `.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The layout of this file, 1.
    version: u32,
    /// The message's offset.
    pub offset: u64,
    /// The kind of reason: short, stable, countable.
    pub kind: String,
    /// The reason in words.
    pub reason: String,
    /// The message's length.
    pub bytes: u64,
    /// The message's SHA-256, hexadecimal.
    pub sha256: String,
}

/// A refused message in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is known about it.
    pub record: Record,
    /// When it was refused, by the file's time stamp, where the file system tells.
    pub since: Option<SystemTime>,
    /// The file with the message's bytes.
    pub message: PathBuf,
}

impl Refused {
    /// The message as it came, checked against the recorded SHA-256.
    pub fn read(&self) -> Result<Vec<u8>> {
        let unusable = |reason: &str| Error::Format {
            path: self.message.clone(),
            reason: reason.to_owned(),
            next: DAMAGED,
        };
        let bytes = Real::new()
            .read(&self.message)
            .map_err(Error::io("read", &self.message))?
            .ok_or_else(|| unusable("it is missing"))?;
        if Digest::of(&bytes).to_string() != self.record.sha256 {
            return Err(unusable("its SHA-256 is not the recorded one"));
        }
        Ok(bytes)
    }
}

/// All refused messages in `dir` ([`crate::Paths::quarantine`]), by offset; none where there is no such folder.
pub fn list(dir: &Path) -> Result<Vec<Refused>> {
    if !Real::new().exists(dir).map_err(Error::io("look for", dir))? {
        return Ok(Vec::new());
    }
    let mut refused = Vec::new();
    for name in Real::new().list(dir).map_err(Error::io("list", dir))? {
        let path = dir.join(name);
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(record) = read_record(&Real::new(), &path)?
        {
            let since = path.metadata().and_then(|meta| meta.modified()).ok();
            refused.push(Refused {
                record,
                since,
                message: path.with_extension("msg"),
            });
        }
    }
    refused.sort_by(|a, b| (a.record.offset, &a.message).cmp(&(b.record.offset, &b.message)));
    Ok(refused)
}

fn read_record(disk: &dyn Disk, path: &Path) -> Result<Option<Record>> {
    let Some(bytes) = disk.read(path).map_err(Error::io("read", path))? else {
        return Ok(None);
    };
    let unusable = |reason: String| Error::Format {
        path: path.to_owned(),
        reason,
        next: DAMAGED,
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if record.version != VERSION {
        return Err(unusable(format!(
            "version {} is not known here, only {VERSION} is",
            record.version
        )));
    }
    Ok(Some(record))
}

/// A message to refuse.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) offset: u64,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    pub(crate) message: Bytes,
}

impl Refusal {
    /// The files to write, the one that makes the entry exist last; none if the message is there already.
    pub(crate) fn files(self, disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, Bytes)>> {
        let sha256 = Digest::of(&self.message).to_string();
        let mut stem = format!("{:020}", self.offset);
        let taken = match read_record(disk, &dir.join(format!("{stem}.json"))) {
            Ok(record) => record.is_some_and(|record| record.sha256 != sha256),
            // A damaged record holds up nothing: what it was about stays as it is, this message goes beside it.
            Err(Error::Format { .. }) => true,
            Err(error) => return Err(error),
        };
        if taken {
            stem.extend(["-", sha256.get(..16).unwrap_or_default()]);
        }
        let (message, json) = (dir.join(format!("{stem}.msg")), dir.join(format!("{stem}.json")));
        // Both are asked for: a power cut may have kept the second rename and lost the first.
        let exists = |path: &Path| disk.exists(path).map_err(Error::io("look for", path));
        if exists(&message)? && exists(&json)? {
            return Ok(Vec::new());
        }
        let record = Record {
            version: VERSION,
            offset: self.offset,
            kind: self.kind.to_owned(),
            reason: self.reason,
            bytes: self.message.len() as u64,
            sha256,
        };
        let mut text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::io("write", &json)(std::io::Error::other(error)))?;
        text.push(b'\n');
        Ok(vec![(message, self.message), (json, text.into())])
    }
}
