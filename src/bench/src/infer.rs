//! Inference with the folded network: RGB pixels in memory to boxes, through the one-to-many head and suppression.

use crate::{Measure, Sample};
use anyhow::{Context, Result, bail};
use dataset::rng::{Purpose, below, stream};
use detector::{Config, Detector, FusedDetector, Head, Scale, loss::Grid, net::from_rgb, nms::Nms};
use serde_json::{Value, json};
use std::{hint::black_box, num::NonZeroUsize};
use tch::Device;
use train::{Execution, Precision};

const SIDE: usize = 640;
const CLASSES: usize = 3;
const LARGEST: usize = 8;

/// A network that answers.
pub struct Infer {
    network: FusedDetector,
    exact: Execution,
    pixels: Vec<u8>,
    grid: Grid,
    nms: Nms,
}

impl Infer {
    pub fn new(threads: NonZeroUsize) -> Result<Self> {
        torch::set_threads(threads.get())?;
        let mut rng = stream(0, Purpose::Init, 0, 0);
        let detector = Detector::new(Config::new(Scale::N, CLASSES)?, &mut rng)?;
        let mut network = detector.fused(Head::One2Many)?;
        network.to_channels_last()?;
        Ok(Self {
            network,
            exact: Execution::new(Precision::Fp32, threads),
            pixels: (0..LARGEST * SIDE * SIDE * 3)
                .map(|_| below(&mut rng, 256) as u8)
                .collect(),
            grid: Grid::for_input(SIDE, SIDE)?,
            nms: Nms::predict(),
        })
    }
}

impl Measure for Infer {
    fn facts(&self) -> Value {
        json!({ "threads": self.exact.threads })
    }

    fn images(&self, case: &str) -> Result<usize> {
        let (_, batch) = case.split_once('-').context("a case is PRECISION-BATCH")?;
        let batch = batch.parse().context("a case is PRECISION-BATCH")?;
        if !(1..=LARGEST).contains(&batch) {
            bail!("a batch of {batch} images; 1 to {LARGEST} are possible");
        }
        Ok(batch)
    }

    fn once(&mut self, case: &str) -> Result<Sample> {
        let batch = self.images(case)?;
        let precision = if case.starts_with("bf16-") {
            Precision::Bf16
        } else {
            Precision::Fp32
        };
        let execution = Execution::new(precision, self.exact.threads);
        let pixels = self
            .pixels
            .get(..batch * SIDE * SIDE * 3)
            .context("too few pixels")?;
        Sample::of(|| {
            let images = from_rgb(pixels, batch, SIDE, SIDE, Device::Cpu)?;
            let output = execution.run(|| self.network.forward(&images))??;
            for raw in output.images(&self.grid)? {
                black_box(self.nms.detect(&raw));
            }
            Ok(())
        })
    }
}
