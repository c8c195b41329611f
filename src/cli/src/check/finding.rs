//! What a check found: what, where, and the next step; and all of it as a report.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    Ok,
    Note,
    Problem,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub grade: Grade,
    /// Where: a file, an address, a program.
    pub place: String,
    pub what: String,
    /// What to do; none where nothing has to be done.
    pub next: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn right(place: impl ToString, what: impl ToString) -> Self {
        Self {
            grade: Grade::Ok,
            place: place.to_string(),
            what: what.to_string(),
            next: None,
        }
    }

    /// Something to know.
    pub fn note(place: impl ToString, what: impl ToString, next: impl ToString) -> Self {
        Self {
            grade: Grade::Note,
            next: Some(next.to_string()),
            ..Self::right(place, what)
        }
    }

    /// A start would fail, or do harm.
    pub fn problem(place: impl ToString, what: impl ToString, next: impl ToString) -> Self {
        Self {
            grade: Grade::Problem,
            next: Some(next.to_string()),
            ..Self::right(place, what)
        }
    }
}

/// What one check found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub check: String,
    pub findings: Vec<Finding>,
}

/// What all of them found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    problems: usize,
    notes: usize,
    checks: Vec<Checked>,
}

impl Report {
    pub fn add(&mut self, check: impl Into<String>, findings: Vec<Finding>) {
        let count = |grade| findings.iter().filter(|found| found.grade == grade).count();
        self.problems += count(Grade::Problem);
        self.notes += count(Grade::Note);
        self.checks.push(Checked {
            check: check.into(),
            findings,
        });
    }

    /// Everything that another report holds.
    pub fn append(&mut self, other: Self) {
        for Checked { check, findings } in other.checks {
            self.add(check, findings);
        }
    }

    pub fn has_problems(&self) -> bool {
        self.problems > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Checked { check, findings } in &self.checks {
            for Finding {
                grade,
                place,
                what,
                next,
            } in findings
            {
                let grade = match grade {
                    Grade::Ok => "ok",
                    Grade::Note => "note",
                    Grade::Problem => "PROBLEM",
                };
                writeln!(f, "{check:<13} {grade:<7}  {place}: {what}")?;
                if let Some(next) = next {
                    writeln!(f, "{:<22}   -> {next}", "")?;
                }
            }
        }
        let Self { problems, notes, .. } = self;
        writeln!(f, "problems: {problems}, notes: {notes}")
    }
}
