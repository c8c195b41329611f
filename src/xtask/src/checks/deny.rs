//! cargo-deny over the dependencies, by the rules in `deny.toml`. Licences and advisories are two steps: the first needs no
//! network once the dependencies are here, the second fetches the database of advisories.

use super::tools::{Tool, watched};
use super::{Context, Outcome};

pub(super) const DENY: Tool = Tool {
    program: "cargo-deny",
    package: "cargo-deny",
    version: "0.20.2",
};

/// Licences, bans and sources.
pub(super) fn licences(context: &Context<'_>) -> Outcome {
    check(context, &["check", "bans", "licenses", "sources"])
}

/// Advisories.
pub(super) fn advisories(context: &Context<'_>) -> Outcome {
    check(context, &["check", "advisories"])
}

fn check(context: &Context<'_>, arguments: &[&str]) -> Outcome {
    let program = match DENY.find(context) {
        Ok(program) => program,
        Err(outcome) => return outcome,
    };
    let mut command = context.workspace.cargo_like(&program);
    command.args(arguments);
    watched(&mut command)
}
