//! `cargo xtask bench dataset`: what forming a dataset of many annotations takes, beside `cp -r` and beside the step in which
//! the reference package looks through images and labels and writes its cache.
//!
//! Ours is a process that forms one (`dataset::form`), from its start to its end. All work on one tree in `target/bench`, on one
//! disk, in turns whose order reverses; what a turn has made is removed outside of its time. Everything was read before, so
//! files come from memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::contender::Contender;
use super::plan::peer;
use super::report::machine;
use super::rounds::{Rounds, remove, run};
use super::{MIN_ROUNDS, Place};
use crate::workspace::{Env, Workspace};
use crate::{programs, reference};

const ANNOTATIONS: u64 = 100_000;
/// So many arrive between two datasets.
const NEW: u64 = 1_000;
const PEER: &str = "reference package, its cache";

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    /// Every image is decoded.
    First,
    /// An earlier dataset vouches for all but a hundredth.
    Later,
    /// An earlier dataset vouches for all.
    Again,
    Copy,
    Cache,
}

impl Item {
    const ALL: [Self; 5] = [Self::First, Self::Later, Self::Again, Self::Copy, Self::Cache];

    fn label(self) -> &'static str {
        match self {
            Self::First => "azaion, the first dataset",
            Self::Later => "azaion, a later one, 1,000 are new",
            Self::Again => "azaion, a later one, none is new",
            Self::Copy => "cp -r data/",
            Self::Cache => PEER,
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    seconds: Rounds<Item>,
    facts: Value,
    skipped: Option<String>,
}

/// Measures all of them.
pub(super) fn measure(workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Report> {
    let tree = workspace.root().join("target/bench/dataset-tree");
    remove(&tree)?;
    let measured = in_tree(workspace, env, &tree);
    remove(&tree)?;
    measured
}

fn in_tree(workspace: &Workspace, env: Env<'_>, tree: &Path) -> anyhow::Result<Report> {
    let bench = Bench {
        program: programs::build_example(workspace, "dataset", "annotations")?,
        tree: tree.to_owned(),
    };
    eprintln!("drawing {ANNOTATIONS} annotations");
    bench.draw(0, ANNOTATIONS)?;
    bench.form()?;
    let mut report = Report::default();
    let scratch = tempfile::tempdir().context("cannot make a folder for the peer's files")?;
    let mut cache = match reference::find(env) {
        None => Err("there is no interpreter with it: `cargo xtask parity` makes one".to_owned()),
        Some(python) => {
            let place = Place {
                ours: &bench.program,
                python: &python,
                scripts: &workspace.root().join("tests/reference"),
                scratch: scratch.path(),
                scenes: tree,
            };
            Contender::start(&peer(PEER, "bench_dataset.py", None), &place)
                .map_err(|error| format!("{error:#}"))
        }
    };
    let mut items = Item::ALL.to_vec();
    for round in 0..MIN_ROUNDS {
        for item in &items {
            eprintln!("round {} of {MIN_ROUNDS}: {}", round + 1, item.label());
            let seconds = match (item, &mut cache) {
                (Item::Cache, Err(_)) => continue,
                (Item::Cache, Ok(contender)) => contender.ask("cache", 1)?.seconds.into_iter().sum(),
                _ => bench.once(*item)?,
            };
            report.seconds.add(*item, seconds);
        }
        items.reverse();
    }
    match cache {
        Ok(contender) => report.facts = contender.facts.clone(),
        Err(why) => report.skipped = Some(why),
    }
    Ok(report)
}

/// What the turns work with.
struct Bench {
    /// Draws and forms (src/dataset/examples).
    program: PathBuf,
    tree: PathBuf,
}

impl Bench {
    fn draw(&self, from: u64, count: u64) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("draw").arg(&self.tree);
        run(command.args([from.to_string(), count.to_string()])).map(drop)
    }

    /// Seconds of one turn.
    fn once(&self, item: Item) -> anyhow::Result<f64> {
        let datasets = self.tree.join("datasets");
        match item {
            Item::Copy => {
                let copy = self.tree.join("copy");
                let seconds = run(Command::new("cp")
                    .arg("-r")
                    .arg(self.tree.join("data"))
                    .arg(&copy))?;
                remove(&copy)?;
                Ok(seconds)
            }
            Item::First => {
                let aside = self.tree.join("datasets-aside");
                std::fs::rename(&datasets, &aside)?;
                let seconds = self.form()?;
                remove(&datasets)?;
                std::fs::rename(&aside, &datasets)?;
                Ok(seconds)
            }
            Item::Later => {
                self.draw(ANNOTATIONS, NEW)?;
                let seconds = self.form_beside(&datasets)?;
                self.undraw()?;
                Ok(seconds)
            }
            Item::Again => self.form_beside(&datasets),
            Item::Cache => bail!("the peer times itself"),
        }
    }

    fn form(&self) -> anyhow::Result<f64> {
        run(Command::new(&self.program).arg("form").arg(&self.tree))
    }

    /// Forms one beside the one that is there, and takes it away again.
    fn form_beside(&self, datasets: &Path) -> anyhow::Result<f64> {
        let before = folders(datasets)?;
        let seconds = self.form()?;
        folders(datasets)?
            .iter()
            .filter(|folder| !before.contains(folder))
            .try_for_each(|folder| remove(folder))?;
        Ok(seconds)
    }

    /// Takes away what [`Bench::draw`] added.
    fn undraw(&self) -> anyhow::Result<()> {
        for index in ANNOTATIONS..ANNOTATIONS + NEW {
            for file in [
                format!("images/drawn-{index:07}.jpg"),
                format!("labels/drawn-{index:07}.txt"),
            ] {
                std::fs::remove_file(self.tree.join("data").join(file))?;
            }
        }
        Ok(())
    }
}

fn folders(within: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(within)?.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = entries.collect::<std::io::Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

impl Report {
    /// How many times as long as ours with nothing new.
    fn ratio(&self, item: Item) -> Option<f64> {
        Some(self.seconds.median(item)? / self.seconds.median(Item::Again)?)
    }

    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = Item::ALL.into_iter().filter_map(|item| {
            Some(json!({
                "item": item.label(), "seconds": self.seconds.median(item)?, "rounds": self.seconds.of(item), "ratio": self.ratio(item),
            }))
        });
        json!({
            "bench": "dataset", "machine": machine(), "annotations": ANNOTATIONS, "rows": rows.collect::<Vec<_>>(),
            "peer": self.facts, "skipped": self.skipped,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{ANNOTATIONS} annotations, JPEGs of 160 x 120; seconds, medians of {MIN_ROUNDS} rounds\n{}\n",
            machine()
        )?;
        writeln!(f, "| | seconds | beside ours with nothing new |\n|---|---|---|")?;
        for item in Item::ALL {
            let (Some(seconds), Some(ratio)) = (self.seconds.median(item), self.ratio(item)) else {
                continue;
            };
            writeln!(f, "| {} | {seconds:.1} | {ratio:.1} |", item.label())?;
        }
        match &self.skipped {
            Some(why) => writeln!(f, "skipped: {PEER}: {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_beside_ours_with_nothing_new_and_what_is_skipped_has_no_line() {
        let mut report = Report {
            skipped: Some("no interpreter".to_owned()),
            ..Report::default()
        };
        for (item, seconds) in [
            (Item::Again, 2.0),
            (Item::Copy, 9.0),
            (Item::Copy, 7.0),
            (Item::Copy, 8.0),
        ] {
            report.seconds.add(item, seconds);
        }
        let text = report.to_string();
        assert!(text.contains("| cp -r data/ | 8.0 | 4.0 |"), "{text}");
        assert!(
            !text.contains("the first one") && text.contains("skipped: reference package"),
            "{text}"
        );
        assert_eq!(report.json()["rows"][1]["ratio"], 4.0);
    }
}
