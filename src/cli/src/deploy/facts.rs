//! What is known of a unit, as facts: the service manager's words and the journal's entries, read and nothing more.

use crate::manager::{message, property};
use serde::Serialize;
use serde_json::Value;

/// What is asked of the service manager for [`Unit::read`].
pub(super) const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,Job,Result,MainPID,InvocationID,StatusText,\
                                     ActiveEnterTimestampMonotonic,ActiveExitTimestampMonotonic";
/// What is asked of the journal for [`Line::read`].
pub(super) const FIELDS: &str =
    "--output-fields=MESSAGE,PRIORITY,UNIT,INVOCATION_ID,_SYSTEMD_UNIT,_SYSTEMD_INVOCATION_ID";
/// How much of a line is kept.
const LINE_CHARS: usize = 2000;
/// syslog's: this and below is an error.
const ERROR: u8 = 3;

/// What a unit is doing, in the words of systemctl(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Active,
    Activating,
    Deactivating,
    Inactive,
    Failed,
    /// Anything else, nothing included.
    Unknown,
}

/// A unit, as the service manager sees it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whether there is such a unit.
    pub loaded: bool,
    pub active: State,
    pub sub: String,
    /// Whether a start, stop or restart is waiting or under way.
    pub job: bool,
    /// How it ended last: `success`, `exit-code`, `watchdog`, ...
    pub result: String,
    pub pid: Option<u32>,
    /// Another one for each start; empty if it was never started.
    pub invocation: String,
    /// Its own line about what it does.
    pub status: String,
    /// When it became active last, in microseconds since the boot; 0 for never.
    pub entered: u64,
    /// When it ceased to be active last.
    pub exited: u64,
}

impl Unit {
    pub fn read(shown: &str) -> Self {
        let text = |name| property(shown, name).unwrap_or_default().to_owned();
        let number = |name| property(shown, name).and_then(|value| value.parse().ok());
        Self {
            loaded: property(shown, "LoadState") == Some("loaded"),
            active: match property(shown, "ActiveState") {
                Some("active" | "reloading") => State::Active,
                Some("activating") => State::Activating,
                Some("deactivating") => State::Deactivating,
                Some("inactive") => State::Inactive,
                Some("failed") => State::Failed,
                _ => State::Unknown,
            },
            sub: text("SubState"),
            job: property(shown, "Job").is_some_and(|job| job != "0"),
            result: text("Result"),
            pid: number("MainPID")
                .and_then(|pid: u64| u32::try_from(pid).ok())
                .filter(|pid| *pid > 0),
            invocation: text("InvocationID"),
            status: text("StatusText"),
            entered: number("ActiveEnterTimestampMonotonic").unwrap_or(0),
            exited: number("ActiveExitTimestampMonotonic").unwrap_or(0),
        }
    }

    /// How many messages wait for the queue by its own word.
    pub fn lag(&self) -> Option<u64> {
        let (_, rest) = self.status.split_once("lag ")?;
        rest.split(',').next()?.trim().parse().ok()
    }
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// When the journal took it, in microseconds since 1970.
    pub time_us: u64,
    /// Whom it is of, or about.
    pub unit: String,
    #[serde(skip)]
    pub invocation: String,
    /// syslog's: 3 and below is an error.
    pub priority: Option<u8>,
    pub message: String,
}

impl Line {
    /// The journal's entries, oldest first. What is no entry is left out.
    pub fn read(text: &str) -> Vec<Self> {
        let entries = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        entries.filter_map(|entry| Self::of(&entry)).collect()
    }

    fn of(entry: &Value) -> Option<Self> {
        // What the manager says about a unit names it in fields of its own.
        let either = |about: &str, of: &str| {
            let named = entry[about].as_str().or_else(|| entry[of].as_str());
            named.unwrap_or_default().to_owned()
        };
        Some(Self {
            time_us: entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?,
            unit: either("UNIT", "_SYSTEMD_UNIT"),
            invocation: either("INVOCATION_ID", "_SYSTEMD_INVOCATION_ID"),
            priority: entry["PRIORITY"].as_str().and_then(|number| number.parse().ok()),
            message: message(&entry["MESSAGE"])?.chars().take(LINE_CHARS).collect(),
        })
    }

    pub fn is_error(&self) -> bool {
        self.priority.is_some_and(|priority| priority <= ERROR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_words_are_read_and_what_it_does_not_say_is_nothing() {
        let unit = Unit::read(
            "LoadState=loaded\nActiveState=active\nSubState=running\nJob=71\nResult=success\nMainPID=12\n\
             InvocationID=ab\nStatusText=offset 7, 0.0 messages/s, lag 3, 0 in quarantine since the start\n\
             ActiveEnterTimestampMonotonic=900\nActiveExitTimestampMonotonic=400\n",
        );
        assert_eq!((unit.loaded, unit.active, unit.job), (true, State::Active, true));
        assert_eq!((unit.pid, unit.lag()), (Some(12), Some(3)));
        assert_eq!(
            (unit.entered, unit.exited, unit.invocation.as_str()),
            (900, 400, "ab")
        );
        let nothing = Unit::read("MainPID=0\nJob=0\nStatusText=lag unknown, x");
        assert_eq!(
            (nothing.loaded, nothing.active, nothing.job),
            (false, State::Unknown, false)
        );
        assert_eq!((nothing.pid, nothing.lag()), (None, None));
    }

    #[test]
    fn an_entry_is_of_the_unit_that_it_is_about() {
        let text = concat!(
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":"started","PRIORITY":"6","UNIT":"a.service","INVOCATION_ID":"1","_SYSTEMD_UNIT":"init.scope"}"#,
            "\nrubbish\n{}\n",
            r#"{"__REALTIME_TIMESTAMP":"6","MESSAGE":"broke","PRIORITY":"3","_SYSTEMD_UNIT":"a.service","_SYSTEMD_INVOCATION_ID":"1"}"#,
        );
        let lines = Line::read(text);
        assert_eq!(lines.len(), 2);
        assert!(
            lines
                .iter()
                .all(|line| line.unit == "a.service" && line.invocation == "1")
        );
        assert_eq!(
            lines.iter().map(Line::is_error).collect::<Vec<_>>(),
            [false, true]
        );
    }
}
