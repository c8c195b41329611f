//! `cargo xtask audit`: the dependencies against what is known to be bad. cargo-deny looks at advisories, bans, licences and
//! sources by the rules in `deny.toml`; cargo-audit reads the database of advisories by itself, as a second pair of eyes.
//!
//! Every error of theirs is a finding at the package's line of `Cargo.lock`, and each blocks, whatever its severity. A check
//! that the network kept from running is named with its reason, and is no pass.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::deny::DENY;
use super::tools::{Tool, is_network_trouble};
use super::{Context, Outcome};
use crate::findings::{Finding, write_sarif};

const AUDIT: Tool = Tool {
    program: "cargo-audit",
    package: "cargo-audit",
    version: "0.22.2",
};

/// What is asked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Write the findings as SARIF too
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

/// What all checks came to.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(&'static str, Row)>,
}

/// One check.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    /// It ran, and this is what it found.
    Ran(Vec<Finding>),
    /// It could not run, and this is why.
    Skipped(String),
}

impl Report {
    /// Whether something has to be mended.
    #[must_use]
    pub fn found_something(&self) -> bool {
        self.findings().next().is_some()
    }

    /// Whether every check ran.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|(_, row)| matches!(row, Row::Ran(_)))
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.rows
            .iter()
            .filter_map(|(_, row)| match row {
                Row::Ran(findings) => Some(findings),
                Row::Skipped(_) => None,
            })
            .flatten()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, row) in &self.rows {
            match row {
                Row::Ran(findings) if findings.is_empty() => writeln!(f, "{name}: ok")?,
                Row::Ran(findings) => {
                    writeln!(f, "{name}: {} found", findings.len())?;
                    for finding in findings {
                        writeln!(f, "    {finding}")?;
                    }
                }
                Row::Skipped(why) => writeln!(f, "{name}: skipped ({why})")?,
            }
        }
        Ok(())
    }
}

/// Runs every check.
///
/// # Errors
/// `Cargo.lock` cannot be read, a program cannot be installed or says something else than it should, or the SARIF file cannot
/// be written.
pub fn run(options: &Options, context: &Context<'_>) -> anyhow::Result<Report> {
    let lock = context.workspace.root().join("Cargo.lock");
    let lock = Lock(fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?);
    let mut report = Report::default();
    for (name, which) in [
        (
            "cargo-deny: licences, bans, sources",
            &["bans", "licenses", "sources"][..],
        ),
        ("cargo-deny: advisories", &["advisories"]),
    ] {
        report.rows.push((name, deny(which, context, &lock)?));
    }
    report
        .rows
        .push(("cargo-audit: advisories", audit(context, &lock)?));
    if let Some(path) = &options.sarif {
        let findings: Vec<Finding> = report.findings().cloned().collect();
        write_sarif(path, "azaion-audit", &findings)?;
    }
    Ok(report)
}

fn deny(which: &[&str], context: &Context<'_>, lock: &Lock) -> anyhow::Result<Row> {
    let program = match DENY.find(context) {
        Ok(program) => program,
        Err(outcome) => return missing(outcome),
    };
    let mut command = context.workspace.cargo_like(&program);
    command.args(["--format", "json", "check"]).args(which);
    let said = Said::of(&mut command)?;
    let findings = deny_findings(&said.stderr, lock);
    said.row(findings, "cargo-deny")
}

fn audit(context: &Context<'_>, lock: &Lock) -> anyhow::Result<Row> {
    let program = match AUDIT.find(context) {
        Ok(program) => program,
        Err(outcome) => return missing(outcome),
    };
    let said = Said::of(context.workspace.cargo_like(&program).args(["audit", "--json"]))?;
    let findings = audit_findings(&said.stdout, lock);
    said.row(findings, "cargo-audit")
}

/// A tool that is not there and cannot be built.
fn missing(outcome: Outcome) -> anyhow::Result<Row> {
    match outcome {
        Outcome::Skipped(why) => Ok(Row::Skipped(why)),
        Outcome::Failed(why) => Err(anyhow::Error::msg(why)),
        Outcome::Ok => Err(anyhow::Error::msg("a tool is neither there nor missing")),
    }
}

/// What a program wrote, and whether it ended well.
struct Said {
    stdout: String,
    stderr: String,
    success: bool,
}

impl Said {
    fn of(command: &mut Command) -> anyhow::Result<Self> {
        let output = command
            .output()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        })
    }

    /// A program that ended badly has findings, or the network's silence, or is broken.
    fn row(&self, findings: Vec<Finding>, program: &str) -> anyhow::Result<Row> {
        if self.success || !findings.is_empty() {
            return Ok(Row::Ran(findings));
        }
        match self.stderr.lines().find(|line| is_network_trouble(line)) {
            Some(line) => Ok(Row::Skipped(format!("no network: {}", plain_words(line)))),
            None => Err(anyhow::Error::msg(self.stderr.clone()).context(format!("{program} failed"))),
        }
    }
}

/// The words of a line that may be one of cargo-deny's log, in JSON.
fn plain_words(line: &str) -> String {
    let message = serde_json::from_str::<Value>(line)
        .ok()
        .and_then(|line| line["fields"]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| line.trim().to_owned());
    // The first line says what was tried, the one with the trouble says what became of it.
    message
        .lines()
        .find(|line| is_network_trouble(line))
        .unwrap_or(&message)
        .to_owned()
}

/// Errors among the diagnostics of `cargo-deny --format json`, which is a line of JSON each.
fn deny_findings(lines: &str, lock: &Lock) -> Vec<Finding> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "diagnostic" && line["fields"]["severity"] == "error")
        .map(|line| {
            let fields = &line["fields"];
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let krate = &fields["graphs"][0]["Krate"];
            let advisory = &fields["advisory"]["id"];
            let labels = fields["labels"].as_array().map_or(&[][..], Vec::as_slice);
            // The span is what the label is about: a licence, a line of deny.toml.
            let span = labels
                .iter()
                .map(|label| word(&label["span"]))
                .next()
                .unwrap_or_default();
            lock.finding(
                &word(if advisory.is_string() {
                    advisory
                } else {
                    &fields["code"]
                }),
                &word(&krate["name"]),
                &word(&krate["version"]),
                &format!("{} {span}", word(&fields["message"])),
            )
        })
        .collect()
}

/// Vulnerabilities and warnings in what `cargo audit --json` says.
fn audit_findings(json: &str, lock: &Lock) -> Vec<Finding> {
    let said: Value = serde_json::from_str(json).unwrap_or_default();
    let vulnerabilities = said["vulnerabilities"]["list"].as_array();
    let warnings = said["warnings"].as_object();
    vulnerabilities
        .into_iter()
        .flatten()
        .chain(
            warnings
                .into_iter()
                .flat_map(|kinds| kinds.values())
                .filter_map(Value::as_array)
                .flatten(),
        )
        .map(|entry| {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let kind = entry["kind"].as_str().unwrap_or("vulnerability");
            let advisory = &entry["advisory"];
            lock.finding(
                advisory["id"].as_str().unwrap_or(kind),
                &word(&entry["package"]["name"]),
                &word(&entry["package"]["version"]),
                &format!("{kind}: {}", word(&advisory["title"])),
            )
        })
        .collect()
}

/// `Cargo.lock` as text.
struct Lock(String);

impl Lock {
    fn finding(&self, rule: &str, name: &str, version: &str, message: &str) -> Finding {
        Finding {
            file: "Cargo.lock".to_owned(),
            line: self.line(name, version),
            rule: rule.to_owned(),
            message: format!("{name} {version}: {}", message.trim()),
        }
    }

    /// The line that names a package; the first where it is not in there.
    fn line(&self, name: &str, version: &str) -> usize {
        let (name, version) = (format!("name = \"{name}\""), format!("version = \"{version}\""));
        let lines: Vec<&str> = self.0.lines().collect();
        lines
            .windows(2)
            .position(|pair| matches!(pair, [one, next] if *one == name && *next == version))
            .map_or(1, |index| index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"lime\"\nversion = \"1.2.0\"\n\n[[package]]\nname = \"lime\"\nversion = \"2.0.0\"\n";

    fn lock() -> Lock {
        Lock(LOCK.to_owned())
    }

    // Lines as cargo-deny 0.20.2 wrote them, shortened, with another crate's name.
    const REJECTED: &str = r#"{"fields":{"code":"rejected","graphs":[{"Krate":{"name":"lime","version":"2.0.0"}}],"labels":[{"column":12,"line":40,"message":"","span":"GPL-3.0"}],"message":"failed to satisfy license requirements","severity":"error"},"type":"diagnostic"}"#;
    const DUPLICATE: &str = r#"{"fields":{"code":"duplicate","graphs":[],"labels":[],"message":"found 2 duplicate entries","severity":"warning"},"type":"diagnostic"}"#;
    const NO_NETWORK: &str = r#"{"fields":{"level":"ERROR","message":"failed to fetch advisory database\nfatal: unable to access: Could not resolve host: forge.example\n","timestamp":"2026-01-01T00:00:00Z"},"type":"log"}"#;

    #[test]
    fn an_error_of_cargo_deny_is_a_finding_at_the_packages_line() {
        let findings = deny_findings(&format!("{REJECTED}\n{DUPLICATE}\n"), &lock());
        assert_eq!(findings.len(), 1, "a warning is none: {findings:?}");
        assert_eq!(
            findings[0].to_string(),
            "Cargo.lock:8: rejected: lime 2.0.0: failed to satisfy license requirements GPL-3.0"
        );
    }

    #[test]
    fn vulnerabilities_and_warnings_of_cargo_audit_are_findings() {
        let json = r#"{"vulnerabilities": {"found": true, "count": 1, "list": [
              {"advisory": {"id": "RUSTSEC-2030-0001", "title": "reads twice"}, "package": {"name": "lime", "version": "1.2.0"}}]},
            "warnings": {"yanked": [{"kind": "yanked", "package": {"name": "lime", "version": "2.0.0"}, "advisory": null}]}}"#;
        let said: Vec<String> = audit_findings(json, &lock())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "Cargo.lock:4: RUSTSEC-2030-0001: lime 1.2.0: vulnerability: reads twice",
                "Cargo.lock:8: yanked: lime 2.0.0: yanked:",
            ]
        );
    }

    #[test]
    fn without_a_network_a_check_is_skipped_with_the_reason() {
        let said = Said {
            stdout: String::new(),
            stderr: NO_NETWORK.to_owned(),
            success: false,
        };
        let row = said.row(Vec::new(), "cargo-deny").unwrap();
        assert_eq!(
            row,
            Row::Skipped("no network: fatal: unable to access: Could not resolve host: forge.example".into())
        );
        let report = Report {
            rows: vec![("cargo-deny: advisories", row)],
        };
        assert!(!report.is_whole() && !report.found_something());
        assert!(
            report
                .to_string()
                .contains("cargo-deny: advisories: skipped (no network"),
            "{report}"
        );
    }

    #[test]
    fn a_check_that_breaks_is_no_pass() {
        let said = Said {
            stdout: String::new(),
            stderr: "error: cannot parse deny.toml".to_owned(),
            success: false,
        };
        let error = said.row(Vec::new(), "cargo-deny").unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot parse deny.toml"),
            "{error:#}"
        );
    }
}
