//! `offset.yaml`: the offset of the next message to read (QUE-6).
//!
//! ```yaml
//! version: 1
//! offset: 4711
//! ```
//! It is replaced atomically, after everything before that offset is durable. Where it is missing the first message is the
//! next; where it cannot be understood that is an error, never a silent start from the beginning.

use std::path::Path;

use serde::Deserialize;

use crate::atomic;
use crate::disk::{Disk, Real};
use crate::error::{Error, Result};

const VERSION: u32 = 1;
const NEXT: &str = "restore it from a backup, or write `version: 1` and `offset: N` with the offset to read next; \
                    a smaller one is safe, what is there already is recognised";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    offset: u64,
}

/// Reads the offset of the next message; 0 where there is no such file.
pub fn read(path: &Path) -> Result<u64> {
    read_on(&Real::new(), path)
}

pub(crate) fn read_on(disk: &dyn Disk, path: &Path) -> Result<u64> {
    let Some(bytes) = disk.read(path).map_err(Error::io("read", path))? else {
        return Ok(0);
    };
    let unusable = |reason: String| Error::Format {
        path: path.to_owned(),
        reason,
        next: NEXT,
    };
    let file: File = serde_saphyr::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if file.version != VERSION {
        return Err(unusable(format!(
            "version {} is not known here, only {VERSION} is",
            file.version
        )));
    }
    Ok(file.offset)
}

pub(crate) fn write_on(disk: &dyn Disk, path: &Path, offset: u64) -> Result<()> {
    atomic::replace_on(disk, path, &text(offset))
}

/// The file's bytes.
#[must_use]
pub fn text(offset: u64) -> Vec<u8> {
    format!("version: {VERSION}\noffset: {offset}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<u64> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offset.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_missing_file_means_the_first_message() {
        assert_eq!(read(Path::new("/nowhere/offset.yaml")).unwrap(), 0);
    }

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offset.yaml");
        for offset in [0, 1, u64::MAX] {
            write_on(&Real::new(), &path, offset).unwrap();
            assert_eq!(read(&path).unwrap(), offset);
        }
    }

    #[test]
    fn a_file_written_by_hand_is_read() {
        assert_eq!(
            read_text("# set back by hand\noffset: 12\nversion: 1").unwrap(),
            12
        );
    }

    #[test]
    fn whatever_is_not_understood_is_an_error_that_says_what_to_do() {
        for text in [
            "",
            "version: 1",
            "offset: 3",
            "version: 2\noffset: 3",
            "version: 1\noffset: -3",
            "version: 1\noffset: three",
            "version: 1\noffset: 3\nqueue: x",
            "\0\0\0\0\0\0",
            "version: 1\noff",
        ] {
            let error = read_text(text).expect_err(text).to_string();
            assert!(
                error.contains("offset.yaml is not usable") && error.contains("restore it"),
                "{error}"
            );
        }
    }
}
