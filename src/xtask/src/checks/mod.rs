//! The numbered steps of `cargo xtask test` and `cargo xtask lint`. Every step is printed by name with its outcome and
//! time: ok, FAILED (why) or skipped (why), never silently left out. A failing step does not stop the ones after it,
//! so that one run shows everything that is wrong. The closing line counts the tests of all runners.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::libtorch::Recipe;
use crate::workspace::{Env, Workspace};

pub mod audit;
mod brokers;
pub mod deny;
mod nix_files;
mod steps;
pub(crate) mod tools;
pub mod transcript;
mod workflows;

pub use transcript::Counts;

/// What the steps work with.
pub struct Context<'a> {
    /// The workspace that is checked.
    pub workspace: &'a Workspace,
    /// The cache folder: tools that are installed for a step go there.
    pub cache: PathBuf,
    /// The libtorch that set-up brings.
    pub recipe: Recipe,
    /// Names of tests to run; empty for all.
    pub filters: Vec<String>,
    /// The environment.
    pub env: Env<'a>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `cargo fmt --check`.
    Format,
    /// `cargo clippy`, warnings as errors.
    Clippy,
    /// Format of the Nix files, and unused names in them.
    NixFiles,
    /// The workflows of CI.
    Workflows,
    /// What the queue is tested against.
    Brokers,
    /// What units and module are tested with.
    Host,
    /// Unit, property and integration tests.
    Tests,
    /// Examples in the documentation.
    Doctests,
    /// Licences, bans and sources of the dependencies.
    Licences,
    /// Known vulnerabilities of the dependencies.
    Advisories,
    /// A fresh set-up of libtorch from kept wheels.
    FreshSetup,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// With something to mend.
    Failed(String),
    /// It was not run, and this is why.
    Skipped(String),
}

/// What a step gives back: its outcome, the tests it ran, and the tests that skipped themselves.
#[derive(Debug)]
pub struct Finished {
    outcome: Outcome,
    counts: Counts,
    skips: Vec<String>,
}

impl From<Outcome> for Finished {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            counts: Counts::default(),
            skips: Vec::new(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Failed(why) => write!(f, "FAILED ({why})"),
            Self::Skipped(why) => write!(f, "skipped ({why})"),
        }
    }
}

/// What is to be run: each step, or the reason why it is not.
pub type Plan = Vec<(Step, Option<&'static str>)>;

/// The plan of `cargo xtask test`.
#[must_use]
pub fn test_plan(quick: bool, filtered: bool, fresh_setup: bool) -> Plan {
    let unless = |left_out: bool, why| left_out.then_some(why);
    let filter = unless(filtered, "only the tests that were named");
    let full = filter.or(unless(quick, "--quick"));
    let mut plan = vec![
        (Step::Format, filter),
        (Step::Clippy, filter),
        (Step::NixFiles, filter),
        (Step::Workflows, filter),
        (Step::Brokers, filter),
        (Step::Host, filter),
        (Step::Tests, None),
        (Step::Doctests, full),
        (Step::Licences, full),
        (Step::Advisories, full),
    ];
    if fresh_setup {
        plan.push((Step::FreshSetup, filter));
    }
    plan
}

/// The plan of `cargo xtask lint`.
#[must_use]
pub fn lint_plan() -> Plan {
    vec![
        (Step::Format, None),
        (Step::Clippy, None),
        (Step::NixFiles, None),
        (Step::Workflows, None),
    ]
}

/// What a whole plan came to.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Step, Outcome, Duration)>,
    /// Tests of all runners together.
    pub counts: Counts,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.counts.failed == 0
            && !self
                .rows
                .iter()
                .any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    /// The table of steps, without the closing line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.rows.len();
        for (number, (step, outcome, took)) in self.rows.iter().enumerate() {
            writeln!(f, "{}", line(number + 1, total, *step, outcome, *took))?;
        }
        Ok(())
    }
}

fn line(number: usize, total: usize, step: Step, outcome: &Outcome, took: Duration) -> String {
    match outcome {
        Outcome::Skipped(_) => format!("[{number}/{total}] {step}: {outcome}"),
        Outcome::Ok | Outcome::Failed(_) => {
            format!(
                "[{number}/{total}] {step}: {outcome}, {:.1} s",
                took.as_secs_f64()
            )
        }
    }
}

/// Runs the steps of `plan` in order.
#[must_use]
pub fn run(plan: &Plan, context: &Context<'_>) -> Report {
    let mut report = Report::default();
    for (number, (step, left_out)) in plan.iter().enumerate() {
        let number = number + 1;
        let started = Instant::now();
        let finished = match left_out {
            Some(why) => Outcome::Skipped((*why).to_owned()).into(),
            None => {
                println!("[{number}/{}] {step}", plan.len());
                step.run(context)
            }
        };
        let took = started.elapsed();
        println!("{}", line(number, plan.len(), *step, &finished.outcome, took));
        for skip in &finished.skips {
            println!("    skipped: {skip}");
        }
        report.counts += finished.counts;
        report.rows.push((*step, finished.outcome, took));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_names_what_it_leaves_out() {
        let plan = test_plan(true, false, false);
        let left_out: Vec<Step> = plan
            .iter()
            .filter(|(_, why)| why.is_some())
            .map(|(step, _)| *step)
            .collect();
        assert_eq!(left_out, [Step::Doctests, Step::Licences, Step::Advisories]);
    }

    #[test]
    fn with_filters_only_the_tests_run() {
        let plan = test_plan(false, true, true);
        let run: Vec<Step> = plan
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|(step, _)| *step)
            .collect();
        assert_eq!(run, [Step::Tests]);
    }

    #[test]
    fn a_report_fails_with_a_failed_step_and_with_a_failed_test() {
        let row = |outcome| (Step::Format, outcome, Duration::ZERO);
        let mut report = Report {
            rows: vec![row(Outcome::Ok), row(Outcome::Skipped("x".into()))],
            ..Report::default()
        };
        assert!(report.is_ok());
        report.rows.push(row(Outcome::Failed("x".into())));
        assert!(!report.is_ok());
        let failed = Report {
            counts: Counts {
                failed: 1,
                ..Counts::default()
            },
            ..Report::default()
        };
        assert!(!failed.is_ok());
    }

    #[test]
    fn every_step_has_a_line_with_its_number_name_and_outcome() {
        let second = Duration::from_millis(1260);
        assert_eq!(
            line(2, 6, Step::Clippy, &Outcome::Ok, second),
            "[2/6] clippy: ok, 1.3 s"
        );
        let failed = Outcome::Failed("see above".into());
        assert_eq!(
            line(3, 6, Step::Tests, &failed, second),
            "[3/6] tests: FAILED (see above), 1.3 s"
        );
        let skipped = Outcome::Skipped("--quick".into());
        assert_eq!(
            line(4, 6, Step::Doctests, &skipped, second),
            "[4/6] doctests: skipped (--quick)"
        );
    }
}
