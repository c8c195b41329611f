//! Where a broker's processes live: namespaces of their own for mounts and process numbers, with the broker's tree as
//! their root and its data in /srv. Whatever they fork, they end together: with their first process, which the kernel
//! kills them with, or when its standard input ends, which it does when we die.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// $1: the tree, $2: the data. Nothing else of the machine is visible inside but two devices.
const ENTER: &str = r#"set -e
mount --bind "$2" "$1/srv"
mount -t proc proc "$1/proc"
for device in null urandom; do mount --bind "/dev/$device" "$1/dev/$device"; done
exec chroot "$1" /bin/sh /srv/run.sh"#;

/// The first process: starts the broker and waits for a word, or for the end of its input.
const RUN: &str = r#". /srv/env
/usr/lib/rabbitmq/bin/rabbitmq-server >>/srv/log/console 2>&1 &
broker=$!
while read -r word; do
    kill -TERM "$broker"
    wait "$broker"
    exit 0
done
"#;

/// How long a broker may take to stop by itself.
const STOP: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub(crate) struct Room {
    /// `unshare`, which waits for the first process inside.
    outer: Child,
    word: Option<ChildStdin>,
}

impl Room {
    /// Starts the broker of `tree` with the settings in `data`.
    pub(crate) fn enter(tree: &Path, data: &Path) -> io::Result<Self> {
        fs::write(data.join("run.sh"), RUN)?;
        let console = File::options()
            .create(true)
            .append(true)
            .open(data.join("log/console"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let mut outer = command
            .args(["sh", "-c", ENTER, "sh"])
            .args([tree, data])
            .stdin(Stdio::piped())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()?;
        let word = outer.stdin.take();
        Ok(Self { outer, word })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.outer.try_wait(), Ok(None))
    }

    /// Kills everything inside and waits until it is gone, its ports with it.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        while self.is_running() {
            match self.first() {
                Some(first) => match signal::kill(first, Signal::SIGKILL) {
                    // It ended between the look and the signal.
                    Ok(()) | Err(nix::Error::ESRCH) => {}
                    Err(error) => return Err(error.into()),
                },
                None => self.outer.kill()?,
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Asks the broker to stop, which writes what it has in memory.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        if let Some(mut word) = self.word.take() {
            word.write_all(b"stop\n")?;
            let end = Instant::now() + STOP;
            while self.is_running() && Instant::now() < end {
                std::thread::sleep(POLL);
            }
        }
        self.kill()
    }

    /// Sends `signal` to every process inside, those that were forked last first.
    pub(crate) fn signal_all(&self, signal: Signal) -> io::Result<()> {
        for pid in self.inside().iter().rev() {
            match signal::kill(*pid, signal) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Runs a program of the tree inside, with the broker's settings.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> io::Result<Output> {
        let first = self
            .first()
            .ok_or_else(|| io::Error::other("the broker does not run"))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--mount", "--pid", "--root"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command
            .args(["/bin/sh", "-c", "cd /srv; . ./env; exec \"$@\"", "sh", program])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
    }

    fn first(&self) -> Option<Pid> {
        self.inside().first().copied()
    }

    /// Every process inside, as numbered outside: the descendants of `unshare`, parents first.
    fn inside(&self) -> Vec<Pid> {
        let parents = parents();
        let mut found = vec![self.outer.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        found
            .into_iter()
            .skip(1)
            .filter_map(|pid| i32::try_from(pid).ok().map(Pid::from_raw))
            .collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Where it cannot be killed, the end of its input ends it.
        let _ = self.kill();
    }
}

/// Every process of the system with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(folders) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folders
        .flatten()
        .filter_map(|folder| {
            let pid = folder.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
            // "7 (name, perhaps with ) in it) S 1 ...": the state and the parent follow the last parenthesis.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}
