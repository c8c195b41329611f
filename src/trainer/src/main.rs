//! `azaion-train`: the verbs that need libtorch. `azaion` runs them under its own name.

use cli::{
    console,
    program::{level, parse, told},
};
use service::{log, notify, shutdown::Shutdown};
use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
};
use train::Control;
use trainer::{
    args::{Cli, Command, ModelCommand},
    convert, demo, detect, measure, probe,
    service::Order,
};

/// For libtorch's tensors too; `.cargo/config.toml` makes it keep memory mapped between two training steps.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => told(run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Some(command) = cli.command else {
        let order = Order {
            config: &cli.config,
            dataset: cli.dataset.as_deref(),
            resume_anyway: cli.resume_anyway,
        };
        return serve(&order, cli.verbose);
    };
    service::log::init_human(level(cli.verbose), console::print)?;
    let shutdown = Shutdown::install()?;
    match command {
        Command::Demo(args) => demo::run(&args, &shutdown),
        Command::Detect(args) => detect::run(&args),
        Command::Model(ModelCommand::Val(args)) => measure::run(&args),
        Command::Model(ModelCommand::Convert(args)) => convert::run(&args),
        Command::Probe(args) => probe::run(&args, &shutdown),
    }
}

/// The service's failures are log lines, and systemd's status. A terminal gets lines for a person, around the bar.
fn serve(order: &Order<'_>, verbose: u8) -> anyhow::Result<ExitCode> {
    if stdout().is_terminal() {
        log::init_human(log::level(verbose), console::print)?;
    } else {
        log::init("training", log::Format::of_a_daemon(), log::level(verbose))?;
    }
    let shutdown = Shutdown::install()?;
    let [save, drain] = Shutdown::wishes()?;
    torch::print_stacks_on_abort();
    let control = Control {
        stop: shutdown.flag(),
        drain,
        save,
    };
    Ok(trainer::service::run(order, control).unwrap_or_else(|error| {
        tracing::error!(error = format!("{error:#}"), "training ended");
        notify::status(&format!("ended: {error:#}"));
        ExitCode::FAILURE
    }))
}
