//! The proof: runs are recorded, cut off everywhere, resumed, cut off again, finished, and compared.
//!
//! One case is: the queue reads all messages; the power goes (or the process dies) behind one of its operations; what lies below the
//! offset must be whole; a second run finishes, and its result is compared; it is cut off in turn behind one of its own
//! operations, checked, finished and compared by a third; the power goes at once, and the tree must be there nevertheless.
//! Everything is drawn from a seed and the number of the operation, but for the order in which the threads of the store write.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::Tree;

use crate::common::drain;
use crate::forgetful::{self, Cut, ForgetfulFs, Renames, Sync};
use crate::lossy::{self, FileSystem, Image, LossyDisk};
use crate::workload::{REACH, Workload, prepare};

/// How many cases are tried at once: most of the time goes into waiting for the kernel.
const WORKERS: usize = 4;

/// The disk itself could not be used: that says nothing about the tree, and ends the proof.
#[derive(Debug, thiserror::Error)]
#[error("the disk of the test cannot be used")]
struct Unusable;

/// How a run is broken off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crash {
    /// The process is killed: what it did is visible, and perhaps not durable.
    Kill,
    /// The power goes.
    Power(Cut),
}

impl Crash {
    fn drawn(chance: &mut ChaCha8Rng) -> Self {
        match chance.random_range(0..10) {
            0..=1 => Self::Kill,
            2..=4 => Self::Power(Cut::Strict),
            5..=6 => Self::Power(Cut::Random(0.5)),
            7 => Self::Power(Cut::Random(0.1)),
            _ => Self::Power(Cut::Random(0.9)),
        }
    }
}

/// What a run does; it says the phase it enters.
pub type Work<'w> = dyn Fn(&dyn Fn(&'static str)) -> Result<()> + std::marker::Sync + 'w;

/// A disk that a run can be recorded on.
pub trait Layer {
    /// What the disk holds.
    type State: Clone;
    /// The disk in use.
    type Mounted;
    /// What happened to it.
    type Recording;

    /// A disk with what is there before the first run.
    fn start(&self) -> Result<Self::State>;
    /// Takes a disk into use.
    fn mount(&self, state: &Self::State) -> Result<Self::Mounted>;
    /// Where the tree is.
    fn root<'m>(&self, mounted: &'m Self::Mounted) -> &'m Path;
    /// Does the work of a run, in the phases that it says.
    fn work(&self, mounted: &Self::Mounted, work: &Work<'_>) -> Result<()>;
    /// Takes the disk out of use.
    fn end(&self, mounted: Self::Mounted) -> Result<Self::Recording>;
    /// How many operations a recording has.
    fn operations(&self, recording: &Self::Recording) -> usize;
    /// Operation `at` in words.
    fn operation(&self, recording: &Self::Recording, at: usize) -> String;
    /// The disk after a crash behind operation `at`.
    fn crash(
        &self,
        recording: &Self::Recording,
        at: usize,
        crash: Crash,
        chance: &mut ChaCha8Rng,
    ) -> Self::State;
}

/// The layer of [`crate::forgetful`].
#[derive(Debug, Clone, Default)]
pub struct Forgetful(pub forgetful::Options);

impl Layer for Forgetful {
    type State = forgetful::State;
    type Mounted = forgetful::Mounted;
    type Recording = forgetful::Recording;

    fn start(&self) -> Result<Self::State> {
        let mounted = ForgetfulFs::mount(forgetful::State::default(), forgetful::Options::default())?;
        prepare(mounted.path())?;
        let recording = mounted.end()?;
        Ok(recording.killed(recording.operations()).settled())
    }

    fn mount(&self, state: &Self::State) -> Result<Self::Mounted> {
        ForgetfulFs::mount(state.clone(), self.0.clone()).context(Unusable)
    }

    fn root<'m>(&self, mounted: &'m Self::Mounted) -> &'m Path {
        mounted.path()
    }

    fn work(&self, mounted: &Self::Mounted, work: &Work<'_>) -> Result<()> {
        work(&|phase| mounted.enter(phase))
    }

    fn end(&self, mounted: Self::Mounted) -> Result<Self::Recording> {
        mounted.end()
    }

    fn operations(&self, recording: &Self::Recording) -> usize {
        recording.operations()
    }

    fn operation(&self, recording: &Self::Recording, at: usize) -> String {
        recording.operation(at).to_owned()
    }

    fn crash(
        &self,
        recording: &Self::Recording,
        at: usize,
        crash: Crash,
        chance: &mut ChaCha8Rng,
    ) -> Self::State {
        match crash {
            Crash::Kill => recording.killed(at),
            Crash::Power(cut) => recording.cut(at, cut, chance),
        }
    }
}

/// The layer of [`crate::lossy`].
#[derive(Debug, Clone)]
pub struct Lossy {
    /// The disk with an empty file system.
    pub formatted: Image,
    /// The file system on it.
    pub file_system: FileSystem,
    /// The disk acknowledges flushes and does none.
    pub ignore_flushes: bool,
    /// The calls that the kernel answers with success and does not do.
    pub ignored_calls: Vec<crate::calls::Call>,
}

impl Lossy {
    /// A new disk that does what it is asked to.
    pub fn honest(file_system: FileSystem) -> Result<Self> {
        Ok(Self {
            formatted: file_system.format()?,
            file_system,
            ignore_flushes: false,
            ignored_calls: Vec::new(),
        })
    }
}

impl Layer for Lossy {
    type State = Image;
    type Mounted = lossy::Mounted;
    type Recording = lossy::Recording;

    fn start(&self) -> Result<Self::State> {
        let mounted = LossyDisk::mount(&self.formatted, self.file_system, false)?;
        prepare(mounted.path())?;
        mounted.into_image()
    }

    fn mount(&self, state: &Self::State) -> Result<Self::Mounted> {
        // A disk that cannot be mounted is a finding.
        LossyDisk::mount(state, self.file_system, self.ignore_flushes)
    }

    fn root<'m>(&self, mounted: &'m Self::Mounted) -> &'m Path {
        mounted.path()
    }

    fn work(&self, _: &Self::Mounted, work: &Work<'_>) -> Result<()> {
        crate::calls::without(&self.ignored_calls, || work(&|_| ()))
    }

    fn end(&self, mounted: Self::Mounted) -> Result<Self::Recording> {
        mounted.end()
    }

    fn operations(&self, recording: &Self::Recording) -> usize {
        recording.operations()
    }

    fn operation(&self, recording: &Self::Recording, at: usize) -> String {
        recording.operation(at)
    }

    /// A killed process leaves its work to the kernel: the disk is left with all that reached it.
    fn crash(
        &self,
        recording: &Self::Recording,
        at: usize,
        crash: Crash,
        chance: &mut ChaCha8Rng,
    ) -> Self::State {
        match crash {
            Crash::Kill => recording.whole(at),
            Crash::Power(cut) => recording.cut(at, cut, chance),
        }
    }
}

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// What everything is drawn from.
    pub seed: u64,
    /// How many messages.
    pub messages: usize,
    /// Behind how many operations of the first run it is cut, spread over all of them; every one, if there are no more.
    pub cuts: usize,
}

/// What was tried, and what failed.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Operations of the first run that it was cut behind.
    pub cuts: usize,
    /// Operations of the recorded first run.
    pub operations: usize,
    /// Crashes, in first runs and in recoveries.
    pub crashes: usize,
    /// Trees that were compared with the model, byte for byte.
    pub compared: usize,
    /// What went wrong, with the case that shows it.
    pub failures: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.compared += other.compared;
        self.failures.extend(other.failures);
    }
}

/// Runs the proof on a layer.
pub fn prove<L: Layer + std::marker::Sync>(layer: &L, extent: Extent) -> Result<Report>
where
    L::Recording: std::marker::Sync,
{
    let begun = Instant::now();
    let bench = Bench::new(layer, extent)?;
    let recording = bench.first(&sizes(&mut chance(extent.seed, 1)))?;
    let operations = layer.operations(&recording);
    let cuts = spread(operations, extent.cuts);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut report = Report::default();
        while let Some(at) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let case = Case {
                at: *at,
                seed: extent.seed,
                crash: None,
            };
            let failure = bench.verdict(&recording, case, &mut report)?;
            report.failures.extend(failure);
        }
        Ok(report)
    };
    let reports: Result<Vec<Report>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(joined).collect()
    });
    let mut report = Report::default();
    reports?.into_iter().for_each(|part| report.add(part));
    report.operations = operations;
    report.cuts = cuts.len();
    report.took = begun.elapsed();
    Ok(report)
}

/// What a thread returned; a panic in it goes on here.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Every kind of sync that the queue asks for, opening included, in a run that touches every home.
pub fn kinds_of_syncs() -> Result<BTreeSet<String>> {
    let layer = Forgetful::default();
    let bench = Bench {
        layer: &layer,
        workload: Workload::through_every_home()?,
    };
    Ok(bench.first(&[1])?.syncs.iter().map(kind).collect())
}

/// Looks for a case that fails when the syncs of one kind are acknowledged and not done; what it says. The power goes at the
/// end of the run, and at the end of a second run that found what a killed first one left visible and not durable.
///
/// Every rename between two folders is two changes here: each folder's own sync is what counts.
pub fn without_sync(ignored: &str) -> Result<Option<String>> {
    let kind_ignored = ignored.to_owned();
    let layer = Forgetful(forgetful::Options {
        renames: Renames::Torn,
        ignored: Arc::new(move |sync| kind(sync) == kind_ignored),
    });
    let bench = Bench {
        layer: &layer,
        workload: Workload::through_every_home()?,
    };
    let recording = bench.first(&[1])?;
    let last = recording.operations();
    let visible = |at: &usize| {
        let operation = recording.operation(*at);
        operation.starts_with("rename")
            || operation.starts_with("write unmatched.log")
            || operation.starts_with("write ledger.log")
            || operation.starts_with("make")
    };
    let killed = (0..=last).filter(visible).map(|at| (at, Crash::Kill));
    for (at, crash) in std::iter::once((last, Crash::Power(Cut::Strict))).chain(killed) {
        let case = Case {
            at,
            seed: 0,
            crash: Some(crash),
        };
        if let Some(failure) = bench.verdict(&recording, case, &mut Report::default())? {
            return Ok(Some(failure));
        }
    }
    Ok(None)
}

/// What a sync is for: the folder, or what the file's bytes are; and when.
fn kind(sync: &Sync) -> String {
    let path = sync.path.to_string_lossy();
    let what = match &sync.bytes {
        None if path.is_empty() => "names in the root".to_owned(),
        None => format!("names in {path}"),
        Some(_) if !path.starts_with(".azaion-tmp") => format!("bytes of {path}"),
        Some(bytes) => format!("bytes of {}", content(bytes)),
    };
    format!("{}: {what}", sync.phase)
}

/// What is being written aside, by its first bytes.
fn content(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'v', b'e', b'r', b's', ..] => "offset.yaml",
        [b'a', b'z', b'a', b'i', ..] => "the head of a log",
        [0xff, 0xd8, ..] => "an image",
        [b'{', ..] => "a quarantine record",
        [] | [b'0'..=b'9', b' ', ..] => "a label",
        _ => "a quarantined message",
    }
}

/// Up to `count` of the numbers from 0 to `most`, evenly.
fn spread(most: usize, count: usize) -> Vec<usize> {
    let count = count.clamp(1, most + 1);
    (1..=count).map(|n| n * (most + 1) / count - 1).collect()
}

fn chance(seed: u64, at: u64) -> ChaCha8Rng {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    chance.set_stream(at);
    chance
}

#[derive(Debug, Clone, Copy)]
struct Case {
    at: usize,
    seed: u64,
    /// How the first run is broken off, if it is not drawn; the second, one message at a time, then loses the power at its
    /// end.
    crash: Option<Crash>,
}

struct Bench<'l, L> {
    layer: &'l L,
    workload: Workload,
}

impl<'l, L: Layer> Bench<'l, L> {
    fn new(layer: &'l L, extent: Extent) -> Result<Self> {
        let workload = Workload::drawn(extent.messages, &mut chance(extent.seed, 0))?;
        Ok(Self { layer, workload })
    }

    /// The run that is cut everywhere.
    fn first(&self, sizes: &[usize]) -> Result<L::Recording> {
        let mounted = self.layer.mount(&self.layer.start()?)?;
        self.run(&mounted, sizes).context("the first run")?;
        self.workload
            .compare(self.layer.root(&mounted))
            .context("after the first run")?;
        self.layer.end(mounted)
    }

    fn run(&self, mounted: &L::Mounted, sizes: &[usize]) -> Result<()> {
        let (root, events) = (self.layer.root(mounted), &self.workload.events);
        self.layer.work(mounted, &|enter| {
            enter("open");
            let tree = Tree::open(root)?;
            enter("batch");
            drop(drain(tree, events, sizes)?);
            Ok(())
        })
    }

    /// What a case shows to be wrong with the tree, if anything.
    fn verdict(&self, first: &L::Recording, case: Case, report: &mut Report) -> Result<Option<String>> {
        match self.case(first, case, report) {
            Ok(()) => Ok(None),
            Err(error) if error.is::<Unusable>() => Err(error),
            Err(error) => Ok(Some(format!("{error:#}"))),
        }
    }

    fn case(&self, first: &L::Recording, case: Case, report: &mut Report) -> Result<()> {
        let chance = &mut chance(case.seed, 2 + case.at as u64);
        let crash = case.crash.unwrap_or_else(|| Crash::drawn(chance));
        let operation = self.layer.operation(first, case.at);
        let when = format!(
            "seed {}, {crash:?} behind operation {} ({operation})",
            case.seed, case.at
        );
        let state = self.layer.crash(first, case.at, crash, chance);
        report.crashes += 1;
        let batches = case.crash.map_or_else(|| sizes(chance), |_| vec![1]);
        let second = self
            .resume(&state, &batches, report)
            .with_context(|| when.clone())?;

        let last = self.layer.operations(&second);
        let (crash, at) = match case.crash {
            None => (Crash::drawn(chance), chance.random_range(0..=last)),
            Some(_) => (Crash::Power(Cut::Strict), last),
        };
        let operation = self.layer.operation(&second, at);
        let when = format!("{when}, then {crash:?} behind operation {at} ({operation}) of its recovery");
        let state = self.layer.crash(&second, at, crash, chance);
        report.crashes += 1;
        let third = self
            .resume(&state, &sizes(chance), report)
            .with_context(|| when.clone())?;

        let state = self.layer.crash(
            &third,
            self.layer.operations(&third),
            Crash::Power(Cut::Strict),
            chance,
        );
        report.crashes += 1;
        let mounted = self.layer.mount(&state)?;
        let root = self.layer.root(&mounted);
        let compared = self.workload.compare_unopened(root).and_then(|()| {
            drop(Tree::open(root)?);
            self.workload.compare(root)
        });
        self.layer.end(mounted).context(Unusable)?;
        report.compared += 1;
        compared.with_context(|| format!("{when}, then the power at its end"))
    }

    /// What every start after a crash must do: find all that was committed, and get to the end.
    fn resume(&self, state: &L::State, sizes: &[usize], report: &mut Report) -> Result<L::Recording> {
        let mounted = self.layer.mount(state)?;
        let root = self.layer.root(&mounted);
        let resumed = self
            .workload
            .check_committed(root)
            .context("right after the crash")
            .and_then(|offset| {
                self.run(&mounted, sizes)
                    .with_context(|| format!("the run from offset {offset}"))?;
                self.workload
                    .compare(root)
                    .with_context(|| format!("after the run from offset {offset}"))
            });
        report.compared += 1;
        let recording = self.layer.end(mounted).context(Unusable)?;
        resumed.map(|()| recording)
    }
}

/// How many messages each batch takes, round and round.
fn sizes(chance: &mut ChaCha8Rng) -> Vec<usize> {
    (0..chance.random_range(1..4))
        .map(|_| chance.random_range(1..REACH))
        .collect()
}
