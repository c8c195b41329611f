//! A look at the repository: whether all is there that the snapshots need, and a part of the data read back.
//!
//! Reading everything back each time would cost what a restore costs. So the packs are divided by their names into as many
//! parts as the configuration says, and each look reads the next one: nothing that lies there goes unread for longer than
//! that many looks. A part in which something was wrong is read again until nothing is: a clean look at another part says
//! nothing about it.

use crate::{
    error::{Error, Result, one_line},
    run::now,
    vault::Vault,
};
use rustic_core::{CheckOptions, CheckResults, ReadSubsetOption};
use store::backups::Checked;

/// Which of the data is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    All,
    /// One part of so many, counted from 0.
    Part {
        /// Which.
        part: u32,
        /// Of how many.
        parts: u32,
    },
    /// None.
    None,
}

impl Share {
    /// The one that comes after what was looked at last.
    #[must_use]
    pub fn next(last: Option<&Checked>, parts: u32) -> Self {
        if parts == 0 {
            return Self::None;
        }
        let part = match last {
            None => 0,
            Some(last) if last.problems.is_empty() => last.part.wrapping_add(1) % parts,
            Some(last) if last.parts == parts => last.part % parts,
            // Divided otherwise, or not at all: what was wrong may be anywhere.
            Some(_) => return Self::All,
        };
        Self::Part { part, parts }
    }
}

/// Looks at the repository. What is wrong with it is in the answer; a pack is named by the beginning of its name.
///
/// # Errors
/// It cannot be looked at.
pub fn check(vault: &Vault, share: Share) -> Result<Checked> {
    let mut options = CheckOptions::default();
    let (part, parts) = match share {
        Share::All => (0, 1),
        Share::Part { part, parts } => (part, parts),
        Share::None => (0, 0),
    };
    options.read_data = parts > 0;
    if let Share::Part { .. } = share {
        options.read_data_subset = ReadSubsetOption::IdSubSet((part, parts));
    }
    let results = vault
        .now()?
        .check(options)
        .map_err(Error::of("check anything", &vault.location))?;
    let mut problems = Vec::new();
    for found in results.0 {
        let text = one_line(&found.1.to_string());
        // What is only odd, such as data that a backup which was broken off has left, is no problem.
        if CheckResults(vec![found]).is_ok().is_err() {
            problems.push(text);
        }
    }
    Ok(Checked {
        at: now(),
        part,
        parts,
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_read_in_turn_and_begin_again() {
        let looked = |part| Checked {
            at: 0,
            part,
            parts: 3,
            problems: Vec::new(),
        };
        assert_eq!(Share::next(None, 3), Share::Part { part: 0, parts: 3 });
        assert_eq!(
            Share::next(Some(&looked(0)), 3),
            Share::Part { part: 1, parts: 3 }
        );
        assert_eq!(
            Share::next(Some(&looked(2)), 3),
            Share::Part { part: 0, parts: 3 }
        );
        assert_eq!(
            Share::next(Some(&looked(7)), 3),
            Share::Part { part: 2, parts: 3 }
        );
        assert_eq!(Share::next(Some(&looked(1)), 0), Share::None);
    }

    #[test]
    fn a_part_that_was_damaged_is_read_again_until_it_is_not() {
        let damaged = |part, parts| Checked {
            at: 0,
            part,
            parts,
            problems: vec!["a pack is damaged".to_owned()],
        };
        assert_eq!(
            Share::next(Some(&damaged(1, 3)), 3),
            Share::Part { part: 1, parts: 3 }
        );
        for other in [damaged(0, 1), damaged(1, 2)] {
            assert_eq!(Share::next(Some(&other), 3), Share::All);
        }
    }
}
