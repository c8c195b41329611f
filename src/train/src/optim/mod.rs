//! Optimisers with named state: AdamW, SGD with Nesterov momentum, and MuSGD (SGD plus orthogonalised updates).
//!
//! Each step is one fused pass over every tensor (clip, decay, moments, update) on plain slices, spread over libtorch's
//! threads; only the orthogonalisation of MuSGD is matrix algebra and goes to libtorch. How many threads there are
//! changes no bit. State is named after its parameter, so a checkpoint can hold it and a resumed run continues to the
//! bit. [`DeviceOptimizer`] takes the same steps where the parameters live on a GPU. Facts: the detector's
//! specification, 6.2, 6.4, 6.7.

mod device;
mod groups;
mod kernels;
mod muon;
mod stepper;

pub use device::DeviceOptimizer;
pub use groups::{Group, GroupKind};
pub(crate) use kernels::lerp;
pub use stepper::Stepper;

use crate::schedule::{OptimizerKind, Schedule, Settings};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use tch::Tensor;
use torch::During;

/// Gradients are scaled down to this global L2 norm.
const CLIP_NORM: f32 = 10.0;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Global L2 norm of the gradients before clipping.
    pub grad_norm: f64,
    /// False when the gradients were not finite and nothing was changed.
    pub applied: bool,
}

/// An optimiser over a fixed list of parameters.
pub struct Optimizer {
    kind: OptimizerKind,
    beta1: f64,
    slots: Vec<Slot>,
    groups: Vec<Group>,
    steps: u64,
}

/// A parameter and its state. `first` is Adam's first moment or the SGD momentum, `second` Adam's second moment or the
/// momentum of the orthogonalised part; a buffer that the optimiser does not need is empty.
struct Slot {
    name: String,
    tensor: Tensor,
    group: usize,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// What a step reads and writes of one parameter.
struct Part<'a> {
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    rates: kernels::Rates,
}

/// A share of a step. Tasks touch nothing in common, so their order changes no bit.
enum Task<'a> {
    /// One parameter, element by element.
    Plain(Part<'a>),
    /// Kernels of one shape, with an orthogonalised update.
    Muon(muon::Batch<'a>),
}

impl Task<'_> {
    fn run(self, kind: OptimizerKind, beta1: f64, steps: u64) -> Result<(), torch::Error> {
        match (self, kind) {
            (Self::Muon(batch), _) => batch.update(),
            (Self::Plain(mut part), OptimizerKind::AdamW) => {
                kernels::adamw_moments(&mut part, beta1);
                // libtorch's root is not the correctly rounded one everywhere.
                let roots = torch::from_f32(part.second, &[part.second.len() as i64])?;
                let roots = torch::no_grad(|| roots.f_sqrt()).during("sqrt")?;
                kernels::adamw(part, torch::slice_f32(&roots)?, beta1, steps);
                Ok(())
            }
            (Self::Plain(part), OptimizerKind::SGD | OptimizerKind::MuSGD) => {
                kernels::nesterov(part.parameter, part.gradient, part.first, part.rates);
                Ok(())
            }
        }
    }
}

/// State that cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The checkpoint lacks a buffer.
    #[error("the checkpoint holds no optimiser state {0}; it was written by another optimiser or model")]
    Missing(String),
    /// A buffer has another size.
    #[error("optimiser state {name} has {got} values, expected {expected}")]
    Size {
        /// Name of the buffer.
        name: String,
        /// Values the parameter has.
        expected: usize,
        /// Values the checkpoint holds.
        got: usize,
    },
}

impl Optimizer {
    /// An optimiser for `parameters` (name, leaf tensor; contiguous 32-bit floats) with fresh state.
    pub fn new(schedule: &Schedule, parameters: Vec<(String, Tensor)>) -> Self {
        let (groups, of) = groups::assign(schedule, &parameters);
        let slots = parameters
            .into_iter()
            .zip(of)
            .map(|((name, tensor), group)| {
                let len = tensor.numel();
                let has_second = groups[group].has_second(schedule.optimizer);
                Slot {
                    name,
                    tensor,
                    group,
                    first: vec![0.0; len],
                    second: vec![0.0; if has_second { len } else { 0 }],
                }
            })
            .collect();
        Self {
            kind: schedule.optimizer,
            beta1: schedule.momentum0,
            slots,
            groups,
            steps: 0,
        }
    }

    /// The parameter groups, in the order in which their learning rates are reported.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Clips, updates every parameter that has a gradient, and clears the gradients.
    ///
    /// Gradients that are not finite change nothing: they are cleared and reported.
    pub fn step(&mut self, settings: &Settings) -> Result<StepReport, torch::Error> {
        self.step_scaled(settings, 1.0)
    }

    /// [`Optimizer::step`] with gradients that are `scale` times too large; the reported norm is the true one.
    pub fn step_scaled(&mut self, settings: &Settings, scale: f64) -> Result<StepReport, torch::Error> {
        let gradients = self
            .slots
            .iter()
            .map(|slot| torch::gradient(&slot.tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let grad_norm = global_norm(&gradients)? / scale;
        let applied = grad_norm.is_finite();
        if applied {
            let clip = (f64::from(clip(grad_norm)) / scale) as f32;
            self.steps += 1;
            self.update(&gradients, settings, clip)?;
        }
        self.clear_gradients()?;
        Ok(StepReport { grad_norm, applied })
    }

    /// Drops all gradients: the next backward pass stores instead of adding.
    pub fn clear_gradients(&mut self) -> Result<(), torch::Error> {
        self.slots
            .iter()
            .try_for_each(|slot| torch::clear_gradient(&slot.tensor))
    }

    fn update(
        &mut self,
        gradients: &[Option<Tensor>],
        settings: &Settings,
        clip: f32,
    ) -> Result<(), torch::Error> {
        let Self { groups, slots, .. } = self;
        let (mut tensors, mut parts) = (Vec::new(), Vec::new());
        for (slot, gradient) in slots.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let group = &groups[slot.group];
            let rates = kernels::Rates {
                lr: group.lr(settings),
                weight_decay: group.weight_decay,
                momentum: settings.momentum,
                clip,
            };
            let gradient = torch::dense_f32(gradient)?;
            let rows = (group.kind == GroupKind::Muon)
                .then(|| slot.tensor.size().first().map_or(1, |&rows| rows.max(1) as usize));
            let rows = rows.map(|rows| (slot.group, rows));
            tensors.push(&slot.tensor);
            parts.push((rows, gradient, &mut slot.first[..], &mut slot.second[..], rates));
        }
        let (kind, beta1, steps) = (self.kind, self.beta1, self.steps);
        torch::update_all_f32(&tensors, |parameters| {
            let (mut kernels, mut plain) = (Vec::new(), Vec::new());
            for (parameter, (rows, gradient, first, second, rates)) in parameters.into_iter().zip(parts) {
                let part = Part {
                    parameter,
                    gradient,
                    first,
                    second,
                    rates,
                };
                match rows {
                    Some((group, rows)) => kernels.push(muon::Kernel { group, rows, part }),
                    None => plain.push(Task::Plain(part)),
                }
            }
            let orthogonalised = muon::batches(kernels).into_iter().map(Task::Muon);
            let failed = Mutex::new(None);
            torch::parallel(orthogonalised.chain(plain).collect(), |task| {
                if let Err(error) = task.run(kind, beta1, steps) {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            })?;
            failed
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .map_or(Ok(()), Err)
        })?
    }

    /// Learning rate of every group under `settings`.
    pub fn learning_rates(&self, settings: &Settings) -> Vec<f64> {
        self.groups.iter().map(|group| group.lr(settings)).collect()
    }

    /// All state by name: `first/{parameter}`, `second/{parameter}`.
    pub fn state(&self) -> Vec<(String, &[f32])> {
        let buffers = |slot: &Slot| {
            [
                (format!("first/{}", slot.name), slot.first.len()),
                (format!("second/{}", slot.name), slot.second.len()),
            ]
        };
        self.slots
            .iter()
            .flat_map(|slot| buffers(slot).into_iter().zip([&slot.first[..], &slot.second[..]]))
            .filter(|((_, len), _)| *len > 0)
            .map(|((name, _), values)| (name, values))
            .collect()
    }

    /// Restores what [`Optimizer::state`] gave, and the number of steps taken.
    pub fn restore(&mut self, state: &BTreeMap<String, Vec<f32>>, steps: u64) -> Result<(), StateError> {
        for slot in &mut self.slots {
            for (which, buffer) in [("first", &mut slot.first), ("second", &mut slot.second)] {
                if buffer.is_empty() {
                    continue;
                }
                let name = format!("{which}/{}", slot.name);
                let saved = state
                    .get(&name)
                    .ok_or_else(|| StateError::Missing(name.clone()))?;
                if saved.len() != buffer.len() {
                    return Err(StateError::Size {
                        name,
                        expected: buffer.len(),
                        got: saved.len(),
                    });
                }
                buffer.copy_from_slice(saved);
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// L2 norm over all gradients, as libtorch takes it: that of the tensors' norms, in 32 bit. A tensor's norm is taken on
/// one thread, for the order of its sum depends on how many there are.
fn global_norm(gradients: &[Option<Tensor>]) -> Result<f64, torch::Error> {
    let mut norms: Vec<Result<f32, torch::Error>> = Vec::new();
    norms.resize_with(gradients.iter().flatten().count(), || Ok(0.0));
    let jobs = gradients
        .iter()
        .flatten()
        .map(Tensor::shallow_clone)
        .zip(&mut norms);
    torch::parallel(jobs.collect(), |(gradient, norm)| *norm = l2(&gradient))?;
    let norms = norms.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(f64::from(l2(&Tensor::from_slice(&norms))?))
}

fn l2(tensor: &Tensor) -> Result<f32, torch::Error> {
    let norm = torch::no_grad(|| tensor.f_norm()?.f_double_value(&[]));
    Ok(norm.during("norm")? as f32)
}

/// The factor that brings gradients of global norm `norm` down to [`CLIP_NORM`], in the reference's 32 bit.
fn clip(norm: f64) -> f32 {
    ((1.0 / (norm as f32 + 1e-6)) * CLIP_NORM).min(1.0)
}

#[cfg(test)]
mod tests;
