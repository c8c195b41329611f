//! The checks: each is small, knows nothing of the others, and has so long to answer and no longer.
//!
//! They run side by side, a thread each. A check that panics or does not answer in time is a reading of its own, and the
//! others go on without it; its thread is left behind, for nothing can end one that waits for a disk. What a check needs is
//! in [`Context`]; where `/proc` and the service manager are is in there too, so that tests can put others in their place.

mod backup;
mod broker;
mod certificate;
mod clock;
pub(crate) mod disk;
mod gpu;
mod memory;
mod offset;
mod quarantine;
mod secrets;
pub(crate) mod training;
mod units;

use crate::{Reading, alerts::Book, catalog, past::Past};
use jiff::Timestamp;
use service::{Config, Credentials};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use store::Paths;

pub use units::{Unit, Units};

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one of a full pass may take, which has the disk to itself.
const LIMIT_FULL: Duration = Duration::from_secs(120);

/// What the checks look at.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// Where it was read from.
    pub config_file: PathBuf,
    /// The service's credentials.
    pub credentials: Credentials,
    /// The tree.
    pub paths: Paths,
    /// When the pass began.
    pub now: Timestamp,
    /// What the last pass remembered.
    pub past: Past,
    /// The alerts so far: a threshold has two edges.
    pub book: Book,
    /// Where `/proc` is.
    pub proc: PathBuf,
    /// Where `/run` is.
    pub run: PathBuf,
    /// Whether this is a full pass.
    pub full: bool,
}

impl Context {
    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.paths.root()
    }
}

/// What the checks found: readings, and the numbers behind them for the status and the next pass.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What each thing is like.
    pub readings: Vec<Reading>,
    /// What was measured.
    pub facts: Facts,
}

/// Numbers and states behind the readings. Each is there if its check answered and had something to say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Units of the suite.
    pub units: Option<Units>,
    /// GPUs.
    pub gpus: Option<Vec<::gpu::Gpu>>,
    /// The disk beneath the root.
    pub disk: Option<disk::Disk>,
    /// Sizes of its folders.
    pub folders: Option<crate::past::Folders>,
    /// The offset of the next message.
    pub offset: Option<u64>,
    /// Messages that wait.
    pub lag: Option<u64>,
    /// What the queue says of itself.
    pub queue: Option<queue::standing::Standing>,
    /// Messages in quarantine.
    pub quarantined: Option<u64>,
    /// The run that is trained, or was last.
    pub run: Option<training::Seen>,
    /// How the backups stand.
    pub backups: Option<store::backups::Backups>,
    /// Processes that the kernel has ended for want of memory.
    pub oom_kills: Option<u64>,
    /// Seconds since the machine was started, and which start that was.
    pub boot: Option<(f64, String)>,
}

macro_rules! facts {
    ($($name:ident),+) => {
        impl Facts {
            /// Takes over what the other has.
            fn join(&mut self, other: Self) {
                $( if other.$name.is_some() { self.$name = other.$name; } )+
            }
        }
    };
}
facts!(
    units,
    gpus,
    disk,
    folders,
    offset,
    lag,
    queue,
    quarantined,
    run,
    backups,
    oom_kills,
    boot
);

/// A check.
struct Check {
    name: &'static str,
    /// Made in full passes only.
    full: bool,
    look: fn(&Context) -> Found,
}

const fn quick(name: &'static str, look: fn(&Context) -> Found) -> Check {
    Check {
        name,
        full: false,
        look,
    }
}

const fn full(name: &'static str, look: fn(&Context) -> Found) -> Check {
    Check {
        name,
        full: true,
        look,
    }
}

const CHECKS: [Check; 14] = [
    quick("units", units::look),
    quick("broker", broker::look),
    quick("gpu", gpu::look),
    quick("disk", disk::look),
    quick("queue", offset::look),
    quick("training", training::look),
    quick("quarantine", quarantine::look),
    quick("clock", clock::look),
    quick("secrets", secrets::look),
    quick("memory", memory::look),
    quick("backup", backup::look),
    full("stream", offset::ask),
    full("certificate", certificate::look),
    full("folders", disk::measure),
];

/// Names of the checks that only a full pass makes.
pub fn full_only() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().filter(|check| check.full).map(|check| check.name)
}

/// Runs all checks that this pass has.
#[must_use]
pub fn run(context: &Arc<Context>) -> Found {
    let checks = CHECKS.iter().filter(|check| context.full || !check.full);
    run_these(
        checks,
        context,
        if context.full { LIMIT_FULL } else { LIMIT },
        LIMIT,
    )
}

/// Runs checks side by side; `limit_full` is for those of a full pass.
fn run_these<'a>(
    checks: impl Iterator<Item = &'a Check>,
    context: &Arc<Context>,
    limit_full: Duration,
    limit: Duration,
) -> Found {
    let begun = Instant::now();
    let running: Vec<_> = checks.map(|check| (check, start(check, context))).collect();
    let mut all = Found::default();
    for (check, answer) in running {
        let limit = if check.full { limit_full } else { limit };
        let left = (begun + limit).saturating_duration_since(Instant::now());
        let broken =
            |what: String| Reading::problem(check.name, check.name, what).about(catalog::CHECK_BROKEN);
        match answer.and_then(|answer| answer.recv_timeout(left).map_err(Missing::from)) {
            Ok(found) => {
                all.readings.extend(found.readings);
                all.facts.join(found.facts);
                let answered = Reading::ok(check.name, check.name, "the check answered");
                all.readings.push(answered.about(catalog::CHECK_BROKEN));
            }
            Err(Missing::Late) => {
                all.readings.push(broken(format!(
                    "the check did not answer within {} s",
                    limit.as_secs()
                )));
            }
            Err(Missing::Ended(why)) => all.readings.push(broken(why)),
        }
    }
    all
}

/// Why there is no answer.
enum Missing {
    Late,
    Ended(String),
}

impl From<mpsc::RecvTimeoutError> for Missing {
    fn from(error: mpsc::RecvTimeoutError) -> Self {
        match error {
            mpsc::RecvTimeoutError::Timeout => Self::Late,
            mpsc::RecvTimeoutError::Disconnected => {
                Self::Ended("the check broke off: a defect of azaion".into())
            }
        }
    }
}

fn start(check: &Check, context: &Arc<Context>) -> Result<mpsc::Receiver<Found>, Missing> {
    let (sender, receiver) = mpsc::channel();
    let (look, context) = (check.look, Arc::clone(context));
    let started = thread::Builder::new().name(check.name.to_owned()).spawn(move || {
        // Nobody listens any more where the answer comes too late.
        let _ = sender.send(look(&context));
    });
    match started {
        Ok(_) => Ok(receiver),
        Err(error) => Err(Missing::Ended(format!("no thread for the check: {error}"))),
    }
}

/// A reading alone.
fn found(readings: Vec<Reading>) -> Found {
    Found {
        readings,
        facts: Facts::default(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Grade;

    /// A tree that is there, and a configuration for it.
    pub(crate) fn context(root: &Path) -> Context {
        Context {
            config: Config {
                root_dir: root.to_owned(),
                ..Config::default()
            },
            config_file: root.join("config.yaml"),
            credentials: Credentials::default(),
            paths: Paths::under(root),
            now: "2026-03-28T14:30:00Z".parse().unwrap(),
            past: Past::default(),
            book: Book::default(),
            proc: "/proc".into(),
            run: root.join("run"),
            full: false,
        }
    }

    #[test]
    fn a_check_that_hangs_or_breaks_is_a_reading_and_the_others_answer() {
        let root = tempfile::tempdir().unwrap();
        let checks = [
            quick("hangs", |_| {
                thread::sleep(Duration::from_secs(60));
                Found::default()
            }),
            quick("breaks", |_| std::panic::resume_unwind(Box::new("broken"))),
            quick("answers", |_| found(vec![Reading::ok("answers", "x", "well")])),
        ];
        let begun = Instant::now();
        let limit = Duration::from_millis(200);
        let all = run_these(checks.iter(), &Arc::new(context(root.path())), limit, limit);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let grades: Vec<_> = all
            .readings
            .iter()
            .map(|reading| (reading.check.as_str(), reading.grade, reading.alert.as_deref()))
            .collect();
        assert_eq!(
            grades,
            [
                ("hangs", Grade::Problem, Some("ALR-24")),
                ("breaks", Grade::Problem, Some("ALR-24")),
                ("answers", Grade::Ok, None),
                ("answers", Grade::Ok, Some("ALR-24")),
            ]
        );
    }
}
