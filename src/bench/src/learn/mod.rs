//! Our side of `cargo xtask learn`: a whole training run as `azaion` trains, and what its best model measures.
//!
//! The run's folder holds what every run holds, `results.csv` among it, and at the end `result.json`, which is there
//! whole or not at all. SIGINT and SIGTERM stop it after the batch in hand; the next start goes on from there.

pub mod data;

use anyhow::Result;
use detector::Scale;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc};
use train::{Control, Event, Hyper, Observer, Outcome, Precision, RunOptions, Summary};

/// Exit code of a run that was told to stop.
const STOPPED: u8 = 75;
const CACHE_BYTES: usize = 2 << 30;

/// What to train.
#[derive(clap::Args)]
pub struct Args {
    /// The run's folder; goes on where it stands
    folder: PathBuf,
    /// data.yaml
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    epochs: u32,
    #[arg(long)]
    imgsz: usize,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    threads: NonZeroUsize,
    #[arg(long, value_parser = crate::precision)]
    precision: Precision,
}

/// Trains, or goes on training.
pub fn run(args: &Args) -> Result<ExitCode> {
    let control = Control::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&control.stop))?;
    }
    let hyper = Hyper {
        epochs: args.epochs,
        imgsz: args.imgsz,
        batch: args.batch,
        seed: args.seed,
        precision: args.precision,
        ..Hyper::default()
    };
    let options = RunOptions {
        threads: args.threads,
        // One thread is one thread: it loads its images itself.
        workers: args.threads.get() - 1,
        cache_bytes: CACHE_BYTES,
        control,
        ..RunOptions::new(args.folder.clone(), args.data.clone(), Scale::N, hyper)
    };
    let mut images = Images::default();
    match train::run(&options, &mut images)? {
        Outcome::Stopped { epoch, batch } => {
            eprintln!("stopped in epoch {epoch} after batch {batch}");
            Ok(STOPPED.into())
        }
        Outcome::Finished(summary) => {
            let text = format!("{:#}\n", result(&summary, &images));
            store::atomic::replace(&args.folder.join("result.json"), text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn result(summary: &Summary, images: &Images) -> serde_json::Value {
    let metrics = &summary.one2many.metrics;
    json!({
        "images": images.train,
        "validation": images.validation,
        "epochs": summary.epochs,
        "best_epoch": summary.best.epoch,
        "map50": metrics.map50,
        "map50_95": metrics.map50_95,
        "precision": metrics.precision,
        "recall": metrics.recall,
        "resumed_at": [],
    })
}

/// Takes note of how many images a run sees.
#[derive(Default)]
struct Images {
    train: usize,
    validation: usize,
}

impl Observer for Images {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started {
                images, validation, ..
            } => {
                *self = Self {
                    train: images,
                    validation,
                };
            }
            event => {
                if let Some(text) = event.incident() {
                    eprintln!("{text}");
                }
            }
        }
    }
}
