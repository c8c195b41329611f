//! `azaion check`: one dry run of everything that a start needs, and one report of it.
//!
//! Each check looks at one thing and knows nothing of the others. All run at the same time, each within a limit; one that
//! takes longer, or breaks, is a finding itself. Without a usable configuration only that is told. Nothing is changed: the
//! probes of folders are files that are removed at once, and nothing is taken from the broker.
//!
//! Exit code 2 says that there is a problem. A note is something to know, and no problem.

pub(crate) mod broker;
pub(crate) mod disk;
pub(crate) mod finding;
mod gpu;
mod labels;
mod secrets;
mod training;
mod tree;

use crate::{args::CheckArgs, config, program};
use anyhow::Result;
pub(crate) use finding::{Checked, Finding, Report};
pub(crate) use gpu::nvml;
use service::{Config, Credentials};
use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Exit code where problems were found.
const FOUND_PROBLEMS: u8 = 2;

/// What the checks look at.
pub(crate) struct Context {
    pub config: Config,
    pub credentials: Credentials,
}

/// One thing to look at.
struct Check {
    name: &'static str,
    limit: Duration,
    look: fn(&Context) -> Vec<Finding>,
}

/// Names of the checks, in the report's order.
pub const NAMES: [&str; 7] = ["secrets", "tree", "broker", "disk", "gpu", "labels", "training"];

const CHECKS: [Check; 7] = [
    Check::new("secrets", 10, secrets::look),
    Check::new("tree", 20, tree::look),
    Check::new("broker", 30, broker::look),
    Check::new("disk", 30, disk::look),
    Check::new("gpu", 20, gpu::look),
    Check::new("labels", 60, labels::look),
    Check::new("training", 180, training::look),
];

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let report = look(&args.config, &args.skip);
    program::answer(&match args.json {
        true => format!("{}\n", serde_json::to_string(&report)?),
        false => report.to_string(),
    });
    Ok(if report.has_problems() {
        FOUND_PROBLEMS.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// All checks but those that are named in `skip`.
fn look(path: &Path, skip: &[String]) -> Report {
    let (_, problems) = config::problems(path);
    let mut report = Report::default();
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(_) => {
            report.add("configuration", unusable(path, problems));
            return report;
        }
    };
    // What is wrong with files of secrets is told by their own check.
    let usable = Finding::right(path.display(), "readable, every key known, every value usable");
    report.add("configuration", vec![usable]);
    let context = Arc::new(Context {
        config,
        credentials: Credentials::from_systemd(),
    });
    let under_way: Vec<_> = CHECKS
        .into_iter()
        .filter(|check| !skip.iter().any(|name| name == check.name))
        .map(|check| UnderWay::start(check, Arc::clone(&context)))
        .collect();
    for check in under_way {
        let Checked { check, findings } = check.end();
        report.add(check, findings);
    }
    report
}

fn unusable(path: &Path, problems: Vec<service::config::Problem>) -> Vec<Finding> {
    let next = "put it right; `azaion config example` shows every key; nothing else was checked";
    problems
        .into_iter()
        .map(|problem| {
            let place = match problem.key.as_str() {
                "" => path.display().to_string(),
                key => format!("{}: {key}", path.display()),
            };
            Finding::problem(place, problem.message, next)
        })
        .collect()
}

impl Check {
    const fn new(name: &'static str, seconds: u64, look: fn(&Context) -> Vec<Finding>) -> Self {
        Self {
            name,
            limit: Duration::from_secs(seconds),
            look,
        }
    }
}

/// A check that was started.
struct UnderWay {
    name: &'static str,
    limit: Duration,
    begun: Instant,
    findings: Receiver<Vec<Finding>>,
}

impl UnderWay {
    fn start(check: Check, context: Arc<Context>) -> Self {
        let (sender, findings) = mpsc::channel();
        // A check that never ends does so with the process.
        thread::spawn(move || sender.send((check.look)(&context)));
        Self {
            name: check.name,
            limit: check.limit,
            begun: Instant::now(),
            findings,
        }
    }

    fn end(self) -> Checked {
        let left = self.limit.saturating_sub(self.begun.elapsed());
        let findings = self.findings.recv_timeout(left).unwrap_or_else(|why| {
            let what = match why {
                RecvTimeoutError::Timeout => {
                    format!("the check did not end within {} s", self.limit.as_secs())
                }
                RecvTimeoutError::Disconnected => "the check itself broke".to_owned(),
            };
            let next = "look at what it was about to look at; run it again with -vv";
            vec![Finding::problem(self.name, what, next)]
        });
        Checked {
            check: self.name.to_owned(),
            findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(seconds: u64, look: fn(&Context) -> Vec<Finding>) -> String {
        let context = Context {
            config: Config::default(),
            credentials: Credentials::default(),
        };
        let check = UnderWay::start(Check::new("made up", seconds, look), Arc::new(context));
        let mut report = Report::default();
        let Checked { check, findings } = check.end();
        report.add(check, findings);
        report.to_string()
    }

    #[test]
    fn a_check_that_hangs_or_breaks_is_a_finding() {
        let hung = ended(0, |_| {
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        });
        assert!(hung.contains("did not end within 0 s"), "{hung}");
        let broken = ended(30, |_| panic!("made to break"));
        assert!(broken.contains("the check itself broke"), "{broken}");
    }

    #[test]
    fn what_a_check_finds_is_reported() {
        let right = ended(30, |context| {
            vec![Finding::right("here", context.config.rabbitmq.port)]
        });
        assert!(right.contains("ok") && right.contains("here: 5552"), "{right}");
    }
}
