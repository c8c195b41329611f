//! `cargo xtask secrets`: searches the tree and its history, or given files, for secrets: tokens, private keys, passwords.
//!
//! It prints no secret, only its kind, its place and a fingerprint. What is found and is none goes into `.ci/secrets-allowed`
//! with its reason. A secret that is in the history is out, also where a later commit has taken it away: it has to be replaced
//! where it is used.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::findings::{Finding, write_sarif};
use crate::workspace::Workspace;
use allowed::{Allowed, fingerprint};

mod allowed;
mod pattern;
mod places;

pub use allowed::AllowedError;

/// What is asked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Search only these files, as what is about to be shipped; without them: the tree and its history
    files: Vec<PathBuf>,
    /// Write the findings as SARIF too
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    files: usize,
    objects: usize,
}

impl Report {
    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{} files searched", self.files)?;
        if self.objects > 0 {
            write!(f, ", {} files and messages of the history", self.objects)?;
        }
        write!(f, ": {} found", self.findings.len())
    }
}

/// Searches, and prints the report. True when nothing was found.
///
/// # Errors
/// A file, the history or the list of what is allowed cannot be read.
pub fn run(options: &Options, workspace: &Workspace) -> anyhow::Result<bool> {
    let root = workspace.root();
    let report = if options.files.is_empty() {
        repository(root)?
    } else {
        files(&options.files, root)?
    };
    println!("{report}");
    if let Some(path) = &options.sarif {
        write_sarif(path, "azaion-secrets", &report.findings)?;
    }
    Ok(report.findings.is_empty())
}

/// Searches the tree at `root` and its history.
///
/// # Errors
/// See [`run`].
pub fn repository(root: &Path) -> anyhow::Result<Report> {
    let allowed = Allowed::load(root)?;
    let mut report = Report::default();
    let mut known = Vec::new();
    for file in places::tree(root)? {
        let found = search(&root.join(&file), &file.display().to_string(), &allowed)?;
        known.extend(found.iter().map(|(mark, _)| mark.clone()));
        report
            .findings
            .extend(found.into_iter().map(|(_, finding)| finding));
        report.files += 1;
    }
    places::history(root, |object| {
        report.objects += 1;
        for (mark, mut finding) in found_in(&object.data, &object.path, &allowed) {
            // What is still in the tree, and what an older version of a file held as well, is said once.
            if known.contains(&mark) {
                continue;
            }
            known.push(mark);
            finding.message = format!(
                "{}, in commit {}",
                finding.message,
                places::first_commit(root, object)
            );
            report.findings.push(finding);
        }
    })?;
    report
        .findings
        .extend(allowed.unused().map(|(line, mark)| Finding {
            file: allowed::FILE.to_owned(),
            line,
            rule: "allowed-for-nothing".to_owned(),
            message: format!("nothing has the fingerprint {mark} any more: take the line out"),
        }));
    report.findings.sort();
    Ok(report)
}

/// Searches files by their names; `root` is where the list of what is allowed lies.
fn files(files: &[PathBuf], root: &Path) -> anyhow::Result<Report> {
    let allowed = Allowed::load(root)?;
    let mut report = Report::default();
    for file in files {
        let found = search(file, &file.display().to_string(), &allowed)?;
        report
            .findings
            .extend(found.into_iter().map(|(_, finding)| finding));
        report.files += 1;
    }
    Ok(report)
}

fn search(path: &Path, name: &str, allowed: &Allowed) -> anyhow::Result<Vec<(String, Finding)>> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(found_in(&data, name, allowed))
}

/// What `data` holds that is not allowed, with fingerprints.
fn found_in(data: &[u8], name: &str, allowed: &Allowed) -> Vec<(String, Finding)> {
    pattern::find(data)
        .into_iter()
        .filter_map(|found| {
            let secret = data.get(found.range.clone())?;
            let mark = fingerprint(secret);
            if allowed.has(&mark) {
                return None;
            }
            let before = data.get(..found.range.start)?;
            let finding = Finding {
                file: if name.is_empty() { "(commit message)" } else { name }.to_owned(),
                line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
                rule: found.rule.to_owned(),
                message: format!("{} bytes, fingerprint {mark}", secret.len()),
            };
            Some((mark, finding))
        })
        .collect()
}
