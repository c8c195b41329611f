//! `azaion`: the operator's tool.

use cli::{
    alert,
    args::{AlertArgs, Cli, Command, ImportCommand, Passed},
    behind::{BACKUP, HEALTH, TRAINER},
    check, config, console, dataset, deploy, import_yolo,
    program::{level, level_beside_report, parse, told},
    queue, runs, top, train,
};
use service::{log, shutdown::Shutdown};
use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => told(run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Demo(passed) => Err(train_as("demo", cli.verbose, passed)),
        Command::Detect(passed) => Err(train_as("detect", cli.verbose, passed)),
        Command::Model(passed) => Err(train_as("model", cli.verbose, passed)),
        Command::Backup(passed) => Err(BACKUP
            .become_it("azaion backup", cli.verbose, passed.arguments)
            .into()),
        Command::Health(passed) => Err(HEALTH
            .become_it("azaion health", cli.verbose, passed.arguments)
            .into()),
        Command::Status(passed) => Err(health_as("status", cli.verbose, passed)),
        Command::Alerts(passed) => Err(health_as("alerts", cli.verbose, passed)),
        Command::Import(ImportCommand::Yolo(args)) => {
            let shutdown = at_work(cli.verbose)?;
            import_yolo::run(&args, &shutdown)
        }
        Command::Queue(verb) => {
            let shutdown = at_work(cli.verbose)?;
            queue::run(&verb, &shutdown)
        }
        Command::Dataset(command) => {
            log::init_human(level(cli.verbose), console::print)?;
            dataset::run(&command)
        }
        Command::Why(args) => {
            log::init_human(level(cli.verbose), console::print)?;
            dataset::why(&args)
        }
        Command::Blame(args) => {
            log::init_human(level(cli.verbose), console::print)?;
            dataset::blame(&args)
        }
        Command::Config(command) => {
            at_work(cli.verbose)?;
            config::run(&command)
        }
        Command::Check(args) => {
            log::init_human(level_beside_report(cli.verbose), console::print)?;
            check::run(&args)
        }
        Command::Alert(args) => alerted(&args, cli.verbose),
        Command::Train(command) => {
            // Signals stay what they are: what is followed is left with Ctrl-C.
            log::init_human(level(cli.verbose), console::print)?;
            train::run(&command)
        }
        Command::Runs(command) => {
            at_work(cli.verbose)?;
            runs::run(&command)
        }
        Command::Top(args) => {
            let shutdown = at_work(cli.verbose)?;
            top::run(&args, &shutdown)
        }
        Command::Deploy(command) => {
            log::init_human(level_beside_report(cli.verbose), console::print)?;
            deploy::run(&command, &Shutdown::install()?)
        }
    }
}

/// Becomes the training program, for one of its verbs.
fn train_as(verb: &str, verbose: u8, passed: Passed) -> anyhow::Error {
    let arguments = std::iter::once(OsString::from(verb)).chain(passed.arguments);
    TRAINER.become_it("azaion", verbose, arguments).into()
}

/// A verb of the program that looks after everything.
fn health_as(verb: &str, verbose: u8, passed: Passed) -> anyhow::Error {
    let arguments = std::iter::once(OsString::from(verb)).chain(passed.arguments);
    HEALTH.become_it("azaion", verbose, arguments).into()
}

/// Logs for a person, and signals as a flag.
fn at_work(verbose: u8) -> anyhow::Result<Shutdown> {
    log::init_human(level(verbose), console::print)?;
    Ok(Shutdown::install()?)
}

/// As a unit it logs into the journal, by hand to the terminal.
fn alerted(args: &AlertArgs, verbose: u8) -> anyhow::Result<ExitCode> {
    match log::Format::of_a_daemon() {
        journal @ log::Format::Journal => log::init("alert", journal, log::level(verbose))?,
        _ => log::init_human(log::level(verbose), console::print)?,
    }
    alert::run(args)
}
