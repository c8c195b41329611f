//! `verify` and `rebuild-ledger`: the tree against its ledger.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use store::{Depth, Paths};

use super::{Error, plural};

/// What a comparison of the tree with its ledger found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Annotations in the tree.
    pub annotations: u64,
    /// Of those, set aside by dataset forming.
    pub set_aside: u64,
    /// Annotations that a writer touched meanwhile: nothing is said of them.
    pub in_motion: u64,
    /// What is wrong, by name.
    pub differences: Vec<Difference>,
    /// Files that are no annotation's.
    pub foreign: Vec<PathBuf>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The annotation.
    pub name: String,
    /// What is wrong with it, in words.
    pub problem: String,
}

impl Verified {
    /// Whether tree and ledger agree.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.foreign.is_empty()
    }
}

/// Compares the tree with its ledger, beside a writer or without one.
pub fn verify(paths: &Paths, depth: Depth, progress: impl FnMut(u64, u64)) -> Result<Verified, Error> {
    let found = store::verify(paths, depth, progress)?;
    let differences = found.differences.into_iter().map(|(name, problem)| Difference {
        name: name.to_string(),
        problem: problem.to_string(),
    });
    Ok(Verified {
        annotations: found.annotations,
        set_aside: found.set_aside,
        in_motion: found.in_motion,
        differences: differences.collect(),
        foreign: found.foreign,
    })
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Difference { name, problem } in &self.differences {
            writeln!(f, "{name} {problem}")?;
        }
        for path in &self.foreign {
            writeln!(f, "{} is no annotation's", path.display())?;
        }
        if self.in_motion > 0 {
            writeln!(
                f,
                "{} were changed meanwhile: nothing is said of them",
                self.in_motion
            )?;
        }
        let wrong = self.differences.len() + self.foreign.len();
        let verdict = if wrong == 0 {
            "tree and ledger agree".to_owned()
        } else {
            plural(wrong, "difference")
        };
        writeln!(f, "{} annotations: {verdict}", self.annotations)
    }
}

/// What making a new ledger came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Annotations that were found.
    pub annotations: u64,
    /// Where the old ledger is now, if there was one.
    pub kept: Option<PathBuf>,
}

/// Makes a new ledger from what the tree holds. Needs a tree without a writer.
pub fn rebuild_ledger(paths: &Paths, progress: impl FnMut(u64, u64)) -> Result<Rebuilt, Error> {
    let store::Rebuilt { annotations, kept } = store::rebuild_ledger(paths, progress)?;
    Ok(Rebuilt { annotations, kept })
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a new ledger of {} annotations", self.annotations)?;
        match &self.kept {
            Some(path) => writeln!(f, "the old one is {}", path.display()),
            None => Ok(()),
        }
    }
}
