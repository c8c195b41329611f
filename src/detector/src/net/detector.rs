//! The trainable network.

use super::body::Body;
use super::builder::{Builder, Form};
use super::head::{Branch, Head, HeadOutput, Heads};
use super::state::{Initial, State};
use super::{Config, FusedDetector, Pass, images, transfer};
use crate::weights::WeightMap;
use crate::{Error, Result};
use rand::{Rng, RngExt};
use std::fmt;
use tch::{Device, Tensor};
use torch::{During, MemoryFormat};

/// A YOLO26 network with both heads and its batch normalisation.
pub struct Detector {
    config: Config,
    state: State,
    body: Body,
    one2many: Branch,
    one2one: Branch,
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Detector {
    /// A fresh network on the CPU with trainable parameters. The same generator state gives the same network, whatever
    /// the machine; both heads start equal.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn new(config: Config, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        let detector = Self::zeroed(config)?;
        initialise(&detector.state, rng)?;
        detector.state.set_trainable(true)?;
        Ok(detector)
    }

    /// The network that weights were made for: scale, class count and branch width are read from the tensors.
    ///
    /// # Errors
    /// The weights are fused or not of this family, or a tensor is missing, surplus or of another shape.
    pub fn from_weights(weights: &WeightMap) -> Result<Self> {
        let detector = Self::zeroed(transfer::config_of("load", weights)?)?;
        transfer::load_all(detector.config, &detector.state, weights)?;
        detector.state.set_trainable(true)?;
        Ok(detector)
    }

    fn zeroed(config: Config) -> Result<Self> {
        let mut builder = Builder::new(Form::Trainable);
        let body = Body::new(&mut builder, config.scale())?;
        let one2many = Branch::new(&mut builder, config, Head::One2Many)?;
        let one2one = Branch::new(&mut builder, config, Head::One2One)?;
        Ok(Self {
            config,
            state: builder.finish(),
            body,
            one2many,
            one2one,
        })
    }

    /// What determines its shapes.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Its tensors by name.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Raw outputs of both heads as training sees them: normalisation by the batch's own statistics (which also move the
    /// running ones), operations recorded for backward. The one-to-one head gets detached features, so that its loss
    /// reaches its own branch only.
    ///
    /// # Errors
    /// The images are not B x 3 x H x W with sides that 32 divides, or memory ran out.
    pub fn forward_train(&self, images: &Tensor) -> Result<Heads> {
        images::check("forward_train", images)?;
        let features = self.body.forward(images, Pass::Train)?;
        let one2many = self.one2many.forward(&features, Pass::Train)?;
        let [p3, p4, p5] = &features;
        let detach = |feature: &Tensor| feature.f_detach().during("detach");
        let detached = [detach(p3)?, detach(p4)?, detach(p5)?];
        let one2one = self.one2one.forward(&detached, Pass::Train)?;
        Ok(Heads { one2many, one2one })
    }

    /// Raw output of one head as validation sees it: running statistics, nothing recorded, the other head not computed.
    ///
    /// # Errors
    /// As [`Detector::forward_train`].
    pub fn forward_eval(&self, images: &Tensor, head: Head) -> Result<HeadOutput> {
        images::check("forward_eval", images)?;
        torch::no_grad(|| {
            self.branch(head)
                .forward(&self.body.forward(images, Pass::Eval)?, Pass::Eval)
        })
    }

    /// Raw outputs of both heads as validation sees them.
    ///
    /// # Errors
    /// As [`Detector::forward_train`].
    pub fn forward_eval_both(&self, images: &Tensor) -> Result<Heads> {
        images::check("forward_eval", images)?;
        torch::no_grad(|| {
            let features = self.body.forward(images, Pass::Eval)?;
            Ok(Heads {
                one2many: self.one2many.forward(&features, Pass::Eval)?,
                one2one: self.one2one.forward(&features, Pass::Eval)?,
            })
        })
    }

    fn branch(&self, head: Head) -> &Branch {
        match head {
            Head::One2Many => &self.one2many,
            Head::One2One => &self.one2one,
        }
    }

    /// Overwrites every tensor, strictly: the weights must be this network's, name by name and shape by shape.
    ///
    /// # Errors
    /// The weights are fused, or a tensor is missing, surplus or of another shape; nothing has been written then.
    pub fn load(&mut self, weights: &WeightMap) -> Result<()> {
        transfer::load_all(self.config, &self.state, weights)
    }

    /// A deep copy that does not train: the start of an averaged model.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::zeroed(self.config)?;
        copy.state.adopt_layout(&self.state)?;
        for entry in self.state.entries() {
            copy.state.fill(entry.name(), entry.tensor())?;
        }
        Ok(copy)
    }

    /// Convolution weights in channels-last memory, for images that come so; see [`images`](super::from_rgb). Do it before the
    /// first backward, for gradients take the layout of their parameter.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn to_channels_last(&mut self) -> Result<()> {
        self.state.set_memory_format(MemoryFormat::ChannelsLast)
    }

    /// Moves every tensor to a device. Handles taken before follow.
    ///
    /// # Errors
    /// There is no such device, or its memory ran out.
    pub fn to_device(&mut self, device: Device) -> Result<()> {
        self.state.move_to(device)
    }

    /// The network that only answers, through one head: normalisation folded into the convolutions.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn fused(&self, head: Head) -> Result<FusedDetector> {
        FusedDetector::fold(self.config, &self.state, head)
    }
}

/// Draws every convolution weight in order, sets the constants, and copies the one-to-one head from the other.
fn initialise(state: &State, rng: &mut (impl Rng + ?Sized)) -> Result<()> {
    for entry in state.entries() {
        let original = entry.name().replacen("one2one_", "", 1);
        if original != entry.name() {
            state.fill(entry.name(), state.require(&original)?)?;
            continue;
        }
        match entry.initial {
            Initial::Uniform { fan_in } => {
                let values = uniform(entry.tensor().numel(), fan_in, rng);
                state.fill(entry.name(), &torch::from_f32(&values, &entry.tensor().size())?)?;
            }
            Initial::Constant(value) => {
                let mut tensor = entry.tensor().shallow_clone();
                let _same = torch::no_grad(|| tensor.f_fill_(value)).during("fill_")?;
            }
        }
    }
    Ok(())
}

fn uniform(count: usize, fan_in: i64, rng: &mut (impl Rng + ?Sized)) -> Vec<f32> {
    let bound = (1.0 / (fan_in.max(1) as f64).sqrt()) as f32;
    (0..count)
        .map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound)
        .collect()
}

/// Refuses weights that hold no batch statistics.
pub(super) fn refuse_fused(operation: &'static str, weights: &WeightMap) -> Result<()> {
    match weights.get("model.0.conv.bias") {
        Some(_) => Err(Error::Fused { operation }),
        None => Ok(()),
    }
}
