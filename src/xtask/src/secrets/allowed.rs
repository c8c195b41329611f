//! `.ci/secrets-allowed`: what looks like a secret and is none. A line names one by its fingerprint, so that the list holds
//! nothing that has to be kept, and gives the reason. A line that fits nothing any more is a problem too: the list never
//! grows past what is needed.
//!
//! ```text
//! # fingerprint      reason
//! 0123456789abcdef   the key of the test broker, made for each run
//! ```

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use thiserror::Error;

use crate::digest;

/// Where the list is, from the workspace's root.
pub(super) const FILE: &str = ".ci/secrets-allowed";
/// Hexadecimal digits of a fingerprint.
const DIGITS: usize = 16;

/// Why the list is of no use.
#[derive(Debug, Error)]
pub enum AllowedError {
    /// It cannot be read.
    #[error("cannot read {FILE}: {0}")]
    Read(#[source] io::Error),
    /// A line is none.
    #[error(
        "{FILE}:{line}: `{text}` is no fingerprint of {DIGITS} hexadecimal digits with a reason behind it"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    fingerprint: String,
    used: Cell<bool>,
}

impl Allowed {
    /// The list of the workspace at `root`; a missing file is an empty one.
    pub(super) fn load(root: &Path) -> Result<Self, AllowedError> {
        match fs::read_to_string(root.join(FILE)) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(AllowedError::Read(error)),
        }
    }

    fn parse(text: &str) -> Result<Self, AllowedError> {
        let entries = text
            .lines()
            .enumerate()
            .map(|(index, text)| (index + 1, text.trim()))
            .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
            .map(|(line, text)| entry(line, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Whether it names what has this fingerprint.
    pub(super) fn has(&self, fingerprint: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.fingerprint == fingerprint);
        if let Some(entry) = entry {
            entry.used.set(true);
        }
        entry.is_some()
    }

    /// Lines that fitted nothing, with their fingerprints.
    pub(super) fn unused(&self) -> impl Iterator<Item = (usize, &str)> {
        self.entries
            .iter()
            .filter(|entry| !entry.used.get())
            .map(|entry| (entry.line, entry.fingerprint.as_str()))
    }
}

fn entry(line: usize, text: &str) -> Result<Entry, AllowedError> {
    text.split_once(char::is_whitespace)
        .filter(|(mark, reason)| {
            mark.len() == DIGITS
                && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !reason.trim().is_empty()
        })
        .map(|(mark, _)| Entry {
            line,
            fingerprint: mark.to_ascii_lowercase(),
            used: Cell::new(false),
        })
        .ok_or_else(|| AllowedError::Line {
            line,
            text: text.to_owned(),
        })
}

/// The name of a secret that tells nothing of it.
pub(super) fn fingerprint(secret: &[u8]) -> String {
    let mut digits = digest::of_bytes(secret);
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_allows_what_has_its_fingerprint_and_says_whether_it_was_needed() {
        let mark = fingerprint(b"abc");
        let allowed = Allowed::parse(&format!(
            "# why\n\n{mark}  made for a test\n{}  gone\n",
            "0".repeat(16)
        ))
        .unwrap();
        assert!(allowed.has(&mark) && !allowed.has("1111111111111111"));
        let unused: Vec<_> = allowed.unused().map(|(line, _)| line).collect();
        assert_eq!(unused, [4]);
    }

    #[test]
    fn a_line_without_a_reason_is_an_error_with_its_number() {
        for line in [
            "0123456789abcdef",
            "0123456789abcdef   ",
            "0123 too short",
            "src/a.rs is fine",
        ] {
            let error = Allowed::parse(&format!("# list\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("secrets-allowed:2"), "{error}");
        }
    }
}
