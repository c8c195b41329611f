//! What the runs of a comparison reached, and whether azaion's are as good as the reference's.
//!
//! The rule: the mean of azaion's runs is not below the worst of the reference's, for mAP50 and mAP50-95, in either
//! number format. So azaion is within the spread of the reference or better.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::curve::{self, Point};
use super::folder::Folder;
use super::job::Job;
use super::{Side, curve::seconds};

/// How one side did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the spread of the reference's runs or better.
    Ok,
    /// Below the reference's worst run.
    Below,
    /// Runs are missing.
    Unfinished,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Below => "BELOW",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A run, finished or not.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub side: Side,
    pub seed: u32,
    pub curve: Vec<Point>,
    /// What its best model measures, when it is finished.
    pub reached: Option<Reached>,
}

/// What the best model of a finished run measures.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub epochs: u32,
    pub best_epoch: u32,
    /// By the side's own validator: mAP50, mAP50-95.
    pub scores: [f64; 2],
    /// The same model by azaion's validator, where the side has another.
    pub second_opinion: Option<[f64; 2]>,
    /// Epochs at which a run that doesn't resume exactly was resumed.
    pub resumed_at: Vec<u64>,
}

/// Everything there is to say.
#[derive(Debug, Clone)]
pub struct Report {
    /// The comparison's.
    pub folder: PathBuf,
    /// What it was begun with.
    pub settings: Value,
    /// Of every run.
    pub epochs: u32,
    /// All that were asked for, finished or not.
    pub(super) runs: Vec<Run>,
}

/// Mean, lowest and highest of mAP50 and mAP50-95 over a side's finished runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    mean: [f64; 2],
    lowest: [f64; 2],
    highest: [f64; 2],
    runs: usize,
}

impl Report {
    /// Reads what the jobs have left.
    pub(super) fn new(folder: &Folder, jobs: &[Job]) -> anyhow::Result<Self> {
        Ok(Self {
            folder: folder.path().to_owned(),
            settings: folder.settings().clone(),
            epochs: folder.epochs(),
            runs: jobs
                .iter()
                .map(|job| Run::read(job, folder.settings()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// How azaion's runs in a number format did beside the reference's.
    pub fn verdict(&self, side: Side) -> Verdict {
        let complete = |side| self.of(side).all(|run| run.reached.is_some());
        let (Some(ours), Some(theirs)) = (self.spread(side), self.spread(Side::Reference)) else {
            return Verdict::Unfinished;
        };
        if !complete(side) || !complete(Side::Reference) {
            return Verdict::Unfinished;
        }
        let holds = (0..2).all(|score| ours.mean[score] >= theirs.lowest[score]);
        if holds { Verdict::Ok } else { Verdict::Below }
    }

    /// Whether a finished side is below the reference.
    #[must_use]
    pub fn is_below(&self) -> bool {
        Side::ALL.iter().any(|side| self.verdict(*side) == Verdict::Below)
    }

    fn of(&self, side: Side) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.side == side)
    }

    fn spread(&self, side: Side) -> Option<Spread> {
        let scores: Vec<[f64; 2]> = self
            .of(side)
            .filter_map(|run| Some(run.reached.as_ref()?.scores))
            .collect();
        let fold = |start: f64, with: fn(f64, f64) -> f64| {
            [0, 1].map(|score| scores.iter().map(|run| run[score]).fold(start, with))
        };
        (!scores.is_empty()).then(|| Spread {
            mean: fold(0.0, |sum, score| sum + score).map(|sum| sum / scores.len() as f64),
            lowest: fold(f64::INFINITY, f64::min),
            highest: fold(f64::NEG_INFINITY, f64::max),
            runs: scores.len(),
        })
    }

    /// The same as a value.
    #[must_use]
    pub fn json(&self) -> Value {
        let runs: Vec<Value> = self.runs.iter().map(Run::json).collect();
        let sides: Vec<Value> = Side::ALL
            .iter()
            .filter_map(|&side| {
                let spread = self.spread(side)?;
                let verdict = (side != Side::Reference).then(|| self.verdict(side).as_str());
                Some(json!({
                    "side": side.as_str(), "runs": spread.runs, "verdict": verdict,
                    "map50": { "mean": spread.mean[0], "lowest": spread.lowest[0], "highest": spread.highest[0] },
                    "map50_95": { "mean": spread.mean[1], "lowest": spread.lowest[1], "highest": spread.highest[1] },
                }))
            })
            .collect();
        json!({ "folder": self.folder, "settings": self.settings, "runs": runs, "sides": sides })
    }
}

impl Run {
    fn read(job: &Job, settings: &Value) -> anyhow::Result<Self> {
        let reached = match job.result()? {
            Some(result) => Some(
                Reached::parse(&result, settings, job.second_opinion()?.as_ref())
                    .with_context(|| format!("{job}: its result is not of this comparison: {result}"))?,
            ),
            None => None,
        };
        Ok(Self {
            side: job.side,
            seed: job.seed,
            curve: job.curve(),
            reached,
        })
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "side": self.side.as_str(), "seed": self.seed, "seconds": seconds(&self.curve),
            "epochs": self.curve.last().map_or(0, |point| point.epoch), "finished": self.reached.is_some(),
        });
        if let Some(reached) = &self.reached {
            value["best_epoch"] = json!(reached.best_epoch);
            value["map50"] = json!(reached.scores[0]);
            value["map50_95"] = json!(reached.scores[1]);
            value["by_azaion"] = json!(reached.second_opinion);
            value["resumed_at"] = json!(reached.resumed_at);
        }
        value
    }
}

impl Reached {
    /// Nothing where a number is missing, or where the run saw other images than the comparison has.
    fn parse(result: &Value, settings: &Value, second_opinion: Option<&Value>) -> Option<Self> {
        let same = result["images"] == settings["train"] && result["validation"] == settings["val"];
        let count = |name: &str| result[name].as_u64().and_then(|count| u32::try_from(count).ok());
        let second_opinion = match second_opinion {
            Some(value) => Some([value["mAP50"].as_f64()?, value["mAP50_95"].as_f64()?]),
            None => None,
        };
        same.then_some(Self {
            epochs: count("epochs")?,
            best_epoch: count("best_epoch")?,
            scores: [result["map50"].as_f64()?, result["map50_95"].as_f64()?],
            second_opinion,
            resumed_at: result["resumed_at"]
                .as_array()?
                .iter()
                .filter_map(Value::as_u64)
                .collect(),
        })
    }

    fn note(&self) -> String {
        let mut notes = Vec::new();
        if let Some([map50, map50_95]) = self.second_opinion {
            notes.push(format!("by azaion's validator {map50:.4} {map50_95:.4}"));
        }
        if !self.resumed_at.is_empty() {
            let epochs: Vec<String> = self.resumed_at.iter().map(u64::to_string).collect();
            notes.push(format!("resumed at epoch {}", epochs.join(", ")));
        }
        notes.join("; ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = |name: &str| self.settings[name].to_string().replace('"', "");
        writeln!(
            f,
            "{} from scratch, {} epochs, {} px, batch {}; {} images to train on, {} to validate; {} left out",
            setting("model"),
            self.epochs,
            setting("imgsz"),
            setting("batch"),
            setting("train"),
            setting("val"),
            self.settings["left_out"].as_array().map_or(0, Vec::len),
        )?;
        self.table(f)?;
        self.unfinished(f)?;
        self.summary(f)
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<16} {:>4} {:>7} {:>5} {:>7} {:>9} {:>8}",
            "side", "seed", "epochs", "best", "mAP50", "mAP50-95", "seconds"
        )?;
        for run in &self.runs {
            let Some(reached) = &run.reached else { continue };
            let line = format!(
                "{:<16} {:>4} {:>7} {:>5} {:>7.4} {:>9.4} {:>8.0}   {}",
                run.side.title(),
                run.seed,
                reached.epochs,
                reached.best_epoch,
                reached.scores[0],
                reached.scores[1],
                curve::seconds(&run.curve),
                reached.note(),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn unfinished(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<String> = self
            .runs
            .iter()
            .filter(|run| run.reached.is_none())
            .map(|run| {
                let epoch = run.curve.last().map_or(0, |point| point.epoch);
                format!(
                    "{}, seed {} (epoch {epoch} of {})",
                    run.side.title(),
                    run.seed,
                    self.epochs
                )
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        writeln!(f, "not finished: {}", missing.join("; "))
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<16} {:>4}   {:<26} {:<26} verdict",
            "side", "runs", "mAP50", "mAP50-95"
        )?;
        for side in Side::ALL {
            let Some(spread) = self.spread(side) else { continue };
            let [map50, map50_95] = [0, 1].map(|score| {
                format!(
                    "{:.4} ({:.4} to {:.4})",
                    spread.mean[score], spread.lowest[score], spread.highest[score]
                )
            });
            let verdict = match side {
                Side::Reference => "",
                _ => self.verdict(side).as_str(),
            };
            let line = format!(
                "{:<16} {:>4}   {map50:<26} {map50_95:<26} {verdict}",
                side.title(),
                spread.runs
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(f, "ok: the mean is not below the worst of the reference's runs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(side: Side, seed: u32, scores: Option<[f64; 2]>) -> Run {
        Run {
            side,
            seed,
            curve: Vec::new(),
            reached: scores.map(|scores| Reached {
                epochs: 100,
                best_epoch: 90,
                scores,
                second_opinion: None,
                resumed_at: Vec::new(),
            }),
        }
    }

    fn report(theirs: [Option<[f64; 2]>; 2], ours: [Option<[f64; 2]>; 2]) -> Report {
        let runs = |side, scores: [Option<[f64; 2]>; 2]| {
            (0..)
                .zip(scores)
                .map(move |(seed, scores)| run(side, seed, scores))
        };
        Report {
            folder: PathBuf::new(),
            settings: Value::Null,
            epochs: 100,
            runs: runs(Side::Reference, theirs)
                .chain(runs(Side::Bf16, ours))
                .collect(),
        }
    }

    const THEIRS: [Option<[f64; 2]>; 2] = [Some([0.80, 0.50]), Some([0.84, 0.48])];

    #[test]
    fn a_mean_inside_the_spread_or_above_it_is_ok() {
        for ours in [[0.80, 0.48], [0.82, 0.49], [0.9, 0.6]] {
            let report = report(THEIRS, [Some(ours); 2]);
            assert_eq!(report.verdict(Side::Bf16), Verdict::Ok, "{ours:?}");
            assert!(!report.is_below());
        }
    }

    #[test]
    fn a_mean_below_the_worst_run_in_either_score_is_told() {
        for ours in [[0.79, 0.49], [0.82, 0.47]] {
            let report = report(THEIRS, [Some(ours); 2]);
            assert_eq!(report.verdict(Side::Bf16), Verdict::Below, "{ours:?}");
            assert!(report.is_below() && report.to_string().contains("BELOW"));
        }
    }

    #[test]
    fn without_all_runs_of_both_sides_there_is_no_verdict_and_the_missing_are_named() {
        let poor = Some([0.1, 0.1]);
        for report in [
            report(THEIRS, [poor, None]),
            report([THEIRS[0], None], [poor; 2]),
            report(THEIRS, [None; 2]),
        ] {
            assert_eq!(report.verdict(Side::Bf16), Verdict::Unfinished);
            assert!(report.to_string().contains("seed 1 (epoch 0 of 100)"), "{report}");
        }
    }

    #[test]
    fn a_run_on_other_images_is_no_result() {
        let settings = json!({ "train": 203, "val": 87 });
        let result = json!({
            "images": 203, "validation": 87, "epochs": 1, "best_epoch": 1, "map50": 0.5, "map50_95": 0.25, "resumed_at": [],
        });
        assert!(Reached::parse(&result, &settings, None).is_some());
        for name in ["images", "validation"] {
            let mut other = result.clone();
            other[name] = json!(205);
            assert!(Reached::parse(&other, &settings, None).is_none(), "{name}");
        }
    }
}
