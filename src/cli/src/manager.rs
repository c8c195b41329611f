//! The service manager and the journal are asked through `systemctl` and `journalctl`: for so long, and no longer.
//!
//! systemctl(1) answers with lines `Property=value`; one that has no value is left out or empty. journalctl(1) answers with a
//! JSON object a line (systemd.journal-fields(7)), in which a field is a text, a list of bytes where it is no plain text, or
//! null where it is too long.

use serde_json::Value;
use service::child;
use std::{process::Command, time::Duration};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a program answered, or why it did not.
pub(crate) fn answer(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    match child::ask(command, LIMIT) {
        Ok(answer) if answer.status.success() => Ok(String::from_utf8_lossy(&answer.stdout).into_owned()),
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.stderr);
            let said = said.lines().next().unwrap_or_default();
            Err(format!("{program} ended with {}: {said}", answer.status))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// A property in the answer of `systemctl show`; none where it is empty.
pub(crate) fn property<'a>(shown: &'a str, name: &str) -> Option<&'a str> {
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.filter(|value| !value.is_empty())
}

/// The text of an entry's message.
pub(crate) fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some("(too long for the journal's JSON)".to_owned()),
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> = bytes
                .iter()
                .map(|byte| u8::try_from(byte.as_u64()?).ok())
                .collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        _ => None,
    }
}
