//! `trial`: soaks and times `azaion-queue` against a private broker, and kills `azaion-train`. `cargo xtask soak` and
//! `cargo xtask bench queue` call it. Exit codes: 0 done, 1 failed, 2 something was lost or doubled.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use broker::Version;
use clap::{Args, Parser, Subcommand};
use trial::bench::{self, Place};
use trial::soak::{self, Failing, Plan};
use trial::training;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Lets something fail again and again, and compares the tree with one that nothing happened to
    Soak(Soak),
    /// Kills a training run again and again, and compares its model with that of one that nobody touched
    Training(Training),
    /// Measures the daemon beside a consumer in Python; JSON rows on stdout
    Bench(Bench),
}

#[derive(Args)]
struct Soak {
    /// azaion-queue
    #[arg(long)]
    program: PathBuf,
    /// How often it fails
    #[arg(long)]
    kills: u32,
    /// What is sent, and when it fails
    #[arg(long)]
    seed: u64,
    /// What fails
    #[arg(long, value_enum)]
    failing: Failing,
    /// 3.10.8 or 4.0.5
    #[arg(long)]
    broker: String,
}

#[derive(Args)]
struct Training {
    /// azaion-train
    #[arg(long)]
    program: PathBuf,
    /// How often it is killed
    #[arg(long)]
    kills: u32,
    /// When
    #[arg(long)]
    seed: u64,
    /// fp32 or bf16
    #[arg(long)]
    precision: String,
}

#[derive(Args)]
struct Bench {
    /// azaion-queue
    #[arg(long)]
    program: PathBuf,
    /// A Python that has rstream
    #[arg(long)]
    python: PathBuf,
    /// The consumer in Python
    #[arg(long)]
    peer: PathBuf,
    /// A folder on the disk to measure
    #[arg(long)]
    folder: PathBuf,
    /// Annotations that are in the tree already, a run for each number
    #[arg(long, value_delimiter = ',')]
    grown: Vec<u64>,
}

fn version(number: &str) -> anyhow::Result<Version> {
    let known = Version::ALL.into_iter();
    known
        .clone()
        .find(|version| version.number() == number)
        .with_context(|| {
            let numbers: Vec<_> = known.map(Version::number).collect();
            format!("there is no broker {number}, only {}", numbers.join(" and "))
        })
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().trial {
        Trial::Soak(Soak {
            program,
            kills,
            seed,
            failing,
            broker,
        }) => {
            let plan = Plan {
                program: &program,
                version: version(&broker)?,
                failing,
                times: kills,
                seed,
            };
            let report = soak::run(&plan, |done| {
                if done % 10 == 0 || done == kills {
                    eprintln!("{done} of {kills}");
                }
            })?;
            println!("{report}");
            Ok(ExitCode::from(if report.differences.is_empty() { 0 } else { 2 }))
        }
        Trial::Training(Training {
            program,
            kills,
            seed,
            precision,
        }) => {
            let plan = training::Plan {
                program: &program,
                times: kills,
                seed,
                precision: &precision,
            };
            let report = training::run(&plan, |done| eprintln!("{done} of {kills}"))?;
            println!("{report}");
            Ok(ExitCode::from(if report.is_equal() { 0 } else { 2 }))
        }
        Trial::Bench(Bench {
            program,
            python,
            peer,
            folder,
            grown,
        }) => {
            let rows = bench::run(&Place {
                program,
                python,
                peer,
                folder,
                grown,
            })?;
            println!("{:#}", serde_json::Value::from(rows));
            Ok(ExitCode::SUCCESS)
        }
    }
}
