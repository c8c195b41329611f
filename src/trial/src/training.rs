//! `azaion-train` killed again and again, and its model compared with that of a run that nobody touched.
//!
//! A round is one run: a tree of its own with the same drawn scenes, a start after each kill, some of the kills right behind a
//! checkpoint that was asked for within an epoch. The first round is trained on a file system that loses power with the kill,
//! where one can be mounted. When no kills are left, the run finishes, and everything that it left is compared to the bit:
//! weights, averages, moments, the best model, the table of epochs but for its times.

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use powercut::{
    forgetful::{Cut, ForgetfulFs, Mounted, Options, State},
    namespace,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    io::{Read as _, Seek as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Scenes in the tree.
const SCENES: u64 = 20;
/// Kills of a run.
const A_ROUND: u32 = 5;
/// How long a run may take to finish when it is left alone.
const REST: Duration = Duration::from_secs(600);
/// How often is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(5);
/// How much of what was not synced survives a power cut.
const KEPT: f64 = 0.5;

/// A soak.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// `azaion-train`.
    pub program: &'a Path,
    /// How often it is killed.
    pub times: u32,
    /// When.
    pub seed: u64,
    /// Number format of the runs.
    pub precision: &'a str,
}

/// What was done and compared.
#[derive(Debug, Default)]
pub struct Report {
    /// Kills.
    pub kills: u32,
    /// Of those, the ones that came with a loss of power.
    pub power_cuts: u32,
    /// Runs that were killed.
    pub runs: u32,
    /// Why no power was cut, if none was.
    pub without_power_cuts: Option<String>,
    /// What the run that nobody touched left.
    pub expected: String,
    /// What each of the others left.
    pub found: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether all of them left the same.
    pub fn is_equal(&self) -> bool {
        !self.found.is_empty() && self.found.iter().all(|found| *found == self.expected)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} kills in {} runs, {} of them with a loss of power, {:.0} s",
            self.kills,
            self.runs,
            self.power_cuts,
            self.took.as_secs_f64()
        )?;
        if let Some(why) = &self.without_power_cuts {
            writeln!(f, "no power was cut: {why}")?;
        }
        writeln!(f, "untouched: {}", self.expected)?;
        for found in &self.found {
            let verdict = if *found == self.expected { "" } else { "  DIFFERS" };
            writeln!(f, "killed:    {found}{verdict}")?;
        }
        write!(
            f,
            "SHA-256 over weights, averages, moments, best.pt and results.csv without times"
        )
    }
}

/// Runs a soak.
///
/// # Errors
/// Something does not start, or a run does not finish.
pub fn run(plan: &Plan<'_>, mut progress: impl FnMut(u32)) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let scenes = tempfile::tempdir()?;
    cli::scenes::draw_into(scenes.path(), 1, SCENES)?;
    let mut chance = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut report = Report::default();

    let untouched = tempfile::tempdir()?;
    let job = Job::new(plan, scenes.path(), untouched.path())?;
    let alone = Instant::now();
    job.finish()?;
    let alone = alone.elapsed();
    report.expected = job.left()?;

    report.without_power_cuts = namespace::missing_for_fuse();
    while report.kills < plan.times {
        let kills = A_ROUND.min(plan.times - report.kills);
        let (found, done) = if report.runs == 0 && report.without_power_cuts.is_none() {
            let (found, cuts) =
                namespace::privately(|| losing_power(plan, scenes.path(), kills, &mut chance))?;
            report.power_cuts += cuts;
            (found, cuts)
        } else {
            killed(plan, scenes.path(), kills, alone, &mut chance)?
        };
        report.found.push(found);
        report.kills += done;
        report.runs += 1;
        progress(report.kills);
    }
    report.took = begun.elapsed();
    Ok(report)
}

/// A round of kills; what the run left, and how often it was killed before it finished by itself.
fn killed(
    plan: &Plan<'_>,
    scenes: &Path,
    kills: u32,
    alone: Duration,
    chance: &mut ChaCha8Rng,
) -> anyhow::Result<(String, u32)> {
    let folder = tempfile::tempdir()?;
    let job = Job::new(plan, scenes, folder.path())?;
    let mut done = 0;
    while done < kills {
        let mut child = job.start()?;
        // Some come before the first step, most of them somewhere in the run.
        let wait = alone.mul_f64(chance.random_range(0.02..0.5));
        let ended = if chance.random_bool(0.5) {
            job.wait_for_steps(&mut child, wait)?
        } else {
            wait_for(&mut child, wait)?
        };
        if ended {
            break;
        }
        end(&mut child)?;
        // The kill may have come when all was done: another start would begin another run.
        if job.is_finished()? {
            break;
        }
        done += 1;
    }
    job.finish()?;
    Ok((job.left()?, done))
}

/// A round of kills in each of which the disk loses what was not synced.
fn losing_power(
    plan: &Plan<'_>,
    scenes: &Path,
    cuts: u32,
    chance: &mut ChaCha8Rng,
) -> anyhow::Result<(String, u32)> {
    let mount = |state: State| ForgetfulFs::mount(state, Options::default());
    let mounted = mount(State::default())?;
    Job::new(plan, scenes, mounted.path())?;
    let mut state = mounted.end_state()?.settled();
    let mut done = 0;
    while done < cuts {
        let mounted = mount(state.clone())?;
        mounted.lose_power_after(chance.random_range(10..200));
        let job = Job::at(plan, mounted.path())?;
        if job.is_finished()? {
            state = mounted.end_state()?;
            break;
        }
        let ended = run_until_dark(&job, &mounted)?;
        let cut = if chance.random_bool(0.3) {
            Cut::Strict
        } else {
            Cut::Random(KEPT)
        };
        let left = mounted.end_state()?;
        if ended {
            state = left;
            break;
        }
        state = left.cut(cut, chance);
        done += 1;
    }
    let mounted = mount(state)?;
    mounted.lose_power_after(usize::MAX);
    let job = Job::at(plan, mounted.path())?;
    job.finish()?;
    let left = job.left()?;
    mounted.end_state()?;
    Ok((left, done))
}

/// Starts the run and kills it when its disk has lost power; true if it finished before that.
fn run_until_dark(job: &Job<'_>, mounted: &Mounted) -> anyhow::Result<bool> {
    let mut child = job.start()?;
    let begun = Instant::now();
    while !mounted.is_dark() {
        if child.try_wait()?.is_some() && !mounted.is_dark() {
            return Ok(true);
        }
        ensure!(begun.elapsed() < REST, "the run neither ends nor writes");
        std::thread::sleep(LOOK);
    }
    end(&mut child)?;
    Ok(false)
}

/// Waits; true if the process ended meanwhile.
fn wait_for(child: &mut Child, wait: Duration) -> anyhow::Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < wait {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    // One that could not go on without a disk has ended by itself.
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

/// A tree and its run.
struct Job<'a> {
    plan: &'a Plan<'a>,
    root: PathBuf,
    config: PathBuf,
    _aside: tempfile::TempDir,
}

impl<'a> Job<'a> {
    /// Makes the tree.
    fn new(plan: &'a Plan<'a>, scenes: &Path, folder: &Path) -> anyhow::Result<Self> {
        let root = folder.join("tree");
        for sub in ["data/images", "data/labels", "datasets", "models"] {
            fs::create_dir_all(root.join(sub))?;
        }
        for sub in ["images", "labels"] {
            for entry in fs::read_dir(scenes.join(sub))? {
                let entry = entry?;
                fs::copy(entry.path(), root.join("data").join(sub).join(entry.file_name()))?;
            }
        }
        fs::write(root.join("classes.json"), cli::scenes::classes()?.to_json())?;
        Self::at(plan, folder)
    }

    /// The tree that is there, wherever it is mounted by now.
    fn at(plan: &'a Plan<'a>, folder: &Path) -> anyhow::Result<Self> {
        let (root, aside) = (folder.join("tree"), tempfile::tempdir()?);
        let config = aside.path().join("config.yaml");
        let text = format!(
            "root_dir: {}\ntraining: {{model: yolo26n, epochs: 8, batch_size: 2, imgsz: 64, workers: 1, device: cpu, threads: 1, \
             nbs: 4, precision: {}}}\n",
            root.display(),
            plan.precision
        );
        fs::write(&config, text)?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640))?;
        Ok(Self {
            plan,
            root,
            config,
            _aside: aside,
        })
    }

    fn start(&self) -> anyhow::Result<Child> {
        self.start_with(Stdio::null())
    }

    fn start_with(&self, log: Stdio) -> anyhow::Result<Child> {
        Command::new(self.plan.program)
            .arg("--config")
            .arg(&self.config)
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", self.plan.program.display()))
    }

    /// Asks for checkpoints within the epoch while waiting; true if the run ended meanwhile.
    fn wait_for_steps(&self, child: &mut Child, wait: Duration) -> anyhow::Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < wait {
            if wait_for(child, Duration::from_millis(50))? {
                return Ok(true);
            }
            if self.listens(child.id())? {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGUSR1)?;
            }
        }
        Ok(false)
    }

    /// Lets the run finish, unless it is finished.
    fn finish(&self) -> anyhow::Result<()> {
        if self.is_finished()? {
            return Ok(());
        }
        let mut log = tempfile::tempfile()?;
        let mut child = self.start_with(log.try_clone()?.into())?;
        if !wait_for(&mut child, REST)? {
            end(&mut child)?;
            bail!("the run did not finish in {} s", REST.as_secs());
        }
        let status = child.wait()?;
        if !status.success() {
            let mut said = String::new();
            log.rewind()?;
            log.read_to_string(&mut said)?;
            bail!("azaion-train ended with {status}:\n{said}");
        }
        Ok(())
    }

    /// The only run of the tree.
    fn run(&self) -> anyhow::Result<Option<runs::Run>> {
        Ok(runs::Run::all(&self.root)?.pop())
    }

    fn is_finished(&self) -> anyhow::Result<bool> {
        Ok(self.run()?.is_some_and(|run| run.state == runs::State::Finished))
    }

    /// Whether this process has begun to train: before that a signal would end it.
    fn listens(&self, pid: u32) -> anyhow::Result<bool> {
        let Some(run) = self.run()? else { return Ok(false) };
        let status = runs::Status::read(&self.root.join(&run.folder))?;
        Ok(status.is_some_and(|status| status.pid == pid))
    }

    /// A hash over everything that the run left.
    fn left(&self) -> anyhow::Result<String> {
        let all = runs::Run::all(&self.root)?;
        let [run] = &all[..] else {
            bail!("{} runs instead of one", all.len())
        };
        left(&self.root.join(&run.folder))
    }
}

/// A hash over everything that a run left in its folder: weights, averages, moments, best.pt, results.csv without times.
///
/// # Errors
/// A file is missing, or none of a run.
pub fn left(folder: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(tensors(&fs::read(folder.join(runs::CHECKPOINT))?)?);
    hash.update(fs::read(folder.join(runs::BEST))?);
    hash.update(without_times(&fs::read_to_string(folder.join(runs::RESULTS))?));
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The tensors of a safetensors file, without its header, which tells times too.
fn tensors(file: &[u8]) -> anyhow::Result<&[u8]> {
    let (length, rest) = file
        .split_first_chunk::<8>()
        .context("a checkpoint without a header")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    rest.get(length..).context("a checkpoint that is cut short")
}

/// The table of epochs without its second column.
fn without_times(table: &str) -> String {
    let lines = table.lines().map(|line| {
        let columns = line.split(',').enumerate().filter(|(column, _)| *column != 1);
        columns
            .map(|(_, value)| value.trim())
            .collect::<Vec<_>>()
            .join(",")
    });
    lines.collect::<Vec<_>>().join("\n")
}
