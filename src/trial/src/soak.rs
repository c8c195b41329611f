//! The daemon with something that fails again and again, and its tree compared with one that nothing happened to.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use broker::{Broker, ClientError, Compression, Network, Proxy, Publisher, StreamOptions, Version};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::{Depth, Tree};

use crate::common::{Event, Model, comparable, content, drain, read_dir};
use crate::daemon::{Daemon, Setup};
use crate::messages;

const STREAM: &str = "cells";
/// Messages for each failure.
const EACH: usize = 700;
/// Failures in one round: everything that a round sent is held in memory, several times, when it is compared.
const A_ROUND: u32 = 50;
/// How long the rest may take when nothing fails any more.
const REST: Duration = Duration::from_secs(120);

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Failing {
    /// The daemon is killed (SIGKILL) and started again
    Daemon,
    /// The broker is killed, frozen or stopped, and comes back
    Broker,
    /// The network is cut, or swallows everything
    Network,
}

/// A soak.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// `azaion-queue`.
    pub program: &'a Path,
    /// The broker.
    pub version: Version,
    /// What fails.
    pub failing: Failing,
    /// How often.
    pub times: u32,
    /// What is sent, and when it fails.
    pub seed: u64,
}

/// What was done and compared.
#[derive(Debug, Default)]
pub struct Report {
    /// Messages in the stream.
    pub messages: usize,
    /// Failures.
    pub failures: u32,
    /// Of those, the ones that the daemon met with messages left to read.
    pub busy: u32,
    /// Files of the tree that were compared.
    pub files: usize,
    /// Messages in quarantine.
    pub quarantined: usize,
    /// Lines of the ledger.
    pub ledger: usize,
    /// How long it took.
    pub took: Duration,
    /// What differs.
    pub differences: Vec<String>,
}

impl Report {
    fn add(&mut self, round: Self) {
        self.messages += round.messages;
        self.failures += round.failures;
        self.busy += round.busy;
        self.files += round.files;
        self.quarantined += round.quarantined;
        self.ledger += round.ledger;
        self.took += round.took;
        self.differences.extend(round.differences);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} messages, {} failures ({} while messages were left), {:.1} s",
            self.messages,
            self.failures,
            self.busy,
            self.took.as_secs_f64()
        )?;
        writeln!(
            f,
            "compared with a model that was not interrupted: {} files byte for byte, of these {} messages in quarantine; \
             {} lines of the ledger; tree against ledger",
            self.files, self.quarantined, self.ledger
        )?;
        match self.differences.as_slice() {
            [] => write!(f, "nothing lost, nothing doubled"),
            some => write!(f, "{} DIFFERENCES:\n  {}", some.len(), some.join("\n  ")),
        }
    }
}

/// Runs a soak, in rounds of so many failures that each can be compared; each round has a seed, a stream and a tree of its own.
pub fn run(plan: &Plan<'_>, mut progress: impl FnMut(u32)) -> anyhow::Result<Report> {
    let mut all = Report::default();
    while all.failures < plan.times {
        let before = all.failures;
        let plan = Plan {
            times: A_ROUND.min(plan.times - before),
            seed: plan.seed.wrapping_add(u64::from(before)),
            ..*plan
        };
        all.add(round(&plan, |done| progress(before + done))?);
    }
    Ok(all)
}

fn round(plan: &Plan<'_>, mut progress: impl FnMut(u32)) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let mut chance = ChaCha8Rng::seed_from_u64(plan.seed);
    let events = messages::drawn(EACH * plan.times as usize, &mut chance);
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(plan.version)?;
    broker.create_stream(STREAM, &StreamOptions::default())?;
    let proxy = Proxy::to(broker.port())?;
    let setup = Setup::new(
        plan.program,
        folder.path(),
        proxy.port(),
        STREAM,
        "  heartbeat_s: 1\n",
    )?;

    let mut busy = 0;
    let mut sent = 0;
    let mut daemon = None;
    for time in 0..plan.times {
        let part = &events[sent..][..EACH];
        publish(&broker, part, &mut chance)?;
        sent += EACH;
        let running = match daemon.take() {
            Some(running) => running,
            None => setup.start()?,
        };
        // A part takes at least this long, the start of the daemon included: most failures come while there is work left.
        std::thread::sleep(Duration::from_millis(chance.random_range(5..130)));
        busy += u32::from(setup.offset()? < sent as u64);
        daemon = fail(plan.failing, running, &mut broker, &proxy, &mut chance)?;
        progress(time + 1);
    }
    let mut last = match daemon {
        Some(running) => running,
        None => setup.start()?,
    };
    // One that was just started may have nothing left to do, but must be up before it is asked to stop.
    last.wait_for_log(&["queue is ready"], REST)?;
    last.wait_for(sent as u64, REST)?;
    let status = last.terminate()?;
    ensure!(
        status.success(),
        "the daemon ended with {status}:\n{}",
        setup.tail()
    );

    let mut report = compare(&setup, &events)?;
    report.failures = plan.times;
    report.busy = busy;
    report.took = begun.elapsed();
    Ok(report)
}

/// Sends messages, some of them packed together. A broker that has just come back may forget a publisher once more while it
/// looks for a leader of the stream: what it refuses is sent again by another.
fn publish(broker: &Broker, events: &[Event], chance: &mut ChaCha8Rng) -> anyhow::Result<()> {
    const TRIES: u32 = 20;
    broker.await_stream(STREAM)?;
    let mut publisher = broker.publisher(STREAM)?;
    let mut rest = events;
    while !rest.is_empty() {
        let (part, more) = rest.split_at(chance.random_range(1..=rest.len().min(50)));
        let raw: Vec<Vec<u8>> = part.iter().map(Event::raw).collect();
        let packed = chance.random_bool(0.3);
        for left in (0..TRIES).rev() {
            match send(&mut publisher, &raw, packed) {
                Ok(()) => break,
                Err(refused @ ClientError::Refused { .. }) if left > 0 => {
                    eprintln!("{refused}; again");
                    std::thread::sleep(Duration::from_millis(500));
                    broker.await_stream(STREAM)?;
                    publisher = broker.publisher(STREAM)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        rest = more;
    }
    Ok(())
}

fn send(publisher: &mut Publisher, raw: &[Vec<u8>], packed: bool) -> Result<(), ClientError> {
    if packed {
        let bytes = broker::pack(raw);
        let (messages, unpacked) = (raw.len() as u16, bytes.len() as u32);
        publisher.send_packed(Compression::None, messages, unpacked, &bytes)?;
    } else {
        publisher.send(raw)?;
    }
    publisher.confirm()
}

/// Lets one thing fail and come back; the daemon where it still runs.
fn fail(
    failing: Failing,
    daemon: Daemon,
    broker: &mut Broker,
    proxy: &Proxy,
    chance: &mut ChaCha8Rng,
) -> anyhow::Result<Option<Daemon>> {
    match failing {
        Failing::Daemon => {
            daemon.kill()?;
            return Ok(None);
        }
        Failing::Broker => match chance.random_range(0..3) {
            0 => {
                broker.kill()?;
                broker.restart()?;
            }
            1 => {
                broker.stop()?;
                broker.restart()?;
            }
            _ => {
                broker.freeze()?;
                // Two heartbeats are the most that a daemon waits.
                std::thread::sleep(Duration::from_millis(chance.random_range(100..3500)));
                broker.thaw()?;
            }
        },
        Failing::Network => {
            if chance.random_bool(0.5) {
                proxy.cut();
            } else {
                proxy.becomes(Network::Stalled);
                std::thread::sleep(Duration::from_millis(chance.random_range(100..3500)));
                proxy.cut();
                proxy.becomes(Network::Good);
            }
        }
    }
    Ok(Some(daemon))
}

/// The tree against the model, against a run of the real queue that nothing happened to, and against its own ledger.
fn compare(setup: &Setup, events: &[Event]) -> anyhow::Result<Report> {
    let found = read_dir(&setup.root);
    let mut differences = Vec::new();
    let modelled = content(&found, &setup.root);
    let model = Model::after(events).files();
    differences.extend(differing("the model", &modelled, &model));

    let undisturbed = tempfile::tempdir()?;
    drop(drain(Tree::open(undisturbed.path())?, events, &[1000])?);
    let (found, expected) = (
        relative(&comparable(&found), &setup.root),
        relative(&comparable(&read_dir(undisturbed.path())), undisturbed.path()),
    );
    differences.extend(differing("an undisturbed run", &found, &expected));

    let paths = store::Paths::under(&setup.root);
    let verified = store::verify(&paths, Depth::Bytes, |_, _| {})?;
    let named = verified.differences.iter();
    differences.extend(named.map(|(name, problem)| format!("{name} {problem}")));
    let foreign = verified.foreign.iter();
    differences.extend(foreign.map(|path| format!("{} is no annotation's", path.display())));
    let ledger = found.get(Path::new("ledger.log")).context("no ledger")?;
    Ok(Report {
        messages: events.len(),
        failures: 0,
        busy: 0,
        files: found.len(),
        quarantined: model.keys().filter(|path| path.starts_with("quarantine")).count(),
        ledger: ledger.iter().filter(|byte| **byte == b'\n').count(),
        took: Duration::ZERO,
        differences,
    })
}

type Files = std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>;

fn relative(files: &Files, root: &Path) -> Files {
    files
        .iter()
        .map(|(path, bytes)| (path.strip_prefix(root).unwrap_or(path).to_owned(), bytes.clone()))
        .collect()
}

fn differing(than: &str, found: &Files, expected: &Files) -> Vec<String> {
    let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| match (found.get(path), expected.get(path)) {
            (Some(found), Some(expected)) if found == expected => None,
            (Some(_), Some(_)) => Some(format!("{} has other bytes than in {than}", path.display())),
            (Some(_), None) => Some(format!("{} is not in {than}", path.display())),
            (None, _) => Some(format!("{} is missing, {than} has it", path.display())),
        })
        .collect()
}
