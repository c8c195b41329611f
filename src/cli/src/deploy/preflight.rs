//! Whether a switch may begin (DEP-2). The new version checks by itself what it needs, with its own `azaion check`: it knows
//! its configuration. Labels and two training steps are left out: neither changes with a version, and a run may be using the
//! machine.

use super::{
    facts::State,
    hold, links,
    machine::{self, QUEUE, TRAIN},
    profile::{Kind, Profile},
};
use crate::check::{Finding, Report};
use anyhow::Result;
use service::child;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long the checks may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Exit code of a check that found problems.
const FOUND_PROBLEMS: i32 = 2;

/// What is to be switched to, and where.
pub(super) struct Plan<'a> {
    /// None where a command brings it.
    pub generation: Option<&'a Path>,
    pub profile: &'a Profile,
    pub units: &'a Path,
    pub config: &'a Path,
    pub state: &'a Path,
}

/// Looks at everything, and changes nothing.
pub(super) fn look(plan: &Plan) -> Report {
    let mut report = Report::default();
    let kind = plan.generation.map(|path| (path, Kind::of(path)));
    if let Some((path, kind)) = &kind {
        report.add("generation", vec![generation(path, kind)]);
    }
    let tool = match kind {
        Some((_, Err(_))) => return report,
        Some((path, Ok(Kind::System))) => path.join("sw/bin/azaion"),
        Some((path, Ok(Kind::Suite))) => {
            report.add("units", units(plan, path));
            path.join("bin/azaion")
        }
        None => env::current_exe().unwrap_or_else(|_| PathBuf::from("azaion")),
    };
    match check(&tool, plan.config) {
        Ok(checked) => report.append(checked),
        Err(why) => {
            let next = "run it by hand: azaion check";
            report.add("check", vec![Finding::problem(tool.display(), why, next)]);
        }
    }
    report.add("queue", vec![queue()]);
    report.add("training run", vec![training()]);
    report.add("last deploy", vec![last(plan.state)]);
    report
}

fn generation(path: &Path, kind: &Result<Kind, String>) -> Finding {
    match kind {
        Ok(Kind::Suite) => Finding::right(path.display(), "programs and units of the suite"),
        Ok(Kind::System) => Finding::right(path.display(), "a whole NixOS"),
        Err(why) => Finding::problem(
            path.display(),
            why,
            "name what `nix build` made: the suite, or a system's toplevel",
        ),
    }
}

fn units(plan: &Plan, generation: &Path) -> Vec<Finding> {
    let place = plan.units.display();
    match links::plan(plan.units, plan.profile, generation) {
        Err(error) => vec![Finding::problem(
            place,
            format!("{error:#}"),
            "look at the folder",
        )],
        Ok(links) if links.in_the_way.is_empty() => {
            let missing = links.missing.len();
            vec![Finding::right(
                place,
                format!("units follow the profile; {missing} links are to be made"),
            )]
        }
        Ok(links) => links
            .in_the_way
            .iter()
            .map(|path| {
                let next =
                    "move it away; what differs on this machine belongs into a drop-in: systemctl edit";
                Finding::problem(path.display(), "stands where the profile's unit has to be", next)
            })
            .collect(),
    }
}

/// The new version's own check.
fn check(tool: &Path, config: &Path) -> Result<Report, String> {
    let mut command = Command::new(tool);
    command
        .args([
            "check", "--json", "--skip", "labels", "--skip", "training", "--config",
        ])
        .arg(config);
    if let (None, Some(folder)) = (env::var_os("CREDENTIALS_DIRECTORY"), machine::credentials()) {
        command.env("CREDENTIALS_DIRECTORY", folder);
    }
    let answer = child::ask(&mut command, LIMIT).map_err(|error| error.to_string())?;
    if !answer.status.success() && answer.status.code() != Some(FOUND_PROBLEMS) {
        let said = String::from_utf8_lossy(&answer.stderr);
        return Err(format!(
            "ended with {}: {}",
            answer.status,
            said.lines().next().unwrap_or_default()
        ));
    }
    let report: Report = serde_json::from_slice(&answer.stdout)
        .map_err(|error| format!("its report is not understood: {error}"))?;
    // An exit code that the report does not explain is not taken for a yes.
    match answer.status.success() || report.has_problems() {
        true => Ok(report),
        false => Err("found problems, and its report names none".to_owned()),
    }
}

fn queue() -> Finding {
    match machine::unit(QUEUE) {
        Ok(unit) if unit.active == State::Active => {
            Finding::right(QUEUE, format!("active, process {}", unit.pid.unwrap_or(0)))
        }
        Ok(_) => Finding::note(QUEUE, "is not active now", "the switch starts it"),
        Err(why) => Finding::problem(QUEUE, why, "is this machine run by systemd?"),
    }
}

fn training() -> Finding {
    match machine::unit(TRAIN) {
        Ok(unit) if matches!(unit.active, State::Active | State::Activating) => Finding::right(
            TRAIN,
            format!(
                "a run is active (process {}) and is left alone",
                unit.pid.unwrap_or(0)
            ),
        ),
        Ok(_) => Finding::right(TRAIN, "no run is active"),
        Err(why) => Finding::problem(TRAIN, why, "is this machine run by systemd?"),
    }
}

fn last(state: &Path) -> Finding {
    match hold::unfinished(state) {
        Ok(None) => Finding::right(state.display(), "none is unfinished"),
        Ok(Some(unfinished)) => Finding::note(
            state.display(),
            unfinished,
            "azaion deploy confirm keeps what is there, azaion deploy rollback goes back",
        ),
        Err(error) => Finding::note(state.display(), format!("{error:#}"), "look as root"),
    }
}
