//! The queue's daemon on trial: `cargo xtask soak queue` and `cargo xtask bench queue`. The trials themselves are in src/trial;
//! this builds both programs, sees that brokers and Python are there, and shows what came out.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::brokers::{self, Version};
use crate::workspace::{Env, Workspace, cache_dir};
use crate::{programs, rstream};

/// Sizes of trees that ours is timed on.
const GROWN: &str = "10000,100000,1000000";

/// What fails, how often, and what is sent.
#[derive(Debug, Clone, clap::Args)]
pub struct Soak {
    /// How often it fails
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Another number, other messages and moments
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// What fails
    #[arg(long, value_enum, default_value_t = Failing::Daemon)]
    failing: Failing,
    /// The broker's version, 3.10.8 or 4.0.5
    #[arg(long, value_name = "VERSION", default_value = "4.0.5")]
    broker: String,
}

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

impl Failing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Broker => "broker",
            Self::Network => "network",
        }
    }
}

/// Runs a soak; true if nothing was lost and nothing doubled.
///
/// # Errors
/// Something does not build or start.
pub fn soak(options: &Soak, workspace: &Workspace, env: Env<'_>) -> anyhow::Result<bool> {
    let Soak {
        kills,
        seed,
        failing,
        broker,
    } = options;
    let cache = cache_dir(env)?;
    let version = Version::ALL
        .into_iter()
        .find(|version| version.number() == broker)
        .with_context(|| format!("there is no broker {broker}, only 3.10.8 and 4.0.5"))?;
    brokers::bring(version, &cache, env)?;
    let (daemon, trial) = programs(workspace)?;
    let status = Command::new(&trial)
        .arg("soak")
        .arg("--program")
        .arg(&daemon)
        .args(["--kills", &kills.to_string(), "--seed", &seed.to_string()])
        .args(["--failing", failing.as_str(), "--broker", broker])
        .status()
        .with_context(|| format!("cannot start {}", trial.display()))?;
    verdict(status, "the soak")
}

/// How often a training run is killed, and when.
#[derive(Debug, Clone, clap::Args)]
pub struct Training {
    /// How often it is killed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Another number, other moments
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Number format: fp32 or bf16 [default: half of the kills each]
    #[arg(long, value_parser = ["fp32", "bf16"])]
    precision: Option<String>,
}

/// Kills training runs; true if all of them ended as one that nobody touched.
///
/// # Errors
/// Something does not build or start, or a run does not finish.
pub fn training(options: &Training, workspace: &Workspace) -> anyhow::Result<bool> {
    let (trainer, trial) = (
        programs::build(workspace, "trainer")?,
        programs::build(workspace, "trial")?,
    );
    let Training {
        kills,
        seed,
        precision,
    } = options;
    let formats = match precision.as_deref() {
        Some(one) => vec![(one, *kills)],
        None => vec![("fp32", kills.div_ceil(2)), ("bf16", kills / 2)],
    };
    let mut equal = true;
    for (precision, kills) in formats.into_iter().filter(|(_, kills)| *kills > 0) {
        println!("{precision}:");
        let status = Command::new(&trial)
            .arg("training")
            .arg("--program")
            .arg(&trainer)
            .args(["--kills", &kills.to_string(), "--seed", &seed.to_string()])
            .args(["--precision", precision])
            .status()
            .with_context(|| format!("cannot start {}", trial.display()))?;
        equal &= verdict(status, "the soak")?;
    }
    Ok(equal)
}

/// A power cut behind every operation, on file systems that forget what was not synced.
#[derive(Debug, Clone, clap::Args)]
pub struct PowerCut {
    /// Another number, other messages and losses
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Cuts on each file system
    #[arg(long, value_name = "N", default_value_t = 400)]
    cuts: usize,
}

/// Cuts the power; true if nothing was lost and nothing doubled.
///
/// # Errors
/// It does not build or cannot run.
pub fn power_cut(options: &PowerCut, workspace: &Workspace) -> anyhow::Result<bool> {
    let program = programs::build(workspace, "powercut")?;
    let status = Command::new(&program)
        .args(["--seed", &options.seed.to_string()])
        .args(["--cuts", &options.cuts.to_string()])
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    verdict(status, "the power cuts")
}

fn verdict(status: ExitStatus, what: &str) -> anyhow::Result<bool> {
    match status.code() {
        Some(0) => Ok(true),
        Some(2) => Ok(false),
        _ => bail!("{what} ended with {status}"),
    }
}

/// `azaion-queue` and the trial.
fn programs(workspace: &Workspace) -> anyhow::Result<(PathBuf, PathBuf)> {
    Ok((
        programs::build(workspace, "queue")?,
        programs::build(workspace, "trial")?,
    ))
}

/// What a benchmark of the queue measured.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    item: String,
    ours: f64,
    /// The peer's figure, or the disk's.
    beside: Option<f64>,
    ratio: Option<f64>,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// Of the ratio.
    Floor(f64),
    /// Of our figure.
    Ceiling(f64),
    None,
}

impl Row {
    fn parse(row: &Value) -> anyhow::Result<Self> {
        let number = |key: &str| row[key].as_f64();
        Ok(Self {
            item: row["item"].as_str().context("a row without a name")?.to_owned(),
            ours: number("ours").context("a row without our figure")?,
            beside: number("peer").or(number("disk")),
            ratio: number("ratio"),
            bound: match (number("floor"), number("ceiling")) {
                (Some(floor), _) => Bound::Floor(floor),
                (None, Some(ceiling)) => Bound::Ceiling(ceiling),
                (None, None) => Bound::None,
            },
        })
    }

    fn holds(&self) -> Option<bool> {
        match self.bound {
            Bound::Floor(floor) => Some(self.ratio.is_some_and(|ratio| ratio >= floor)),
            Bound::Ceiling(ceiling) => Some(self.ours <= ceiling),
            Bound::None => None,
        }
    }
}

/// Runs the benchmark on the disk that holds `target/`.
///
/// # Errors
/// Something does not build or start, or a contender failed.
pub fn bench(workspace: &Workspace, env: Env<'_>) -> anyhow::Result<Report> {
    let python = rstream::interpreter(env)?;
    brokers::bring(Version::V4_0, &cache_dir(env)?, env)?;
    let (daemon, trial) = programs(workspace)?;
    let folder = workspace.root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let output = Command::new(&trial)
        .arg("bench")
        .arg("--program")
        .arg(&daemon)
        .arg("--python")
        .arg(&python)
        .arg("--peer")
        .arg(workspace.root().join("tests/broker/consumer.py"))
        .arg("--folder")
        .arg(&folder)
        .args(["--grown", GROWN])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", trial.display()))?;
    if !output.status.success() {
        bail!("the benchmark ended with {}", output.status);
    }
    Report::parse(&output.stdout)
}

impl Report {
    fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let rows: Vec<Value> = serde_json::from_slice(json).context("the benchmark said something else")?;
        let rows = rows.iter().map(Row::parse).collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }

    /// The numbers for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let (floor, ceiling) = match row.bound {
                Bound::Floor(floor) => (Some(floor), None),
                Bound::Ceiling(ceiling) => (None, Some(ceiling)),
                Bound::None => (None, None),
            };
            json!({
                "item": row.item, "ours": row.ours, "beside": row.beside, "ratio": row.ratio,
                "floor": floor, "ceiling": ceiling, "ok": row.holds(),
            })
        });
        json!({"name": "queue", "rows": rows.collect::<Vec<_>>()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |value: Option<f64>, digits| value.map_or_else(String::new, |value| format!("{value:.digits$}"));
        writeln!(f, "| queue | azaion | peer or disk | ratio | bound | |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let bound = match row.bound {
                Bound::Floor(floor) => format!("ratio at least {floor}"),
                Bound::Ceiling(ceiling) => format!("at most {ceiling}"),
                Bound::None => String::new(),
            };
            let verdict = match row.holds() {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "",
            };
            writeln!(
                f,
                "| {} | {:.1} | {} | {} | {bound} | {verdict} |",
                row.item,
                row.ours,
                number(row.beside, 1),
                number(row.ratio, 2)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::parse(
            br#"[{"item": "messages", "ours": 90.0, "peer": 30.0, "ratio": 3.0, "floor": 3.0},
                 {"item": "share", "ours": 50.0, "disk": 100.0, "ratio": 0.5, "floor": 0.6},
                 {"item": "memory", "ours": 96.5, "ceiling": 96.0},
                 {"item": "grown", "ours": 7.0, "ratio": 1.0}]"#,
        )
        .unwrap()
    }

    #[test]
    fn a_floor_is_of_the_ratio_and_a_ceiling_of_our_figure() {
        let holds: Vec<_> = report().rows.iter().map(Row::holds).collect();
        assert_eq!(holds, [Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let (text, json) = (report().to_string(), report().json());
        assert!(
            text.contains("| messages | 90.0 | 30.0 | 3.00 | ratio at least 3 | ok |"),
            "{text}"
        );
        assert!(
            text.contains("| memory | 96.5 |  |  | at most 96 | MISSED |"),
            "{text}"
        );
        assert_eq!(json["rows"][1]["ratio"], 0.5);
        assert_eq!(json["rows"][1]["ok"], false);
        assert_eq!(json["rows"][3]["ok"], Value::Null);
    }

    #[test]
    fn what_is_no_table_is_an_error() {
        assert!(Report::parse(b"{}").is_err());
        assert!(Report::parse(br#"[{"item": "x"}]"#).is_err());
    }
}
