//! Fifty optimiser steps by the trainer's schedule: with given gradients the optimiser alone, with its own gradients the
//! whole training step, at small learning rates and at the default ones.
//!
//! A young network multiplies rounding, the reference's own too: beside the runs with own gradients stands how far the
//! reference is from a twin whose gradients are off by 1e-6 (tests/reference/optimiser_runs.py). At the default rates
//! that is as far as the weights come at all, so nothing is promised there.

use crate::{
    loss::truths,
    reference::{Bytes, Tensors},
    table::{Bound, Gap, Row},
};
use anyhow::{Context, bail};
use detector::{
    Detector,
    loss::{Gains, Grid, Targets, branch_weights},
    weights::WeightMap,
};
use std::{num::NonZeroUsize, path::Path};
use tch::{Kind, Tensor};
use train::{
    Hyper, OptimizerChoice,
    ema::Ema,
    optim::Optimizer,
    schedule::{OptimizerKind, Schedule, Settings},
    step::{self, Criteria},
};

/// Relative L2 distance of all weights.
const WEIGHTS: f64 = 1e-4;
/// Learning rates and momentum are 64-bit numbers on both sides.
const SETTINGS: Bound = Bound::Relative(1e-12);

pub fn compare(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let folder = folder.join("optimiser");
    let mut rows = Vec::new();
    for optimizer in [
        OptimizerChoice::SGD,
        OptimizerChoice::AdamW,
        OptimizerChoice::MuSGD,
    ] {
        let path = |kind| folder.join(format!("{kind}-{optimizer:?}.safetensors"));
        for source in [Source::Given, Source::Calm, Source::Own] {
            let bytes = Bytes::read(&path(source.file()))?;
            let reference = bytes.tensors()?;
            let run = Run::open(source, optimizer, &reference).and_then(Run::rows);
            rows.extend(run.with_context(|| path(source.file()).display().to_string())?);
            if let Some(twin) = source.twin() {
                let twin = Bytes::read(&path(twin))?;
                let twin = twin.tensors()?;
                let gap = distance(&reference, "step50.", |name| twin.f32(&format!("step50.{name}")))?;
                let case = source.case(optimizer);
                rows.push(row(
                    "step 50: the reference from its twin",
                    case,
                    gap,
                    Bound::Shown,
                ));
            }
        }
    }
    Ok(rows)
}

/// Where a run's gradients come from, and at which learning rates.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Random numbers that both sides draw alike.
    Given,
    /// The network, small rates.
    Calm,
    /// The network, default rates.
    Own,
}

impl Source {
    fn file(self) -> &'static str {
        match self {
            Source::Given => "given",
            Source::Calm => "calm",
            Source::Own => "own",
        }
    }

    fn twin(self) -> Option<&'static str> {
        match self {
            Source::Given => None,
            Source::Calm => Some("calmtwin"),
            Source::Own => Some("owntwin"),
        }
    }

    fn bound(self) -> Bound {
        match self {
            Source::Given | Source::Calm => Bound::Relative(WEIGHTS),
            Source::Own => Bound::Shown,
        }
    }

    fn case(self, optimizer: OptimizerChoice) -> String {
        format!("{optimizer:?}, {}", self.label())
    }

    fn label(self) -> &'static str {
        match self {
            Source::Given => "given gradients",
            Source::Calm => "own gradients, small rates",
            Source::Own => "own gradients, default rates",
        }
    }
}

/// A run of ours beside the recorded one.
struct Run<'a> {
    reference: &'a Tensors<'a>,
    case: String,
    source: Source,
    seed: i64,
    schedule: Schedule,
    detector: Detector,
    optimizer: Optimizer,
    ema: Ema,
    batches: Vec<(Tensor, Targets)>,
    grid: Grid,
    criteria: Criteria,
    rows: Vec<Row>,
}

impl<'a> Run<'a> {
    fn open(source: Source, optimizer: OptimizerChoice, reference: &'a Tensors<'a>) -> anyhow::Result<Self> {
        let [side, batch, batches, classes, epochs, nominal, _, seed] = reference.i64("setting")?[..] else {
            bail!("the settings are not those that tests/reference/optimiser_runs.py writes");
        };
        let [lr0, warmup_bias_lr] = reference.f64("rates")?[..] else {
            bail!("the rates are not those that tests/reference/optimiser_runs.py writes");
        };
        let hyper = Hyper {
            epochs: epochs as u32,
            batch: batch as usize,
            imgsz: side as usize,
            nbs: nominal as usize,
            optimizer,
            lr0,
            warmup_bias_lr,
            ..Hyper::default()
        };
        let schedule = Schedule::new(&hyper, (batch * batches) as usize, classes as usize);
        let detector = Detector::from_weights(&reference.weights("start.")?)?;
        Ok(Self {
            case: source.case(optimizer),
            source,
            seed,
            optimizer: Optimizer::new(&schedule, train::parameters(&detector)),
            ema: Ema::new(&detector, 0)?,
            schedule,
            detector,
            batches: (0..batches)
                .map(|i| read_batch(reference, i, batch as usize))
                .collect::<Result<_, _>>()?,
            grid: Grid::for_input(side as usize, side as usize)?,
            criteria: Criteria::new(Gains::default(), NonZeroUsize::MIN),
            reference,
            rows: Vec::new(),
        })
    }

    fn rows(mut self) -> anyhow::Result<Vec<Row>> {
        let trace = self.reference.f64("trace")?;
        let columns = 3 + self.optimizer.groups().len();
        let (mut last_step, mut settings_gap) = (-1_i64, Gap::NONE);
        for (ni, expected) in (0_u64..).zip(trace.chunks(columns)) {
            self.backward(ni)?;
            let settings = self.schedule.at(ni);
            if ni as i64 - last_step >= settings.accumulate as i64 {
                last_step = ni as i64;
                if !self.optimizer.step(&settings)?.applied {
                    bail!("iteration {ni}: the gradients are not finite");
                }
                self.ema.update(&self.detector)?;
                self.compare_weights()?;
            }
            let found = self.trace_row(&settings);
            settings_gap = settings_gap.and(Gap::of_f64(&found, expected, 0.0));
        }
        self.compare_ends()?;
        let case = self.case.clone();
        self.rows.push(row(
            "step by step: accumulation, rates, momentum",
            case,
            settings_gap,
            SETTINGS,
        ));
        Ok(self.rows)
    }

    fn trace_row(&self, settings: &Settings) -> Vec<f64> {
        let momentum = if self.schedule.optimizer == OptimizerKind::AdamW {
            self.schedule.momentum0
        } else {
            settings.momentum
        };
        let counts = [settings.accumulate as f64, self.ema.updates() as f64];
        let rates = self.optimizer.learning_rates(settings);
        counts.into_iter().chain(rates).chain([momentum]).collect()
    }

    /// Adds the gradients of iteration `ni` to the parameters.
    fn backward(&self, ni: u64) -> anyhow::Result<()> {
        match self.source {
            Source::Given => {
                tch::manual_seed(1000 * self.seed + ni as i64);
                let scale = if ni % 3 == 2 { 1e-3 } else { 0.1 };
                let parameters: Vec<_> = self.detector.state().parameters().collect();
                let sizes: Vec<i64> = parameters.iter().map(|p| p.tensor().numel() as i64).collect();
                let flat = Tensor::f_randn([sizes.iter().sum::<i64>()], (Kind::Float, tch::Device::Cpu))?
                    .f_mul_scalar(scale)?;
                for (entry, part) in parameters.iter().zip(flat.f_split_with_sizes(&sizes, 0)?) {
                    // Backward from a leaf adds the given gradient to it.
                    let part = part.f_reshape(entry.tensor().size())?;
                    torch::backward(&[(entry.tensor(), &part)])?;
                }
            }
            Source::Calm | Source::Own => {
                let Schedule {
                    batches_per_epoch,
                    epochs,
                    ..
                } = self.schedule;
                let (images, targets) = self
                    .batches
                    .get((ni % batches_per_epoch) as usize)
                    .context("a batch is missing")?;
                let weights = branch_weights((ni / batches_per_epoch) as usize, epochs as usize);
                let heads = self.detector.forward_train(images)?;
                let (_, gradients) = self.criteria.gradients(&heads, &self.grid, targets, weights)?;
                step::backward(&heads, &gradients)?;
            }
        }
        Ok(())
    }

    /// The parameters, where the reference kept them.
    fn compare_weights(&mut self) -> anyhow::Result<()> {
        let item = match self.optimizer.steps() {
            1 => "weights after step 1",
            10 => "weights after step 10",
            20 => "weights after step 20",
            30 => "weights after step 30",
            40 => "weights after step 40",
            50 => "weights after step 50",
            _ => return Ok(()),
        };
        let prefix = format!("step{}.", self.optimizer.steps());
        let ours = WeightMap::of(self.detector.state())?;
        self.compare(item, &prefix, &ours)
    }

    /// The average, and how far the weights came at all.
    fn compare_ends(&mut self) -> anyhow::Result<()> {
        let average = WeightMap::of(self.ema.detector.state())?;
        self.compare("average (EMA) after step 50", "ema.", &average)?;
        let start = |name: &str| self.reference.f32(&format!("start.{name}"));
        let moved = distance(self.reference, "step50.", start)?;
        let case = self.case.clone();
        self.rows.push(row(
            "step 50: the reference from its start",
            case,
            moved,
            Bound::Shown,
        ));
        Ok(())
    }

    fn compare(&mut self, item: &'static str, prefix: &str, ours: &WeightMap) -> anyhow::Result<()> {
        let gap = distance(self.reference, prefix, |name| {
            let tensor = ours.get(name).with_context(|| format!("no '{name}'"))?;
            Ok(torch::to_vec_f32(tensor)?)
        })?;
        let bound = self.source.bound();
        self.rows.push(row(item, self.case.clone(), gap, bound));
        Ok(())
    }
}

fn row(item: &'static str, case: String, gap: Gap, bound: Bound) -> Row {
    Row {
        item,
        case,
        gap,
        bound,
    }
}

/// Largest absolute difference of what `found` gives from the reference's tensors under `prefix`, and the L2 distance as
/// a share of their norm. Batch statistics are left out: with given gradients the network's do not count.
fn distance(
    reference: &Tensors<'_>,
    prefix: &str,
    found: impl Fn(&str) -> anyhow::Result<Vec<f32>>,
) -> anyhow::Result<Gap> {
    let (mut gap, mut difference, mut norm) = (Gap::NONE, 0.0_f64, 0.0_f64);
    for name in reference.names(prefix) {
        if name.contains("running") || name.contains("num_batches") {
            continue;
        }
        let expected = reference.f32(&format!("{prefix}{name}"))?;
        let found = found(name)?;
        gap = gap.and(Gap::of_tensor(&found, &expected));
        for (&a, &b) in found.iter().zip(&expected) {
            difference += (f64::from(a) - f64::from(b)).powi(2);
            norm += f64::from(b).powi(2);
        }
    }
    Ok(Gap {
        relative: difference.sqrt() / norm.sqrt(),
        ..gap
    })
}

fn read_batch(reference: &Tensors<'_>, index: i64, images: usize) -> anyhow::Result<(Tensor, Targets)> {
    let name = format!("batch{index}.pixels");
    let pixels = Tensor::f_from_slice(&reference.u8(&name)?)?
        .f_reshape(reference.sizes(&name)?)?
        .f_to_kind(Kind::Float)?
        .f_div_scalar(255.0)?;
    let objects = truths(&reference.f32(&format!("batch{index}.targets"))?);
    Ok((pixels, Targets::new(images, &objects)?))
}
