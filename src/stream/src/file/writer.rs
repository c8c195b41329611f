//! The one writer of a stream file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::warn;

use super::{
    Head, Log, MAX_MESSAGE_BYTES, Position, header,
    scan::{self, Tail},
};
use crate::Error;

/// Tells the files apart that this process writes aside.
static CREATED: AtomicU64 = AtomicU64::new(0);

/// Appends messages to a stream file, alone: it holds an exclusive lock as long as it lives.
///
/// An appended message is visible to readers at once, outlives a kill of this process at once, and outlives a power cut
/// after [`FileWriter::sync`]. An append that fails leaves the file as it was before.
#[derive(Debug)]
pub struct FileWriter {
    log: Log,
    end: Position,
    /// A head and a payload, to write both in one call; kept for its memory.
    record: Vec<u8>,
    poisoned: bool,
}

impl FileWriter {
    /// Opens the stream at `path`, or makes an empty one.
    ///
    /// A new file appears complete with its header or not at all. A torn tail of an earlier writer is cut off, with a
    /// WARN; damage anywhere else is an error.
    pub fn create_or_append(path: &Path) -> Result<Self, Error> {
        let io = |action| {
            move |source| Error::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let open = || OpenOptions::new().read(true).write(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(io("create"))?;
                open()
            }
            other => other,
        };
        let file = file.map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let log = Log::check(file, path)?;
        let end = scan::walk(&log, Position::START, |_| {})?;
        if let Tail::Torn { bytes } = end.tail {
            let path = path.display();
            warn!(%path, position = end.position.byte, offset = end.position.offset, bytes, "torn tail cut off");
            log.file
                .set_len(end.position.byte)
                .map_err(log.io("cut the torn tail off"))?;
            log.file.sync_all().map_err(log.io("sync"))?;
        }
        Ok(Self {
            log,
            end: end.position,
            record: Vec::new(),
            poisoned: false,
        })
    }

    /// The offset that the next message will get, which is also the number of messages.
    pub fn next_offset(&self) -> u64 {
        self.end.offset
    }

    /// Appends a message and returns its offset.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, Error> {
        if self.poisoned {
            return Err(Error::Poisoned {
                path: self.log.path.clone(),
            });
        }
        if payload.len() > MAX_MESSAGE_BYTES {
            let path = self.log.path.clone();
            return Err(Error::TooLarge {
                path,
                size: payload.len(),
                limit: MAX_MESSAGE_BYTES,
            });
        }
        let head = Head::of(payload);
        self.record.clear();
        self.record.extend_from_slice(&head.to_bytes());
        self.record.extend_from_slice(payload);
        if let Err(error) = self.log.file.write_all_at(&self.record, self.end.byte) {
            // A part of the record may be there: later messages must not come after it.
            self.poisoned = self.log.file.set_len(self.end.byte).is_err();
            return Err(self.log.io("append to")(error));
        }
        let offset = self.end.offset;
        self.end = self.end.after(head);
        Ok(offset)
    }

    /// Makes everything appended so far outlive a power cut.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.log.file.sync_data().map_err(self.log.io("sync"))
    }
}

/// Makes an empty stream file, whole or not at all: written aside, synced, linked into place, the folder synced.
///
/// A link, unlike a rename, does not replace a file that another writer made in the same moment; whoever comes second
/// opens the first one's. A kill half-way leaves at most a file of 16 bytes, `.azaion-tmp-<pid>-<count>-<name>`. One that
/// an earlier process of this pid left is unlinked, never written to, since it may be a link to a living stream.
fn create(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let count = CREATED.fetch_add(1, Ordering::Relaxed);
    let mut aside_name = OsString::from(format!(".azaion-tmp-{}-{count}-", std::process::id()));
    aside_name.push(name);
    let aside = folder.join(aside_name);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let linked = write_header(&aside).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&aside);
    linked?;
    removed?;
    File::open(folder)?.sync_all()
}

fn write_header(aside: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(aside)?;
    file.write_all_at(&header(), 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_that_cannot_be_undone_stops_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("annotations.stream");
        let mut writer = FileWriter::create_or_append(&path).unwrap();
        writer.append(b"cells").unwrap();
        // A file that is open for reading only refuses both the append and the cut that would undo it.
        writer.log.file = File::open(&path).unwrap();
        assert!(matches!(
            writer.append(b"shapes"),
            Err(Error::Io {
                action: "append to",
                ..
            })
        ));
        assert!(matches!(writer.append(b"shapes"), Err(Error::Poisoned { .. })));
        drop(writer);
        assert_eq!(FileWriter::create_or_append(&path).unwrap().next_offset(), 1);
    }
}
