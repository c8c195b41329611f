//! `cargo xtask VERB`: the command line. Exit codes: 0 done, 1 failed, 2 found problems (lint, audit, secrets, parity, learn, soak,
//! fuzz), 64 bad usage, 75 the network did not answer or a signal ended it, try again.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use xtask::bench;
use xtask::brokers::{self, BrokerError};
use xtask::checks::{self, Context, audit};
use xtask::coverage;
use xtask::dist;
use xtask::fuzz;
use xtask::host;
use xtask::learn;
use xtask::libtorch::link::{self, Version};
use xtask::libtorch::setup::{How, Wheels};
use xtask::libtorch::{Recipe, Setup, SetupError, tools};
use xtask::parity;
use xtask::python::PythonError;
use xtask::rstream;
use xtask::sbom;
use xtask::secrets;
use xtask::soak;
use xtask::tensorboard;
use xtask::trial;
use xtask::workspace::{Workspace, cache_dir, process_env};

const FAILED: u8 = 1;
const FOUND_PROBLEMS: u8 = 2;
const USAGE: u8 = 64;
const TRY_AGAIN: u8 = 75;

/// Set-up, demo and checks of azaion. Every verb sets up first what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring libtorch: fetched once, checked by SHA-256, kept in the user's cache
    Setup(SetupOptions),
    /// Run the main job end to end (release build); ARGS go to `azaion demo`
    Demo {
        /// Arguments of `azaion demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Run every check: format, lints, tests, doctests, licences, advisories
    Test {
        /// Leave out doctests and cargo-deny
        #[arg(long)]
        quick: bool,
        /// Also set libtorch up afresh from kept wheels, as a new machine does, and compare
        #[arg(long)]
        fresh_setup: bool,
        /// Run only tests whose name contains one of these
        filters: Vec<String>,
    },
    /// Measure ours and the reference package side by side (REFERENCE_PYTHON, or the interpreter in the cache)
    Bench {
        /// What to measure
        name: bench::Name,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Compare every computation with the reference package; exit code 2 if a bound is broken
    Parity(parity::Options),
    /// Train both from scratch and compare what they reach; takes hours, can be stopped and gone on with
    Learn(learn::Options),
    /// Run on and on; exit code 2 if memory grows, or if something is lost
    #[command(subcommand)]
    Soak(Soak),
    /// Feed a decoder of foreign bytes with made-up input; exit code 2 if it finds something
    Fuzz(fuzz::Options),
    /// Check format, lints and workflows; exit code 2 if they find something
    Lint,
    /// Check the dependencies: advisories, bans, licences, sources; 2 if something is found, 75 if a check could not run
    Audit(audit::Options),
    /// Search the tree and its history for secrets; exit code 2 if there are any
    Secrets(secrets::Options),
    /// List what is shipped, as CycloneDX
    Sbom(sbom::Options),
    /// Count the lines that tests reach, in the crates without libtorch
    Coverage(coverage::Options),
    /// Build the programs that are shipped, with units, list of parts and checksums, into target/dist
    Dist(dist::Options),
    /// Build the suite with Nix and copy it, with all it needs, into target/closure
    Closure(dist::Options),
    /// Format every crate
    Fmt,
}

#[derive(Subcommand)]
enum Soak {
    /// A training run, whose memory must stay where it is
    Memory(soak::Options),
    /// A training run that is killed again and again, and must end as one that nobody touched
    Train(trial::Training),
    /// The queue against a real broker, with something that fails again and again
    Queue(trial::Soak),
    /// The queue on file systems that lose power behind every operation
    Powercut(trial::PowerCut),
}

#[derive(clap::Args, Default)]
struct SetupOptions {
    /// Keep the fetched wheels in the cache, for rebuilding without a network
    #[arg(long, conflicts_with = "wheels")]
    keep_wheels: bool,
    /// Take the wheels from this folder and fetch nothing
    #[arg(long, value_name = "DIR")]
    wheels: Option<PathBuf>,
    /// Also bring what the queue is tested against: RabbitMQ 3.10.8 and 4.0.5, Python's rstream, and TensorBoard
    #[arg(long)]
    brokers: bool,
    /// Also bring what units and NixOS module are tested with: systemd's tools and containers, Nix
    #[arg(long)]
    host: bool,
}

impl SetupOptions {
    fn wheels(self) -> Wheels {
        match self {
            Self {
                wheels: Some(folder), ..
            } => Wheels::From(folder),
            Self {
                keep_wheels: true, ..
            } => Wheels::FetchAndKeep,
            Self { .. } => Wheels::Fetch,
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that takes no text.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(USAGE)
            };
        }
    };
    run(cli.verb).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        let temporary = error
            .downcast_ref::<SetupError>()
            .is_some_and(SetupError::is_temporary)
            || error
                .downcast_ref::<BrokerError>()
                .is_some_and(BrokerError::is_temporary)
            || error
                .downcast_ref::<PythonError>()
                .is_some_and(PythonError::is_temporary);
        ExitCode::from(if temporary { TRY_AGAIN } else { FAILED })
    })
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate(&process_env)?;
    match verb {
        Verb::Setup(options) => {
            let SetupOptions { brokers, host, .. } = options;
            let tree = setup(&workspace, options.wheels())?;
            println!("libtorch is ready: {}", tree.display());
            if brokers {
                setup_brokers()?;
            }
            if host {
                setup_host()?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Demo { args } => {
            setup(&workspace, Wheels::Fetch)?;
            // In our place, not as our child: stdin, signals and the exit code are then the demo's own.
            let mut demo = workspace.cargo();
            demo.args([
                "run",
                "--release",
                "--package",
                "trainer",
                "--bin",
                "azaion-train",
                "--",
                "demo",
            ])
            .args(args);
            Err(demo.exec()).context("cannot start cargo")
        }
        Verb::Test {
            quick,
            fresh_setup,
            filters,
        } => {
            let plan = checks::test_plan(quick, !filters.is_empty(), fresh_setup);
            let report = checked(&workspace, &plan, filters)?;
            println!("{}", report.counts);
            Ok(exit(report.is_ok(), FAILED))
        }
        Verb::Bench { name, json } => {
            if !matches!(
                name,
                bench::Name::Queue | bench::Name::Dataset | bench::Name::Backup
            ) {
                setup(&workspace, Wheels::Fetch)?;
            }
            let report = bench::run(name, &workspace, &process_env)?;
            if json {
                println!("{:#}", report.json());
            } else {
                println!("{report}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Parity(options) => {
            setup(&workspace, Wheels::Fetch)?;
            let holds = parity::run(&options, &workspace, &process_env)?;
            Ok(exit(holds, FOUND_PROBLEMS))
        }
        Verb::Learn(options) => {
            setup(&workspace, Wheels::Fetch)?;
            let learn::Outcome { report, stopped } = learn::run(&options, &workspace, &process_env)?;
            if options.json {
                println!("{:#}", report.json());
            } else {
                println!("{report}");
            }
            if stopped {
                return Ok(ExitCode::from(TRY_AGAIN));
            }
            Ok(exit(!report.is_below(), FOUND_PROBLEMS))
        }
        Verb::Soak(Soak::Queue(options)) => {
            let holds = trial::soak(&options, &workspace, &process_env)?;
            Ok(exit(holds, FOUND_PROBLEMS))
        }
        Verb::Soak(Soak::Powercut(options)) => {
            let holds = trial::power_cut(&options, &workspace)?;
            Ok(exit(holds, FOUND_PROBLEMS))
        }
        Verb::Soak(Soak::Train(options)) => {
            setup(&workspace, Wheels::Fetch)?;
            let holds = trial::training(&options, &workspace)?;
            Ok(exit(holds, FOUND_PROBLEMS))
        }
        Verb::Soak(Soak::Memory(options)) => {
            setup(&workspace, Wheels::Fetch)?;
            let report = soak::run(&options, &workspace)?;
            if options.json {
                println!("{:#}", report.json());
            } else {
                println!("{report}");
            }
            Ok(exit(report.is_flat(), FOUND_PROBLEMS))
        }
        Verb::Fuzz(options) => {
            setup(&workspace, Wheels::Fetch)?;
            let nothing = fuzz::run(&options, &workspace, &process_env)?;
            Ok(exit(nothing, FOUND_PROBLEMS))
        }
        Verb::Lint => {
            let report = checked(&workspace, &checks::lint_plan(), Vec::new())?;
            Ok(exit(report.is_ok(), FOUND_PROBLEMS))
        }
        Verb::Audit(options) => {
            let report = audit::run(&options, &context(&workspace, Vec::new())?)?;
            print!("{report}");
            Ok(match (report.found_something(), report.is_whole()) {
                (true, _) => ExitCode::from(FOUND_PROBLEMS),
                (false, true) => ExitCode::SUCCESS,
                (false, false) => ExitCode::from(TRY_AGAIN),
            })
        }
        Verb::Secrets(options) => Ok(exit(secrets::run(&options, &workspace)?, FOUND_PROBLEMS)),
        Verb::Sbom(options) => made(&sbom::run(&options, &workspace)?),
        Verb::Coverage(options) => made(&coverage::run(&options, &context(&workspace, Vec::new())?)?),
        Verb::Dist(options) => {
            setup(&workspace, Wheels::Fetch)?;
            made(&dist::run(&options, &workspace)?)
        }
        Verb::Closure(options) => made(&dist::closure(&options, &workspace, &process_env)?),
        Verb::Fmt => {
            setup(&workspace, Wheels::Fetch)?;
            Err(workspace.cargo().args(["fmt", "--all"]).exec()).context("cannot start cargo")
        }
    }
}

fn exit(ok: bool, otherwise: u8) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(otherwise)
    }
}

/// Says where what was asked for is.
fn made(place: &Path) -> anyhow::Result<ExitCode> {
    println!("{}", place.display());
    Ok(ExitCode::SUCCESS)
}

fn context(workspace: &Workspace, filters: Vec<String>) -> anyhow::Result<Context<'_>> {
    Ok(Context {
        workspace,
        cache: cache_dir(&process_env)?,
        recipe: Recipe::pinned(),
        filters,
        env: &process_env,
    })
}

fn checked(
    workspace: &Workspace,
    plan: &checks::Plan,
    filters: Vec<String>,
) -> anyhow::Result<checks::Report> {
    setup(workspace, Wheels::Fetch)?;
    let report = checks::run(plan, &context(workspace, filters)?);
    print!("\n{report}");
    Ok(report)
}

/// Brings the brokers and the client that the queue is tested with.
fn setup_brokers() -> anyhow::Result<()> {
    let cache = cache_dir(&process_env)?;
    for version in brokers::Version::ALL {
        let tree = brokers::bring(version, &cache, &process_env)?;
        println!("{version} is ready: {}", tree.display());
    }
    let python = rstream::interpreter(&process_env)?;
    println!("rstream is ready: {}", python.display());
    let python = tensorboard::interpreter(&process_env)?;
    println!("TensorBoard is ready: {}", python.display());
    Ok(())
}

/// Brings what units and module are tested with; the first program that cannot be had is the error.
fn setup_host() -> anyhow::Result<()> {
    if let Some(missing) = host::bring(&process_env).into_iter().next() {
        return Err(missing.into());
    }
    println!("systemd's tools and Nix are ready");
    Ok(())
}

/// Makes libtorch ready and gives its folder; with a tree in place this takes no time and says nothing.
fn setup(workspace: &Workspace, wheels: Wheels) -> anyhow::Result<PathBuf> {
    tools::check_compiler(&process_env)?;
    let recipe = Recipe::pinned();
    let setup = Setup {
        recipe: &recipe,
        cache: cache_dir(&process_env)?,
        link: workspace.libtorch_link(),
        wheels,
        env: &process_env,
    };
    if let Some(own) = link::users_own(&process_env, &setup.link, &setup.tree()) {
        let doubt = match link::check_users_own(&own, &recipe)? {
            Version::Right => "",
            Version::Unknown => " (it has no build-version: nobody can tell its version)",
        };
        eprintln!("note: LIBTORCH={} is used as it is{doubt}", own.display());
        return Ok(own);
    }
    let ready = setup.run()?;
    if ready.how == How::Adopted {
        eprintln!(
            "{} is file for file the pinned libtorch {}",
            ready.tree.display(),
            recipe.version
        );
    }
    Ok(ready.tree)
}
