//! The name of an annotation, which is also the stem of its image and label file (QUE-4).
//!
//! A [`Name`] can be joined to a folder without a further look: it holds no separator, is neither `.` nor `..`, and is
//! short enough for every file system with room for an extension. Errors give the position of what is wrong and not the
//! whole text, since an unsafe name is foreign text of unknown content.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The longest name, in bytes.
const MAX_LENGTH: usize = 128;

/// A name that is safe as a file name: `^[A-Za-z0-9._-]{1,128}$`, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty; a name is 1 to 128 of A-Z a-z 0-9 . _ -")]
    Empty,
    /// The text is longer than 128 bytes.
    #[error("the name is {length} bytes long; a name is 1 to 128 of A-Z a-z 0-9 . _ -")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A byte that no name holds.
    #[error("the name holds '{}' at byte {position}; a name is 1 to 128 of A-Z a-z 0-9 . _ -", .byte.escape_ascii())]
    Forbidden {
        /// Where, in bytes from 0.
        position: usize,
        /// The first byte that is not allowed.
        byte: u8,
    },
    /// The text is `.` or `..`, which name folders.
    #[error("the name is '.' or '..', which are folders")]
    Folder,
}

impl Name {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong { length: text.len() });
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if let Some((position, byte)) = text.bytes().enumerate().find(|&(_, byte)| !allowed(byte)) {
            return Err(NameError::Forbidden { position, byte });
        }
        if matches!(text, "." | "..") {
            return Err(NameError::Folder);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_name_is_128_bytes() {
        assert!(Name::new(&"a".repeat(128)).is_ok());
        assert_eq!(
            Name::new(&"a".repeat(129)),
            Err(NameError::TooLong { length: 129 })
        );
        assert_eq!(Name::new(""), Err(NameError::Empty));
    }

    #[test]
    fn paths_and_folders_are_not_names() {
        for folder in [".", ".."] {
            assert_eq!(Name::new(folder), Err(NameError::Folder));
        }
        for (text, position, byte) in [
            ("../etc", 2, b'/'),
            ("a\\b", 1, b'\\'),
            ("a\0", 1, 0),
            ("a b", 1, b' '),
            ("caf\u{e9}", 3, 0xc3),
        ] {
            assert_eq!(
                Name::new(text),
                Err(NameError::Forbidden { position, byte }),
                "{text:?}"
            );
        }
        for fine in ["...", ".hidden", "-rf", "a.b-c_D.9", "_"] {
            assert_eq!(Name::new(fine).unwrap().as_str(), fine);
        }
    }

    #[test]
    fn the_error_never_repeats_the_text() {
        let error = Name::new("someone@example.org").unwrap_err().to_string();
        assert!(error.contains("'@' at byte 7"), "{error}");
        assert!(!error.contains("someone"), "{error}");
    }

    proptest! {
        #[test]
        fn exactly_the_documented_pattern_is_accepted(text in "[A-Za-z0-9._/ @é-]{0,6}") {
            let expected = !text.is_empty()
                && text != "." && text != ".."
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            prop_assert_eq!(Name::new(&text).is_ok(), expected);
        }
    }
}
