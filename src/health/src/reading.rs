//! What a check found: one reading for each thing it looked at.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Not looked at, for it does not apply here.
    Skipped,
    /// It will want somebody.
    Warning,
    /// It wants somebody now.
    Problem,
}

impl Grade {
    /// Whether something was found.
    #[must_use]
    pub fn is_found(self) -> bool {
        self >= Self::Warning
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        })
    }
}

/// One finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The check.
    pub check: String,
    /// What was looked at: a unit, a folder, an address.
    pub subject: String,
    /// How it is.
    pub grade: Grade,
    /// That in words, with numbers and units.
    pub what: String,
    /// The alert that this decides: it stands as long as the grade says that something was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
}

impl Reading {
    /// As it should be, which ends `alert`.
    pub fn ok(check: &str, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::graded(Grade::Ok, check, subject, what)
    }

    /// Does not apply here.
    pub fn skipped(check: &str, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::graded(Grade::Skipped, check, subject, what)
    }

    /// Something that will want somebody.
    pub fn warning(check: &str, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::graded(Grade::Warning, check, subject, what)
    }

    /// Something that wants somebody now.
    pub fn problem(check: &str, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::graded(Grade::Problem, check, subject, what)
    }

    /// Of this grade.
    pub fn graded(grade: Grade, check: &str, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self {
            check: check.to_owned(),
            subject: subject.to_string(),
            grade,
            what: what.to_string(),
            alert: None,
        }
    }

    /// Decides this alert.
    #[must_use]
    pub fn about(mut self, alert: &str) -> Self {
        self.alert = Some(alert.to_owned());
        self
    }
}
