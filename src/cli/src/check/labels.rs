//! Labels: a sample of the validated annotations has boxes in range, and images whose headers can be read.

use super::{Context, Finding};
use annotation::{ClassList, Label, Name};
use queue::verbs;
use std::{fs, io, path::Path};
use store::{Home, Paths};

/// So many annotations are looked at, spread over all of them.
const SAMPLED: usize = 100;
/// So many bad ones are named.
const NAMED: usize = 3;

pub(super) fn look(context: &Context) -> Vec<Finding> {
    let paths = verbs::layout(&context.config);
    let folder = paths.labels(Home::Data);
    let names = match names(&folder) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return vec![Finding::problem(
                folder.display(),
                error,
                "look at its permissions",
            )];
        }
    };
    let mut found: Vec<Finding> = classes(&paths.classes_file()).into_iter().collect();
    if names.is_empty() {
        let next = "nothing can be trained before some have arrived";
        found.push(Finding::note(folder.display(), "holds no annotation yet", next));
        return found;
    }
    // Rounded up: the sample reaches to the end.
    let sample: Vec<&Name> = names.iter().step_by(names.len().div_ceil(SAMPLED)).collect();
    let bad: Vec<(&Name, String)> = sample
        .iter()
        .filter_map(|name| Some((*name, problem(&paths, name).err()?)))
        .collect();
    found.push(judge(&folder, names.len(), sample.len(), &bad));
    found
}

fn names(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        let stem = file.to_str().and_then(|file| file.strip_suffix(".txt"));
        names.extend(stem.and_then(|stem| Name::new(stem).ok()));
    }
    names.sort_unstable();
    Ok(names)
}

/// What is wrong with an annotation.
fn problem(paths: &Paths, name: &Name) -> Result<(), String> {
    let label = fs::read(paths.label(Home::Data, name)).map_err(|error| format!("its label: {error}"))?;
    Label::parse_bytes(&label).map_err(|error| format!("its label: {error}"))?;
    let image = fs::read(paths.image(Home::Data, name)).map_err(|error| format!("its image: {error}"))?;
    let size = dataset::decode::dimensions(&image).map_err(|error| format!("its image: {error}"))?;
    match size {
        (0, _) | (_, 0) => Err("its image has no pixels".to_owned()),
        _ => Ok(()),
    }
}

fn judge(folder: &Path, all: usize, sampled: usize, bad: &[(&Name, String)]) -> Finding {
    if bad.is_empty() {
        return Finding::right(
            folder.display(),
            format!("{sampled} of {all} annotations looked at: boxes in range, images with headers"),
        );
    }
    let named: Vec<String> = bad
        .iter()
        .take(NAMED)
        .map(|(name, problem)| format!("{name}: {problem}"))
        .collect();
    Finding::problem(
        folder.display(),
        format!(
            "{} of {sampled} annotations looked at are bad: {}",
            bad.len(),
            named.join("; ")
        ),
        "see where they come from: azaion queue history NAME; forming a dataset sets such aside in data-corrupted/",
    )
}

fn classes(path: &Path) -> Option<Finding> {
    let read = match fs::read_to_string(path) {
        Ok(text) => ClassList::parse(&text).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    let error = read.err()?;
    Some(Finding::problem(
        path.display(),
        error,
        "restore it from a backup",
    ))
}
