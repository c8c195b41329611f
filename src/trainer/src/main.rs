//! `azaion-train`: the verbs that need libtorch. `azaion` runs them under its own name.

use cli::{
    console,
    program::{level, parse, told},
};
use service::shutdown::Shutdown;
use std::process::ExitCode;
use trainer::{
    args::{Cli, Command, ModelCommand},
    convert, demo, detect, measure, probe,
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
    service::log::init_human(level(cli.verbose), console::print)?;
    let shutdown = Shutdown::install()?;
    match cli.command {
        Command::Demo(args) => demo::run(&args, &shutdown),
        Command::Detect(args) => detect::run(&args),
        Command::Model(ModelCommand::Val(args)) => measure::run(&args),
        Command::Model(ModelCommand::Convert(args)) => convert::run(&args),
        Command::Probe(args) => probe::run(&args, &shutdown),
    }
}
