//! `azaion alert UNIT`: a record that a unit failed, for those who look later.
//!
//! The alert unit runs it after another one's failure. What the service manager says of the unit and its last lines in the
//! journal become one JSON object, `status/alerts/TIME-UNIT.json` in the tree, written whole or not at all, and a log line at
//! ERROR. Of the journal's entries only message and priority are taken. Where nobody can be asked, the record says so: an
//! alert is never lost because something else is broken too.

use crate::{
    args::AlertArgs,
    manager::{answer, message, property},
};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use service::Config;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    str::FromStr,
};

/// Version of the record.
const VERSION: u32 = 1;
/// How many lines of the journal are kept.
const LINES: &str = "20";
/// How much of a line is kept.
const LINE_CHARS: usize = 2000;
/// What is asked of the service manager, in the order of [`State`].
const PROPERTIES: &str = "--property=ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts";

/// Name of a unit, such as the service manager takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit(String);

impl FromStr for Unit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let usable = |c: char| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c);
        if text.is_empty() || text.len() > 255 || text.starts_with(['-', '.']) || !text.chars().all(usable) {
            return Err("no name of a unit, such as azaion-queue.service");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is written down of a failure.
#[derive(Debug, Serialize)]
struct Record {
    version: u32,
    /// When the record was made, in UTC.
    time: String,
    unit: String,
    state: State,
    /// The last lines, the oldest first.
    journal: Vec<Line>,
    /// What could not be found out, and why.
    missing: Vec<String>,
}

/// What the service manager says of a unit, in its own words.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct State {
    active: Option<String>,
    sub: Option<String>,
    result: Option<String>,
    /// How the main process ended: 1 by exiting, 2 by a signal, 3 by a signal and with a core dump.
    exec_main_code: Option<i64>,
    /// Its exit code, or the signal's number.
    exec_main_status: Option<i64>,
    restarts: Option<u64>,
}

/// A line of the journal.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// syslog's: 3 and below is an error.
    priority: Option<u8>,
    message: String,
}

/// Runs the command.
pub fn run(args: &AlertArgs) -> Result<ExitCode> {
    let record = Record::of(&args.unit, &jiff::Timestamp::now());
    let State {
        result,
        exec_main_status,
        ..
    } = &record.state;
    tracing::error!(
        unit = record.unit,
        result = result.as_deref().unwrap_or("unknown"),
        exit_status = exec_main_status,
        "unit failed"
    );
    let root = match &args.root {
        Some(root) => root.clone(),
        None => Config::load(&args.config)?.root_dir,
    };
    let path = record.keep(&root)?;
    tracing::info!(path = %path.display(), "alert recorded");
    Ok(ExitCode::SUCCESS)
}

impl Record {
    /// Asks who may know.
    fn of(unit: &Unit, now: &jiff::Timestamp) -> Self {
        let mut missing = Vec::new();
        let shown = answer(Command::new("systemctl").args(["show", PROPERTIES, "--", &unit.0]));
        let state = shown.map(|text| State::read(&text)).unwrap_or_else(|why| {
            missing.push(format!("state: {why}"));
            State::default()
        });
        let said = answer(
            Command::new("journalctl")
                .args(["--unit", &unit.0, "--lines", LINES, "--output", "json"])
                .args(["--output-fields=MESSAGE,PRIORITY", "--no-pager", "--quiet"]),
        );
        let journal = said.map(|text| lines(&text)).unwrap_or_else(|why| {
            missing.push(format!("journal: {why}"));
            Vec::new()
        });
        if journal.is_empty() && missing.is_empty() {
            missing
                .push("journal: no line of this unit; readers must be in the group systemd-journal".into());
        }
        Self {
            version: VERSION,
            time: now.strftime("%FT%TZ").to_string(),
            unit: unit.to_string(),
            state,
            journal,
            missing,
        }
    }

    /// Writes it into the tree.
    fn keep(&self, root: &Path) -> Result<PathBuf> {
        let record = serde_json::to_vec_pretty(self)?;
        Ok(store::alerts::keep(root, &self.time, &self.unit, &record)?)
    }
}

impl State {
    fn read(shown: &str) -> Self {
        let value = |name: &str| property(shown, name);
        Self {
            active: value("ActiveState").map(str::to_owned),
            sub: value("SubState").map(str::to_owned),
            result: value("Result").map(str::to_owned),
            exec_main_code: value("ExecMainCode").and_then(|value| value.parse().ok()),
            exec_main_status: value("ExecMainStatus").and_then(|value| value.parse().ok()),
            restarts: value("NRestarts").and_then(|value| value.parse().ok()),
        }
    }
}

/// The journal's entries, one JSON object a line. What is no entry is left out.
fn lines(text: &str) -> Vec<Line> {
    let entries = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries
        .filter_map(|entry| {
            Some(Line {
                priority: entry["PRIORITY"].as_str().and_then(|number| number.parse().ok()),
                message: message(&entry["MESSAGE"])?.chars().take(LINE_CHARS).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_name_is_no_option_and_no_path() {
        for good in ["azaion-queue.service", "azaion-alert@x\\x2dy.service", "a.timer"] {
            assert_eq!(good.parse::<Unit>().unwrap().to_string(), good);
        }
        for bad in ["", "--help", ".x", "a/b", "a b", "a\nb", "ä", &"a".repeat(256)] {
            assert!(bad.parse::<Unit>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_service_managers_words_are_kept_and_what_it_does_not_say_is_none() {
        let shown = "NRestarts=3\nResult=exit-code\nExecMainStatus=101\nExecMainCode=1\nActiveState=failed\nSubState=\n";
        assert_eq!(
            State::read(shown),
            State {
                active: Some("failed".into()),
                sub: None,
                result: Some("exit-code".into()),
                exec_main_code: Some(1),
                exec_main_status: Some(101),
                restarts: Some(3),
            }
        );
        assert_eq!(State::read("rubbish"), State::default());
    }

    #[test]
    fn of_an_entry_only_message_and_priority_are_taken() {
        let text = concat!(
            r#"{"MESSAGE":"queue ended","PRIORITY":"3","_HOSTNAME":"h","EMAIL":"someone@example.org"}"#,
            "\nrubbish\n",
            r#"{"MESSAGE":[104,105,255],"PRIORITY":"6"}"#,
            "\n",
            r#"{"MESSAGE":null}"#,
            "\n",
            r#"{"MESSAGE":[300]}"#,
            "\n",
        );
        let told = serde_json::to_string(&lines(text)).unwrap();
        assert_eq!(
            told,
            "[{\"priority\":3,\"message\":\"queue ended\"},{\"priority\":6,\"message\":\"hi\u{fffd}\"},\
             {\"priority\":null,\"message\":\"(too long for the journal's JSON)\"}]"
        );
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = format!("{{\"MESSAGE\":\"{}\"}}", "é".repeat(5000));
        assert_eq!(lines(&long)[0].message.chars().count(), LINE_CHARS);
    }
}
