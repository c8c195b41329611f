//! `azaion dataset form`.

use super::{Bar, DONE, held, plural, some, told, tree};
use crate::args::DatasetFormArgs;
use ::dataset::{
    form::{FormOptions, Formed, Memory, form_watched},
    manifest::Counts,
};
use anyhow::Result;
use serde::Serialize;
use std::{fmt, path::PathBuf, process::ExitCode};
use store::Home;

/// What was formed.
#[derive(Serialize)]
struct Answer {
    dataset: String,
    folder: PathBuf,
    seed: u64,
    hash: String,
    counts: Counts,
    /// Images that are where an earlier dataset has them.
    kept: usize,
    /// Images that were decoded; earlier datasets vouch for the others.
    decoded: usize,
    hard_links: usize,
    copies: usize,
    /// Groups that earlier datasets have on several sides.
    straddling: usize,
    /// Images of which the ledger tells nothing.
    origin_unknown: usize,
    refused: Vec<Told>,
    skipped: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    what: String,
    why: String,
}

pub(super) fn run(args: &DatasetFormArgs) -> Result<ExitCode> {
    let paths = tree(&args.asked)?;
    let memory = if args.forget {
        Memory::Forgotten
    } else {
        Memory::Kept
    };
    let data = paths.home(Home::Data);
    let options = FormOptions {
        // It is looked for in the root, which may be a relative path itself.
        data_dir: data.strip_prefix(paths.root()).unwrap_or(&data).to_owned(),
        memory,
        ..FormOptions::new(paths.root(), args.seed)
    };
    let bar = Bar::new("dataset");
    let formed = form_watched(&options, &|done, all| bar.at(done, all))?;
    drop(bar);
    told(&Answer::of(formed), args.asked.json, DONE)
}

impl Answer {
    fn of(formed: Formed) -> Self {
        let manifest = &formed.manifest;
        let refused = formed.refused.iter().map(|refused| Told {
            what: refused.name.to_string(),
            why: refused
                .faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        });
        let skipped = formed.skipped.iter().map(|skipped| Told {
            what: skipped.path.display().to_string(),
            why: skipped.reason.to_string(),
        });
        Self {
            refused: refused.collect(),
            skipped: skipped.collect(),
            dataset: manifest.name.clone(),
            seed: manifest.seed,
            hash: manifest.hash.clone(),
            counts: manifest.counts,
            origin_unknown: manifest.items.iter().filter(|item| item.time.is_none()).count(),
            folder: formed.folder,
            kept: formed.kept,
            decoded: formed.decoded,
            hard_links: formed.hard_links,
            copies: formed.copies,
            straddling: formed.straddling,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dataset   {}", self.folder.display())?;
        writeln!(f, "images    {}", held(self.counts))?;
        writeln!(f, "kept      {} where an earlier dataset has them", self.kept)?;
        writeln!(
            f,
            "decoded   {}; earlier datasets vouch for the others",
            self.decoded
        )?;
        if self.origin_unknown > 0 {
            writeln!(
                f,
                "unknown   the ledger tells nothing of {}",
                plural(self.origin_unknown, "image")
            )?;
        }
        if self.straddling > 0 {
            writeln!(
                f,
                "leakage   {} of images that belong together on several sides: azaion dataset lint {}",
                plural(self.straddling, "group"),
                self.dataset
            )?;
        }
        for (what, list) in [("refused", &self.refused), ("skipped", &self.skipped)] {
            if !list.is_empty() {
                writeln!(
                    f,
                    "{what}   {}: {}",
                    list.len(),
                    some(list.iter().map(|told| told.what.as_str()))
                )?;
            }
        }
        Ok(())
    }
}
