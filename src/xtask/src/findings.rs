//! What the security checks find: told on the terminal, and written as SARIF, which forges show beside the code.
//!
//! SARIF is that of OASIS, version 2.1.0, with the properties that GitHub's code scanning reads (`security-severity`).

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::digest;

/// How grave code scanning shows a finding, on the scale of CVSS. One for all of them: each blocks.
const SEVERITY: &str = "8.0";

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the workspace's root.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// The rule that it breaks, as a short name.
    pub rule: String,
    /// What is wrong. Never the secret itself.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            rule,
            message,
        } = self;
        write!(f, "{file}:{line}: {rule}: {message}")
    }
}

impl Finding {
    fn sarif(&self) -> Value {
        json!({
            "ruleId": self.rule,
            "level": "error",
            "message": {"text": self.message},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": self.file},
                    "region": {"startLine": self.line.max(1)},
                },
            }],
            // The same finding on another line is the same finding.
            "partialFingerprints": {
                "azaion/v1": digest::of_bytes(format!("{}\n{}\n{}", self.rule, self.file, self.message).as_bytes()),
            },
        })
    }
}

/// The findings of `tool` as one SARIF log.
#[must_use]
pub fn sarif(tool: &str, findings: &[Finding]) -> Value {
    let mut rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "id": rule,
                "shortDescription": {"text": rule},
                "defaultConfiguration": {"level": "error"},
                "properties": {"tags": ["security"], "security-severity": SEVERITY},
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": tool, "rules": rules}},
            "results": findings.iter().map(Finding::sarif).collect::<Vec<_>>(),
        }],
    })
}

/// Writes the findings of `tool` to `path`, also if there are none: that closes what was found before.
///
/// # Errors
/// The file cannot be written.
pub fn write_sarif(path: &Path, tool: &str, findings: &[Finding]) -> anyhow::Result<()> {
    fs::write(path, format!("{:#}\n", sarif(tool, findings)))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: usize) -> Finding {
        Finding {
            file: "src/a.rs".into(),
            line,
            rule: "key".into(),
            message: "a key".into(),
        }
    }

    #[test]
    fn a_log_names_each_rule_once_and_each_finding_with_its_place() {
        let log = sarif("azaion-secrets", &[finding(3), finding(0)]);
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(run["results"][0]["ruleId"], "key");
        let place = |n: usize| &run["results"][n]["locations"][0]["physicalLocation"];
        assert_eq!(place(0)["artifactLocation"]["uri"], "src/a.rs");
        assert_eq!(place(0)["region"]["startLine"], 3);
        assert_eq!(place(1)["region"]["startLine"], 1, "SARIF counts lines from 1");
    }

    #[test]
    fn a_finding_that_moved_keeps_its_fingerprint() {
        assert_eq!(
            finding(3).sarif()["partialFingerprints"],
            finding(4).sarif()["partialFingerprints"]
        );
    }

    #[test]
    fn no_findings_are_a_log_too() {
        let log = sarif("azaion-secrets", &[]);
        assert_eq!(log["version"], "2.1.0");
        assert_eq!(log["runs"][0]["results"], json!([]));
    }
}
