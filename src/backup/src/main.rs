//! `azaion-backup`: backups of the tree, taken by timers or by hand; `azaion backup` becomes it.
//!
//! What it does is in the library; here it meets configuration, logs, signals, a bar on a terminal, and the service manager.

use anyhow::Context as _;
use backup::{
    Error,
    answer::{List, Listed, Told},
    args::{Asked, Cli, RestoreArgs, Verb},
    progress::{Step, Tell},
    restore,
    round::Round,
};
use clap::Parser;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use service::{Config, Credentials, Shutdown, log, notify};
use std::{
    fmt,
    io::{IsTerminal, Write as _, stderr, stdout},
    process::ExitCode,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::level_filters::LevelFilter;

/// Exit codes beside 0 and 1.
const PROBLEMS: u8 = 2;
const BAD_USAGE: u8 = 64;
const AGAIN: u8 = 75;
/// How often the journal hears how far it is.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// How often the service manager does.
const STATUS_EVERY: Duration = Duration::from_secs(1);

static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Best effort: there is no one to tell that the terminal is gone.
            let _ = error.print();
            return match error.use_stderr() {
                true => BAD_USAGE.into(),
                false => ExitCode::SUCCESS,
            };
        }
    };
    if let Err(error) = start_log(cli.verbose) {
        return failed(&error.into());
    }
    run(&cli.verb).unwrap_or_else(|error| failed(&error))
}

/// The library's own lines are for those who ask twice: what it finds is told here, once.
fn start_log(verbose: u8) -> Result<(), log::LogError> {
    match log::Format::of_a_daemon() {
        journal @ log::Format::Journal => log::init("backup", journal, log::level(verbose))?,
        _ => {
            let level = [LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG];
            let level = level
                .get(usize::from(verbose))
                .copied()
                .unwrap_or(LevelFilter::TRACE);
            log::init_human(level, |line| {
                BARS.suspend(|| {
                    let _ = writeln!(stderr().lock(), "{}", line.trim_end());
                });
            })?;
        }
    }
    if verbose < 2 {
        ::log::set_max_level(::log::LevelFilter::Off);
    }
    Ok(())
}

/// Told once: in the journal, or to the person at the terminal. What has only to be tried again has an exit code of its own.
fn failed(error: &anyhow::Error) -> ExitCode {
    match log::Format::of_a_daemon() {
        log::Format::Journal => {
            tracing::error!(error = format!("{error:#}"), "backup failed");
            notify::status(&format!("failed: {error:#}"));
        }
        _ => {
            let _ = writeln!(stderr().lock(), "azaion-backup: {error:#}");
        }
    }
    match error.downcast_ref::<Error>() {
        Some(
            Error::Interrupted | Error::LockedByRestic { .. } | Error::Store(store::Error::Locked { .. }),
        ) => AGAIN.into(),
        _ => ExitCode::FAILURE,
    }
}

fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::install().context("cannot listen to signals")?;
    let asked = match verb {
        Verb::Run(asked) | Verb::List(asked) | Verb::Drill(asked) => asked,
        Verb::Check(args) => &args.asked,
        Verb::Restore(args) => &args.asked,
    };
    let config = Config::load(&asked.config)?;
    let round = Round::new(&config, &Credentials::from_systemd(), shutdown.flag(), teller())?;
    match verb {
        Verb::Run(_) => {
            let ran = round.run()?;
            answer(&ran, Told(&ran), asked, ran.check.problems.is_empty())
        }
        Verb::List(_) => {
            let listed = round.vault()?.snapshots()?.iter().map(Listed::from).collect();
            let list = List(listed);
            answer(&list, &list, asked, true)
        }
        Verb::Check(args) => {
            let checked = round.check(args.all)?;
            answer(&checked, Told(&checked), asked, checked.problems.is_empty())
        }
        Verb::Drill(_) => {
            let drilled = round.drill()?;
            answer(&drilled, Told(&drilled), asked, drilled.problems.is_empty())
        }
        Verb::Restore(args) => restored(&round, args, &config, &shutdown),
    }
}

fn restored(
    round: &Round<'_>,
    args: &RestoreArgs,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let vault = round.vault()?;
    let snapshot = vault.snapshot(&args.snapshot)?;
    let to = args.to.as_deref().unwrap_or(&config.root_dir);
    let restored = restore::tree(&vault, &snapshot, to, &shutdown.flag(), &teller())?;
    answer(&restored, Told(&restored), &args.asked, true)
}

/// Prints an answer. A reader that has gone away, as `head` does, wants no more; `print!` would panic.
fn answer(
    value: &impl Serialize,
    told: impl fmt::Display,
    asked: &Asked,
    good: bool,
) -> anyhow::Result<ExitCode> {
    let text = match asked.json {
        true => format!("{}\n", serde_json::to_string(value)?),
        false => told.to_string(),
    };
    let _ = stdout().lock().write_all(text.as_bytes());
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => PROBLEMS.into(),
    })
}

/// How far it is: on a terminal a bar, else a line in the log from time to time; and the service manager's status.
fn teller() -> Tell {
    let bar = stderr().is_terminal().then(|| {
        let bar = BARS.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{prefix:<10} {bar:28.cyan/dim} {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    });
    let last = Mutex::new((Instant::now(), Instant::now()));
    Arc::new(move |step: Step, done: u64, total: u64| {
        if let Some(bar) = &bar {
            bar.set_prefix(step.to_string());
            bar.set_length(total);
            bar.set_position(done);
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now - last.0 >= STATUS_EVERY {
            last.0 = now;
            notify::status(&format!("{step}: {done} of {total}"));
        }
        if now - last.1 >= LOG_EVERY {
            last.1 = now;
            tracing::info!(%step, done, total, "backup goes on");
        }
    })
}
