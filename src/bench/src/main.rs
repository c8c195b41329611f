//! Our side of the benchmarks that `cargo xtask bench` runs: a long-lived process that measures when asked.
//!
//! It prints one JSON line about itself, then answers every line `CASE COUNT` on standard input with one JSON line
//! `{"seconds": [...], "images": N, "parts": [...]}`: seconds of each repetition, images in each, and, where a case is
//! measured in parts, a list of (name, seconds) for each. The peers (tests/reference/bench_*.py) talk the same way, so
//! that both take turns on a machine whose speed changes by the minute.

mod infer;
mod learn;
mod loader;
mod resume;
mod scenes;
mod soak;
mod step;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};
use train::Precision;

/// As in `azaion`: for libtorch's tensors too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures our side of a benchmark.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Training steps: cases 320 and 640, and the same with `-parts`
    Step(step::Args),
    /// Inference: cases `fp32-B` and `bf16-B`, B images a batch
    Infer(Threads),
    /// Loading: cases `first` and `warm`, on one thread, and rehearsals of more (see the module)
    Loader {
        /// The dataset's folder, as `scenes` made it
        folder: PathBuf,
    },
    /// Makes the dataset that the loaders load
    Scenes {
        /// A new folder
        folder: PathBuf,
    },
    /// A whole training run, stopped by SIGINT and gone on with by the same command
    Learn(learn::Args),
    /// Epochs with a checkpoint and without, and starts that go on from it
    Resume(resume::Args),
    /// A training run that goes on and on
    Soak(soak::Args),
    /// Copies a labelled folder into the form that both sides of `learn` read; prints what was copied
    LearnData {
        /// A folder with images/, labels/, classes.json, train.txt and val.txt
        from: PathBuf,
        /// A new folder
        to: PathBuf,
    },
}

/// A number format by its name.
fn precision(name: &str) -> Result<Precision> {
    Ok(match name {
        "auto" => Precision::Auto,
        "fp32" => Precision::Fp32,
        "bf16" => Precision::Bf16,
        _ => bail!("auto, fp32 or bf16"),
    })
}

/// How much of the machine is used.
#[derive(clap::Args)]
struct Threads {
    /// Use one thread fewer than there are cores
    #[arg(long)]
    spare_core: bool,
}

impl Threads {
    fn count(&self) -> NonZeroUsize {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(cores.get() - usize::from(self.spare_core)).unwrap_or(NonZeroUsize::MIN)
    }
}

/// Something that can be measured again and again.
trait Measure {
    /// What a reader of the numbers should know.
    fn facts(&self) -> Value;
    /// Seconds of one repetition of a case by name, with whatever else was seen.
    fn once(&mut self, case: &str) -> Result<Sample>;
    /// Images in a repetition of a case.
    fn images(&self, case: &str) -> Result<usize>;
}

/// One repetition.
#[derive(Default)]
struct Sample {
    seconds: f64,
    /// Seconds of the parts it was cut into.
    parts: Vec<(&'static str, f64)>,
}

impl Sample {
    /// Runs `body` and takes its time.
    fn of(body: impl FnOnce() -> Result<()>) -> Result<Self> {
        let start = Instant::now();
        body()?;
        Ok(Self {
            seconds: start.elapsed().as_secs_f64(),
            parts: Vec::new(),
        })
    }

    /// Runs `body` as the part `name` of this repetition.
    fn part<T>(&mut self, name: &'static str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let value = body()?;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds += seconds;
        self.parts.push((name, seconds));
        Ok(value)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode> {
    match what {
        What::Step(args) => serve(&mut step::Step::new(&args)?)?,
        What::Infer(threads) => serve(&mut infer::Infer::new(threads.count())?)?,
        What::Loader { folder } => serve(&mut loader::OneThread::new(&folder)?)?,
        What::Scenes { folder } => scenes::write(&folder)?,
        What::Learn(args) => return learn::run(&args),
        What::Resume(args) => resume::run(&args)?,
        What::Soak(args) => soak::run(&args)?,
        What::LearnData { from, to } => println!("{}", learn::data::copy(&from, &to)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers requests until standard input ends.
fn serve(bench: &mut impl Measure) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut answer = |value: &Value| -> Result<()> {
        writeln!(out, "{value}")?;
        Ok(out.flush()?)
    };
    answer(&bench.facts())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (case, count) = line.split_once(' ').context("a request is `CASE COUNT`")?;
        let count: usize = count.parse().context("a request is `CASE COUNT`")?;
        let samples: Vec<Sample> = (0..count).map(|_| bench.once(case)).collect::<Result<_>>()?;
        let seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
        let parts: Vec<Value> = samples
            .iter()
            .filter(|sample| !sample.parts.is_empty())
            .map(|sample| json!(sample.parts))
            .collect();
        answer(&json!({ "seconds": seconds, "images": bench.images(case)?, "parts": parts }))?;
    }
    Ok(())
}
