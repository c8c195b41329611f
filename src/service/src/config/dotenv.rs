//! The syntax of `.env`: one variable a line, and nothing that two tools would read differently.
//!
//! ```text
//! # a comment
//! NAME=value            # without quotes: up to white space before a #, nothing is special
//! export NAME='value'   # in single quotes: every character is itself
//! NAME="a \"b\" \\ c"   # in double quotes: \" \\ \$ \n \t and nothing else
//! ```
//! Nothing is expanded: a `$` is a dollar. A byte order mark and the line ends of other systems are let pass. A name that
//! is set twice is an error, since tools differ in which one counts. All errors are collected; none repeats a value.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Problem, Profile, count, list};
use crate::Secret;

/// Longest file that is read: nineteen lines, not a document.
const MAX_BYTES: u64 = 256 * 1024;

/// The variables of a `.env` file; their values are wiped from memory when dropped.
#[derive(Debug)]
pub struct Dotenv {
    variables: BTreeMap<String, Secret>,
}

impl Dotenv {
    /// Reads a file. For production it must belong to root, with mode 640 or stricter (CFG-4).
    pub fn load(path: &Path, profile: Profile) -> Result<Self, DotenvError> {
        let failed = |source| DotenvError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(failed(std::io::Error::other("it is not a file")));
        }
        if profile == Profile::Production {
            keeps_to_itself(path, meta.uid(), meta.mode() & 0o7777)?;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len().min(MAX_BYTES) as usize + 1));
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(failed(std::io::Error::other("it is longer than 256 KiB")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            DotenvError::Invalid {
                path: path.to_owned(),
                problems: vec![problem(line, "is not UTF-8 text")],
            }
        })?;
        Self::parse(text).map_err(|problems| DotenvError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    /// Reads the text of a file, or says everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (mut variables, mut lines, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            let number = index + 1;
            match assignment(line.strip_suffix('\r').unwrap_or(line)) {
                Ok(None) => {}
                Ok(Some((name, value))) => match lines.insert(name.to_owned(), number) {
                    None => drop(variables.insert(name.to_owned(), value)),
                    Some(first) => problems.push(Problem {
                        key: name.to_owned(),
                        message: format!("is set in line {first} and again in line {number}; keep one"),
                    }),
                },
                Err(message) => problems.push(problem(number, message)),
            }
        }
        if problems.is_empty() {
            Ok(Self { variables })
        } else {
            Err(problems)
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.variables.get(name)
    }

    /// The names that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }
}

fn keeps_to_itself(path: &Path, owner: u32, mode: u32) -> Result<(), DotenvError> {
    if owner != 0 {
        return Err(DotenvError::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    if mode & !0o640 != 0 {
        return Err(DotenvError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn problem(line: usize, message: &str) -> Problem {
    Problem {
        key: format!("line {line}"),
        message: message.to_owned(),
    }
}

/// Name and value of a line; none where there is nothing on it.
fn assignment(line: &str) -> Result<Option<(&str, Secret)>, &'static str> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("holds a control character");
    }
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, rest) = line.split_once('=').ok_or("is no assignment: NAME=value")?;
    if name.trim_end() != name || rest.trim_start() != rest && !rest.trim_start().starts_with('#') {
        return Err("has white space around the =; write NAME=value");
    }
    if !is_name(name) {
        return Err("begins with no name: letters, digits and _, not a digit first");
    }
    value(rest).map(|value| Some((name, value)))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn value(text: &str) -> Result<Secret, &'static str> {
    let (value, rest) = if let Some(text) = text.strip_prefix('\'') {
        let (value, rest) = text.split_once('\'').ok_or(UNENDED)?;
        (Zeroizing::new(value.to_owned()), rest)
    } else if let Some(text) = text.strip_prefix('"') {
        double_quoted(text)?
    } else {
        (Zeroizing::new(unquoted(text).to_owned()), "")
    };
    let behind = rest.trim_start();
    let is_comment = behind.starts_with('#') && behind.len() < rest.len();
    if !behind.is_empty() && !is_comment {
        return Err("goes on behind the closing quote; quote the whole value");
    }
    Ok(Secret::new(value.as_str().to_owned()))
}

const UNENDED: &str = "has a quote that does not end on this line";

fn double_quoted(text: &str) -> Result<(Zeroizing<String>, &str), &'static str> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, c @ ('"' | '\\' | '$'))) => c,
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some(_) => {
                    return Err(
                        "has an unknown escape in double quotes; use single quotes, or \\\\ for a backslash",
                    );
                }
                None => return Err(UNENDED),
            }),
            c => value.push(c),
        }
    }
    Err(UNENDED)
}

/// Up to a comment, which white space comes before.
fn unquoted(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|&(at, c)| c == '#' && (at == 0 || text[..at].ends_with([' ', '\t'])));
    let end = comment.map_or(text.len(), |(at, _)| at);
    text[..end].trim_end()
}

/// Why a `.env` file cannot be used. Holds names and lines, never a value.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// In production it belongs to root.
    #[error("{} belongs to user {owner}, in production it must belong to root; run: chown root:deploy {}", .path.display(), .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// In production nobody else may read or change it.
    #[error("{} has mode {mode:04o}, in production at most 0640; run: chmod 640 {}", .path.display(), .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Syntax, missing and unusable variables: all of them.
    #[error("{} has {}:{}", .path.display(), count(.problems), list(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// At least one problem.
        problems: Vec<Problem>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> String {
        let read = Dotenv::parse(line).unwrap_or_else(|problems| panic!("{line:?}: {problems:?}"));
        read.get("A")
            .unwrap_or_else(|| panic!("{line:?} sets no A"))
            .expose()
            .to_owned()
    }

    #[test]
    fn a_value_is_what_was_meant() {
        for (line, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("A=  # nothing", ""),
            ("export A=b", "b"),
            ("  A=b c  ", "b c"),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=#c", ""),
            ("A=it's", "it's"),
            ("A=$b\\n", "$b\\n"),
            ("A='b # \"c\" \\n $d'", "b # \"c\" \\n $d"),
            ("A='b' # comment", "b"),
            (r#"A="b \"c\" \\ \$d" # x"#, r#"b "c" \ $d"#),
            (r#"A="b\n\tc""#, "b\n\tc"),
            ("A=b=c", "b=c"),
            ("A=b\r", "b"),
            ("\u{feff}A=b", "b"),
            ("# first\r\n\r\nA=b\r\nB=c\r\n", "b"),
            ("A=\u{00e9}\u{1f34e}", "\u{00e9}\u{1f34e}"),
        ] {
            assert_eq!(read(line), value, "{line:?}");
        }
    }

    #[test]
    fn what_two_tools_would_read_differently_is_an_error_with_its_line() {
        for (text, expected) in [
            ("A=b\nA=c", "is set in line 1 and again in line 2"),
            ("\nA", "line 2: is no assignment"),
            ("A =b", "white space around the ="),
            ("A= b", "white space around the ="),
            ("1A=b", "begins with no name"),
            ("A-B=c", "begins with no name"),
            ("=b", "begins with no name"),
            ("A='b", "does not end on this line"),
            ("A=\"b\\", "does not end on this line"),
            ("A=\"b\nc\"", "line 1: has a quote"),
            ("A='b'c", "behind the closing quote"),
            ("A='b'#c", "behind the closing quote"),
            (r#"A="\x""#, "unknown escape"),
            ("A=b\u{0}c", "control character"),
            ("A=b\rc", "control character"),
        ] {
            let problems = Dotenv::parse(text)
                .err()
                .unwrap_or_else(|| panic!("{text:?} was read"));
            let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
            assert!(told.join("\n").contains(expected), "{text:?}: {told:?}");
        }
    }

    #[test]
    fn all_errors_come_at_once_and_none_repeats_a_value() {
        let problems = Dotenv::parse("A=s3cret\nA=s3cret\nB='s3cret\nC = s3cret\n").unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(!format!("{problems:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[A-C =#'\"\\\\\n\r$]*") {
            let _ = Dotenv::parse(&text);
        }

        #[test]
        fn any_value_can_be_written(value in "[^\\pC]*") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            prop_assert_eq!(read(&format!("A=\"{escaped}\"")), value);
        }
    }
}
