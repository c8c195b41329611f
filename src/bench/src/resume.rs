//! What it costs that a run can be gone on with, for `cargo xtask bench resume`: epochs in which one checkpoint is written and
//! epochs in which none is, in turns, in one run; then starts that go on from the checkpoint, each until its first batch.

use anyhow::{Result, bail};
use detector::Scale;
use serde_json::json;
use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use train::{CHECKPOINT, Event, Hyper, Observer, OptimizerChoice, Outcome, RunOptions};

const IMGSZ: usize = 640;
const BATCH: usize = 8;
/// One to warm up, then in turns without and with a checkpoint.
const EPOCHS: u32 = 11;
const STARTS: usize = 3;
/// No checkpoint but those that are asked for.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Where.
#[derive(clap::Args)]
pub struct Args {
    /// data.yaml
    data: PathBuf,
    /// A new folder for the run
    folder: PathBuf,
}

/// Measures, and prints one JSON object.
pub fn run(args: &Args) -> Result<()> {
    let hyper = Hyper {
        // It is stopped before the last.
        epochs: 10 * EPOCHS,
        imgsz: IMGSZ,
        batch: BATCH,
        optimizer: OptimizerChoice::MuSGD,
        patience: 0,
        save_period: 10 * EPOCHS,
        close_mosaic: 0,
        ..Hyper::default()
    };
    let options = RunOptions {
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        save_every: NEVER,
        ..RunOptions::new(args.folder.clone(), args.data.clone(), Scale::N, hyper)
    };
    let mut epochs = Epochs::of(&options);
    stopped(&options, &mut epochs)?;
    let bytes = fs::metadata(args.folder.join(CHECKPOINT))?.len();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let mut start = Start {
            options: &options,
            begun: Instant::now(),
            batch: None,
        };
        stopped(&options, &mut start)?;
        starts.extend(start.batch);
    }
    let Epochs {
        images,
        without,
        with,
        took,
        ..
    } = epochs;
    println!(
        "{}",
        json!({
            "imgsz": IMGSZ, "batch": BATCH, "images": images, "checkpoint_bytes": bytes, "without_s": without, "with_s": with,
            "writing_s": took, "starts_s": starts,
        })
    );
    Ok(())
}

/// Trains until the observer stops the run.
fn stopped(options: &RunOptions, observer: &mut dyn Observer) -> Result<()> {
    options.control.stop.store(false, Ordering::Relaxed);
    match train::run(options, observer)? {
        Outcome::Stopped { .. } => Ok(()),
        Outcome::Finished(_) => bail!("the run ended by itself"),
    }
}

/// Times epochs, in every second of which a checkpoint is asked for.
struct Epochs<'a> {
    options: &'a RunOptions,
    since: Instant,
    images: usize,
    without: Vec<f64>,
    with: Vec<f64>,
    /// Seconds of writing, in the background.
    took: Vec<f64>,
}

impl<'a> Epochs<'a> {
    fn of(options: &'a RunOptions) -> Self {
        Self {
            options,
            since: Instant::now(),
            images: 0,
            without: Vec::new(),
            with: Vec::new(),
            took: Vec::new(),
        }
    }
}

fn is_saved(epoch: u32) -> bool {
    epoch.is_multiple_of(2)
}

impl Observer for Epochs<'_> {
    fn on(&mut self, event: Event<'_>) {
        let control = &self.options.control;
        match event {
            Event::Started { images, .. } => self.images = images,
            Event::Batch { epoch, batch: 1, .. } if is_saved(epoch) => {
                control.save.store(true, Ordering::Relaxed);
            }
            Event::Epoch { row, .. } => {
                let seconds = self.since.elapsed().as_secs_f64();
                self.since = Instant::now();
                match row.epoch {
                    1 => {}
                    epoch if is_saved(epoch) => self.with.push(seconds),
                    _ => self.without.push(seconds),
                }
                control.stop.store(row.epoch >= EPOCHS, Ordering::Relaxed);
            }
            Event::Saved { took, .. } => self.took.push(took.as_secs_f64()),
            _ => {}
        }
    }
}

/// Times a start to its first batch.
struct Start<'a> {
    options: &'a RunOptions,
    begun: Instant,
    batch: Option<f64>,
}

impl Observer for Start<'_> {
    fn on(&mut self, event: Event<'_>) {
        if let Event::Batch { .. } = event {
            self.batch.get_or_insert(self.begun.elapsed().as_secs_f64());
            self.options.control.stop.store(true, Ordering::Relaxed);
        }
    }
}
