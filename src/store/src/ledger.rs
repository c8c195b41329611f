//! `ledger.log`: what happened to every annotation, when, by which role, at which offset.
//!
//! It is written ahead of the tree: the lines of a batch are durable before the first of its files gets its name. So a batch
//! that was cut off and is read again finds its lines there, and none is written twice; and what a line says was decided
//! on the tree as it was before. It holds no personal data. The tree can do without it: [`rebuild`] makes a new one.
//!
//! # Layout
//! ```text
//! azaion-ledger 1
//! {offset} {time} {event} {role} {home} {name} {image} {label} {media}
//! = {next} {lines} {bytes} {crc}
//! ```
//! One line for each annotation that a message was about, `-` where there is nothing to say: the message's offset, seconds
//! since 1970, an [`Event`], the role of who did it, the home where the annotation is now, its name, and the SHA-256 of
//! image and label where they are new. Only where the message told of its source media is there a ninth field, its [`Media`]:
//! lines of before have eight. A line with `=` ends the lines of a batch: the offset behind it, how many lines and
//! bytes they are, and their CRC-32, 8 hexadecimal digits. It begins with `+` where messages out of quarantine were
//! processed again, for which the offset does not move. The file only grows. A batch without its last line was never begun
//! in the tree, and is cut off on opening.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use annotation::{Name, Role};

use crate::atomic;
use crate::digest::Digest;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};
use crate::media::Media;
use crate::paths::Home;

const HEADER: &[u8] = b"azaion-ledger 1\n";
const NEXT: &str =
    "restore it from a backup, or make a new one from the tree with `azaion queue rebuild-ledger`";
/// How much of the end is looked at first when the last batch is looked for.
const END_BYTES: usize = 1 << 20;

/// What happened to an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// It came into being.
    Created,
    /// Its label was rewritten.
    Edited,
    /// It was moved to the validated ones.
    Validated,
    /// It was moved to the deleted ones.
    Deleted,
    /// A message about it changed nothing: it was there already, deleted, or where it should be.
    Ignored,
    /// A message named it before it was there, and was in vain.
    Missed,
    /// It was found in the tree when the ledger was made anew.
    Found,
}

impl Event {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Edited,
        Self::Validated,
        Self::Deleted,
        Self::Ignored,
        Self::Missed,
        Self::Found,
    ];

    /// Its word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Edited => "edited",
            Self::Validated => "validated",
            Self::Deleted => "deleted",
            Self::Ignored => "ignored",
            Self::Missed => "missed",
            Self::Found => "found",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The message's offset; none for what was found.
    pub offset: Option<u64>,
    /// When it was done, in seconds since 1970.
    pub time: u64,
    /// What happened.
    pub event: Event,
    /// Who did it, where the message tells.
    pub role: Option<Role>,
    /// Where the annotation is now; none if it is nowhere.
    pub home: Option<Home>,
    /// Whose line this is.
    pub name: Name,
    /// Of the image, where it is new.
    pub image: Option<Digest>,
    /// Of the label file, where it is new.
    pub label: Option<Digest>,
    /// What the image was taken from, where the message that brought it tells.
    pub media: Option<Media>,
}

/// A value, or `-`.
struct Or<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

impl Entry {
    fn write(&self, into: &mut String) {
        let Self {
            offset,
            time,
            event,
            role,
            home,
            name,
            image,
            label,
            media,
        } = self;
        // Writing to a String does not fail.
        let _ = write!(
            into,
            "{} {time} {event} {} {} {name} {} {}",
            Or(*offset),
            Or(*role),
            Or(*home),
            Or(*image),
            Or(*label),
        );
        if let Some(media) = media {
            let _ = write!(into, " {media}");
        }
        into.push('\n');
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let mut field = || fields.next();
        let entry = Self {
            offset: optional(field()?, |text| text.parse().ok())?,
            time: field()?.parse().ok()?,
            event: field().and_then(|text| Event::ALL.into_iter().find(|event| event.as_str() == text))?,
            role: optional(field()?, |text| {
                Role::ALL.into_iter().find(|role| role.as_str() == text)
            })?,
            home: optional(field()?, |text| {
                Home::ALL.into_iter().find(|home| home.as_str() == text)
            })?,
            name: Name::new(field()?).ok()?,
            image: optional(field()?, |text| Digest::parse(text.as_bytes()))?,
            label: optional(field()?, |text| Digest::parse(text.as_bytes()))?,
            media: match field() {
                Some(text) => Some(Media::parse(text)?),
                None => None,
            },
        };
        fields.next().is_none().then_some(entry)
    }
}

/// `Some(None)` for `-`, `None` for what is neither that nor a value.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match text {
        "-" => Some(None),
        text => parse(text).map(Some),
    }
}

/// Why a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its messages are the stream's next.
    Stream,
    /// Its messages were read before and are processed again.
    Again,
}

impl Turn {
    const fn mark(self) -> &'static str {
        match self {
            Self::Stream => "= ",
            Self::Again => "+ ",
        }
    }

    fn of(line: &[u8]) -> Option<Self> {
        [Self::Stream, Self::Again]
            .into_iter()
            .find(|turn| line.starts_with(turn.mark().as_bytes()))
    }
}

/// The line that ends a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    turn: Turn,
    next: u64,
    lines: usize,
    bytes: usize,
    crc: u32,
}

impl End {
    fn of(lines: &str, turn: Turn, next: u64) -> Self {
        Self {
            turn,
            next,
            lines: lines.as_bytes().iter().filter(|byte| **byte == b'\n').count(),
            bytes: lines.len(),
            crc: crc32fast::hash(lines.as_bytes()),
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let turn = Turn::of(line)?;
        let mut fields = str::from_utf8(line)
            .ok()?
            .strip_prefix(turn.mark())?
            .strip_suffix('\n')?
            .split(' ');
        let end = Self {
            turn,
            next: u64::from_str(fields.next()?).ok()?,
            lines: fields.next()?.parse().ok()?,
            bytes: fields.next()?.parse().ok()?,
            crc: fields
                .next()
                .filter(|crc| crc.len() == 8)
                .and_then(|crc| u32::from_str_radix(crc, 16).ok())?,
        };
        fields.next().is_none().then_some(end)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            turn,
            next,
            lines,
            bytes,
            crc,
        } = self;
        writeln!(f, "{}{next} {lines} {bytes} {crc:08x}", turn.mark())
    }
}

/// The open ledger: where the next batch goes.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    len: u64,
    /// Messages before this offset have their lines.
    next: u64,
}

impl Log {
    /// Opens or makes the ledger; only its end is read. `committed` is the offset in `offset.yaml`: a torn batch must be a later one.
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf, committed: u64) -> Result<Self> {
        let mut most = END_BYTES;
        let (len, next) = loop {
            let Some((len, end)) = disk.read_end(&path, most).map_err(Error::io("read", &path))? else {
                atomic::replace_on(disk, &path, HEADER)?;
                break (HEADER.len() as u64, 0);
            };
            let whole = len == end.len() as u64;
            match last_batch(&end, whole, committed) {
                Last::Found { at, next } => {
                    let sound = len - (end.len() - at) as u64;
                    if sound < len {
                        tracing::warn!(path = %path.display(), bytes = len - sound, "torn end cut off");
                    }
                    break (sound, next);
                }
                Last::Further => most = most.saturating_mul(8),
                Last::Damaged(reason) => return Err(unusable(&path, reason)),
            }
        };
        Ok(Self { path, len, next })
    }

    /// Makes durable what a killed predecessor, or a batch that failed, has written and could not sync any more.
    pub(crate) fn settle(&self, disk: &dyn Disk) -> Result<()> {
        disk.append(&self.path, self.len, &[])
            .map_err(Error::io("append to", &self.path))
    }

    /// Whether the message at this offset has its lines already.
    pub(crate) fn covers(&self, offset: u64) -> bool {
        offset < self.next
    }

    /// Messages before this offset have their lines.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether it has no line at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == HEADER.len() as u64
    }

    /// Adds the lines of a batch that ends before `next`, by `append`, which may leave the syncing to its caller.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        turn: Turn,
        next: u64,
        append: impl FnOnce(&Path, u64, &[u8]) -> io::Result<()>,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        // A batch that was cut off may have its lines already, and what is done again does not unsay that.
        let next = next.max(self.next);
        let text = batch(entries, turn, next);
        append(&self.path, self.len, text.as_bytes()).map_err(Error::io("append to", &self.path))?;
        self.len += text.len() as u64;
        self.next = next;
        Ok(())
    }
}

/// The bytes of a batch.
fn batch(entries: &[Entry], turn: Turn, next: u64) -> String {
    let mut text = String::with_capacity(entries.len() * 256);
    entries.iter().for_each(|entry| entry.write(&mut text));
    let end = End::of(&text, turn, next);
    let _ = write!(text, "{end}");
    text
}

/// What a look at the end of the file found.
enum Last {
    /// The last whole batch ends at this byte, or there is none and the header does.
    Found { at: usize, next: u64 },
    /// It begins before what was read.
    Further,
    /// What cannot be explained by a write that was cut off.
    Damaged(String),
}

fn last_batch(tail: &[u8], whole: bool, committed: u64) -> Last {
    if whole && !tail.starts_with(HEADER) {
        return Last::Damaged("its first line is not `azaion-ledger 1`".to_owned());
    }
    let mut end = tail.len();
    // From the last line break backwards, line by line.
    while let Some(line_end) = tail[..end]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map(|at| at + 1)
    {
        let start = tail[..line_end - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if let Some(found) = End::parse(&tail[start..line_end]) {
            match start.checked_sub(found.bytes).map(|from| &tail[from..start]) {
                None if !whole => return Last::Further,
                Some(lines) if crc32fast::hash(lines) == found.crc => {
                    return Last::Found {
                        at: line_end,
                        next: found.next,
                    };
                }
                // What was done again is after the offset and does not move it: it may be torn.
                _ if found.next <= committed && found.turn == Turn::Stream => {
                    return Last::Damaged(format!(
                        "the lines that end with offset {} are damaged",
                        found.next
                    ));
                }
                _ => {}
            }
        }
        end = start;
    }
    if whole {
        Last::Found {
            at: HEADER.len(),
            next: 0,
        }
    } else {
        Last::Further
    }
}

/// Reads the ledger from its beginning, batch by batch; each is checked before its lines are handed out. A batch that was cut
/// off, or is being written, is the end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// The lines of the batch in hand, and how far they are read.
    lines: String,
    at: usize,
    line: usize,
    /// Where the next batch begins in the file.
    byte: u64,
    ended: bool,
}

/// Opens the ledger for reading; without one there is nothing to read.
pub fn read(path: &Path) -> Result<Reader> {
    let open = || -> io::Result<(File, Vec<u8>)> {
        let mut file = File::open(path)?;
        let mut header = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut file, HEADER.len() as u64), &mut header)?;
        Ok((file, header))
    };
    let (file, header) = open().map_err(Error::io("read", path))?;
    if header != HEADER {
        return Err(unusable(
            path,
            "its first line is not `azaion-ledger 1`".to_owned(),
        ));
    }
    Ok(Reader {
        path: path.to_owned(),
        file: BufReader::with_capacity(1 << 18, file),
        lines: String::new(),
        at: 0,
        line: 1,
        byte: HEADER.len() as u64,
        ended: false,
    })
}

impl Reader {
    /// The same reader once more, at its end: it goes on with what was added since.
    pub fn resume(mut self) -> Result<Self> {
        self.file
            .seek(SeekFrom::Start(self.byte))
            .map_err(Error::io("read", &self.path))?;
        self.ended = false;
        Ok(self)
    }

    /// Reads the next batch; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let mut block = Vec::new();
        loop {
            let start = block.len();
            self.file
                .read_until(b'\n', &mut block)
                .map_err(Error::io("read", &self.path))?;
            if block.len() == start || block.last() != Some(&b'\n') {
                return Ok(false);
            }
            self.line += 1;
            if Turn::of(&block[start..]).is_some() {
                let end = End::parse(&block[start..]);
                let bytes = block.len() as u64;
                block.truncate(start);
                let text = String::from_utf8(block).ok().filter(|text| {
                    end.is_some_and(|end| {
                        end.bytes == text.len() && end.crc == crc32fast::hash(text.as_bytes())
                    })
                });
                return match text {
                    Some(text) => {
                        (self.lines, self.at) = (text, 0);
                        self.byte += bytes;
                        Ok(true)
                    }
                    // Only at the end can it be a batch that was cut off.
                    None if self.is_at_end()? => Ok(false),
                    None => Err(self.damaged()),
                };
            }
        }
    }

    fn is_at_end(&mut self) -> Result<bool> {
        let rest = self.file.fill_buf().map_err(Error::io("read", &self.path))?;
        Ok(rest.is_empty())
    }

    fn damaged(&self) -> Error {
        unusable(
            &self.path,
            format!("the lines before line {} are damaged", self.line),
        )
    }
}

impl Reader {
    /// The entries about one annotation. Only the lines with its name are looked into.
    pub fn about(mut self, name: &Name) -> Result<Vec<Entry>> {
        let field = format!(" {name} ");
        let mut entries = Vec::new();
        while self.fill()? {
            let mut read = 0;
            for (at, _) in self.lines.match_indices(&field) {
                // The name may be a word of the ledger's own, and there twice.
                if at < read {
                    continue;
                }
                let start = self.lines[..at].rfind('\n').map_or(0, |before| before + 1);
                let line = self.lines[start..].split('\n').next().unwrap_or_default();
                read = start + line.len();
                let entry = Entry::parse(line).ok_or_else(|| self.damaged())?;
                if entry.name == *name {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }
}

/// The last entry of the ledger at `path`, found from its end; none where there is no ledger, or nothing in it.
pub fn last(path: &Path) -> Result<Option<Entry>> {
    let mut most = END_BYTES;
    loop {
        let read = Real::new()
            .read_end(path, most)
            .map_err(Error::io("read", path))?;
        let Some((len, end)) = read else {
            return Ok(None);
        };
        // A writer may be about to add a batch: one that is not whole says nothing.
        match last_batch(&end, len == end.len() as u64, 0) {
            Last::Found { at, .. } => {
                let mut lines = end[..at].rsplit(|byte| *byte == b'\n').skip(2);
                let line = lines.next().and_then(|line| str::from_utf8(line).ok());
                return Ok(line.and_then(Entry::parse));
            }
            Last::Further => most = most.saturating_mul(8),
            Last::Damaged(reason) => return Err(unusable(path, reason)),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.at == self.lines.len() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    return None;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        let rest = self.lines.get(self.at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        self.at += line.len() + 1;
        Some(Entry::parse(line).ok_or_else(|| {
            self.ended = true;
            self.damaged()
        }))
    }
}

/// What is known of an annotation now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Where it lives.
    pub home: Home,
    /// Of its image.
    pub image: Option<Digest>,
    /// Of its label file.
    pub label: Option<Digest>,
}

/// Every annotation that the entries speak of, as it is after the last of them.
pub fn states(entries: impl IntoIterator<Item = Result<Entry>>) -> Result<HashMap<Name, State>> {
    let mut states: HashMap<Name, State> = HashMap::new();
    for entry in entries {
        let Entry {
            event,
            home: Some(home),
            name,
            image,
            label,
            ..
        } = entry?
        else {
            continue;
        };
        match states.get_mut(&name) {
            // A new ledger begins with what was found, whatever was known before.
            Some(state) if !matches!(event, Event::Found | Event::Created) => {
                state.home = home;
                state.image = image.or(state.image);
                state.label = label.or(state.label);
            }
            _ => drop(states.insert(name, State { home, image, label })),
        }
    }
    Ok(states)
}

/// Writes a new ledger over an old one: batches of entries, none of which has an offset, and which stand for everything before `next`.
pub(crate) fn write_anew(
    path: &Path,
    next: u64,
    batches: impl IntoIterator<Item = Result<Vec<Entry>>>,
) -> Result<()> {
    let mut failed = None;
    let written = atomic::replace_with(path, |out| {
        io::Write::write_all(out, HEADER)?;
        for entries in batches {
            match entries {
                Ok(entries) if entries.is_empty() => {}
                Ok(entries) => io::Write::write_all(out, batch(&entries, Turn::Stream, next).as_bytes())?,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
        }
        Ok(())
    });
    failed.map_or(written, Err)
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

    fn entry(offset: u64, event: Event, name: &str) -> Entry {
        Entry {
            offset: Some(offset),
            time: 1_795_724_232,
            event,
            role: Some(Role::Validator),
            home: Some(Home::Data),
            name: Name::new(name).unwrap(),
            image: Some(Digest::of(b"pixels")),
            label: Some(Digest::of(b"")),
            media: None,
        }
    }

    fn log(dir: &Path, committed: u64) -> Result<Log> {
        Log::open(&Real::new(), dir.join("ledger.log"), committed)
    }

    fn append_in(log: &mut Log, turn: Turn, entries: &[Entry], next: u64) {
        log.append(entries, turn, next, |path, at, bytes| {
            Real::new().append(path, at, bytes)
        })
        .unwrap();
    }

    fn append(log: &mut Log, entries: &[Entry], next: u64) {
        append_in(log, Turn::Stream, entries, next);
    }

    /// A ledger with a batch of two lines that ends before offset 5, and one of one line before 9.
    fn two() -> (tempfile::TempDir, PathBuf, Vec<Entry>) {
        let dir = tempfile::tempdir().unwrap();
        let entries = vec![
            entry(3, Event::Created, "cell-a"),
            entry(4, Event::Edited, "cell-a"),
            entry(8, Event::Deleted, "cell-b"),
        ];
        let mut log = log(dir.path(), 0).unwrap();
        append(&mut log, &entries[..2], 5);
        append(&mut log, &entries[2..], 9);
        let path = dir.path().join("ledger.log");
        (dir, path, entries)
    }

    fn all(path: &Path) -> Result<Vec<Entry>> {
        read(path)?.collect()
    }

    #[test]
    fn the_bytes_are_those_documented() {
        let (_dir, path, _) = two();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "azaion-ledger 1");
        let (pixels, empty) = (Digest::of(b"pixels"), Digest::of(b""));
        assert_eq!(
            lines[1],
            format!("3 1795724232 created Validator data cell-a {pixels} {empty}")
        );
        let batch = format!("{}\n{}\n", lines[1], lines[2]);
        assert_eq!(
            lines[3],
            format!("= 5 2 {} {:08x}", batch.len(), crc32fast::hash(batch.as_bytes()))
        );
    }

    #[test]
    fn a_line_that_tells_of_the_source_media_has_a_ninth_field_and_one_of_before_is_read() {
        let media = Media::of("slide-7.tif");
        let told = Entry {
            media,
            ..entry(3, Event::Created, "cell-a")
        };
        let (mut line, mut before) = (String::new(), String::new());
        told.write(&mut line);
        entry(3, Event::Created, "cell-a").write(&mut before);
        assert_eq!(line, format!("{} {}\n", before.trim_end(), media.unwrap()));
        assert_eq!(Entry::parse(line.trim_end()), Some(told));
        assert_eq!(Entry::parse(before.trim_end()).unwrap().media, None);
        for bad in ["-", "0", "cell", "00000000000000000 x"] {
            assert_eq!(
                Entry::parse(&format!("{} {bad}", before.trim_end())),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_appended_is_read_again_and_covers_its_offsets() {
        let (dir, path, entries) = two();
        assert_eq!(all(&path).unwrap(), entries);
        let log = log(dir.path(), 9).unwrap();
        assert!(log.covers(8) && !log.covers(9));
    }

    #[test]
    fn a_line_without_anything_known_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let found = Entry {
            offset: None,
            time: 0,
            event: Event::Found,
            role: None,
            home: None,
            name: Name::new("cell-a").unwrap(),
            image: None,
            label: None,
            media: None,
        };
        append(&mut log(dir.path(), 0).unwrap(), std::slice::from_ref(&found), 1);
        assert_eq!(all(&dir.path().join("ledger.log")).unwrap(), [found]);
    }

    #[test]
    fn a_ledger_torn_at_any_byte_keeps_its_whole_batches_and_takes_the_rest_again() {
        let (_dir, path, entries) = two();
        let whole = std::fs::read(&path).unwrap();
        let first = {
            let text = std::str::from_utf8(&whole).unwrap();
            text.find("\n= ")
                .map(|at| at + 1 + text[at + 1..].find('\n').unwrap() + 1)
                .unwrap()
        };
        for torn_at in (HEADER.len()..whole.len()).step_by(5).chain([first - 1, first]) {
            let dir = tempfile::tempdir().unwrap();
            // A power cut may leave zeros where bytes were to be.
            for tail in [&[][..], &[0; 700][..]] {
                let path = dir.path().join("ledger.log");
                std::fs::write(&path, [&whole[..torn_at], tail].concat()).unwrap();
                let kept = if torn_at < first { 0 } else { 2 };
                let mut log = log(dir.path(), if kept == 0 { 0 } else { 5 }).unwrap();
                assert_eq!(log.covers(4), kept == 2, "{torn_at}");
                append(&mut log, &entries[kept..], 9);
                assert_eq!(all(&path).unwrap(), entries, "{torn_at}");
            }
        }
    }

    #[test]
    fn damage_below_the_committed_offset_is_an_error_that_says_what_to_do() {
        let (dir, path, _) = two();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = log(dir.path(), 9).unwrap_err().to_string();
        assert!(
            error.contains("offset 9 are damaged") && error.contains("azaion queue rebuild-ledger"),
            "{error}"
        );
        // A batch that was never committed may be damaged: it is read again.
        assert!(log(dir.path(), 5).unwrap().covers(4));
    }

    #[test]
    fn what_was_done_again_may_be_torn_and_unsays_nothing() {
        let (dir, path, mut entries) = two();
        let again = entry(3, Event::Edited, "cell-c");
        append_in(
            &mut log(dir.path(), 9).unwrap(),
            Turn::Again,
            std::slice::from_ref(&again),
            7,
        );
        let reopened = log(dir.path(), 9).unwrap();
        assert!(reopened.covers(8) && !reopened.covers(9));
        entries.push(again);
        assert_eq!(all(&path).unwrap(), entries);

        // The power went while it was written: its last line came to be, a line before it did not.
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 60;
        bytes[at] = 0;
        std::fs::write(&path, bytes).unwrap();
        assert!(log(dir.path(), 9).unwrap().covers(8));
        assert_eq!(all(&path).unwrap(), entries[..3]);
    }

    #[test]
    fn the_last_entry_and_those_about_a_name_are_found() {
        let (dir, path, entries) = two();
        let cell_a = Name::new("cell-a").unwrap();
        assert_eq!(last(&path).unwrap().as_ref(), entries.last());
        assert_eq!(read(&path).unwrap().about(&cell_a).unwrap(), entries[..2]);

        // Names that are words of the ledger's own.
        let odd = ["-", "created", "seed"].map(|name| Entry {
            role: None,
            image: None,
            label: None,
            ..entry(10, Event::Created, name)
        });
        append(&mut log(dir.path(), 9).unwrap(), &odd, 11);
        for entry in &odd {
            let found = read(&path).unwrap().about(&entry.name).unwrap();
            assert_eq!(found, std::slice::from_ref(entry));
        }
        assert_eq!(last(&path).unwrap().as_ref(), odd.last());

        assert_eq!(last(&dir.path().join("nowhere")).unwrap(), None);
        std::fs::write(&path, HEADER).unwrap();
        assert_eq!(last(&path).unwrap(), None);
    }

    #[test]
    fn damage_in_the_middle_is_found_by_whoever_reads_it() {
        let (_dir, path, _) = two();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER.len() + 5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = all(&path).unwrap_err().to_string();
        assert!(error.contains("before line 4 are damaged"), "{error}");
    }

    #[test]
    fn another_file_is_no_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.log");
        for text in ["", "azaion-ledger 2\n", "azaion-unmatched 1\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(log(dir.path(), 0).is_err() && all(&path).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_last_batch_is_found_though_it_is_larger_than_the_first_look() {
        let dir = tempfile::tempdir().unwrap();
        let name = "n".repeat(120);
        let many: Vec<Entry> = (0..8000)
            .map(|offset| entry(offset, Event::Created, &name))
            .collect();
        append(&mut log(dir.path(), 0).unwrap(), &many, 8000);
        assert!(std::fs::metadata(dir.path().join("ledger.log")).unwrap().len() > 2 * END_BYTES as u64);
        assert!(log(dir.path(), 8000).unwrap().covers(7999));
    }

    #[test]
    fn a_reader_goes_on_with_what_was_added_since() {
        let (dir, path, entries) = two();
        let mut reader = read(&path).unwrap();
        assert_eq!(reader.by_ref().count(), 3);
        let later = entry(9, Event::Created, "cell-c");
        append(&mut log(dir.path(), 9).unwrap(), std::slice::from_ref(&later), 10);
        assert!(reader.next().is_none());
        let more: Result<Vec<Entry>> = reader.resume().unwrap().collect();
        assert_eq!(more.unwrap(), [later]);
        assert_eq!(all(&path).unwrap().len(), entries.len() + 1);
    }

    #[test]
    fn the_last_word_on_a_name_counts_and_a_label_is_known_until_the_next() {
        let (image, first, second) = (Digest::of(b"i"), Digest::of(b"1"), Digest::of(b"2"));
        let line = |event, home, image, label| Entry {
            home: Some(home),
            image,
            label,
            ..entry(0, event, "cell-a")
        };
        let states = states(
            [
                line(Event::Created, Home::Seed, Some(image), Some(first)),
                line(Event::Edited, Home::Seed, None, Some(second)),
                line(Event::Validated, Home::Data, None, None),
            ]
            .map(Ok),
        )
        .unwrap();
        assert_eq!(
            states[&Name::new("cell-a").unwrap()],
            State {
                home: Home::Data,
                image: Some(image),
                label: Some(second),
            }
        );
    }
}
