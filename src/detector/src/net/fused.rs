//! The network that only answers: normalisation folded into the convolutions, one head.

use super::body::Body;
use super::builder::{Builder, Form};
use super::head::{Branch, Head, HeadOutput};
use super::layer::NORM_EPS;
use super::state::State;
use super::{Config, Pass, images, transfer};
use crate::weights::WeightMap;
use crate::{Error, Result};
use std::fmt;
use tch::{Device, Tensor};
use torch::{During, MemoryFormat};

/// A folded YOLO26 network with one head. It cannot be trained.
pub struct FusedDetector {
    config: Config,
    head: Head,
    state: State,
    body: Body,
    branch: Branch,
}

impl fmt::Debug for FusedDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedDetector")
            .field("config", &self.config)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl FusedDetector {
    /// Folds a trainable state: W' = W q and bias' = -mean r gamma + beta with r = rsqrt(variance + eps), q = gamma r,
    /// in this order of operations, so that the result has the reference's bits.
    pub(super) fn fold(config: Config, source: &State, head: Head) -> Result<Self> {
        let mut fused = Self::zeroed(config, head)?;
        fused.state.adopt_layout(source)?;
        for entry in fused.state.entries() {
            let name = entry.name();
            // A plain convolution's tensors keep their names; a block's bias is new, and its weight has a norm beside it.
            let folded = match (name.strip_suffix(".conv.bias"), name.strip_suffix(".conv.weight")) {
                (Some(path), _) => folded_bias(source, path)?,
                (_, Some(path)) => folded_weight(source, path)?,
                _ => source.require(name)?.shallow_clone(),
            };
            fused.state.fill(name, &folded)?;
        }
        Ok(fused)
    }

    /// The network that folded weights were made for; its head is the one that they hold.
    ///
    /// # Errors
    /// The weights are not fused ones of this family, or a tensor is missing, surplus or of another shape.
    pub fn from_weights(weights: &WeightMap) -> Result<Self> {
        if weights.get("model.0.conv.bias").is_none() {
            return Err(Error::mismatch(
                "load fused",
                "fused weights",
                "trainable ones; load them as such, then fuse",
            ));
        }
        let config = transfer::config_of("load fused", weights)?;
        let [_, one2many] = Head::One2Many.branch_names();
        let head = match weights.get(&format!("model.23.{one2many}.0.2.weight")) {
            Some(_) => Head::One2Many,
            None => Head::One2One,
        };
        let fused = Self::zeroed(config, head)?;
        transfer::load_all(config, &fused.state, weights)?;
        Ok(fused)
    }

    fn zeroed(config: Config, head: Head) -> Result<Self> {
        let mut builder = Builder::new(Form::Fused);
        let body = Body::new(&mut builder, config.scale())?;
        let branch = Branch::new(&mut builder, config, head)?;
        Ok(Self {
            config,
            head,
            state: builder.finish(),
            body,
            branch,
        })
    }

    /// What determines its shapes.
    pub fn config(&self) -> Config {
        self.config
    }

    /// The head it answers through.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Its tensors by name.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Raw output for a batch of images; nothing is recorded.
    ///
    /// # Errors
    /// The images are not B x 3 x H x W with sides that 32 divides, or memory ran out.
    pub fn forward(&self, images: &Tensor) -> Result<HeadOutput> {
        images::check("forward", images)?;
        torch::no_grad(|| {
            self.branch
                .forward(&self.body.forward(images, Pass::Eval)?, Pass::Eval)
        })
    }

    /// Convolution weights in channels-last memory.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_channels_last(&mut self) -> Result<()> {
        self.state.set_memory_format(MemoryFormat::ChannelsLast)
    }

    /// Moves every tensor to a device.
    ///
    /// # Errors
    /// There is no such device, or its memory ran out.
    pub fn to_device(&mut self, device: Device) -> Result<()> {
        self.state.move_to(device)
    }
}

/// rsqrt(variance + eps), one value a channel.
fn inverse_deviation(source: &State, path: &str) -> Result<Tensor> {
    let variance = source.require(&format!("{path}.bn.running_var"))?;
    Ok(torch::no_grad(|| variance.f_add_scalar(NORM_EPS)?.f_rsqrt()).during("rsqrt")?)
}

fn folded_weight(source: &State, path: &str) -> Result<Tensor> {
    let weight = source.require(&format!("{path}.conv.weight"))?;
    let gamma = source.require(&format!("{path}.bn.weight"))?;
    let inverse = inverse_deviation(source, path)?;
    Ok(torch::no_grad(|| weight.f_mul(&gamma.f_mul(&inverse)?.f_view([-1, 1, 1, 1])?)).during("fold")?)
}

fn folded_bias(source: &State, path: &str) -> Result<Tensor> {
    let mean = source.require(&format!("{path}.bn.running_mean"))?;
    let gamma = source.require(&format!("{path}.bn.weight"))?;
    let beta = source.require(&format!("{path}.bn.bias"))?;
    let inverse = inverse_deviation(source, path)?;
    Ok(torch::no_grad(|| mean.f_neg()?.f_mul(&inverse)?.f_mul(gamma)?.f_add(beta)).during("fold")?)
}
