//! A throw-away machine: systemd as PID 1 on an overlay of this machine's root, with the files of `units/` and the built programs
//! at their places. It boots in a second, has a loopback of its own, and nothing of the host can be changed from inside.
//!
//! The machine ends when its handle is dropped, and when the process that holds the handle dies: processes, mounts and
//! namespaces with the first process of a namespace that holds them all, control groups by a supervisor outside of it. It
//! takes root and systemd-nspawn. What a container cannot have, this has not either: its clock is the host's.
//!
//! Facts are from systemd-nspawn(1), namespaces(7) and cgroups(7).

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::{missing, repository};

mod processes;

const SUPERVISE: &str = include_str!("supervise.sh");
const INSIDE: &str = include_str!("inside.sh");
const NEEDED: [(&str, &str); 3] = [
    ("systemd-nspawn", "systemd-container"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
];
/// What the units execute; the last ones only where they are built.
const PROGRAMS: [&str; 5] = [
    "azaion",
    "azaion-queue",
    "azaion-train",
    "azaion-backup",
    "azaion-health",
];
const OPTIONAL: [&str; 3] = ["azaion-train", "azaion-backup", "azaion-health"];
/// Where the machine has libtorch, if this workspace does: out of the home that units cannot see.
pub const LIBTORCH: &str = "/usr/libexec/azaion/libtorch";
/// A second where nothing else runs.
const BOOT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A booted machine; gone when dropped.
#[derive(Debug)]
pub struct Machine {
    name: String,
    supervisor: Child,
    /// PID 1 of the machine, as it is numbered here.
    first: u32,
    console: File,
}

impl Machine {
    /// A machine for the test `name`; where there can be none, it says that the test is skipped.
    ///
    /// # Panics
    /// There could be one, and it does not boot: that fails the test.
    #[must_use]
    #[expect(clippy::panic, reason = "a test fails where its machine does not boot")]
    pub fn for_test(name: &str) -> Option<Self> {
        if let Some(why) = Self::impossible() {
            eprintln!("skipped: {name}: {why}");
            return None;
        }
        match Self::boot() {
            Ok(machine) => Some(machine),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Why no machine can be booted here, if so.
    #[must_use]
    pub fn impossible() -> Option<String> {
        if !processes::may_administer() {
            return Some("it boots a systemd, which takes root with CAP_SYS_ADMIN".to_owned());
        }
        missing(&NEEDED)
    }

    /// Boots a machine and waits until all that belongs to the boot has been started. No unit of the suite is enabled.
    ///
    /// # Errors
    /// A program is not built; the boot fails, with the end of what was said on the console.
    pub fn boot() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("azaion-{}-{number}", std::process::id());
        let console = tempfile::tempfile().context("cannot make a file for the console")?;
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISE, "sh", &name, INSIDE])
            .arg(repository().join("units"));
        for (from, program) in programs()? {
            command.arg(format!(
                "--bind-ro={}:/usr/libexec/azaion/{program}",
                from.display()
            ));
        }
        if let Some(libtorch) = libtorch() {
            command.arg(format!("--bind-ro={}:{LIBTORCH}", libtorch.display()));
        }
        let supervisor = command
            // A runner that kills the test's process group leaves it alive to clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(console.try_clone()?)
            .stderr(console.try_clone()?)
            .spawn()
            .context("cannot start sh")?;
        let mut machine = Self {
            name,
            supervisor,
            first: 0,
            console,
        };
        machine.first = machine.await_first()?;
        machine.await_boot()?;
        Ok(machine)
    }

    /// The name of the machine, of its control groups too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file of the machine, as it is reached from here while the machine is not booted anew.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// Boots it anew, as an administrator does: everything that runs is told to end.
    ///
    /// # Errors
    /// It does not come back.
    pub fn reboot(&mut self) -> anyhow::Result<()> {
        self.reboot_by(&["systemctl", "--no-block", "reboot"])
    }

    /// Boots it anew as after a loss of power: nothing that runs is told. What the disk holds is all there.
    ///
    /// # Errors
    /// It does not come back.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.reboot_by(&["systemctl", "--force", "--force", "reboot"])
    }

    fn reboot_by(&mut self, command: &[&str]) -> anyhow::Result<()> {
        let before = self.first;
        // The machine may be gone before it answers.
        self.run(command)?;
        let gone = || Ok(!Path::new(&format!("/proc/{before}")).exists());
        self.wait("the end of the boot", BOOT, gone)?;
        self.first = self.await_first()?;
        self.await_boot()
    }

    /// A program inside, as root, with nothing of the caller's environment. It ends with the machine.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
            ])
            .args(["env", "--ignore-environment", PATH, "LC_ALL=C.UTF-8", program])
            .stdin(Stdio::null());
        command
    }

    /// Runs a program inside to its end, however it ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, command: &[&str]) -> anyhow::Result<Output> {
        let (program, arguments) = command.split_first().context("no program is named")?;
        let output = self.command(program).args(arguments).output();
        output.with_context(|| format!("cannot run {program} in the machine"))
    }

    /// What a program says on its standard output.
    ///
    /// # Errors
    /// It does not succeed: with all that it said.
    pub fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = self.run(command)?;
        let said = String::from_utf8_lossy(&stdout).trim_end().to_owned();
        if !status.success() {
            let error = String::from_utf8_lossy(&stderr);
            bail!("{}: {status}: {said}{error}", command.join(" "));
        }
        Ok(said)
    }

    /// The content of a file inside, as text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> anyhow::Result<String> {
        let output = self.run(&["cat", "--", path])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).with_context(|| format!("{path} is no text"))
    }

    /// Writes a file of root's with this mode, and the folders that lead to it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let mode = format!("{mode:o}");
        // The file appears with its mode, and under its name only when it is whole.
        let mut child = self
            .command("sh")
            .args([
                "-euc",
                "mkdir -p \"${1%/*}\"; cat > \"$1.new\"; chmod \"$2\" \"$1.new\"; mv \"$1.new\" \"$1\"",
                "sh",
            ])
            .args([path, &mode])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start nsenter")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(content.as_ref())?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot write {path}: {said}");
        Ok(())
    }

    /// Changes a unit as an administrator does, with a drop-in, and lets systemd know of it.
    ///
    /// # Errors
    /// It cannot be written, or systemd does not take it.
    pub fn drop_in(&self, unit: &str, name: &str, text: &str) -> anyhow::Result<()> {
        self.write(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), 0o644, text)?;
        self.ask(&["systemctl", "daemon-reload"])?;
        Ok(())
    }

    /// A property of a unit, as `systemctl show` gives it.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn property(&self, unit: &str, property: &str) -> anyhow::Result<String> {
        self.ask(&["systemctl", "show", "--value", "--property", property, "--", unit])
    }

    /// Waits until a property of a unit has this value, and says how long that took.
    ///
    /// # Errors
    /// It has another one when the patience ends: that value, and the unit's last lines.
    pub fn await_property(
        &self,
        unit: &str,
        property: &str,
        value: &str,
        patience: Duration,
    ) -> anyhow::Result<Duration> {
        let mut last = String::new();
        let waited = self.wait(&format!("{property}={value} of {unit}"), patience, || {
            last = self.property(unit, property)?;
            Ok(last == value)
        });
        waited.with_context(|| {
            let lines = [
                "journalctl",
                "--no-pager",
                "--lines=30",
                "--output=short-precise",
                "--unit",
                unit,
            ];
            format!("{property}={last}\n{}", self.ask(&lines).unwrap_or_default())
        })
    }

    /// Waits until something is so, and says how long that took.
    ///
    /// # Errors
    /// It is not so when the patience ends, or asking fails.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while !is_so()? {
            ensure!(
                begun.elapsed() < patience,
                "waited {patience:?} in vain for {what}"
            );
            std::thread::sleep(POLL);
        }
        Ok(begun.elapsed())
    }

    /// The journal of a unit, the oldest entry first, each with all its fields.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn journal(&self, unit: &str) -> anyhow::Result<Vec<Value>> {
        // What was said before is in it now.
        self.ask(&["journalctl", "--sync"])?;
        let said = self.ask(&[
            "journalctl",
            "--no-pager",
            "--all",
            "--output=json",
            "--unit",
            unit,
        ])?;
        let entries = said.lines().map(serde_json::from_str);
        entries
            .collect::<Result<_, _>>()
            .context("an entry of the journal is no JSON")
    }

    /// Does something on the machine's network, where its loopback is 127.0.0.1: what is bound and what is started there
    /// stays there.
    ///
    /// # Errors
    /// The network cannot be entered.
    ///
    /// # Panics
    /// As `work` does.
    pub fn on_its_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.first)).context("the machine is gone")?;
        // A network belongs to a thread, and this thread has nothing else to do.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the machine's network")?;
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What was said on its console so far.
    #[must_use]
    pub fn console(&self) -> String {
        let mut said = Vec::new();
        let mut console = &self.console;
        let read = console
            .seek(SeekFrom::Start(0))
            .and_then(|_| console.read_to_end(&mut said));
        match read {
            Ok(_) => String::from_utf8_lossy(&said).into_owned(),
            Err(error) => format!("(the console cannot be read: {error})"),
        }
    }

    fn await_first(&mut self) -> anyhow::Result<u32> {
        let begun = Instant::now();
        while begun.elapsed() < BOOT {
            let booted = processes::first_of_container(self.supervisor.id())
                .filter(|first| Path::new(&format!("/proc/{first}/root/run/systemd/private")).exists());
            if let Some(first) = booted {
                return Ok(first);
            }
            if !processes::has_children(self.supervisor.id()) && begun.elapsed() > Duration::from_secs(2) {
                break;
            }
            std::thread::sleep(POLL);
        }
        bail!("the machine did not start:\n{}", self.console())
    }

    fn await_boot(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let output = self.run(&["systemctl", "is-system-running", "--wait"])?;
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match state.as_str() {
                "running" => return Ok(()),
                "degraded" => {
                    let failed = self.ask(&["systemctl", "--failed", "--no-legend", "--plain"])?;
                    bail!("units failed at boot:\n{failed}");
                }
                // Before its bus answers, PID 1 cannot be waited for.
                _ => ensure!(begun.elapsed() < BOOT, "still {state}:\n{}", self.console()),
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its input ends the machine.
        drop(self.supervisor.stdin.take());
        let ended = self.supervisor.wait();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{} did not end well:\n{}", self.name, self.console());
        }
    }
}

/// The libraries that this workspace is linked to, if they are here.
fn libtorch() -> Option<PathBuf> {
    let folder = std::env::var_os("LIBTORCH").map_or_else(|| repository().join(".libtorch"), PathBuf::from);
    fs::canonicalize(folder.join("lib")).ok()
}

/// The built programs: they lie beside the folder of the test that runs.
fn programs() -> anyhow::Result<Vec<(PathBuf, &'static str)>> {
    let test = std::env::current_exe().context("where this test lies is unknown")?;
    let folder = test.ancestors().nth(2).context("this test lies in no folder")?;
    let mut found = Vec::new();
    for program in PROGRAMS {
        let path = folder.join(program);
        if path.is_file() {
            found.push((fs::canonicalize(path)?, program));
        } else if !OPTIONAL.contains(&program) {
            bail!("{} is not built: cargo build -p cli -p queue", path.display());
        }
    }
    Ok(found)
}
