//! `azaion dataset lint`.

use super::{Bar, DONE, NAMED, PROBLEMS, folder, plural, told, tree};
use crate::args::DatasetLintArgs;
use ::dataset::lint::{self, Finding, Grade, Linted};
use anyhow::Result;
use serde::Serialize;
use std::{fmt, process::ExitCode};
use store::Home;

pub(super) fn run(args: &DatasetLintArgs) -> Result<ExitCode> {
    let bar = Bar::new("lint");
    let watch = |done, all| bar.at(done, all);
    let linted = match &args.dataset {
        Some(named) => lint::dataset(&folder(named, &args.asked)?, &watch)?,
        None => {
            let paths = tree(&args.asked)?;
            lint::tree(paths.root(), &paths.home(Home::Data), &watch)?
        }
    };
    drop(bar);
    let code = if linted.findings.is_empty() {
        DONE
    } else {
        PROBLEMS
    };
    told(&Answer(linted), args.asked.json, code)
}

#[derive(Serialize)]
struct Answer(Linted);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Linted {
            place,
            images,
            boxes,
            counts,
            findings,
        } = &self.0;
        for (kind, count) in counts {
            let grade = match kind.grade() {
                Grade::Invalid => "INVALID",
                Grade::Smell => "smell",
            };
            writeln!(f, "{grade:<8} {}: {count}", kind.heading())?;
            let of_kind = || findings.iter().filter(|finding| finding.kind == *kind);
            for Finding { place, what, .. } in of_kind().take(NAMED) {
                writeln!(f, "         {place}: {what}")?;
            }
            let more = count.saturating_sub(NAMED);
            if more > 0 {
                writeln!(f, "         and {more} more (--json names all)")?;
            }
        }
        writeln!(
            f,
            "{}: {}, {}, {}",
            place.display(),
            plural(*images, "image"),
            match boxes {
                1 => "1 box".to_owned(),
                boxes => format!("{boxes} boxes"),
            },
            match findings.len() {
                0 => "nothing found".to_owned(),
                count => plural(count, "finding"),
            }
        )
    }
}
