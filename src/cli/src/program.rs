//! What the programs for a person have in common: bad usage is exit code 64, and `-v` asks for more log lines.

use clap::Parser;
use std::{
    io::{self, Write},
    process::ExitCode,
};
use tracing::level_filters::LevelFilter;

/// Exit code of bad usage.
pub const BAD_USAGE: u8 = 64;

/// The command line of this process, or the exit code after help or an explanation was printed.
///
/// # Errors
/// There is nothing to run: help was asked for, or the usage is bad.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        // Best effort: there is no one to tell that the terminal is gone.
        let _ = error.print();
        if error.use_stderr() {
            BAD_USAGE.into()
        } else {
            ExitCode::SUCCESS
        }
    })
}

/// Prints an answer. A reader that has gone away, as `head` does, wants no more; `print!` would panic.
pub fn answer(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// The exit code of what was done; a failure is told on stderr.
pub fn told(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr().lock(), "azaion: {error:#}");
        ExitCode::FAILURE
    })
}

/// A person's tool says what is wrong, and more when asked.
pub fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Of a tool whose report says what is wrong: the same words as log lines are for those who ask.
pub fn level_beside_report(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::ERROR,
        more => level(more - 1),
    }
}
