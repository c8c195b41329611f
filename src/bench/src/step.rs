//! One whole training step: pixels to tensor, forward, loss, backward, clip, optimiser, EMA.

use crate::{Measure, Sample, Threads};
use anyhow::{Context, Result};
use dataset::{
    batch::{Batch, Target},
    rng::{self, Purpose, below, stream, uniform},
};
use detector::{
    Config, Detector, Scale,
    loss::{BranchWeights, Grid, branch_weights},
    net::from_rgb,
};
use serde_json::{Value, json};
use tch::Device;
use train::{
    Execution, Hyper, OptimizerChoice, Precision,
    ema::Ema,
    optim::Optimizer,
    schedule::{Schedule, Settings},
    step::{self, Criteria},
};

const BATCH: usize = 8;
const CLASSES: usize = 3;
const BOXES_PER_IMAGE: usize = 12;
/// An iteration past the warm-up, in the middle of a run.
const ITERATION: u64 = 40_000;

/// How a step is run.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    threads: Threads,
    /// Number format of the forward and backward pass: auto, fp32 or bf16
    #[arg(long, value_parser = crate::precision, default_value = "auto")]
    precision: Precision,
}

/// A network in training.
pub struct Step {
    detector: Detector,
    criteria: Criteria,
    execution: Execution,
    optimizer: Optimizer,
    ema: Ema,
    settings: Settings,
    weights: BranchWeights,
    batches: Vec<(usize, Batch)>,
}

impl Step {
    pub fn new(args: &Args) -> Result<Self> {
        let threads = args.threads.count();
        torch::set_threads(threads.get())?;
        let hyper = Hyper {
            epochs: 100,
            batch: BATCH,
            optimizer: OptimizerChoice::MuSGD,
            ..Hyper::default()
        };
        let schedule = Schedule::new(&hyper, 800 * BATCH, CLASSES);
        let mut rng = stream(0, Purpose::Init, 0, 0);
        let detector = Detector::new(Config::new(Scale::N, CLASSES)?, &mut rng)?;
        let parameters = detector
            .state()
            .parameters()
            .map(|entry| (entry.name().to_owned(), entry.tensor().shallow_clone()))
            .collect();
        Ok(Self {
            criteria: Criteria::new(hyper.gains, threads),
            execution: Execution::new(args.precision, threads),
            optimizer: Optimizer::new(&schedule, parameters),
            ema: Ema::new(&detector, ITERATION)?,
            settings: schedule.at(ITERATION),
            weights: branch_weights(50, 100),
            batches: [320, 640].map(|side| (side, batch(side))).into(),
            detector,
        })
    }

    fn batch(&self, side: &str) -> Result<usize> {
        self.batches
            .iter()
            .position(|(length, _)| length.to_string() == side)
            .with_context(|| format!("no batch of {side} pixels; there are 320 and 640"))
    }

    fn whole(&mut self, index: usize) -> Result<Sample> {
        let (_, batch) = &self.batches[index];
        Sample::of(|| {
            step::train_batch(
                &self.detector,
                &self.criteria,
                &self.execution,
                batch,
                self.weights,
            )?;
            self.optimizer.step(&self.settings)?;
            Ok(self.ema.update(&self.detector)?)
        })
    }

    /// What [`step::train_batch`] does, cut into its parts.
    fn parts(&mut self, index: usize) -> Result<Sample> {
        let (side, batch) = &self.batches[index];
        let mut sample = Sample::default();
        let images = sample.part("images", || {
            Ok(from_rgb(&batch.pixels, BATCH, *side, *side, Device::Cpu)?)
        })?;
        let heads = sample.part("forward", || {
            Ok(self.execution.run(|| self.detector.forward_train(&images))??)
        })?;
        let (_, gradients) = sample.part("loss", || {
            let grid = Grid::for_input(*side, *side)?;
            Ok(self
                .criteria
                .gradients(&heads, &grid, &step::targets(batch)?, self.weights)?)
        })?;
        sample.part("backward", || {
            step::backward(&heads, &gradients)?;
            drop((heads, gradients));
            Ok(())
        })?;
        sample.part("optimiser", || Ok(self.optimizer.step(&self.settings)?))?;
        sample.part("EMA", || Ok(self.ema.update(&self.detector)?))?;
        Ok(sample)
    }
}

impl Measure for Step {
    fn facts(&self) -> Value {
        json!({
            "threads": self.execution.threads,
            "precision": format!("{:?}", self.execution.precision),
            "boxes": BATCH * BOXES_PER_IMAGE,
        })
    }

    fn images(&self, _case: &str) -> Result<usize> {
        Ok(BATCH)
    }

    fn once(&mut self, case: &str) -> Result<Sample> {
        match case.strip_suffix("-parts") {
            Some(side) => self.parts(self.batch(side)?),
            None => self.whole(self.batch(case)?),
        }
    }
}

/// Noise with boxes on it: what is learned does not matter here, the work is the same.
fn batch(side: usize) -> Batch {
    let mut rng = rng::stream(0, Purpose::Test, 0, side as u64);
    let pixels: Vec<u8> = (0..BATCH * side * side * 3)
        .map(|_| below(&mut rng, 256) as u8)
        .collect();
    let targets = (0..BATCH * BOXES_PER_IMAGE)
        .map(|i| Target {
            image: (i / BOXES_PER_IMAGE) as u32,
            class: (i % CLASSES) as u8,
            cx: uniform(&mut rng, 0.2, 0.8) as f32,
            cy: uniform(&mut rng, 0.2, 0.8) as f32,
            w: uniform(&mut rng, 0.05, 0.35) as f32,
            h: uniform(&mut rng, 0.05, 0.35) as f32,
        })
        .collect();
    Batch {
        pixels: pixels.into(),
        width: side,
        height: side,
        targets,
        items: (0..BATCH).collect(),
        placements: Vec::new(),
    }
}
