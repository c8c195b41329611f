//! `unmatched.log`: every mention of a name that was unknown when its message was first read.
//!
//! # Why
//! The producer knows nothing of the consumer, so a name can be edited, validated or deleted before it is created. Such a
//! mention changes nothing. On a replay, however, the name is known by then, and the same mention would move or change the
//! annotation: the tree would end up different (QUE-5). So each such mention is written here before the tree of its batch
//! is touched, and a mention found here is treated as unknown for ever.
//!
//! # Layout
//! ```text
//! azaion-unmatched 1
//! {offset} {status} {name} {crc}
//! ```
//! One mention a line, in the order they were met; `crc` is the CRC-32 of the line before it, 8 hexadecimal digits. The file only grows.
//! A line that was torn when the power was cut is cut off on opening, since its batch was never finished and will be read
//! again; damage anywhere else is an error. The offsets are those of one stream: start a new file with a new stream.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use annotation::{Name, Status};

use crate::atomic;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};

const HEADER: &[u8] = b"azaion-unmatched 1\n";
const NEXT: &str = "restore it from a backup; without it a replay could move annotations that it must leave";

/// A mention of a name that was unknown at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The message's offset.
    pub offset: u64,
    /// What the message said about the name.
    pub status: Status,
    /// The name.
    pub name: Name,
}

/// All recorded mentions, for people; none where there is no file.
pub fn read(path: &Path) -> Result<Vec<Mention>> {
    match Real::new().read(path).map_err(Error::io("read", path))? {
        Some(bytes) => Ok(parse(path, &bytes)?.mentions),
        None => Ok(Vec::new()),
    }
}

/// The open log: what it holds, and where the next mention goes.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    len: u64,
    known: HashMap<u64, HashSet<Name>>,
}

impl Log {
    /// Opens or makes the log. `committed` is the offset in `offset.yaml`: what is torn must belong to a later one.
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf, committed: u64) -> Result<Self> {
        let bytes = match disk.read(&path).map_err(Error::io("read", &path))? {
            Some(bytes) => bytes,
            None => {
                atomic::replace_on(disk, &path, HEADER)?;
                HEADER.to_vec()
            }
        };
        let Parsed {
            mentions,
            sound,
            torn,
        } = parse(&path, &bytes)?;
        if let Some(torn) = torn {
            if torn.after.is_some_and(|offset| offset < committed) {
                return Err(unusable(
                    &path,
                    format!("line {} is damaged, and others follow", torn.line),
                ));
            }
            tracing::warn!(path = %path.display(), line = torn.line, bytes = bytes.len() - sound, "torn end cut off");
        }
        let mut log = Self {
            path,
            len: sound as u64,
            known: HashMap::new(),
        };
        mentions.into_iter().for_each(|mention| log.remember(mention));
        // A killed predecessor may have written lines that it could not sync any more.
        log.write(disk, &[])?;
        Ok(log)
    }

    /// Whether `name` was unknown to the message at `offset`.
    pub(crate) fn contains(&self, offset: u64, name: &Name) -> bool {
        self.known.get(&offset).is_some_and(|names| names.contains(name))
    }

    /// Adds mentions, each name once for an offset; all of them are durable on return, or none counts.
    pub(crate) fn append(&mut self, disk: &dyn Disk, mentions: &[Mention]) -> Result<()> {
        let mut met = HashSet::new();
        let new = mentions
            .iter()
            .filter(|mention| met.insert((mention.offset, &mention.name)));
        let lines: String = new.map(line).collect();
        self.write(disk, lines.as_bytes())?;
        self.len += lines.len() as u64;
        mentions
            .iter()
            .cloned()
            .for_each(|mention| self.remember(mention));
        Ok(())
    }

    fn write(&self, disk: &dyn Disk, bytes: &[u8]) -> Result<()> {
        disk.append(&self.path, self.len, bytes)
            .map_err(Error::io("append to", &self.path))
    }

    fn remember(&mut self, mention: Mention) {
        self.known.entry(mention.offset).or_default().insert(mention.name);
    }
}

struct Parsed {
    mentions: Vec<Mention>,
    /// How many bytes from the start are sound.
    sound: usize,
    torn: Option<Torn>,
}

struct Torn {
    line: usize,
    /// The least offset of a sound line behind the torn one.
    after: Option<u64>,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed> {
    let Some(body) = bytes.strip_prefix(HEADER) else {
        return Err(unusable(
            path,
            "its first line is not `azaion-unmatched 1`".to_owned(),
        ));
    };
    let mut parsed = Parsed {
        mentions: Vec::new(),
        sound: HEADER.len(),
        torn: None,
    };
    for (index, line) in body.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match (&mut parsed.torn, parse_line(line)) {
            (None, Some(mention)) => {
                parsed.sound += line.len();
                parsed.mentions.push(mention);
            }
            (None, None) => {
                parsed.torn = Some(Torn {
                    line: index + 2,
                    after: None,
                })
            }
            (Some(torn), Some(mention)) => {
                torn.after = Some(
                    torn.after
                        .map_or(mention.offset, |offset| offset.min(mention.offset)),
                );
            }
            (Some(_), None) => {}
        }
    }
    Ok(parsed)
}

fn parse_line(line: &[u8]) -> Option<Mention> {
    let (text, crc) = std::str::from_utf8(line)
        .ok()?
        .strip_suffix('\n')?
        .rsplit_once(' ')?;
    if crc.len() != 8 || u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(text.as_bytes()) {
        return None;
    }
    let mut fields = text.split(' ');
    let (offset, status, name) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mention {
        offset: offset.parse().ok()?,
        status: Status::from_name(status)?,
        name: Name::new(name).ok()?,
    })
    .filter(|_| fields.next().is_none())
}

fn line(mention: &Mention) -> String {
    let text = format!("{} {} {}", mention.offset, mention.status, mention.name);
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text} {crc:08x}\n")
}

fn unusable(path: &Path, reason: String) -> Error {
    Error::Format {
        path: path.to_owned(),
        reason,
        next: NEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mention(offset: u64, name: &str) -> Mention {
        Mention {
            offset,
            status: Status::Validated,
            name: Name::new(name).unwrap(),
        }
    }

    /// A log with one mention each at offsets 3 and 5, then 7, in a folder of its own.
    fn three() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unmatched.log");
        let mut log = Log::open(&Real::new(), path.clone(), 0).unwrap();
        // A message may name a name twice; once is enough.
        log.append(
            &Real::new(),
            &[mention(3, "cell-a"), mention(3, "cell-a"), mention(5, "cell-b")],
        )
        .unwrap();
        log.append(&Real::new(), &[mention(7, "cell-c")]).unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_appended_is_found_again_after_reopening() {
        let (_dir, path) = three();
        let log = Log::open(&Real::new(), path.clone(), 8).unwrap();
        let name = |text| Name::new(text).unwrap();
        assert!(
            log.contains(3, &name("cell-a"))
                && log.contains(5, &name("cell-b"))
                && log.contains(7, &name("cell-c"))
        );
        assert!(!log.contains(3, &name("cell-b")) && !log.contains(4, &name("cell-a")));
        assert_eq!(
            read(&path).unwrap(),
            [mention(3, "cell-a"), mention(5, "cell-b"), mention(7, "cell-c")]
        );
    }

    #[test]
    fn the_bytes_are_those_documented() {
        let (_dir, path) = three();
        let text = std::fs::read_to_string(path).unwrap();
        let first = text.lines().nth(1).unwrap();
        assert_eq!(
            first,
            format!(
                "3 Validated cell-a {:08x}",
                crc32fast::hash(b"3 Validated cell-a")
            )
        );
    }

    #[test]
    fn a_log_torn_at_any_byte_keeps_the_whole_lines_and_takes_the_rest_again() {
        let (_dir, path) = three();
        let whole = std::fs::read(&path).unwrap();
        for torn_at in HEADER.len()..whole.len() {
            std::fs::write(&path, &whole[..torn_at]).unwrap();
            let mut log = Log::open(&Real::new(), path.clone(), 3).unwrap();
            let all = [mention(3, "cell-a"), mention(5, "cell-b"), mention(7, "cell-c")];
            let missing: Vec<_> = all
                .into_iter()
                .filter(|m| !log.contains(m.offset, &m.name))
                .collect();
            assert!(!missing.is_empty());
            log.append(&Real::new(), &missing).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "torn at {torn_at}");
        }
    }

    #[test]
    fn a_damaged_line_among_finished_batches_is_an_error_that_names_the_line() {
        let (_dir, path) = three();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER.len() + 2] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Log::open(&Real::new(), path.clone(), 8).unwrap_err().to_string();
        assert!(
            error.contains("line 2 is damaged") && error.contains("restore it"),
            "{error}"
        );
        // Had the batches not been finished, it would be the unfinished end of one append.
        assert!(Log::open(&Real::new(), path, 3).is_ok());
    }

    #[test]
    fn an_unknown_header_is_refused() {
        let (_dir, path) = three();
        for text in ["", "azaion-unmatched 2\n", "azaion-unm"] {
            std::fs::write(&path, text).unwrap();
            assert!(
                matches!(
                    Log::open(&Real::new(), path.clone(), 0),
                    Err(Error::Format { .. })
                ),
                "{text:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics_and_never_makes_a_mention_up(
            at in 0..120_usize, byte in 0..=255_u8, cut in 0..120_usize
        ) {
            let mentions = [mention(3, "cell-a"), mention(5, "cell-b"), mention(7, "cell-c")];
            let mut bytes = [HEADER.to_vec(), mentions.iter().flat_map(|m| line(m).into_bytes()).collect()].concat();
            if let Some(damaged) = bytes.get_mut(at) {
                *damaged = byte;
            }
            bytes.truncate(cut.max(HEADER.len()));
            if let Ok(parsed) = parse(Path::new("unmatched.log"), &bytes) {
                assert!(parsed.mentions.iter().all(|found| mentions.contains(found)));
                assert!(parsed.sound <= bytes.len());
            }
        }
    }
}
