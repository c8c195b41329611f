//! A training run that goes on and on, for `cargo xtask soak train`: the run loop as it is, small images, loader threads
//! and an image cache that doesn't hold them all. It names a step on standard output every so many steps.

use anyhow::{Result, bail};
use detector::Scale;
use std::{
    io::Write,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use train::{Control, Event, Hyper, Observer, OptimizerChoice, Outcome, RunOptions};

const IMGSZ: usize = 96;
const BATCH: usize = 8;
const WORKERS: usize = 2;
/// Most of the drawn scenes: some are decoded again and again.
const CACHE_BYTES: usize = 1280 << 10;

/// How long.
#[derive(clap::Args)]
pub struct Args {
    /// data.yaml
    data: PathBuf,
    /// A new folder for the run
    folder: PathBuf,
    #[arg(long)]
    steps: u32,
    /// Steps between two words
    #[arg(long)]
    every: u32,
    /// Bytes to lose a step
    #[arg(long)]
    leak: usize,
}

/// Trains for so many steps, with a core left to the loader.
pub fn run(args: &Args) -> Result<()> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let control = Control::default();
    let stop = Arc::clone(&control.stop);
    let hyper = Hyper {
        // An epoch has several steps: it is stopped long before the last.
        epochs: args.steps,
        imgsz: IMGSZ,
        batch: BATCH,
        // What a run of a day trains with.
        optimizer: OptimizerChoice::MuSGD,
        patience: 0,
        save_period: 10,
        ..Hyper::default()
    };
    let options = RunOptions {
        threads: NonZeroUsize::new(cores.get() - 1).unwrap_or(cores),
        workers: WORKERS,
        cache_bytes: CACHE_BYTES,
        control,
        ..RunOptions::new(args.folder.clone(), args.data.clone(), Scale::N, hyper)
    };
    let mut steps = Steps { args, done: 0, stop };
    match train::run(&options, &mut steps)? {
        Outcome::Stopped { .. } => Ok(()),
        Outcome::Finished(_) => bail!("the run ended by itself after {} steps", steps.done),
    }
}

struct Steps<'a> {
    args: &'a Args,
    done: u32,
    stop: Arc<AtomicBool>,
}

impl Observer for Steps<'_> {
    fn on(&mut self, event: Event<'_>) {
        let Event::Batch { .. } = event else { return };
        self.done += 1;
        std::mem::forget(vec![1_u8; self.args.leak]);
        let mut out = std::io::stdout().lock();
        let told = !self.done.is_multiple_of(self.args.every)
            || writeln!(out, "{}", self.done).and_then(|()| out.flush()).is_ok();
        // Without a listener there is nothing to go on for.
        if self.done >= self.args.steps || !told {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
