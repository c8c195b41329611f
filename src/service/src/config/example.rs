//! A configuration as the text of a commented file: the comments are the documentation of the types, every key is there,
//! and what is not set stands as a comment. Reading the text gives the configuration that it was made from.

use serde_json::Value;
use zeroize::Zeroizing;

use super::documented::{Documented, Keys};
use super::{Alerts, Api, Backup, Config, Export, RabbitMq, Training};
use crate::Secret;

/// Room for everything but the values that were set.
const USUAL_BYTES: usize = 8 * 1024;

/// The default configuration as a file to begin with.
pub fn example() -> String {
    let head = "azaion's configuration: every key with its default. A key that is left out keeps its default.\n\
                After a change: azaion config check --config FILE, then restart the services concerned.";
    commented(&Config::default(), head).as_str().to_owned()
}

/// `config` as a commented file that begins with `head`. It holds the secrets that `config` holds itself, and is wiped from
/// memory when dropped.
pub fn commented(config: &Config, head: &str) -> Zeroizing<String> {
    let secrets = [
        ("api.password", config.api.password.as_ref()),
        ("rabbitmq.password", config.rabbitmq.password.as_ref()),
    ];
    let held: usize = secrets
        .iter()
        .filter_map(|(_, secret)| secret.map(|secret| secret.expose().len() * 2))
        .sum();
    // Growing would leave copies of secrets behind in freed memory.
    let mut out = Zeroizing::new(String::with_capacity(USUAL_BYTES + held));
    comment(&mut out, "", head.lines());
    // Plain structs always become a value.
    let values = serde_json::to_value(config).unwrap_or_default();
    for (key, about) in Config::KEYS {
        out.push('\n');
        comment(&mut out, "", about.iter().map(|line| line.trim_start()));
        match &values[key] {
            section @ Value::Object(_) => {
                out.push_str(&format!("{key}:\n"));
                for (name, about) in keys_of(key) {
                    comment(&mut out, "  ", about.iter().map(|line| line.trim_start()));
                    let path = format!("{key}.{name}");
                    match secrets.iter().find(|(secret, _)| *secret == path) {
                        Some((_, Some(secret))) => secret_line(&mut out, name, secret),
                        _ => line(&mut out, "  ", name, &section[name]),
                    }
                }
            }
            value => line(&mut out, "", key, value),
        }
    }
    out
}

fn keys_of(section: &str) -> Keys {
    match section {
        "api" => Api::KEYS,
        "rabbitmq" => RabbitMq::KEYS,
        "training" => Training::KEYS,
        "export" => Export::KEYS,
        "backup" => Backup::KEYS,
        "alerts" => Alerts::KEYS,
        _ => &[],
    }
}

fn comment<'a>(out: &mut String, indent: &str, lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        out.push_str(&format!("{indent}# {line}\n"));
    }
}

fn line(out: &mut String, indent: &str, key: &str, value: &Value) {
    out.push_str(&match value {
        Value::Null => format!("{indent}# {key}:\n"),
        Value::String(text) if is_plain(text) => format!("{indent}{key}: {text}\n"),
        // JSON's strings, numbers and booleans are YAML's too.
        other => format!("{indent}{key}: {other}\n"),
    });
}

/// As a quoted text, written where it stays.
fn secret_line(out: &mut String, key: &str, secret: &Secret) {
    out.push_str(&format!("  {key}: \""));
    for c in secret.expose().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push_str("\"\n");
}

/// Whether a text is the same text without quotes: a path or a name.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::keys;
    use super::*;

    fn read(text: &str) -> Config {
        Config::parse(text, Path::new("config.yaml")).unwrap_or_else(|error| panic!("{error} in\n{text}"))
    }

    #[test]
    fn the_example_reads_as_the_defaults() {
        assert_eq!(read(&example()), Config::default());
    }

    #[test]
    fn every_key_is_in_the_example_below_its_documentation() {
        let mut known = Vec::new();
        keys::paths(&keys::schema(), "", &mut known);
        let text = example();
        for path in known {
            let key = path.rsplit('.').next().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let at = lines
                .iter()
                .position(|line| {
                    let line = line.trim_start_matches([' ', '#']);
                    line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
                })
                .unwrap_or_else(|| panic!("{path} is missing in\n{text}"));
            assert!(
                lines[at - 1].trim_start().starts_with("# "),
                "{path} has no comment"
            );
        }
        assert!(
            text.contains("  # Port of the stream protocol.\n  port: 5552\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_set_stands_as_a_comment() {
        assert!(example().contains("\n  # email:\n"));
    }

    proptest! {
        #[test]
        fn whatever_is_set_is_read_back(host in "[^\\pC]{1,20}", password in "\\PC{1,30}", user in "\\PC{1,20}") {
            let mut config = Config::default();
            config.rabbitmq.host = format!("h{host}");
            config.rabbitmq.user = user;
            config.rabbitmq.password = Some(Secret::new(password));
            prop_assert_eq!(read(&commented(&config, "made by a test")), config);
        }
    }
}
