//! How each step is run: which command, and what its end means.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus};

use super::transcript::Transcript;
use super::{Context, Finished, Outcome, Step, brokers, deny, nix_files, workflows};
use crate::host;
use crate::libtorch::rehearsal::{self, Rehearsal};
use crate::progress::megabytes;
use crate::workspace::find_program;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "rustfmt",
            Self::Clippy => "clippy",
            Self::Workflows => "actionlint",
            Self::Brokers => "brokers: RabbitMQ 3.10.8 and 4.0.5, rstream, TensorBoard",
            Self::NixFiles => "nixfmt, deadnix",
            Self::Host => "systemd's tools and Nix",
            Self::Tests => "tests",
            Self::Doctests => "doctests",
            Self::Licences => "cargo-deny: licences, bans, sources",
            Self::Advisories => "cargo-deny: advisories",
            Self::FreshSetup => "fresh set-up of libtorch",
        })
    }
}

impl Step {
    /// Runs the step; its output goes to the terminal as it comes.
    pub(super) fn run(self, context: &Context<'_>) -> Finished {
        match self {
            Self::Format => plain(context.workspace.cargo().args(["fmt", "--all", "--check"])),
            Self::Clippy => plain(context.workspace.cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
            Self::NixFiles => nix_files::check(context).into(),
            Self::Workflows => workflows::check(context).into(),
            Self::Brokers => brokers::bring(context).into(),
            Self::Host => host(context).into(),
            Self::Tests => tests(context),
            Self::Doctests => {
                let mut command = test_command(context);
                command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
                counted(&mut command, Transcript::libtest())
            }
            Self::Licences => deny::licences(context).into(),
            Self::Advisories => deny::advisories(context).into(),
            Self::FreshSetup => fresh_setup(context).into(),
        }
    }
}

/// cargo for a step that runs tests. libgomp's threads spin while they wait: beside other tests one thread is the
/// fastest, and it makes sums come out the same everywhere.
fn test_command(context: &Context<'_>) -> Command {
    let mut command = context.workspace.cargo();
    command.env("OMP_NUM_THREADS", "1");
    command
}

fn tests(context: &Context<'_>) -> Finished {
    let mut command = test_command(context);
    if find_program(&["cargo-nextest"], context.env).is_some() {
        // Output of passing tests is asked for because a test that skips itself says so there.
        command
            .args([
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
                "--color",
                "never",
            ])
            .args(["--success-output", "immediate"])
            .args(&context.filters);
        return counted(&mut command, Transcript::nextest());
    }
    println!("    by cargo test; faster with cargo-nextest (cargo install --locked cargo-nextest)");
    command.args([
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
        "--",
        "--show-output",
    ]);
    counted(command.args(&context.filters), Transcript::libtest())
}

/// Brings what is missing; tests that need what cannot be had skip themselves by name.
fn host(context: &Context<'_>) -> Outcome {
    let missing: Vec<String> = host::bring(context.env).iter().map(ToString::to_string).collect();
    if missing.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Skipped(missing.join("; "))
    }
}

fn fresh_setup(context: &Context<'_>) -> Outcome {
    match rehearsal::rehearse(&context.recipe, &context.cache, context.env) {
        Ok(Rehearsal::Same { files, bytes, took }) => {
            println!(
                "    {files} files, {}, as pinned, from wheels in {:.1} s",
                megabytes(bytes),
                took.as_secs_f64()
            );
            Outcome::Ok
        }
        Ok(Rehearsal::NoWheels(folder)) => Outcome::Skipped(format!(
            "no wheels are kept in {}: `cargo xtask setup --keep-wheels` keeps those that it fetches",
            folder.display()
        )),
        Err(error) => {
            eprintln!("{error}");
            Outcome::Failed("see above".into())
        }
    }
}

/// A command whose exit status says it all.
pub(super) fn plain(command: &mut Command) -> Finished {
    ended(command.status(), command).into()
}

/// What the end of `command` means.
pub(super) fn ended(status: io::Result<ExitStatus>, command: &Command) -> Outcome {
    match status {
        Ok(status) if status.success() => Outcome::Ok,
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(error) => Outcome::Failed(format!(
            "cannot start {}: {error}",
            command.get_program().display()
        )),
    }
}

/// A test runner: its lines pass through `transcript`, which counts, and hides what passing tests print.
fn counted(command: &mut Command, mut transcript: Transcript) -> Finished {
    let status = read_lines(command, |line| {
        if transcript.line(line) {
            println!("{line}");
        }
    });
    let (mut counts, skips) = transcript.finish();
    let outcome = ended(status, command);
    if matches!(outcome, Outcome::Failed(_)) && counts.failed == 0 {
        // The runner itself failed, for instance to compile: that is no run without failures.
        counts.failed = 1;
    }
    Finished {
        outcome,
        counts,
        skips,
    }
}

/// Runs `command` and hands over its lines, stdout and stderr in the order in which they came.
pub(super) fn read_lines(command: &mut Command, mut each: impl FnMut(&str)) -> io::Result<ExitStatus> {
    let (reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command still holds the pipe's other end, and reading would never end.
    command.stdout(io::stdout()).stderr(io::stderr());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Counts;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_streams_come_in_order() {
        let mut lines = Vec::new();
        let status = read_lines(&mut sh("echo a; echo b >&2; printf c"), |line| {
            lines.push(line.to_owned())
        });
        assert!(status.unwrap().success());
        assert_eq!(lines, ["a", "b", "c"]);
    }

    #[test]
    fn a_runner_that_breaks_before_any_test_counts_as_a_failure() {
        let finished = counted(
            &mut sh("echo 'error: could not compile'; exit 101"),
            Transcript::nextest(),
        );
        assert!(matches!(finished.outcome, Outcome::Failed(_)));
        assert_eq!(
            finished.counts,
            Counts {
                passed: 0,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let finished = plain(&mut Command::new("/nowhere/cargo"));
        assert!(matches!(finished.outcome, Outcome::Failed(why) if why.contains("/nowhere/cargo")));
    }
}
