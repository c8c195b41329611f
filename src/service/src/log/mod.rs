//! Structured logs (LOG-1, LOG-2, SEC-4).
//!
//! One event, three forms: fields of the journal under systemd, a JSON line on stdout for a daemon elsewhere, and a
//! line for a person on stderr. A program chooses with [`Format`]; the level comes from its flags or its unit, never
//! from the environment. Messages are written with `tracing`: a short sentence and fields, units in names
//! (`duration_ms`). Secrets are [`crate::Secret`]s, which print as `[redacted]`; personal data and image bytes are
//! never made fields.

mod fields;
mod human;
mod journal;
mod json;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use human::HumanLayer;
pub use json::JsonLayer;

/// The form that logs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Fields of systemd's journal.
    Journal,
    /// JSON lines on stdout.
    Json,
    /// One line for a person on stderr.
    Human,
}

impl Format {
    /// A daemon's: the journal where its output goes there, JSON lines elsewhere.
    pub fn of_a_daemon() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        if stream.is_some_and(|stream| is_ours(&stream, io::stderr()) || is_ours(&stream, io::stdout())) {
            Self::Journal
        } else {
            Self::Json
        }
    }
}

/// Whether `JOURNAL_STREAM` ("device:inode") is this output. systemd asks for the comparison: a process that inherited
/// the variable, but whose output was redirected, does not log to the journal.
fn is_ours(stream: &str, output: impl AsFd) -> bool {
    nix::sys::stat::fstat(output).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The level for so many `--verbose` flags: INFO, DEBUG, TRACE.
pub fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Starts logging for the whole process as `service` (`queue`, `training`, ...).
pub fn init(service: &'static str, format: Format, level: LevelFilter) -> Result<(), LogError> {
    let registry = tracing_subscriber::registry().with(level);
    match format {
        Format::Journal => match journal::JournalLayer::new(service) {
            Ok(journal) => registry.with(journal).try_init()?,
            // Our stdout still goes to the journal, one JSON line an entry.
            Err(_) => registry
                .with(JsonLayer::new(service, write_to_stdout))
                .try_init()?,
        },
        Format::Json => registry
            .with(JsonLayer::new(service, write_to_stdout))
            .try_init()?,
        Format::Human => registry
            .with(HumanLayer::new(colours(), write_to_stderr))
            .try_init()?,
    }
    Ok(())
}

/// Starts logging for a person, through a printer of the caller's (a progress bar that must not be torn).
pub fn init_human(level: LevelFilter, print: impl Fn(&str) + Send + Sync + 'static) -> Result<(), LogError> {
    tracing_subscriber::registry()
        .with(level)
        .with(HumanLayer::new(colours(), print))
        .try_init()?;
    Ok(())
}

/// Logging was started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging cannot be started: {0}")]
pub struct LogError(#[from] tracing_subscriber::util::TryInitError);

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

// A log line that cannot be written has nowhere to be reported: the error is dropped.

fn write_to_stdout(line: &str) {
    let _ = io::Write::write_all(&mut io::stdout().lock(), line.as_bytes());
}

fn write_to_stderr(line: &str) {
    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_chosen_only_for_the_very_stream_it_reads() {
        let file = tempfile::tempfile().unwrap();
        let stat = nix::sys::stat::fstat(&file).unwrap();
        assert!(is_ours(&format!("{}:{}", stat.st_dev, stat.st_ino), &file));
        for other in ["", "0:0", "x"] {
            assert!(!is_ours(other, &file), "{other}");
        }
    }
}
