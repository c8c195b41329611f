//! `azaion dataset stats`.

use super::{DONE, opened, told};
use crate::args::DatasetNamedArgs;
use ::dataset::{
    DataYaml, Split,
    stats::{self, SplitStats},
};
use anyhow::Result;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    process::ExitCode,
};

/// So many image sizes are told of each split; JSON has all.
const SIZES: usize = 3;

/// What a dataset holds.
#[derive(Serialize)]
struct Answer {
    dataset: String,
    splits: BTreeMap<Split, SplitStats>,
    /// Names of the classes that occur.
    names: BTreeMap<u8, String>,
}

pub(super) fn run(args: &DatasetNamedArgs) -> Result<ExitCode> {
    let (folder, manifest) = opened(args.dataset.as_deref(), &args.asked)?;
    let splits = stats::stats(&folder, &manifest)?;
    // The numbers stand by themselves where nobody names the classes.
    let named = DataYaml::read(&folder.join("data.yaml"))
        .map(|yaml| yaml.names)
        .unwrap_or_default();
    let classes: BTreeSet<u8> = splits
        .values()
        .flat_map(|split| split.classes.keys().copied())
        .collect();
    let names = classes
        .into_iter()
        .map(|class| {
            let name = named.get(usize::from(class)).cloned();
            (class, name.unwrap_or_else(|| format!("Class-{class}")))
        })
        .collect();
    let answer = Answer {
        dataset: manifest.name,
        splits,
        names,
    };
    told(&answer, args.asked.json, DONE)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.dataset)?;
        writeln!(
            f,
            "{:<7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
            "", "images", "no box", "boxes", "most", "small", "medium", "large", "MB"
        )?;
        for (split, stats) in &self.splits {
            writeln!(
                f,
                "{split:<7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9.1}",
                stats.images,
                stats.background,
                stats.boxes,
                stats.most_boxes,
                stats.box_sizes.small,
                stats.box_sizes.medium,
                stats.box_sizes.large,
                stats.bytes as f64 / 1e6
            )?;
        }
        writeln!(
            f,
            "\n{:<24} {:>8} {:>8} {:>8}",
            "boxes of class", "train", "valid", "test"
        )?;
        for (class, name) in &self.names {
            let of = |split| {
                let stats: Option<&SplitStats> = self.splits.get(&split);
                stats
                    .and_then(|stats| stats.classes.get(class))
                    .copied()
                    .unwrap_or_default()
            };
            let [train, valid, test] = Split::ALL.map(of);
            writeln!(
                f,
                "{:<24} {train:>8} {valid:>8} {test:>8}",
                format!("{class:>2} {name}")
            )?;
        }
        writeln!(f)?;
        for (split, stats) in &self.splits {
            let sizes: Vec<String> = stats
                .image_sizes
                .iter()
                .take(SIZES)
                .map(|size| format!("{} x {} ({})", size.width, size.height, size.images))
                .collect();
            let more = stats.image_sizes.len().saturating_sub(SIZES);
            let more = if more > 0 {
                format!(", and {more} more sizes")
            } else {
                String::new()
            };
            writeln!(f, "{split:<7} images of {}{more}", sizes.join(", "))?;
        }
        writeln!(
            f,
            "\nboxes are small below 32 x 32 pixels of the image, medium below 96 x 96"
        )
    }
}
