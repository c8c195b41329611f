//! Fifty optimiser steps by the trainer's schedule, at its default rates: with given gradients the optimiser alone, with
//! its own gradients the whole training step, both as single steps from the reference's states and as a run of its own.
//!
//! A young network multiplies rounding: beside a run stands how far the reference is from a twin whose gradients are off
//! in the last bit (tests/reference/optimiser_runs.py). To stay near it for fifty steps one has to have its bits.

use crate::{
    loss::truths,
    reference::{Bytes, Tensors},
    table::{Bound, Gap, Row},
};
use anyhow::{Context, bail};
use detector::{
    Detector,
    loss::{Gains, Grid, Targets, branch_weights},
};
use std::{collections::BTreeMap, num::NonZeroUsize, path::Path};
use tch::{Kind, Tensor};
use train::{
    Hyper, OptimizerChoice,
    ema::Ema,
    optim::Optimizer,
    schedule::{OptimizerKind, Schedule, Settings},
    step::{self, Criteria},
};

/// Relative L2 distance of all weights after a run, and after a single step.
const WEIGHTS: f64 = 1e-4;
/// Of a single step's own length.
const UPDATE: f64 = 1e-4;
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
        let read = |kind| Bytes::read(&folder.join(format!("{kind}-{optimizer:?}.safetensors")));
        let [given, own, twin] = [read("given")?, read("own")?, read("owntwin")?];
        let [given, own, twin] = [given.tensors()?, own.tensors()?, twin.tensors()?];
        rows.extend(free(Source::Given, optimizer, &given, None).context("given gradients")?);
        rows.extend(singles(optimizer, &own).context("single steps")?);
        rows.extend(free(Source::Own, optimizer, &own, Some(&twin)).context("own gradients")?);
    }
    Ok(rows)
}

/// Where a run's gradients come from.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Random numbers that both sides draw alike.
    Given,
    /// The network.
    Own,
}

/// Training as the reference's trainer was set up, from one of its states.
struct Run<'a> {
    reference: &'a Tensors<'a>,
    source: Source,
    seed: i64,
    schedule: Schedule,
    detector: Detector,
    optimizer: Optimizer,
    ema: Ema,
    batches: Vec<(Tensor, Targets)>,
    grid: Grid,
    criteria: Criteria,
}

impl<'a> Run<'a> {
    /// From the start.
    fn open(source: Source, optimizer: OptimizerChoice, reference: &'a Tensors<'a>) -> anyhow::Result<Self> {
        let detector = Detector::from_weights(&reference.weights("start.")?)?;
        let ema = Ema::new(&detector, 0)?;
        Self::with(source, optimizer, reference, detector, ema)
    }

    /// From the state before step `number`.
    fn before(number: u64, optimizer: OptimizerChoice, reference: &'a Tensors<'a>) -> anyhow::Result<Self> {
        let network = |name: &str| {
            let weights = reference.weights(&format!("before{number}.{name}."))?;
            anyhow::Ok(Detector::from_weights(&weights)?)
        };
        let ema = Ema::new(&network("ema")?, number - 1)?;
        let mut run = Self::with(Source::Own, optimizer, reference, network("model")?, ema)?;
        if number > 1 {
            let mut momenta = BTreeMap::new();
            for which in ["first", "second"] {
                let prefix = format!("before{number}.{which}.");
                for name in reference.names(&prefix) {
                    momenta.insert(
                        format!("{which}/{name}"),
                        reference.f32(&format!("{prefix}{name}"))?,
                    );
                }
            }
            run.optimizer.restore(&momenta, number - 1)?;
        }
        Ok(run)
    }

    fn with(
        source: Source,
        optimizer: OptimizerChoice,
        reference: &'a Tensors<'a>,
        detector: Detector,
        ema: Ema,
    ) -> anyhow::Result<Self> {
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
        Ok(Self {
            source,
            seed,
            optimizer: Optimizer::new(&schedule, train::parameters(&detector)),
            ema,
            schedule,
            detector,
            batches: (0..batches)
                .map(|i| read_batch(reference, i, batch as usize))
                .collect::<Result<_, _>>()?,
            grid: Grid::for_input(side as usize, side as usize)?,
            criteria: Criteria::new(Gains::default(), NonZeroUsize::MIN),
            reference,
        })
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

    /// The recorded iterations, one row each.
    fn trace(&self) -> anyhow::Result<Vec<Vec<f64>>> {
        let columns = 3 + self.optimizer.groups().len();
        let trace = self.reference.f64("trace")?;
        Ok(trace.chunks(columns).map(<[f64]>::to_vec).collect())
    }

    fn step(&mut self, settings: &Settings) -> anyhow::Result<()> {
        if !self.optimizer.step(settings)?.applied {
            bail!("step {}: the gradients are not finite", self.optimizer.steps());
        }
        Ok(self.ema.update(&self.detector)?)
    }

    /// The weights beside the reference's under `prefix`.
    fn weights(&self, prefix: &str) -> anyhow::Result<Gap> {
        distance(self.reference, prefix, |name| {
            Ok(torch::to_vec_f32(tensor(&self.detector, name)?)?)
        })
    }

    fn average(&self, prefix: &str) -> anyhow::Result<Gap> {
        distance(self.reference, prefix, |name| {
            Ok(torch::to_vec_f32(tensor(&self.ema.detector, name)?)?)
        })
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
            Source::Own => {
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
}

/// All fifty steps in a row.
fn free(
    source: Source,
    optimizer: OptimizerChoice,
    reference: &Tensors<'_>,
    twin: Option<&Tensors<'_>>,
) -> anyhow::Result<Vec<Row>> {
    let label = match source {
        Source::Given => "given gradients",
        Source::Own => "own gradients",
    };
    let row = |item, gap, bound| Row {
        item,
        case: format!("{optimizer:?}, {label}"),
        gap,
        bound,
    };
    let (mut rows, mut settings_gap) = (Vec::new(), Gap::NONE);
    let mut run = Run::open(source, optimizer, reference)?;
    let mut last_step = -1_i64;
    for (ni, expected) in (0_u64..).zip(run.trace()?) {
        run.backward(ni)?;
        let settings = run.schedule.at(ni);
        if ni as i64 - last_step >= settings.accumulate as i64 {
            last_step = ni as i64;
            run.step(&settings)?;
            let (steps, prefix) = (run.optimizer.steps(), format!("step{}.", run.optimizer.steps()));
            if let Some(item) = after(steps) {
                if let Some(twin) = twin {
                    let spread = distance(reference, &prefix, |name| twin.f32(&format!("{prefix}{name}")))?;
                    rows.push(row(item.twin, spread, Bound::Shown));
                }
                rows.push(row(item.weights, run.weights(&prefix)?, Bound::Relative(WEIGHTS)));
            }
        }
        settings_gap = settings_gap.and(Gap::of_f64(&run.trace_row(&settings), &expected, 0.0));
    }
    if twin.is_none() {
        let gap = run.average("ema.")?;
        rows.push(row("average (EMA) after step 50", gap, Bound::Relative(WEIGHTS)));
    }
    let start = |name: &str| reference.f32(&format!("start.{name}"));
    let moved = distance(reference, "step50.", start)?;
    rows.push(row("step 50: the reference from its start", moved, Bound::Shown));
    let item = "iteration by iteration: accumulation, rates, momentum";
    rows.push(row(item, settings_gap, SETTINGS));
    Ok(rows)
}

/// Names of the rows after a step.
struct After {
    weights: &'static str,
    twin: &'static str,
}

fn after(step: u64) -> Option<After> {
    macro_rules! names {
        ($($number:literal)*) => {
            match step {
                $($number => Some(After {
                    weights: concat!("weights after step ", $number),
                    twin: concat!("step ", $number, ": the reference from its twin"),
                }),)*
                _ => None,
            }
        };
    }
    names!(1 2 3 5 10 20 30 40 50)
}

/// Single steps, each from the state in which the reference was, with the iterations that it accumulates.
fn singles(optimizer: OptimizerChoice, reference: &Tensors<'_>) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for number in [1, 10, 30, 50] {
        let row = |item, gap, bound| Row {
            item,
            case: format!("{optimizer:?}, step {number} alone"),
            gap,
            bound,
        };
        let mut run = Run::before(number, optimizer, reference)?;
        let trace = run.trace()?;
        let end = |steps: u64| trace.iter().position(|row| row.get(1) == Some(&(steps as f64)));
        let last = end(number).context("the trace lacks the step")? as u64;
        let first = end(number - 1).map_or(0, |last| last as u64 + 1);
        (first..=last).try_for_each(|ni| run.backward(ni))?;
        let gradients = distance(reference, &format!("before{number}.gradient."), |name| {
            let gradient = torch::gradient(tensor(&run.detector, name)?)?
                .with_context(|| format!("{name} has no gradient"))?;
            Ok(torch::to_vec_f32(&gradient)?)
        })?;
        rows.push(row("accumulated gradients", gradients, Bound::Bits));
        run.step(&run.schedule.at(last))?;
        let prefix = format!("step{number}.");
        let weights = run.weights(&prefix)?;
        rows.push(row("weights after the step", weights, Bound::Relative(WEIGHTS)));
        let length = distance(reference, &prefix, |name| {
            reference.f32(&format!("before{number}.model.{name}"))
        })?;
        let of_length = Gap {
            relative: weights.relative / length.relative,
            ..weights
        };
        rows.push(row(
            "the same as a share of the step",
            of_length,
            Bound::Relative(UPDATE),
        ));
        let average = run.average(&format!("after{number}.ema."))?;
        rows.push(row("average (EMA) after it", average, Bound::Relative(WEIGHTS)));
    }
    Ok(rows)
}

/// An entry of the state by name.
fn tensor<'a>(detector: &'a Detector, name: &str) -> anyhow::Result<&'a Tensor> {
    let entry = detector.state().entries().iter().find(|e| e.name() == name);
    Ok(entry.with_context(|| format!("no '{name}'"))?.tensor())
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
