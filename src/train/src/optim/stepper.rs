//! The optimiser of a run, wherever the network lives.

use super::{DeviceOptimizer, Optimizer, StepReport};
use crate::{
    Error,
    schedule::{Schedule, Settings},
};
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Fused passes over host memory, or operations on a device's tensors: the same steps, the same state by name.
pub enum Stepper {
    /// Parameters in host memory.
    Host(Optimizer),
    /// Parameters on a device.
    Device(DeviceOptimizer),
}

impl Stepper {
    /// An optimiser for `parameters` (name, leaf tensor on `device`) with fresh state.
    pub fn new(
        schedule: &Schedule,
        parameters: Vec<(String, Tensor)>,
        device: Device,
    ) -> Result<Self, torch::Error> {
        Ok(match device {
            Device::Cpu => Self::Host(Optimizer::new(schedule, parameters)),
            _ => Self::Device(DeviceOptimizer::new(schedule, parameters)?),
        })
    }

    /// As [`Optimizer::step_scaled`].
    pub fn step_scaled(&mut self, settings: &Settings, scale: f64) -> Result<StepReport, torch::Error> {
        match self {
            Self::Host(host) => host.step_scaled(settings, scale),
            Self::Device(device) => device.step_scaled(settings, scale),
        }
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Host(host) => host.steps(),
            Self::Device(device) => device.steps(),
        }
    }

    /// Learning rate of every group under `settings`.
    pub fn learning_rates(&self, settings: &Settings) -> Vec<f64> {
        let groups = match self {
            Self::Host(host) => host.groups(),
            Self::Device(device) => device.groups(),
        };
        groups.iter().map(|group| group.lr(settings)).collect()
    }

    /// All state by name.
    pub fn state(&self) -> Result<Vec<(String, Vec<f32>)>, torch::Error> {
        match self {
            Self::Host(host) => {
                let named = host.state().into_iter();
                Ok(named.map(|(name, values)| (name, values.to_vec())).collect())
            }
            Self::Device(device) => device.state(),
        }
    }

    /// Restores what [`Stepper::state`] gave, on whatever device, and the number of steps taken.
    pub fn restore(&mut self, state: &BTreeMap<String, Vec<f32>>, steps: u64) -> Result<(), Error> {
        match self {
            Self::Host(host) => Ok(host.restore(state, steps)?),
            Self::Device(device) => device.restore(state, steps),
        }
    }
}
