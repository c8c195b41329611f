//! `cargo xtask bench backup`: what a first backup of a tree takes, and one after little has changed, beside restic.
//!
//! Both take the same tree in `target/bench` into a repository of their own on the same disk, in the same format. Ours is one
//! `azaion-backup run` without reading data back: look, send, remove what is not kept, check. restic's is `restic backup`,
//! without its cache, as ours has none. What a turn has made is removed outside of its time; files come from memory.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::MIN_ROUNDS;
use super::report::machine;
use super::rounds::{Rounds, remove, run};
use crate::apt;
use crate::programs;
use crate::workspace::{Env, Workspace};

/// Annotations: an image and a label each.
const ANNOTATIONS: u32 = 5_000;
/// Bytes of an image; they are random, as those of a JPEG nearly are.
const IMAGE: usize = 96 * 1024;
/// So many arrive between two backups.
const NEW: u32 = 50;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    First,
    Later,
    ResticFirst,
    ResticLater,
}

impl Item {
    const ALL: [Self; 4] = [Self::First, Self::ResticFirst, Self::Later, Self::ResticLater];

    fn label(self) -> &'static str {
        match self {
            Self::First => "azaion-backup run, the first",
            Self::Later => "azaion-backup run, 50 annotations are new",
            Self::ResticFirst => "restic backup, the first",
            Self::ResticLater => "restic backup, 50 annotations are new",
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    seconds: Rounds<Item>,
    skipped: Option<String>,
}

/// Measures all of them.
pub(super) fn measure(workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Report> {
    let folder = workspace.root().join("target/bench/backup");
    remove(&folder)?;
    let measured = in_folder(workspace, env, &folder);
    remove(&folder)?;
    measured
}

fn in_folder(workspace: &Workspace, env: Env<'_>, folder: &Path) -> anyhow::Result<Report> {
    let (restic, skipped) = match apt::program("restic", "restic", env) {
        Ok(restic) => (Some(restic), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let bench = Bench::new(programs::build(workspace, "backup")?, restic, folder)?;
    let mut report = Report {
        skipped,
        ..Report::default()
    };
    for round in 0..MIN_ROUNDS {
        bench.begin()?;
        let mut turns = vec![[Item::First, Item::Later], [Item::ResticFirst, Item::ResticLater]];
        if round % 2 == 1 {
            turns.reverse();
        }
        for [first, later] in turns {
            bench.remove_new()?;
            for item in [first, later] {
                if bench.restic.is_none() && matches!(item, Item::ResticFirst | Item::ResticLater) {
                    continue;
                }
                eprintln!("round {} of {MIN_ROUNDS}: {}", round + 1, item.label());
                report.seconds.add(item, bench.once(item)?);
                bench.draw(ANNOTATIONS, NEW)?;
            }
        }
    }
    Ok(report)
}

/// What the turns work with.
struct Bench {
    program: PathBuf,
    restic: Option<PathBuf>,
    folder: PathBuf,
}

impl Bench {
    fn new(program: PathBuf, restic: Option<PathBuf>, folder: &Path) -> anyhow::Result<Self> {
        let bench = Self {
            program,
            restic,
            folder: folder.to_owned(),
        };
        for part in ["images", "labels"] {
            fs::create_dir_all(bench.tree().join("data").join(part))?;
        }
        let password = folder.join("password");
        fs::write(&password, "a password of the benchmark")?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let config = format!(
            "root_dir: {}\nbackup:\n  repository: {}\n  password_file: {}\n  check_parts: 0\n",
            bench.tree().display(),
            folder.join("ours").display(),
            password.display()
        );
        fs::write(folder.join("config.yaml"), config)?;
        eprintln!("drawing {ANNOTATIONS} annotations");
        bench.draw(0, ANNOTATIONS)?;
        Ok(bench)
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Images of random bytes; the same numbers give the same ones.
    fn draw(&self, from: u32, count: u32) -> anyhow::Result<()> {
        for number in from..from + count {
            let mut state = u64::from(number) + 1;
            let mut bytes = Vec::with_capacity(IMAGE);
            while bytes.len() < IMAGE {
                // xorshift64
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
            let data = self.tree().join("data");
            fs::write(data.join(format!("images/drawn-{number:07}.jpg")), bytes)?;
            fs::write(
                data.join(format!("labels/drawn-{number:07}.txt")),
                format!("{} 0.5 0.5 0.25 0.25\n", number % 80),
            )?;
        }
        Ok(())
    }

    /// Takes away what came between two backups.
    fn remove_new(&self) -> anyhow::Result<()> {
        for number in ANNOTATIONS..ANNOTATIONS + NEW {
            for file in [
                format!("images/drawn-{number:07}.jpg"),
                format!("labels/drawn-{number:07}.txt"),
            ] {
                match fs::remove_file(self.tree().join("data").join(file)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A round begins without repositories, but for restic's empty one, which is made outside of any time.
    fn begin(&self) -> anyhow::Result<()> {
        for made in ["ours", "restic", "tree/status"] {
            remove(&self.folder.join(made))?;
        }
        if self.restic.is_some() {
            run(&mut self.restic(&["init"]))?;
        }
        Ok(())
    }

    fn restic(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.restic.as_deref().unwrap_or(Path::new("restic")));
        command
            .args(["--no-cache", "--repo"])
            .arg(self.folder.join("restic"))
            .arg("--password-file")
            .arg(self.folder.join("password"))
            .args(arguments);
        command
    }

    /// Seconds of one turn.
    fn once(&self, item: Item) -> anyhow::Result<f64> {
        match item {
            Item::First | Item::Later => run(Command::new(&self.program)
                .args(["run", "--config"])
                .arg(self.folder.join("config.yaml"))),
            Item::ResticFirst | Item::ResticLater => {
                run(self.restic(&["backup", "--quiet"]).arg(self.tree().join("data")))
            }
        }
    }
}

impl Report {
    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = Item::ALL.into_iter().filter_map(|item| {
            Some(json!({ "item": item.label(), "seconds": self.seconds.median(item)?, "rounds": self.seconds.of(item) }))
        });
        json!({
            "bench": "backup", "machine": machine(), "files": 2 * ANNOTATIONS, "image_bytes": IMAGE,
            "rows": rows.collect::<Vec<_>>(), "skipped": self.skipped,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} files, images of {IMAGE} bytes; seconds, medians of {MIN_ROUNDS} rounds\n{}\n",
            2 * ANNOTATIONS,
            machine()
        )?;
        writeln!(f, "| | seconds |\n|---|---|")?;
        for item in Item::ALL {
            if let Some(seconds) = self.seconds.median(item) {
                writeln!(f, "| {} | {seconds:.1} |", item.label())?;
            }
        }
        match &self.skipped {
            Some(why) => writeln!(f, "skipped: restic: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_median_of_its_rounds_and_what_was_skipped_has_none() {
        let mut report = Report {
            skipped: Some("not installed".to_owned()),
            ..Report::default()
        };
        for seconds in [9.0, 7.0, 8.0] {
            report.seconds.add(Item::First, seconds);
        }
        let text = report.to_string();
        assert!(text.contains("| azaion-backup run, the first | 8.0 |"), "{text}");
        assert!(
            !text.contains("| restic") && text.contains("skipped: restic: not installed"),
            "{text}"
        );
        assert_eq!(report.json()["rows"][0]["seconds"], 8.0);
    }
}
