//! All tensors of a network by name, in the reference's enumeration order.
//!
//! The layers hold clones of the same handles, so whatever is done to a tensor here (an optimiser step, an averaged
//! copy, loading) is what the next forward pass uses.

use crate::{Error, Result};
use std::collections::HashMap;
use tch::{Device, Tensor};
use torch::{During, MemoryFormat};

/// What a tensor of the state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradients.
    Parameter,
    /// Running statistics of batch normalisation.
    Buffer,
}

/// How a fresh network fills a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Initial {
    /// Uniform in -b to b with b = 1 / sqrt(inputs of one output value).
    Uniform {
        /// Inputs of one output value.
        fan_in: i64,
    },
    /// One value everywhere.
    Constant(f64),
}

/// A named tensor.
pub struct Entry {
    name: String,
    role: Role,
    tensor: Tensor,
    pub(super) initial: Initial,
}

impl Entry {
    /// The reference's name, such as `model.0.conv.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The tensor; a clone of the handle reaches the same storage.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

/// The named tensors of one network.
#[derive(Default)]
pub struct State {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl State {
    pub(super) fn push(&mut self, name: String, role: Role, initial: Initial, tensor: Tensor) {
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push(Entry {
            name,
            role,
            tensor,
            initial,
        });
    }

    /// All entries, parameters and buffers, in enumeration order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The trained tensors in enumeration order: the order of optimiser state.
    pub fn parameters(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.role == Role::Parameter)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index
            .get(name)
            .and_then(|&at| self.entries.get(at))
            .map(Entry::tensor)
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(|entry| entry.tensor.numel()).sum()
    }

    pub(super) fn require(&self, name: &str) -> Result<&Tensor> {
        self.get(name)
            .ok_or_else(|| Error::mismatch("state", format!("a tensor '{name}'"), "none of that name"))
    }

    /// Copies values into the tensor of this name, converting kind, device and memory format.
    pub(super) fn fill(&self, name: &str, values: &Tensor) -> Result<()> {
        let mut target = self.require(name)?.shallow_clone();
        torch::no_grad(|| target.f_copy_(values)).during("load")?;
        Ok(())
    }

    /// Turns recording for backward on or off for every parameter.
    pub(super) fn set_trainable(&self, on: bool) -> Result<()> {
        for entry in self.parameters() {
            let _same = entry.tensor.f_set_requires_grad(on).during("set_requires_grad")?;
        }
        Ok(())
    }

    /// Puts other storage under every tensor, for all holders of its handle.
    fn replace_data(&mut self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        for entry in &mut self.entries {
            let data = torch::no_grad(|| change(&entry.tensor))?
                .f_detach()
                .during("detach")?;
            entry.tensor.f_set_data(&data).during("set_data")?;
        }
        Ok(())
    }

    /// Convolution weights in the given memory format.
    pub(super) fn set_memory_format(&mut self, format: MemoryFormat) -> Result<()> {
        self.replace_data(|tensor| match tensor.dim() {
            4 => Ok(format.apply(tensor)?),
            _ => Ok(tensor.shallow_clone()),
        })
    }

    /// Device and memory format of `other`'s tensors of the same name, and its device for those that it has not.
    pub(super) fn adopt_layout(&mut self, other: &Self) -> Result<()> {
        let device = other
            .entries
            .first()
            .map_or(Device::Cpu, |entry| entry.tensor.device());
        for entry in &mut self.entries {
            let data = torch::no_grad(|| match other.get(&entry.name) {
                Some(model) => model.f_detach()?.f_empty_like(),
                None => entry.tensor.f_to(device),
            });
            let data = data.during("empty_like")?;
            entry.tensor.f_set_data(&data).during("set_data")?;
        }
        Ok(())
    }

    /// Everything on another device.
    pub(super) fn move_to(&mut self, device: Device) -> Result<()> {
        self.replace_data(|tensor| Ok(tensor.f_to(device).during("to device")?))
    }
}
