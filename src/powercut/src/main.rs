//! `powercut --seed S --cuts N`: the proof at any length. Exit codes: 0 all as it must be, 1 could not run, 2 found problems.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use powercut::lossy::FileSystem;
use powercut::namespace::{missing_for_fuse, privately};
use powercut::proof::{Extent, Forgetful, Layer, Lossy, Report, prove};

/// Cuts the power of the annotation queue behind every operation of a run, and compares what it ends in.
#[derive(Debug, Parser)]
struct Options {
    /// What everything is drawn from: the messages, the batches, what a cut leaves.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cuts to make in all, on each of the file systems; runs with further seeds follow until it is reached.
    #[arg(long, default_value_t = 400)]
    cuts: usize,
    /// How many messages a run has.
    #[arg(long, default_value_t = 40)]
    messages: usize,
    /// The only file system to try: forgetful, ext4 or xfs. All of them, if it is not given.
    #[arg(long, value_parser = ["forgetful", "ext4", "xfs"])]
    on: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("powercut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    if let Some(why) = missing_for_fuse() {
        println!("skipped: powercut: {why}");
        return Ok(true);
    }
    let wanted = |name: &str| options.on.as_deref().is_none_or(|only| only == name);
    privately(|| {
        let mut sound = true;
        if wanted("forgetful") {
            sound &= long("forgetful", &Forgetful::default(), options)?;
        }
        let known = [FileSystem::Ext4, FileSystem::Xfs];
        for file_system in known.into_iter().filter(|known| wanted(known.name())) {
            match file_system.missing() {
                Some(why) => println!("skipped: {}: {why}", file_system.name()),
                None => sound &= long(file_system.name(), &Lossy::honest(file_system)?, options)?,
            }
        }
        Ok(sound)
    })
}

/// Run after run, each with the next seed, until there were enough cuts.
fn long<L>(name: &str, layer: &L, options: &Options) -> Result<bool>
where
    L: Layer + Sync,
    L::Recording: Sync,
{
    let (mut left, mut seed, mut sound) = (options.cuts, options.seed, true);
    while left > 0 {
        let extent = Extent {
            seed,
            messages: options.messages,
            cuts: left,
        };
        let report = prove(layer, extent)?;
        tell(name, seed, &report);
        sound &= report.failures.is_empty();
        left = left.saturating_sub(report.cuts.max(1));
        seed = seed.wrapping_add(1);
    }
    Ok(sound)
}

fn tell(name: &str, seed: u64, report: &Report) {
    println!(
        "{name}, seed {seed}: {} operations, cut behind {} of them; {} crashes, {} trees compared byte for byte, {} differ; {:.1} s",
        report.operations,
        report.cuts,
        report.crashes,
        report.compared,
        report.failures.len(),
        report.took.as_secs_f64()
    );
    report.failures.iter().for_each(|failure| println!("  {failure}"));
}
