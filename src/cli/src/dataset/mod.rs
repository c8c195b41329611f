//! `azaion dataset`, `azaion why` and `azaion blame`: datasets formed, looked through and compared, and the ways from a model
//! to its images and from an image to its models.
//!
//! Each verb makes one answer, which is its text and its JSON at once. Only `form` changes anything.

mod blame;
mod diff;
mod form;
mod lint;
mod show;
mod stats;
mod why;

use crate::{
    args::{BlameArgs, DatasetCommand, WhyArgs},
    console::Task,
    program,
};
use ::dataset::{
    catalog::{self, Catalogued},
    manifest::{Counts, Manifest},
};
use anyhow::{Context, Result, bail};
use queue::verbs::{self, Asked};
use serde::Serialize;
use service::Config;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
};
use store::Paths;

const DONE: u8 = 0;
/// Something was found that somebody has to see to.
const PROBLEMS: u8 = 2;
/// So many names are told of each kind; JSON has all.
const NAMED: usize = 20;

/// Runs the command: the answer goes to stdout.
pub fn run(command: &DatasetCommand) -> Result<ExitCode> {
    match command {
        DatasetCommand::Form(args) => form::run(args),
        DatasetCommand::Lint(args) => lint::run(args),
        DatasetCommand::Stats(args) => stats::run(args),
        DatasetCommand::Show(args) => show::run(args),
        DatasetCommand::Diff(args) => diff::run(args),
    }
}

/// Runs `azaion why`.
pub fn why(args: &WhyArgs) -> Result<ExitCode> {
    why::run(args)
}

/// Runs `azaion blame`.
pub fn blame(args: &BlameArgs) -> Result<ExitCode> {
    blame::run(args)
}

/// Prints an answer as text, or as one JSON value.
fn told(answer: &(impl Serialize + fmt::Display), json: bool, code: u8) -> Result<ExitCode> {
    let text = if json {
        format!("{}\n", serde_json::to_string(answer)?)
    } else {
        answer.to_string()
    };
    program::answer(&text);
    Ok(code.into())
}

/// Where the tree is, which must exist.
fn tree(asked: &Asked) -> Result<Paths> {
    let paths = match &asked.root {
        Some(root) => Paths::under(root),
        None => {
            let config = Config::load(&asked.config).context("with --root DIR no configuration is needed")?;
            verbs::layout(&config)
        }
    };
    if !paths.root().is_dir() {
        let path = paths.root().to_owned();
        return Err(store::Error::NoRoot { path }.into());
    }
    Ok(paths)
}

/// A dataset by the name it has in the tree, or by the path of its folder.
fn folder(named: &str, asked: &Asked) -> Result<PathBuf> {
    let path = Path::new(named);
    if path.components().count() > 1 || path.is_absolute() || (path.is_dir() && asked.root.is_none()) {
        if !path.is_dir() {
            bail!("there is no folder {}", path.display());
        }
        return Ok(path.to_owned());
    }
    let datasets = tree(asked)?.datasets();
    let folder = datasets.join(named);
    if !folder.is_dir() {
        bail!("there is no dataset {named} in {}", datasets.display());
    }
    Ok(folder)
}

/// A dataset with its manifest: the one that is named, or else the newest.
fn opened(named: Option<&str>, asked: &Asked) -> Result<(PathBuf, Manifest)> {
    if let Some(named) = named {
        let folder = folder(named, asked)?;
        let manifest = Manifest::read(&folder)?;
        return Ok((folder, manifest));
    }
    let datasets = tree(asked)?.datasets();
    let newest = all(&datasets)?.pop();
    let Catalogued { folder, manifest } =
        newest.with_context(|| format!("there is no dataset in {}", datasets.display()))?;
    Ok((folder, manifest?))
}

/// All datasets of a tree, the oldest first.
fn all(datasets: &Path) -> Result<Vec<Catalogued>> {
    catalog::list(datasets).with_context(|| format!("cannot list {}", datasets.display()))
}

/// A bar for work whose length is not known before.
struct Bar {
    label: &'static str,
    task: Mutex<Option<Task>>,
}

impl Bar {
    fn new(label: &'static str) -> Self {
        let task = Mutex::new(None);
        Self { label, task }
    }

    fn at(&self, done: usize, all: usize) {
        if let Ok(mut task) = self.task.lock() {
            let task = task.get_or_insert_with(|| Task::new(self.label, all as u64));
            task.at_of(done as u64, all as u64);
        }
    }
}

/// `1 image`, `2 images`.
fn plural(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

/// What a dataset holds, in words.
fn held(counts: Counts) -> String {
    let Counts {
        train,
        valid,
        test,
        boxes,
        background,
    } = counts;
    format!("{train} train, {valid} valid, {test} test; {boxes} boxes, {background} without a box")
}

/// The first of these names, and how many more there are.
fn some<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<&str> = names.take(NAMED).collect();
    match more {
        0 => named.join(", "),
        _ => format!("{}, and {more} more", named.join(", ")),
    }
}
