//! `azaion deploy`: a switch to another version that has to prove itself, and goes back by itself where it does not.
//!
//! A version is a generation of a Nix profile: the suite's programs and units on any systemd, or a whole NixOS. Only the queue
//! is restarted, and a training run never. One deploy at a time holds a lock; one that was cut off is found by the next
//! command. What a switch did is kept in the tree, with the journal of what did not work.
//!
//! | exit code | |
//! |---|---|
//! | 0 | confirmed |
//! | 1 | failed: not confirmed, and nothing was or could be taken back |
//! | 2 | the preflight found problems, and nothing was changed |
//! | 3 | not confirmed, rolled back; the generation before is confirmed |
//! | 4 | not confirmed, and the generation before is not either, or there is none |
//! | 64 | bad usage |
//! | 75 | another deploy is under way |

mod facts;
mod hold;
mod links;
mod machine;
mod outage;
mod preflight;
mod profile;
mod record;
mod switch;
mod verdict;
mod watch;

use crate::{
    args::{ConfirmArgs, DeployCommand, PreflightArgs},
    check::{Context, Report},
    console, program,
};
use anyhow::Result;
use facts::Unit;
use hold::{Held, Hold};
use machine::QUEUE;
use outage::Outage;
use profile::Profile;
use record::Outcome;
use service::{Config, Credentials, shutdown::Shutdown};
use std::{path::Path, process::ExitCode, str::FromStr, sync::Arc, time::Duration};
use verdict::Seen;

/// The profile of the suite on a systemd that is not NixOS'.
pub const SUITE_PROFILE: &str = "/nix/var/nix/profiles/azaion";
/// The profile of a NixOS.
pub const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";
/// Where an operator's units are, which systemd takes before all others.
pub const UNITS: &str = "/etc/systemd/system";
/// Exit code where another deploy is under way.
const AGAIN: u8 = 75;

/// A length of time, such as 60s or 2min.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: jiff::SignedDuration = text
            .parse()
            .map_err(|_| "no length of time, such as 60s or 2min")?;
        match Duration::try_from(span) {
            Ok(span) if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&span) => {
                Ok(Self(span))
            }
            _ => Err("not from 1s to 1h".to_owned()),
        }
    }
}

/// Runs the command.
pub fn run(command: &DeployCommand, shutdown: &Shutdown) -> Result<ExitCode> {
    // A connection that breaks must not leave a switch half-way.
    Shutdown::outlive_terminal()?;
    match command {
        DeployCommand::Preflight(args) => preflight(args),
        DeployCommand::Confirm(args) => confirm(args, shutdown),
        DeployCommand::Switch(args) => switch::switch(args, shutdown),
        DeployCommand::Rollback(args) => switch::rollback(args, shutdown),
    }
}

fn preflight(args: &PreflightArgs) -> Result<ExitCode> {
    let report = preflight::look(&preflight::Plan {
        generation: args.generation.as_deref(),
        profile: &Profile::new(&args.profile)?,
        units: &args.units,
        config: &args.places.config,
        state: &args.places.state,
    });
    show(&report, args.places.json)?;
    Ok(match report.has_problems() {
        true => Outcome::Refused.code().into(),
        false => ExitCode::SUCCESS,
    })
}

fn confirm(args: &ConfirmArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    let context = context(&args.places.config)?;
    let unit = machine::unit(QUEUE).unwrap_or_else(|_| Unit::read(""));
    let mut outage = Outage::new(&unit, machine::uptime_us());
    let watched = watch::watch(&context, Seen::default(), args.within.0, &mut outage, shutdown);
    show(&watched.report, args.places.json)?;
    settle(&args.places.state, watched.confirmed);
    Ok(match watched.confirmed {
        true => ExitCode::SUCCESS,
        false => Outcome::Failed.code().into(),
    })
}

/// A deploy that was cut off is named; what it has left is as good as any other once it is confirmed.
fn settle(state: &Path, confirmed: bool) {
    let left = match hold::unfinished(state) {
        Ok(Some(left)) => left,
        Ok(None) => return,
        Err(error) => return console::print(&format!("azaion: {error:#}")),
    };
    // Where a deploy is under way, this is a part of it.
    let Ok(Ok(hold)) = Hold::take(state, "confirm") else {
        return;
    };
    console::print(&format!("azaion: {left}"));
    let finished = match confirmed {
        true => hold.finish(),
        false => return,
    };
    match finished {
        Ok(()) => console::print("azaion: what it has left is confirmed now"),
        Err(error) => console::print(&format!("azaion: {error:#}")),
    }
}

/// What is looked at, with what systemd passes to the queue where this user may see that.
fn context(config: &Path) -> Result<Arc<Context>> {
    let credentials = match (std::env::var_os("CREDENTIALS_DIRECTORY"), machine::credentials()) {
        (None, Some(folder)) => Credentials::in_directory(folder),
        _ => Credentials::from_systemd(),
    };
    Ok(Arc::new(Context {
        config: Config::load(config)?,
        credentials,
    }))
}

fn show(report: &Report, json: bool) -> Result<()> {
    program::answer(&match json {
        true => format!("{}\n", serde_json::to_string(report)?),
        false => report.to_string(),
    });
    Ok(())
}

fn told_held(held: &Held) -> ExitCode {
    console::print(&format!("azaion: {held}"));
    AGAIN.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit_and_bounds() {
        assert_eq!("60s".parse(), Ok(Span(Duration::from_secs(60))));
        assert_eq!("2min".parse(), Ok(Span(Duration::from_secs(120))));
        for bad in ["", "60", "0s", "-5s", "2h", "soon"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
