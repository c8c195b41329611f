//! Which source media an annotation was taken from, as a number: what tells frames of one film from those of another.
//!
//! The media's name stays out of our files, for it may tell of a person or a place. Its number is the first 64 bits of its
//! SHA-256 behind a tag: the same name has the same number in every tree, so whoever has a name can look for it, and nobody
//! can read one off.

use std::fmt;

use sha2::{Digest as _, Sha256};

const TAG: &[u8] = b"azaion-media-1\0";

/// A source media's number, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Media(u64);

impl Media {
    /// Of a name as the producer gave it; none where it gave none.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let digest = Sha256::new().chain_update(TAG).chain_update(name).finalize();
        let first = digest.first_chunk()?;
        Some(Self(u64::from_be_bytes(*first)))
    }

    /// Reads what `Display` writes; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_stable_for_ever_and_read_again() {
        // printf 'azaion-media-1\0slide-7.tif' | sha256sum | cut -c-16
        let media = Media::of("slide-7.tif").unwrap();
        assert_eq!(media.to_string(), GOLDEN);
        assert_eq!(Media::parse(GOLDEN), Some(media));
        assert_ne!(Media::of("slide-8.tif"), Some(media));
        assert_eq!(Media::of(""), None);
    }

    #[test]
    fn what_is_no_number_is_not_read() {
        for bad in ["", "-", "0", &"A".repeat(16), &"+".repeat(16), &"0".repeat(17)] {
            assert_eq!(Media::parse(bad), None, "{bad}");
        }
    }

    const GOLDEN: &str = "a232e30044e911d3";
}
