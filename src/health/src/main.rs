//! `azaion-health`: a pass over everything that nobody watches; with a verb, what the last pass found and what is told.
//!
//! Timers run it every five minutes, and every half hour with all checks. `azaion health`, `azaion status` and `azaion
//! alerts` become it.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use health::{
    alerts::{
        Notice,
        silence::{ALL, Silence},
    },
    catalog,
    deliver::{Deliverer, Outcome},
    pass,
    status::Status,
    text,
};
use jiff::{SignedDuration, Timestamp};
use service::{Config, Credentials, log};
use std::{
    io::{Write as _, stdout},
    path::PathBuf,
    process::ExitCode,
};

/// Exit codes beside 0 and 1.
const PROBLEMS: u8 = 2;
const BAD_USAGE: u8 = 64;
const AGAIN: u8 = 75;
const CODES: &str =
    "Exit codes: 0 all is well, 1 failed, 2 problems were found, 64 bad usage, 75 another pass is at work";

/// Looks at everything that nobody watches, and tells whom it concerns.
#[derive(Debug, Parser)]
#[command(name = "azaion-health", version, after_help = CODES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    pass: PassArgs,
    /// More log lines (-v: debug, -vv: trace).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Args)]
struct Where {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/azaion/config.yaml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct PassArgs {
    #[command(flatten)]
    at: Where,
    /// Ask what takes its time, too: the broker's stream, certificates, sizes of folders.
    #[arg(long)]
    full: bool,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What the last pass found.
    #[command(after_help = CODES)]
    Status {
        #[command(flatten)]
        at: Where,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Alerts: what stands, whether messages arrive, what is not to be told for a while.
    #[command(subcommand)]
    Alerts(AlertsVerb),
}

#[derive(Debug, Subcommand)]
enum AlertsVerb {
    /// Those that stand, and the last of those that are over.
    List {
        #[command(flatten)]
        at: Where,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Send a message over every channel, now.
    Test {
        #[command(flatten)]
        at: Where,
    },
    /// Do not tell an alert for a while. What still stands at the end is told then.
    Silence {
        #[command(flatten)]
        at: Where,
        /// The alert's code, as ALR-6, or all.
        code: String,
        /// For how long: 30m, 2h, 3d.
        #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "end")]
        time: Option<SignedDuration>,
        /// About this alone.
        #[arg(long)]
        subject: Option<String>,
        /// Why, for those who look later.
        #[arg(long, default_value = "")]
        reason: String,
        /// End the silence now.
        #[arg(long, conflicts_with = "time")]
        end: bool,
    },
}

/// A time such as 90m, 2h or 3d.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "no time such as 30m, 2h or 3d".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: i32 = number.parse().map_err(|_| wrong())?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        _ => return Err(wrong()),
    };
    if !(1..=365 * 24 * 60 / minutes).contains(&number) {
        return Err("must be longer than nothing, and a year at most".to_owned());
    }
    Ok(SignedDuration::from_mins(i64::from(number * minutes)))
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Best effort: there is no one to tell that the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() {
                BAD_USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let format = log::Format::of_a_daemon();
    let begun = match &format {
        log::Format::Journal => log::init("health", format, log::level(cli.verbose)),
        // By hand the report says what is wrong; log lines are for those who ask.
        _ => {
            let levels = [
                tracing::level_filters::LevelFilter::OFF,
                log::level(0),
                log::level(1),
            ];
            let level = levels
                .get(usize::from(cli.verbose))
                .copied()
                .unwrap_or(log::level(2));
            log::init_human(level, |line| eprint!("{line}"))
        }
    };
    if let Err(error) = begun {
        eprintln!("azaion-health: {error}");
        return ExitCode::FAILURE;
    }
    let done = match &cli.verb {
        None => pass(&cli.pass),
        Some(Verb::Status { at, json }) => status(at, *json),
        Some(Verb::Alerts(verb)) => alerts(verb),
    };
    let code = done.unwrap_or_else(|error| {
        tracing::debug!(error = format!("{error:#}"), "failed");
        eprintln!("azaion-health: {error:#}");
        match error.downcast_ref::<pass::Error>() {
            Some(pass::Error::Busy(_)) => AGAIN,
            _ => 1,
        }
    });
    // A check that hangs has a thread that nothing can end: it is not waited for.
    std::process::exit(code.into())
}

fn pass(args: &PassArgs) -> Result<u8> {
    let config = Config::load(&args.at.config)?;
    let done = pass::run(config, &args.at.config, args.full)?;
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&done.status)?));
    } else if log::Format::of_a_daemon() != log::Format::Journal {
        say(&text::text(&done.status, Timestamp::now()));
    }
    let found = done
        .status
        .readings
        .iter()
        .filter(|one| one.grade.is_found())
        .count();
    let alerts = done.status.alerts.len();
    tracing::info!(
        found,
        alerts,
        verdict = done.status.verdict.line,
        full = args.full,
        "checked"
    );
    Ok(pass::code(&done.status))
}

fn status(at: &Where, json: bool) -> Result<u8> {
    let root = Config::load(&at.config)?.root_dir;
    let status = Status::read(&root).map_err(anyhow::Error::msg)?;
    let now = Timestamp::now();
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        say(&text::text(&status, now));
    }
    Ok(match status.staleness(now) {
        Some(_) => PROBLEMS,
        None => pass::code(&status),
    })
}

fn alerts(verb: &AlertsVerb) -> Result<u8> {
    match verb {
        AlertsVerb::List { at, json } => list(at, *json),
        AlertsVerb::Test { at } => test(at),
        AlertsVerb::Silence {
            at,
            code,
            time,
            subject,
            reason,
            ..
        } => silence(at, code, *time, subject.as_deref(), reason),
    }
}

fn list(at: &Where, json: bool) -> Result<u8> {
    let config = Config::load(&at.config)?;
    let book = pass::book(&config.root_dir);
    let silences = pass::silences(&config.root_dir, &config);
    let now = Timestamp::now();
    let firing = book.firing(now);
    let code = if firing.is_empty() { 0 } else { PROBLEMS };
    if json {
        let answer = serde_json::json!({ "version": 1, "firing": firing, "past": book.past, "silences": silences.silences });
        say(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
        return Ok(code);
    }
    let mut out = String::new();
    for one in firing {
        let silenced = if silences.cover(&one.code, &one.subject, now) {
            ", silenced"
        } else {
            ""
        };
        out += &format!(
            "{} {} ({}{silenced})\n  {}: {}\n  since {}; type next: {}\n",
            one.code,
            one.title(),
            one.severity(),
            one.subject,
            one.what,
            one.since,
            one.next()
        );
    }
    if out.is_empty() {
        out += "no alert\n";
    }
    for past in book.past.iter().take(10) {
        out += &format!(
            "over: {} {}: {}, {} to {}\n",
            past.code, past.subject, past.what, past.since, past.until
        );
    }
    for silence in silences.silences.iter().filter(|one| one.until > now) {
        let subject = silence
            .subject
            .as_deref()
            .map_or_else(String::new, |subject| format!(" about {subject}"));
        out += &format!(
            "silent: {}{subject} until {} {}\n",
            silence.code, silence.until, silence.reason
        );
    }
    say(&out);
    Ok(code)
}

fn test(at: &Where) -> Result<u8> {
    let config = Config::load(&at.config)?;
    let outcomes = Deliverer::of(&config, &Credentials::from_systemd()).test(&Notice::test(Timestamp::now()));
    if outcomes.is_empty() {
        bail!(
            "no channel is configured: set alerts.smtp_host or alerts.webhook_file in {}",
            at.config.display()
        );
    }
    let mut code = 0;
    for Outcome { channel, told, .. } in outcomes {
        match told {
            Ok(_) => say(&format!("{channel}: took it\n")),
            Err(why) => {
                say(&format!("{channel}: {why}\n"));
                code = PROBLEMS;
            }
        }
    }
    Ok(code)
}

fn silence(
    at: &Where,
    code: &str,
    time: Option<SignedDuration>,
    subject: Option<&str>,
    reason: &str,
) -> Result<u8> {
    if code != ALL && catalog::kind(code).is_none() {
        let known: Vec<_> = catalog::KINDS
            .iter()
            .map(|kind| format!("{} {}", kind.code, kind.title))
            .collect();
        bail!("there is no alert {code}; there are all, {}", known.join(", "));
    }
    let config = Config::load(&at.config)?;
    let root = &config.root_dir;
    let now = Timestamp::now();
    let mut silences = pass::silences(root, &config).silences;
    silences.retain(|one| one.until > now && (one.code != code || one.subject.as_deref() != subject));
    let said = match time {
        Some(time) => {
            let until = now + time;
            silences.push(Silence {
                code: code.to_owned(),
                subject: subject.map(str::to_owned),
                until,
                reason: reason.to_owned(),
            });
            format!("{code} is not told until {until}\n")
        }
        None => format!("{code} is told again\n"),
    };
    pass::keep_silences(root, silences).context("the silence cannot be kept")?;
    say(&said);
    Ok(0)
}

/// A reader that has gone away, as `head` does, wants no more; `print!` would panic.
fn say(text: &str) {
    let _ = stdout().lock().write_all(text.as_bytes());
}
