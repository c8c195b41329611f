//! One training run in a process of its own, watched.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Side;
use super::curve::{self, Point};
use super::folder::{BATCH, Folder, IMGSZ};

/// By which a run says that it was told to stop.
const STOPPED: i32 = 75;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const TAIL_LINES: usize = 12;

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Job {
    /// Who trains.
    pub side: Side,
    /// From which seed.
    pub seed: u32,
    folder: PathBuf,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.side.as_str(), self.seed)
    }
}

/// What runs the jobs.
pub(super) struct Tools {
    pub bench: PathBuf,
    pub azaion: PathBuf,
    pub script: PathBuf,
    pub python: PathBuf,
    pub threads: u32,
    /// Held as long as anybody is at work, also when this process is killed.
    pub lock: File,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Stopped,
}

/// Runs all jobs that are not finished, `parallel` at a time, until told to stop.
pub(super) fn all<'a>(
    jobs: &'a [Job],
    parallel: usize,
    folder: &Folder,
    tools: &Tools,
    stop: &AtomicBool,
) -> Vec<(&'a Job, anyhow::Result<Ended>)> {
    let waiting: Mutex<VecDeque<&Job>> = Mutex::new(jobs.iter().filter(|job| !job.is_finished()).collect());
    let ended = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(job) = next() else { break };
                    let outcome = job.run(folder, tools, stop);
                    if let Err(error) = &outcome {
                        eprintln!("{job}: {error:#}");
                    }
                    ended
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((job, outcome));
                }
            });
        }
    });
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    pub(super) fn new(folder: &Folder, side: Side, seed: u32) -> Self {
        Self {
            side,
            seed,
            folder: folder.path().join(format!("{}-{seed}", side.as_str())),
        }
    }

    /// What it has measured epoch by epoch so far.
    pub fn curve(&self) -> Vec<Point> {
        curve::read(&self.folder.join("results.csv"))
    }

    /// What a finished run says of its best model.
    pub fn result(&self) -> anyhow::Result<Option<Value>> {
        read_json(&self.folder.join("result.json"))
    }

    /// What azaion's validator says of the reference's best model.
    pub fn second_opinion(&self) -> anyhow::Result<Option<Value>> {
        read_json(&self.folder.join("azaion.json"))
    }

    fn is_finished(&self) -> bool {
        self.folder.join("result.json").is_file()
            && (self.side != Side::Reference || self.folder.join("azaion.json").is_file())
    }

    fn run(&self, folder: &Folder, tools: &Tools, stop: &AtomicBool) -> anyhow::Result<Ended> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        if !self.folder.join("result.json").is_file() {
            let begun = self.curve().last().map_or(0, |point| point.epoch);
            eprintln!("{self}: {}", if begun > 0 { "goes on" } else { "begins" });
            let child = self.spawn(&mut self.command(folder, tools), folder, tools)?;
            let ended = self.watch(child, folder.epochs(), stop)?;
            if ended == Ended::Stopped {
                return Ok(ended);
            }
        }
        if self.side == Side::Reference {
            self.ask_azaion(folder, tools)?;
        }
        Ok(Ended::Done)
    }

    fn command(&self, folder: &Folder, tools: &Tools) -> Command {
        let mut command = match self.side {
            Side::Reference => {
                let mut command = Command::new(&tools.python);
                command.arg(&tools.script).arg(&self.folder);
                command
            }
            Side::Bf16 | Side::Fp32 => {
                let mut command = Command::new(&tools.bench);
                command
                    .arg("learn")
                    .arg(&self.folder)
                    .args(["--precision", self.side.as_str()]);
                command
            }
        };
        command.arg("--data").arg(folder.data());
        for (name, value) in [
            ("--epochs", folder.epochs()),
            ("--imgsz", IMGSZ),
            ("--batch", BATCH),
            ("--seed", self.seed),
            ("--threads", tools.threads),
        ] {
            command.arg(name).arg(value.to_string());
        }
        command
    }

    fn spawn(&self, command: &mut Command, folder: &Folder, tools: &Tools) -> anyhow::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        command
            .current_dir(&self.folder)
            .env("OMP_NUM_THREADS", tools.threads.to_string())
            .env("YOLO_OFFLINE", "true")
            .env("YOLO_CONFIG_DIR", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(tools.lock.try_clone()?)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    /// Tells of every epoch until the process ends; passes on the wish to stop.
    fn watch(&self, mut child: Child, epochs: u32, stop: &AtomicBool) -> anyhow::Result<Ended> {
        let mut pace = Pace::new(self.curve().last().map_or(0, |point| point.epoch), epochs);
        let mut told = false;
        loop {
            let ended = child.try_wait()?;
            for point in self.curve() {
                if let Some(left) = pace.after(point.epoch) {
                    eprintln!(
                        "{self}: epoch {:>3} of {epochs}  loss {:.3}  mAP50 {:.3}  mAP50-95 {:.3}  {left}",
                        point.epoch, point.loss, point.map50, point.map50_95
                    );
                }
            }
            if let Some(status) = ended {
                return self.judge(status);
            }
            if !told && stop.load(Ordering::Relaxed) {
                told = true;
                if self.side == Side::Reference {
                    eprintln!("{self}: stops after the epoch in hand");
                }
                kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn judge(&self, status: ExitStatus) -> anyhow::Result<Ended> {
        match status.code() {
            Some(0) => Ok(Ended::Done),
            Some(STOPPED) => Ok(Ended::Stopped),
            _ => {
                let said = fs::read(self.log()).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let lines: Vec<&str> = said.lines().collect();
                let tail = lines
                    .get(lines.len().saturating_sub(TAIL_LINES)..)
                    .unwrap_or_default();
                bail!(
                    "ended with {status}. It said ({}):\n{}",
                    self.log().display(),
                    tail.join("\n")
                )
            }
        }
    }

    /// The reference's best model, measured by azaion.
    fn ask_azaion(&self, folder: &Folder, tools: &Tools) -> anyhow::Result<()> {
        let output = Command::new(&tools.azaion)
            .args(["model", "val", "--json", "--model"])
            .arg(self.folder.join("weights/best.pt"))
            .arg("--data")
            .arg(folder.data())
            .args([
                "--imgsz",
                &IMGSZ.to_string(),
                "--threads",
                &tools.threads.to_string(),
            ])
            .args(["--batch", &(2 * BATCH).to_string()])
            .env("OMP_NUM_THREADS", tools.threads.to_string())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", tools.azaion.display()))?;
        if !output.status.success() {
            bail!(
                "azaion model val: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        super::folder::replace(&self.folder.join("azaion.json"), &output.stdout)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

fn read_json(path: &Path) -> anyhow::Result<Option<Value>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes).with_context(|| format!("{}: not JSON", path.display()))?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The time left, by the epochs that this process has seen.
struct Pace {
    begun: Instant,
    first: u32,
    seen: u32,
    all: u32,
}

impl Pace {
    fn new(done: u32, all: u32) -> Self {
        Self {
            begun: Instant::now(),
            first: done,
            seen: done,
            all,
        }
    }

    /// What is left after an epoch; nothing if it was told already.
    fn after(&mut self, epoch: u32) -> Option<String> {
        if epoch <= self.seen {
            return None;
        }
        self.seen = epoch;
        let each = self.begun.elapsed().as_secs_f64() / f64::from(epoch - self.first);
        let minutes = (each * f64::from(self.all.saturating_sub(epoch)) / 60.0).ceil();
        Some(format!("{each:.0} s an epoch, {minutes} min left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A comparison, and a shell script in the place of our program: `$2` is the job's folder.
    fn comparison(script: &str) -> (tempfile::TempDir, Folder, Tools) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("settings.json"), r#"{"epochs":1}"#).unwrap();
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::open(dir.path().to_owned()).unwrap();
        let tools = Tools {
            bench: program.clone(),
            azaion: program.clone(),
            script: program.clone(),
            python: program,
            threads: 1,
            lock: folder.lock().unwrap(),
        };
        (dir, folder, tools)
    }

    fn jobs(folder: &Folder) -> [Job; 2] {
        [Side::Bf16, Side::Fp32].map(|side| Job::new(folder, side, 0))
    }

    fn ended(outcomes: Vec<(&Job, anyhow::Result<Ended>)>) -> Vec<Ended> {
        outcomes
            .into_iter()
            .map(|(_, outcome)| outcome.unwrap())
            .collect()
    }

    static NO: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_finished_job_is_not_run_again() {
        let (dir, folder, tools) = comparison(r#"echo >>"$2/ran"; echo '{}' >"$2/result.json""#);
        let jobs = jobs(&folder);
        assert_eq!(ended(all(&jobs, 2, &folder, &tools, &NO)), [Ended::Done; 2]);
        assert!(all(&jobs, 2, &folder, &tools, &NO).is_empty());
        assert_eq!(fs::read_to_string(dir.path().join("bf16-0/ran")).unwrap(), "\n");
    }

    #[test]
    fn a_job_that_is_told_to_stop_stops_and_the_next_does_not_begin() {
        let (dir, folder, tools) =
            comparison(r#"trap 'exit 75' TERM; touch "$2/begun"; while :; do sleep 0.05; done"#);
        let (jobs, stop) = (jobs(&folder), AtomicBool::new(false));
        let begun = dir.path().join("bf16-0/begun");
        let outcomes = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !begun.exists() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                stop.store(true, Ordering::Relaxed);
            });
            ended(all(&jobs, 1, &folder, &tools, &stop))
        });
        assert_eq!(outcomes, [Ended::Stopped]);
        assert!(!dir.path().join("fp32-0").exists());
    }

    #[test]
    fn a_job_that_fails_is_quoted_and_the_others_are_run() {
        let (_dir, folder, tools) = comparison(
            r#"case "$2" in *bf16*) echo 'no space left' >&2; exit 3;; esac; echo '{}' >"$2/result.json""#,
        );
        let jobs = jobs(&folder);
        let outcomes = all(&jobs, 1, &folder, &tools, &NO);
        let [(_, failed), (_, done)] = outcomes.as_slice() else {
            panic!("{} jobs", outcomes.len())
        };
        let text = failed.as_ref().unwrap_err().to_string();
        assert!(text.contains("no space left"), "{text}");
        assert_eq!(*done.as_ref().unwrap(), Ended::Done);
    }

    #[test]
    fn a_run_that_outlives_its_parent_keeps_others_away() {
        let (_dir, folder, tools) = comparison("read wait");
        let job = Job::new(&folder, Side::Bf16, 0);
        fs::create_dir_all(&job.folder).unwrap();
        let mut sleeper = Command::new("sleep");
        let mut child = job.spawn(sleeper.arg("60"), &folder, &tools).unwrap();
        drop(tools);
        let refused = folder.lock().unwrap_err().to_string();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(refused.contains("another `cargo xtask learn`"), "{refused}");
    }
}
