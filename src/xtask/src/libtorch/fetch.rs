//! Fetches a wheel with the machine's own pip: it knows the package index, the proxy and the certificates that this
//! machine is set up for, so no host is named here. pip only downloads; nothing is installed, built or run.
//!
//! Everything pip writes goes below one folder that is emptied first, its temporary files included: what a killed
//! set-up leaves behind is gone with the next, and the progress line is simply how much is in there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{SetupError, Wheel};
use crate::progress::Progress;

/// How often the progress line looks at what has arrived.
const LOOK: Duration = Duration::from_millis(200);
/// pip's last words that go into an error.
const TAIL: usize = 6;

/// The tags of the pinned wheels. pip takes a platform literally: an older one has to be named, too.
const PLATFORMS: [&str; 4] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
];

/// What a fetch came to.
pub enum Fetched {
    /// The wheel is here.
    Here(PathBuf),
    /// pip gave up; the end of what it said.
    Failed(String),
}

/// Fetches `wheel` into `folder`, which is emptied first.
///
/// # Errors
/// [`SetupError::Io`] where `folder` cannot be used or pip cannot be started.
pub fn fetch(python: &Path, wheel: &Wheel, folder: &Path) -> Result<Fetched, SetupError> {
    empty(folder)?;
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).map_err(SetupError::io("create", &temporary))?;
    let log = folder.join("pip.log");
    let status = run(
        &mut command(python, wheel, folder, &temporary),
        wheel,
        folder,
        &log,
    )?;
    let file = folder.join(&wheel.file);
    if status.success() && file.is_file() {
        return Ok(Fetched::Here(file));
    }
    let said = fs::read_to_string(&log).map_err(SetupError::io("read", &log))?;
    Ok(Fetched::Failed(if status.success() {
        format!("  pip ended well, but did not leave {}", wheel.file)
    } else {
        tail(&said)
    }))
}

/// Removes `folder` with all that is in it, if it is there.
///
/// # Errors
/// [`SetupError::Io`].
pub fn empty(folder: &Path) -> Result<(), SetupError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(SetupError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}

fn command(python: &Path, wheel: &Wheel, folder: &Path, temporary: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]))
        .args([
            "--python-version",
            "311",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
        ])
        // A cached copy of half a gigabyte would stay in the user's home for nothing.
        .args([
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
        ])
        .arg("-d")
        .arg(folder)
        .arg(wheel.requirement())
        .env("TMPDIR", temporary)
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command, wheel: &Wheel, folder: &Path, log: &Path) -> Result<ExitStatus, SetupError> {
    let output = File::create(log).map_err(SetupError::io("create", log))?;
    let errors = output.try_clone().map_err(SetupError::io("open", log))?;
    let python = PathBuf::from(command.get_program());
    let mut child = command
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(SetupError::io("start", &python))?;
    let mut progress = Progress::start(
        format!("fetching {} {}", wheel.project, wheel.version),
        wheel.bytes,
    );
    loop {
        if let Some(status) = child.try_wait().map_err(SetupError::io("wait for", &python))? {
            return Ok(status);
        }
        progress.set(size_below(folder).min(wheel.bytes));
        std::thread::sleep(LOOK);
    }
}

/// Bytes in files below `folder`; what vanishes meanwhile counts as nothing.
fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The last lines of what pip said. Of its retries only the last one: it says what all of them ran into.
fn tail(said: &str) -> String {
    let is_retry = |line: &str| line.contains("Retrying (Retry(");
    let last_retry = said.lines().rfind(|line| is_retry(line));
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty() && !is_retry(line))
        .collect();
    let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
    last_retry
        .iter()
        .chain(last)
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pips_words_the_last_retry_and_the_end_are_told() {
        let said = "Looking for x\nWARNING: Retrying (Retry(total=1, ...: refused\n\nWARNING: Retrying (Retry(total=0, ...: refused\nERROR: none\n";
        assert_eq!(
            tail(said),
            "  WARNING: Retrying (Retry(total=0, ...: refused\n  Looking for x\n  ERROR: none"
        );
        let long: String = (0..20).map(|n| format!("line {n}\n")).collect();
        assert!(tail(&long).starts_with("  line 14\n") && tail(&long).ends_with("  line 19"));
    }

    #[test]
    fn what_has_arrived_is_counted_over_all_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tmp/pip-unpack-x")).unwrap();
        fs::write(dir.path().join("tmp/pip-unpack-x/a.whl"), [0; 100]).unwrap();
        fs::write(dir.path().join("pip.log"), [0; 7]).unwrap();
        assert_eq!(size_below(dir.path()), 107);
        assert_eq!(size_below(&dir.path().join("nothing")), 0);
    }
}
