//! Hyper-parameters of a run, by the names the field knows them by (facts: the detector's specification, 6 and 7.7).
//!
//! A [`Hyper`] is what a person asks for; a [`crate::schedule::Schedule`] is what follows from it for a dataset of a
//! given size. It is stored with every checkpoint, and a run is resumed only with the values it was started with.

use dataset::augment::Augment;
use detector::loss::Gains;
use serde::{Deserialize, Serialize};

/// The optimisers on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerChoice {
    /// AdamW for runs of up to 10,000 nominal iterations, MuSGD for longer ones; `lr0` and `momentum` follow the choice.
    #[serde(rename = "auto")]
    Auto,
    /// SGD with Nesterov momentum, and orthogonalised updates for matrices and kernels.
    MuSGD,
    /// Adam with decoupled weight decay.
    AdamW,
    /// SGD with Nesterov momentum.
    SGD,
}

/// Number format of the network's forward and backward pass. Weights, optimiser and EMA are always 32 bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// On a GPU fp16; on a processor bf16 where it multiplies that natively, else 32 bit.
    Auto,
    /// 32 bit throughout. On a GPU libtorch's default holds: convolutions may round their inputs to TF32.
    Fp32,
    /// Convolutions and matrix products in bf16.
    Bf16,
    /// Convolutions and matrix products in fp16, with the loss scaled so that gradients stay in range. Made for GPUs.
    Fp16,
}

/// Everything a run can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyper {
    /// Passes over the training set.
    pub epochs: u32,
    /// Images a batch.
    pub batch: usize,
    /// Length of the network input's sides in pixels; rounded up to a multiple of 32.
    pub imgsz: usize,
    /// Which optimiser.
    pub optimizer: OptimizerChoice,
    /// Initial learning rate (`auto` sets its own).
    pub lr0: f64,
    /// Final learning rate as a share of `lr0`.
    pub lrf: f64,
    /// SGD momentum, or Adam's first beta (`auto` sets its own).
    pub momentum: f64,
    /// Weight decay for kernels and matrices, at the nominal batch size.
    pub weight_decay: f64,
    /// Nominal batch size: gradients are accumulated over `nbs / batch` batches.
    pub nbs: usize,
    /// Epochs of warm-up.
    pub warmup_epochs: f64,
    /// Momentum at the start of the warm-up.
    pub warmup_momentum: f64,
    /// Learning rate of biases at the start of the warm-up (`auto`: 0).
    pub warmup_bias_lr: f64,
    /// Cosine instead of linear decay of the learning rate.
    pub cos_lr: bool,
    /// Mosaic is off in this many last epochs.
    pub close_mosaic: u32,
    /// Epochs without a better model after which the run ends; 0 = never.
    pub patience: u32,
    /// The checkpoint is written every so many epochs, after the last one, and on stopping.
    pub save_period: u32,
    /// Weights of the three loss terms.
    pub gains: Gains,
    /// Random changes of the training images.
    pub augment: Augment,
    /// Every random choice of the run is a function of this number.
    pub seed: u64,
    /// Number format of the forward and backward pass.
    pub precision: Precision,
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            epochs: 120,
            batch: 11,
            imgsz: 1280,
            optimizer: OptimizerChoice::Auto,
            lr0: 0.01,
            lrf: 0.01,
            momentum: 0.937,
            weight_decay: 0.0005,
            nbs: 64,
            warmup_epochs: 3.0,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            cos_lr: false,
            close_mosaic: 10,
            patience: 100,
            save_period: 1,
            gains: Gains::default(),
            augment: Augment::default(),
            seed: 0,
            precision: Precision::Auto,
        }
    }
}

impl Hyper {
    /// Checks ranges and rounds `imgsz` up to a multiple of 32; the error names the value at fault.
    pub fn validated(mut self) -> Result<Self, HyperError> {
        let positive = |name, ok: bool, value: String| {
            if ok {
                Ok(())
            } else {
                Err(HyperError { name, value })
            }
        };
        positive("epochs", self.epochs > 0, self.epochs.to_string())?;
        positive("batch", self.batch > 0, self.batch.to_string())?;
        positive("imgsz", (32..=8192).contains(&self.imgsz), self.imgsz.to_string())?;
        positive("save_period", self.save_period > 0, self.save_period.to_string())?;
        positive("nbs", self.nbs > 0, self.nbs.to_string())?;
        for (name, value) in [
            ("lr0", self.lr0),
            ("lrf", self.lrf),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
            ("warmup_epochs", self.warmup_epochs),
            ("warmup_momentum", self.warmup_momentum),
            ("warmup_bias_lr", self.warmup_bias_lr),
        ] {
            positive(name, value.is_finite() && value >= 0.0, value.to_string())?;
        }
        self.imgsz = self.imgsz.next_multiple_of(32);
        Ok(self)
    }
}

/// A hyper-parameter that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("hyper-parameter {name}: {value} is out of range")]
pub struct HyperError {
    name: &'static str,
    value: String,
}
