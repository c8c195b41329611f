//! `azaion`: the operator's tool.

use cli::{
    args::{Cli, Command, ImportCommand},
    console, import_yolo,
    program::{level, parse, told},
    queue, trainer,
};
use service::shutdown::Shutdown;
use std::process::ExitCode;

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => told(run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Demo(passed) => Err(trainer::become_it(cli.verbose, "demo", &passed).into()),
        Command::Detect(passed) => Err(trainer::become_it(cli.verbose, "detect", &passed).into()),
        Command::Model(passed) => Err(trainer::become_it(cli.verbose, "model", &passed).into()),
        Command::Import(ImportCommand::Yolo(args)) => {
            let shutdown = at_work(cli.verbose)?;
            import_yolo::run(&args, &shutdown)
        }
        Command::Queue(verb) => {
            let shutdown = at_work(cli.verbose)?;
            queue::run(&verb, &shutdown)
        }
    }
}

/// Logs for a person, and signals as a flag.
fn at_work(verbose: u8) -> anyhow::Result<Shutdown> {
    service::log::init_human(level(verbose), console::print)?;
    Ok(Shutdown::install()?)
}
