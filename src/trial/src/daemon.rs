//! `azaion-queue` as a child process with a configuration and a tree of its own.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use broker::{PASSWORD, USER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a daemon may take to stop (QUE-8).
const STOP: Duration = Duration::from_secs(30);

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    program: PathBuf,
    /// The tree.
    pub root: PathBuf,
    config: PathBuf,
    /// Where its log lines go; all runs add to it.
    pub log: PathBuf,
}

impl Setup {
    /// A daemon that reads `stream` from the broker at `port` of this machine, with everything it needs under `folder`.
    pub fn new(program: &Path, folder: &Path, port: u16, stream: &str, more: &str) -> anyhow::Result<Self> {
        Self::on(program, folder, &folder.join("azaion"), port, stream, more)
    }

    /// The same with a tree that lies elsewhere.
    pub fn on(
        program: &Path,
        folder: &Path,
        root: &Path,
        port: u16,
        stream: &str,
        more: &str,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(root)?;
        let config = folder.join("config.yaml");
        let text = format!(
            "root_dir: {}\nrabbitmq:\n  port: {port}\n  user: {USER}\n  password: {PASSWORD}\n  queue_name: {stream}\n{more}",
            root.display()
        );
        let mut file = fs::OpenOptions::new();
        file.write(true).create(true).truncate(true).mode(0o640);
        std::io::Write::write_all(&mut file.open(&config)?, text.as_bytes())?;
        Ok(Self {
            program: program.to_owned(),
            root: root.to_owned(),
            config,
            log: folder.join("log"),
        })
    }

    /// Starts it.
    pub fn start(&self) -> anyhow::Result<Daemon> {
        self.spawn(&mut Command::new(&self.program))
    }

    /// Starts it under a service manager that listens at this socket.
    pub fn start_under(&self, manager: &Path) -> anyhow::Result<Daemon> {
        self.spawn(Command::new(&self.program).env("NOTIFY_SOCKET", manager))
    }

    /// The same with a watchdog that wants to hear from it within this time.
    pub fn start_watched(&self, manager: &Path, limit: Duration) -> anyhow::Result<Daemon> {
        self.spawn(
            Command::new(&self.program)
                .env("NOTIFY_SOCKET", manager)
                .env("WATCHDOG_USEC", limit.as_micros().to_string()),
        )
    }

    /// Starts it with more arguments.
    pub fn start_with(&self, arguments: &[&str]) -> anyhow::Result<Daemon> {
        self.spawn(Command::new(&self.program).args(arguments))
    }

    fn spawn(&self, command: &mut Command) -> anyhow::Result<Daemon> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let logged_before = log.metadata()?.len();
        let child = command
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Daemon {
            child,
            setup: self.clone(),
            logged_before,
        })
    }

    /// The offset that is durable.
    pub fn offset(&self) -> anyhow::Result<u64> {
        Ok(store::offset::read(&self.root.join("offset.yaml"))?)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    setup: Setup,
    /// The length of the log when it was started.
    logged_before: u64,
}

impl Daemon {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as the kernel does when there is no memory left.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the daemon had ended by itself ({status}):\n{}",
                self.setup.tail()
            );
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("the daemon did not stop within {STOP:?}:\n{}", self.setup.tail())
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Waits until everything before `offset` is durable, as long as something becomes durable within `patience`.
    pub fn wait_for(&mut self, offset: u64, patience: Duration) -> anyhow::Result<()> {
        let (mut at, mut moved) = (0, Instant::now());
        loop {
            let now = self.setup.offset()?;
            if now >= offset {
                return Ok(());
            }
            if now != at {
                (at, moved) = (now, Instant::now());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon has ended ({status}):\n{}", self.setup.tail());
            }
            ensure!(
                moved.elapsed() < patience,
                "for {patience:?} the daemon has been at offset {at}, short of {offset}:\n{}",
                self.setup.tail()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a line of its log holds each of these words.
    pub fn wait_for_log(&mut self, words: &[&str], patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&self.setup.log)?;
            let text = text.get(self.logged_before as usize..).unwrap_or_default();
            let all = |line: &str| words.iter().all(|word| line.contains(word));
            if text.lines().any(all) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon has ended ({status}):\n{}", self.setup.tail());
            }
            ensure!(
                begun.elapsed() < patience,
                "after {patience:?} no line of the log holds {words:?}:\n{}",
                self.setup.tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A number of kilobytes out of `/proc/PID/status`.
    pub fn memory_kb(&self, key: &str) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.with_context(|| format!("no {key}"))?.parse()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Best effort: it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
