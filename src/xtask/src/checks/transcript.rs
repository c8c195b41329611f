//! Reads a test runner's output line by line: counts tests by its summary lines, remembers which tests skipped
//! themselves (a line of theirs such as `skipped: rabbitmq-server is not installed`), and hides the other output of tests
//! that passed.
//!
//! The formats are those of cargo-nextest 0.9 and of Rust's own test harness; the transcripts in the tests are real.

use std::fmt;
use std::ops::AddAssign;

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, timed out or could not be started.
    pub failed: u64,
    /// Tests that were ignored, filtered out, or skipped themselves.
    pub skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    /// The closing line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// A runner's output so far.
#[derive(Debug)]
pub struct Transcript {
    runner: Runner,
    counts: Counts,
    /// The test whose output is being read.
    test: String,
    skips: Vec<(String, String)>,
}

#[derive(Debug)]
enum Runner {
    Nextest { passed: bool, in_output: bool },
    Libtest(Section),
}

#[derive(Debug, PartialEq, Eq)]
enum Section {
    /// Names and results, and the output of failed tests.
    Shown,
    /// What passing tests printed (`--show-output`).
    PassedOutput,
    /// The list of passing tests that follows it.
    PassedNames,
}

/// How nextest begins the line of a test that passed, or of one that did not.
const NEXTEST_PASSED: [&str; 3] = ["PASS", "LEAK", "FLAKY"];
const NEXTEST_OTHER: [&str; 10] = [
    "FAIL",
    "SLOW",
    "TERMINATING",
    "TIMEOUT",
    "ABORT",
    "SIG",
    "XFAIL",
    "TRY",
    "RETRY",
    "LEAK-FAIL",
];

impl Transcript {
    /// For `cargo nextest run --success-output immediate`.
    #[must_use]
    pub fn nextest() -> Self {
        Self::new(Runner::Nextest {
            passed: false,
            in_output: false,
        })
    }

    /// For `cargo test`, with or without `--show-output`.
    #[must_use]
    pub fn libtest() -> Self {
        Self::new(Runner::Libtest(Section::Shown))
    }

    fn new(runner: Runner) -> Self {
        Self {
            runner,
            counts: Counts::default(),
            test: String::new(),
            skips: Vec::new(),
        }
    }

    /// Takes one line; `true` if it is to be shown.
    pub fn line(&mut self, line: &str) -> bool {
        match self.runner {
            Runner::Nextest { passed, in_output } => self.nextest_line(line, passed, in_output),
            Runner::Libtest(_) => self.libtest_line(line),
        }
    }

    /// The counts, and a line for each test that skipped itself; such a test is no longer among those that passed.
    #[must_use]
    pub fn finish(mut self) -> (Counts, Vec<String>) {
        let moved = (self.skips.len() as u64).min(self.counts.passed);
        self.counts.passed -= moved;
        self.counts.skipped += moved;
        (
            self.counts,
            self.skips
                .into_iter()
                .map(|(test, why)| format!("{test}: {why}"))
                .collect(),
        )
    }

    fn nextest_line(&mut self, line: &str, passed: bool, in_output: bool) -> bool {
        if let Some((status, test)) = nextest_status(line) {
            test.clone_into(&mut self.test);
            let passed = NEXTEST_PASSED.contains(&status);
            self.runner = Runner::Nextest {
                passed,
                in_output: false,
            };
            return true;
        }
        if line.starts_with("  stdout ─") || line.starts_with("  stderr ─") {
            self.runner = Runner::Nextest {
                passed,
                in_output: true,
            };
            return !passed;
        }
        if in_output && (line.is_empty() || line.starts_with("    ")) && !is_nextest_summary(line) {
            if passed {
                self.notice_skip(line);
            }
            return !passed;
        }
        self.runner = Runner::Nextest {
            passed: false,
            in_output: false,
        };
        if is_nextest_summary(line) {
            self.counts += nextest_summary(line);
        }
        true
    }

    fn libtest_line(&mut self, line: &str) -> bool {
        let Runner::Libtest(section) = &mut self.runner else {
            return true;
        };
        match (&*section, line) {
            (Section::Shown, "successes:") => *section = Section::PassedOutput,
            (Section::PassedOutput, "successes:") => *section = Section::PassedNames,
            (Section::PassedOutput, _) => match libtest_heading(line) {
                Some(test) => test.clone_into(&mut self.test),
                None => self.notice_skip(line),
            },
            (Section::PassedNames, "failures:") => {
                *section = Section::Shown;
                return true;
            }
            (Section::Shown | Section::PassedNames, _) => {
                let Some(counts) = libtest_summary(line) else {
                    return *section == Section::Shown;
                };
                self.counts += counts;
                *section = Section::Shown;
                return true;
            }
        }
        false
    }

    /// One skip a test, however often it says so.
    fn notice_skip(&mut self, line: &str) {
        let Some(why) = said_skip(line) else { return };
        if !self.skips.iter().any(|(test, _)| *test == self.test) {
            self.skips.push((self.test.clone(), why.to_owned()));
        }
    }
}

/// What follows "skipped" in a line that begins with it, or with a name and it: `skipped: WHY`, `skipped NAME: WHY`,
/// `NAME: skipped, WHY`.
fn said_skip(line: &str) -> Option<&str> {
    let said = line.trim();
    let named = said
        .split_once(": ")
        .filter(|(name, _)| !name.contains(' '))
        .map(|(_, rest)| rest);
    [Some(said), named].into_iter().flatten().find_map(|text| {
        let (word, why) = text.split_at_checked("skipped".len())?;
        let ends = why.is_empty() || why.starts_with([':', ',', ' ']);
        (word.eq_ignore_ascii_case("skipped") && ends).then(|| why.trim_start_matches([':', ',', ' ']))
    })
}

/// `        PASS [   0.004s] (1/3) crate::binary test`: status and test.
fn nextest_status(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.trim_start().split_once(" [")?;
    let status = before.trim_end();
    let first = status.split(' ').next()?;
    let known = NEXTEST_PASSED.contains(&first) || NEXTEST_OTHER.iter().any(|other| first.starts_with(other));
    if !known || !line.starts_with("  ") {
        return None;
    }
    let (time, test) = after.split_once("] ")?;
    let is_time = time
        .trim()
        .trim_start_matches(['>', ' '])
        .trim_end_matches('s')
        .parse::<f64>()
        .is_ok();
    let test = test
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "))
        .map_or(test, |(_, test)| test);
    is_time.then_some((first, test))
}

fn is_nextest_summary(line: &str) -> bool {
    line.starts_with("     Summary [")
}

/// `     Summary [   0.1s] 3 tests run: 2 passed (1 slow), 1 failed, 1 skipped`; "1 timed out" and "1 exec failed" are
/// failures, and what stands in parentheses is counted before them already.
fn nextest_summary(line: &str) -> Counts {
    let Some((_, parts)) = line.split_once(" run: ") else {
        return Counts::default();
    };
    let mut plain = String::new();
    let mut depth = 0_u32;
    for c in parts.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let mut counts = Counts::default();
    for part in plain.split(',') {
        let Some((number, what)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what.trim() {
            "passed" => counts.passed += number,
            "skipped" => counts.skipped += number,
            _ => counts.failed += number,
        }
    }
    counts
}

/// `---- crate::test stdout ----`
fn libtest_heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test result: ok. 2 passed; 1 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.07s`
fn libtest_summary(line: &str) -> Option<Counts> {
    let (_, parts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| {
        parts
            .split("; ")
            .find_map(|part| part.strip_suffix(name)?.trim_end().parse::<u64>().ok())
    };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
        skipped: count("ignored")? + count("filtered out").unwrap_or(0),
    })
}

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
