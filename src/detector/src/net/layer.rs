//! Convolutions: the block of convolution, batch normalisation and activation, and the plain one that ends a head.

use super::Pass;
use crate::Result;
use tch::{Device, Kind, Tensor};
use torch::{Activation, BatchNorm, During, Precision};

/// Batch normalisation: what is added to the variance.
pub(super) const NORM_EPS: f64 = 1e-3;
/// Share of the batch in the new running statistics.
const NORM_MOMENTUM: f64 = 0.03;

/// Sizes of a convolution. Padding is half the kernel, so that stride 1 keeps the image size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub inputs: i64,
    pub outputs: i64,
    pub kernel: i64,
    pub stride: i64,
    pub groups: i64,
}

impl Shape {
    /// 1x1.
    pub(super) fn pointwise(inputs: i64, outputs: i64) -> Self {
        Self {
            inputs,
            outputs,
            kernel: 1,
            stride: 1,
            groups: 1,
        }
    }

    /// 3x3.
    pub(super) fn square(inputs: i64, outputs: i64) -> Self {
        Self {
            inputs,
            outputs,
            kernel: 3,
            stride: 1,
            groups: 1,
        }
    }

    /// 3x3 with stride 2: halves the image.
    pub(super) fn halving(inputs: i64, outputs: i64) -> Self {
        Self {
            stride: 2,
            ..Self::square(inputs, outputs)
        }
    }

    /// 3x3, each channel by itself.
    pub(super) fn depthwise(channels: i64) -> Self {
        Self {
            groups: channels,
            ..Self::square(channels, channels)
        }
    }

    pub(super) fn weight_sizes(self) -> [i64; 4] {
        [self.outputs, self.inputs / self.groups, self.kernel, self.kernel]
    }
}

/// Parameters and running statistics of one batch normalisation.
pub(super) struct Norm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub mean: Tensor,
    pub variance: Tensor,
    pub batches: Tensor,
}

impl Norm {
    /// Normalised by the batch's own statistics, which move the running ones, and activated.
    fn train(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let mut batches = self.batches.shallow_clone();
        let _same = torch::no_grad(|| batches.f_add_scalar_(1)).during("num_batches_tracked")?;
        if x.kind() == Kind::BFloat16 && x.device() == Device::Cpu {
            let norm = BatchNorm {
                weight: &self.weight,
                bias: &self.bias,
                mean: &self.mean,
                variance: &self.variance,
                momentum: NORM_MOMENTUM,
                eps: NORM_EPS,
            };
            return Ok(norm.train_bf16(x, activation)?);
        }
        let normed = self.libtorch(x, true)?;
        Ok(match activation {
            Activation::Linear => normed,
            // SiLU's backward needs its input: overwriting it would only make autograd copy it first.
            Activation::Silu => normed.f_silu().during("silu")?,
        })
    }

    /// Normalised by the running statistics.
    fn eval(&self, x: &Tensor) -> Result<Tensor> {
        self.libtorch(x, false)
    }

    /// libtorch's operation, whose bits the reference has.
    fn libtorch(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let normed = x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.mean),
            Some(&self.variance),
            train,
            NORM_MOMENTUM,
            NORM_EPS,
            true,
        );
        Ok(normed.during("batch_norm")?)
    }
}

/// What follows the convolution inside a block.
pub(super) enum Tail {
    /// Batch normalisation, when trainable.
    Norm(Norm),
    /// Its folded form.
    Bias(Tensor),
}

/// Convolution, normalisation, and SiLU unless it is linear.
pub(super) struct Conv {
    weight: Tensor,
    tail: Tail,
    stride: i64,
    padding: i64,
    groups: i64,
    activation: Activation,
}

impl Conv {
    pub(super) fn new(weight: Tensor, tail: Tail, shape: Shape, activation: Activation) -> Self {
        let Shape {
            kernel,
            stride,
            groups,
            ..
        } = shape;
        Self {
            weight,
            tail,
            stride,
            padding: kernel / 2,
            groups,
            activation,
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut y = match (&self.tail, pass) {
            (Tail::Norm(norm), Pass::Train) => {
                return norm.train(&self.convolve(x, None)?, self.activation);
            }
            (Tail::Norm(norm), Pass::Eval) => norm.eval(&self.convolve(x, None)?)?,
            (Tail::Bias(bias), _) => self.convolve(x, Some(bias))?,
        };
        Ok(match self.activation {
            Activation::Linear => y,
            Activation::Silu => y.f_silu_().during("silu_")?,
        })
    }

    fn convolve(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        Ok(
            x.f_conv2d(&self.weight, bias, stride, padding, [1, 1], self.groups)
                .during("conv2d")?,
        )
    }
}

/// The 1x1 convolution with bias that ends a branch of the head.
///
/// It runs in float32 also under autocast: it is a hundredth of the work, and in bfloat16 a distance of 20 cells would
/// come in steps of an eighth of a cell.
pub(super) struct Plain {
    weight: Tensor,
    bias: Tensor,
}

impl Plain {
    pub(super) fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = torch::with_autocast(x.device(), Precision::Float32, || {
            x.f_totype(Kind::Float)?
                .f_conv2d(&self.weight, Some(&self.bias), [1, 1], [0, 0], [1, 1], 1)
        })?;
        Ok(y.during("conv2d")?)
    }
}
