//! `azaion`: the operator's tool.

use clap::Parser;
use cli::{
    args::{Cli, Command, ImportCommand, ModelCommand},
    console, convert, demo, detect, import_yolo, measure, queue,
};
use service::shutdown::Shutdown;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// For libtorch's tensors too; `.cargo/config.toml` makes it keep memory mapped between two training steps.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BAD_USAGE: u8 = 64;

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
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("azaion: {error:#}");
            ExitCode::FAILURE
        }
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
        Command::Import(ImportCommand::Yolo(args)) => import_yolo::run(&args, &shutdown),
        Command::Queue(verb) => queue::run(&verb, &shutdown),
    }
}

/// A person's tool says what is wrong, and more when asked.
fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}
