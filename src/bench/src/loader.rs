//! The training loader on one thread: mosaic, affine, HSV, flips, a batch in one piece.
//!
//! Seconds are those of the processor, not of the clock: one thread of a busy machine has only a share of a core.
//!
//! Cases `first/N-workers` and `warm/N-workers` run the loader's engine with N threads that sleep as long as an image
//! took in `first` or `warm`, by the clock: how fast a consumer gets batches that does nothing else. With
//! `/R-a-second` behind it the consumer trains at that rate, and its time is divided into training and waiting.

use crate::{Measure, Sample};
use anyhow::{Context, Result, bail};
use dataset::{
    Dataset, Split,
    load::{Loader, LoaderOptions, Rehearsal},
};
use serde_json::{Value, json};
use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Images a batch of a rehearsal, and images in all for each of its threads and at least.
const BATCH: usize = 64;
const IMAGES_A_WORKER: usize = 160;
const IMAGES: usize = 320;

/// The dataset and a loader whose cache is full.
pub struct OneThread {
    dataset: Arc<Dataset>,
    options: LoaderOptions,
    warm: Loader,
    epoch: u64,
    first_cost: Cost,
    warm_cost: Cost,
}

/// Processor time of images so far.
#[derive(Default)]
struct Cost {
    seconds: f64,
    images: usize,
}

impl Cost {
    fn add(&mut self, sample: &Sample, images: usize) {
        self.seconds += sample.seconds;
        self.images += images;
    }

    fn of_one(&self) -> Result<Duration> {
        if self.images == 0 {
            bail!("nothing was measured yet to rehearse");
        }
        Ok(Duration::from_secs_f64(self.seconds / self.images as f64))
    }
}

/// A case of threads that sleep.
struct Rehearsed<'a> {
    work: &'a str,
    workers: usize,
    /// Images a second that the trainer takes; none: as many as it gets.
    rate: Option<f64>,
}

impl<'a> Rehearsed<'a> {
    fn parse(case: &'a str) -> Option<Self> {
        let mut parts = case.split('/');
        let work = parts.next()?;
        let workers = parts.next()?.strip_suffix("-workers")?.parse().ok()?;
        let rate = match parts.next() {
            Some(rate) => Some(rate.strip_suffix("-a-second")?.parse().ok()?),
            None => None,
        };
        Some(Self { work, workers, rate })
    }

    /// Batches that are timed.
    fn batches(&self) -> usize {
        IMAGES.max(IMAGES_A_WORKER * self.workers) / BATCH
    }

    fn run(&self, work: Duration, prefetch: usize) -> Result<Sample> {
        let rehearsal = Rehearsal {
            work,
            workers: self.workers,
            batch: BATCH,
            prefetch,
            batches: 1 + self.batches(),
        };
        let step = self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(BATCH as f64 / rate)
        });
        let mut batches = rehearsal.start()?;
        // The first one comes late because the threads have only begun.
        batches.next().transpose()?;
        let (begin, mut waiting) = (Instant::now(), Duration::ZERO);
        for number in 0.. {
            // Steps begin by the clock, so that what one oversleeps the next ones make good.
            let due = begin + step * number + waiting;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            black_box(batch?);
            waiting += asked.elapsed();
        }
        let (all, waiting) = (begin.elapsed().as_secs_f64(), waiting.as_secs_f64());
        Ok(Sample {
            seconds: all,
            parts: vec![("waiting", waiting), ("training", all - waiting)],
        })
    }
}

impl OneThread {
    pub fn new(folder: &Path) -> Result<Self> {
        let data = folder.join("data.yaml");
        let dataset = Dataset::open(&data, Split::Train).with_context(|| data.display().to_string())?;
        let dataset = Arc::new(dataset);
        let options = LoaderOptions {
            imgsz: 640,
            batch: 8,
            workers: 0,
            ..LoaderOptions::default()
        };
        let warm = Loader::new(Arc::clone(&dataset), options)?;
        epoch(&warm, 0)?;
        Ok(Self {
            dataset,
            options,
            warm,
            epoch: 0,
            first_cost: Cost::default(),
            warm_cost: Cost::default(),
        })
    }
}

fn epoch(loader: &Loader, number: u64) -> Result<()> {
    for batch in loader.epoch(number, 0, true)? {
        black_box(batch?);
    }
    Ok(())
}

/// Runs `body` on this thread and takes the processor time that Linux counted for it.
fn processor(body: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let counted = || -> Result<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
        Ok(nanoseconds / 1e9)
    };
    let before = counted()?;
    body()?;
    Ok(Sample {
        seconds: counted()? - before,
        ..Sample::default()
    })
}

impl Measure for OneThread {
    fn facts(&self) -> Value {
        json!({ "threads": 1, "dataset": self.dataset.items.len() })
    }

    fn images(&self, case: &str) -> Result<usize> {
        Ok(match Rehearsed::parse(case) {
            Some(rehearsed) => rehearsed.batches() * BATCH,
            None => self.dataset.items.len(),
        })
    }

    fn once(&mut self, case: &str) -> Result<Sample> {
        if let Some(rehearsed) = Rehearsed::parse(case) {
            let cost = match rehearsed.work {
                "first" => &self.first_cost,
                _ => &self.warm_cost,
            };
            return rehearsed.run(cost.of_one()?, self.options.prefetch);
        }
        self.epoch += 1;
        let images = self.dataset.items.len();
        match case {
            "first" => {
                let cold = Loader::new(Arc::clone(&self.dataset), self.options)?;
                let sample = processor(|| epoch(&cold, self.epoch))?;
                self.first_cost.add(&sample, images);
                Ok(sample)
            }
            "warm" => {
                let sample = processor(|| epoch(&self.warm, self.epoch))?;
                self.warm_cost.add(&sample, images);
                Ok(sample)
            }
            _ => bail!("no case {case}; there are first, warm, and both with /N-workers[/R-a-second]"),
        }
    }
}
