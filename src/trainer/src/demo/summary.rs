//! What a demo came to: a table for a person, one JSON object for a program.

use super::state::{Images, State};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf};
use store::Tree;

/// What a finished demo came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    messages: u64,
    quarantined: usize,
    skipped: usize,
    refused: usize,
    images: Images,
    epochs: u32,
    best_epoch: u32,
    one2many: Scores,
    one2one: Scores,
    stages: Vec<(String, f64, String)>,
    paths: BTreeMap<String, PathBuf>,
}

/// What a head scored on the validation images.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Scores {
    #[serde(rename = "mAP50")]
    map50: f64,
    #[serde(rename = "mAP50_95")]
    map50_95: f64,
    precision: f64,
    recall: f64,
}

impl Scores {
    fn of(validation: &train::Validation) -> Self {
        let m = &validation.metrics;
        Self {
            map50: m.map50,
            map50_95: m.map50_95,
            precision: m.precision,
            recall: m.recall,
        }
    }
}

impl Summary {
    /// Collects it.
    pub fn new(state: &State, tree: &Tree, trained: &train::Summary) -> Result<Self> {
        let run = &trained.folder;
        let dataset = state
            .dataset
            .as_ref()
            .map(|d| state.root.join(d))
            .unwrap_or_default();
        let paths = [
            ("root", state.root.clone()),
            ("stream", state.stream_file()),
            ("quarantine", tree.paths().quarantine()),
            ("dataset", dataset.clone()),
            ("data", dataset.join("data.yaml")),
            ("run", run.clone()),
            ("best", run.join(train::BEST)),
            ("model", state.root.join("models").join("azaion.pt")),
            ("results", run.join(train::RESULTS)),
            ("report", run.join(train::REPORT)),
        ];
        Ok(Self {
            messages: state.messages,
            quarantined: state.quarantined,
            skipped: state.skipped,
            refused: state.refused,
            images: state.images,
            epochs: trained.epochs,
            best_epoch: trained.best.epoch,
            one2many: Scores::of(&trained.one2many),
            one2one: Scores::of(&trained.one2one),
            stages: state.stages.clone(),
            paths: paths
                .into_iter()
                .map(|(name, path)| (name.to_owned(), path))
                .collect(),
        })
    }

    /// Prints the table, and the JSON object as the last line where it is asked for.
    pub fn print(&self, as_json: bool) -> Result<()> {
        println!();
        println!("{:<14} {:>8}   result", "stage", "seconds");
        for (stage, seconds, text) in &self.stages {
            println!("{stage:<14} {seconds:>8.1}   {text}");
        }
        println!();
        println!(
            "{:<22} {:>7} {:>9} {:>10} {:>7}",
            "on validation images", "mAP50", "mAP50-95", "precision", "recall"
        );
        for (head, s) in [
            ("one-to-many head + NMS", &self.one2many),
            ("one-to-one head", &self.one2one),
        ] {
            println!(
                "{head:<22} {:>7.3} {:>9.3} {:>10.3} {:>7.3}",
                s.map50, s.map50_95, s.precision, s.recall
            );
        }
        println!();
        for name in ["report", "model", "data", "results"] {
            if let Some(path) = self.paths.get(name) {
                println!("{name:<10} {}", path.display());
            }
        }
        if as_json {
            println!("{}", self.json());
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let mut seconds: BTreeMap<&str, f64> = self
            .stages
            .iter()
            .map(|(name, s, _)| (name.as_str(), *s))
            .collect();
        seconds.insert("total", seconds.values().sum());
        json!({
            "messages": self.messages,
            "quarantined": self.quarantined,
            "skipped": self.skipped,
            "refused": self.refused,
            "images": self.images,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "head": "one2many",
            "mAP50": self.one2many.map50,
            "mAP50_95": self.one2many.map50_95,
            "precision": self.one2many.precision,
            "recall": self.one2many.recall,
            "one2one": self.one2one,
            "seconds": seconds,
            "paths": self.paths,
        })
    }
}
