//! The optimisers with their state on a device: the same steps as the host's kernels, as operations on lists of tensors.
//!
//! A parameter's state lies beside it in its memory format and never leaves the device but for a checkpoint, which holds
//! the same names and values as the host's: a run may go on on either. A step waits for the device once, for the norm of
//! the gradients. Steps agree with the host's up to rounding, not to the bit; not yet run on a GPU.

use super::{
    Group, GroupKind, StateError, StepReport, clip, groups,
    muon::{self, Shape, Size},
};
use crate::{
    Error,
    schedule::{OptimizerKind, Schedule, Settings},
};
use std::collections::BTreeMap;
use tch::Tensor;
use torch::{
    During,
    foreach::{self, Root},
};

const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// An optimiser over a fixed list of parameters on one device.
pub struct DeviceOptimizer {
    kind: OptimizerKind,
    beta1: f64,
    slots: Vec<Slot>,
    groups: Vec<Group>,
    steps: u64,
}

/// A parameter and its state, as the host's optimiser has it.
struct Slot {
    name: String,
    tensor: Tensor,
    group: usize,
    first: Tensor,
    second: Option<Tensor>,
}

/// Tensors that are updated together, list by list.
#[derive(Default)]
struct Members<'a> {
    parameters: Vec<&'a Tensor>,
    gradients: Vec<&'a Tensor>,
    first: Vec<&'a Tensor>,
    second: Vec<&'a Tensor>,
}

impl DeviceOptimizer {
    /// An optimiser for `parameters` (name, leaf tensor on the device) with fresh state.
    pub fn new(schedule: &Schedule, parameters: Vec<(String, Tensor)>) -> Result<Self, torch::Error> {
        let (groups, of) = groups::assign(schedule, &parameters);
        let slots = parameters
            .into_iter()
            .zip(of)
            .map(|((name, tensor), group)| {
                let zeros = || torch::no_grad(|| tensor.f_zeros_like()).during("zeros_like");
                let has_second = groups[group].has_second(schedule.optimizer);
                Ok(Slot {
                    first: zeros()?,
                    second: has_second.then(zeros).transpose()?,
                    name,
                    tensor,
                    group,
                })
            })
            .collect::<Result<_, torch::Error>>()?;
        Ok(Self {
            kind: schedule.optimizer,
            beta1: schedule.momentum0,
            slots,
            groups,
            steps: 0,
        })
    }

    /// The parameter groups, in the order in which their learning rates are reported.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// As [`super::Optimizer::step_scaled`].
    pub fn step_scaled(&mut self, settings: &Settings, scale: f64) -> Result<StepReport, torch::Error> {
        let gradients = self
            .slots
            .iter()
            .map(|slot| torch::gradient(&slot.tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let present: Vec<&Tensor> = gradients.iter().flatten().collect();
        let grad_norm = foreach::norm(&present)? / scale;
        let applied = grad_norm.is_finite();
        if applied {
            foreach::mul_(&present, f64::from(clip(grad_norm)) / scale)?;
            self.steps += 1;
            if self.kind == OptimizerKind::MuSGD {
                torch::no_grad(|| self.orthogonalised(&gradients, settings))?;
            }
            for group in 0..self.groups.len() {
                self.update(group, &self.members(group, &gradients), settings)?;
            }
        }
        for slot in &self.slots {
            torch::clear_gradient(&slot.tensor)?;
        }
        Ok(StepReport { grad_norm, applied })
    }

    /// What has a gradient in a group.
    fn members<'a>(&'a self, group: usize, gradients: &'a [Option<Tensor>]) -> Members<'a> {
        let mut members = Members::default();
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let Some(gradient) = gradient.as_ref().filter(|_| slot.group == group) else {
                continue;
            };
            members.parameters.push(&slot.tensor);
            members.gradients.push(gradient);
            members.first.push(&slot.first);
            members.second.extend(&slot.second);
        }
        members
    }

    fn update(&self, group: usize, members: &Members<'_>, settings: &Settings) -> Result<(), torch::Error> {
        if members.parameters.is_empty() {
            return Ok(());
        }
        let (lr, decay) = (self.groups[group].lr(settings), self.groups[group].weight_decay);
        match self.kind {
            OptimizerKind::AdamW => self.adamw(members, lr, decay),
            OptimizerKind::SGD | OptimizerKind::MuSGD => nesterov(members, lr, decay, settings.momentum),
        }
    }

    /// Adam with decoupled decay; the formulas are those of the host's kernel.
    fn adamw(&self, m: &Members<'_>, lr: f64, weight_decay: f64) -> Result<(), torch::Error> {
        let exponent = self.steps.min(i32::MAX as u64) as i32;
        let correction1 = 1.0 - self.beta1.powi(exponent);
        let root = Root {
            over: (1.0 - BETA2.powi(exponent)).sqrt(),
            eps: EPS,
        };
        if weight_decay != 0.0 {
            foreach::mul_(&m.parameters, 1.0 - lr * weight_decay)?;
        }
        foreach::lerp_(&m.first, &m.gradients, 1.0 - self.beta1)?;
        foreach::mul_(&m.second, BETA2)?;
        foreach::addcmul_(&m.second, &m.gradients, &m.gradients, 1.0 - BETA2)?;
        foreach::add_over_root_(&m.parameters, &m.first, &m.second, root, -lr / correction1)
    }

    /// The orthogonalised part of MuSGD, from gradients that are clipped already.
    fn orthogonalised(&self, gradients: &[Option<Tensor>], settings: &Settings) -> Result<(), torch::Error> {
        let beta = settings.momentum;
        let (mut updates, mut sizes) = (Vec::new(), Vec::new());
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let (Some(gradient), Some(momentum), GroupKind::Muon) =
                (gradient, &slot.second, self.groups[slot.group].kind)
            else {
                continue;
            };
            foreach::mul_(&[momentum], beta)?;
            foreach::add_(&[momentum], &[gradient], 1.0 - beta)?;
            let rows = slot.tensor.size().first().map_or(1, |&rows| rows.max(1));
            let update = momentum
                .f_mul_scalar(beta)
                .and_then(|update| update.f_reshape([rows, -1]))
                .during("muon momentum")?;
            foreach::add_(
                &[&update],
                &[&gradient.f_reshape([rows, -1]).during("muon momentum")?],
                1.0 - beta,
            )?;
            sizes.push(Size {
                group: slot.group,
                rows: rows as usize,
                columns: update.numel() / rows as usize,
            });
            updates.push((slot, update));
        }
        let mut batches: BTreeMap<Shape, Vec<(&Slot, Tensor)>> = BTreeMap::new();
        for (shape, member) in muon::shapes(&sizes).into_iter().zip(updates) {
            batches.entry(shape).or_default().push(member);
        }
        batches
            .iter()
            .try_for_each(|(shape, batch)| self.orthogonalise(*shape, batch, settings))
    }

    /// Updates parameters of one shape.
    fn orthogonalise(
        &self,
        shape: Shape,
        batch: &[(&Slot, Tensor)],
        settings: &Settings,
    ) -> Result<(), torch::Error> {
        let updates: Vec<&Tensor> = batch.iter().map(|(_, update)| update).collect();
        let y = Tensor::f_stack(&updates, 0)
            .and_then(|stacked| muon::orthogonalise(&stacked, shape))
            .during("orthogonalise")?;
        for (at, (slot, _)) in (0..).zip(batch) {
            let update = y
                .f_select(0, at)
                .and_then(|y| y.f_reshape(slot.tensor.size()))
                .during("muon update")?;
            let lr = self.groups[slot.group].lr(settings);
            foreach::add_(&[&slot.tensor], &[&update], -lr * muon::SHARE)?;
        }
        Ok(())
    }

    /// All state by name, as the host's optimiser names it, in logical order.
    pub fn state(&self) -> Result<Vec<(String, Vec<f32>)>, torch::Error> {
        let mut state = Vec::new();
        for slot in &self.slots {
            for (which, buffer) in slot.buffers() {
                state.push((format!("{which}/{}", slot.name), torch::to_vec_f32(buffer)?));
            }
        }
        Ok(state)
    }

    /// Restores what either optimiser's `state` gave, and the number of steps taken.
    pub fn restore(&mut self, state: &BTreeMap<String, Vec<f32>>, steps: u64) -> Result<(), Error> {
        for slot in &self.slots {
            for (which, buffer) in slot.buffers() {
                let name = format!("{which}/{}", slot.name);
                let saved = state
                    .get(&name)
                    .ok_or_else(|| StateError::Missing(name.clone()))?;
                let (expected, got) = (buffer.numel(), saved.len());
                if got != expected {
                    return Err(StateError::Size { name, expected, got }.into());
                }
                let saved = torch::from_f32(saved, &buffer.size())?;
                torch::no_grad(|| buffer.shallow_clone().f_copy_(&saved)).during("restore")?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

impl Slot {
    fn buffers(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let second = self.second.iter().map(|buffer| ("second", buffer));
        std::iter::once(("first", &self.first)).chain(second)
    }
}

/// SGD with Nesterov momentum; overwrites the gradients.
fn nesterov(m: &Members<'_>, lr: f64, weight_decay: f64, beta: f64) -> Result<(), torch::Error> {
    if weight_decay != 0.0 {
        foreach::add_(&m.gradients, &m.parameters, weight_decay)?;
    }
    foreach::mul_(&m.first, beta)?;
    foreach::add_(&m.first, &m.gradients, 1.0)?;
    foreach::add_(&m.gradients, &m.first, beta)?;
    foreach::add_(&m.parameters, &m.gradients, -lr)
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
