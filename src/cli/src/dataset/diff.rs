//! `azaion dataset diff`.

use super::{DONE, opened, some, told};
use crate::args::DatasetDiffArgs;
use ::dataset::{Split, diff::Diff};
use anyhow::Result;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, process::ExitCode};

pub(super) fn run(args: &DatasetDiffArgs) -> Result<ExitCode> {
    let (_, a) = opened(Some(&args.a), &args.asked)?;
    let (_, b) = opened(Some(&args.b), &args.asked)?;
    let answer = Answer {
        diff: Diff::of(&a, &b),
        a: a.name,
        b: b.name,
    };
    told(&answer, args.asked.json, DONE)
}

/// From one dataset to another.
#[derive(Serialize)]
struct Answer {
    a: String,
    b: String,
    #[serde(flatten)]
    diff: Diff,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, diff } = self;
        writeln!(f, "{a} -> {b}: {} the same", diff.same)?;
        for (what, names) in [
            ("added", &diff.added),
            ("removed", &diff.removed),
            ("relabelled", &diff.relabelled),
            ("other image", &diff.replaced),
        ] {
            if !names.is_empty() {
                let named = some(names.iter().map(String::as_str));
                writeln!(f, "{what:<12} {:>6}  {named}", names.len())?;
            }
        }
        let mut moves: BTreeMap<(Split, Split), Vec<&str>> = BTreeMap::new();
        for moved in &diff.moved {
            moves.entry((moved.from, moved.to)).or_default().push(&moved.name);
        }
        for ((from, to), names) in moves {
            let what = format!("moved {from} -> {to}");
            writeln!(
                f,
                "{what:<12} {:>6}  {}",
                names.len(),
                some(names.iter().copied())
            )?;
        }
        Ok(())
    }
}
