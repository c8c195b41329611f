//! Builds layers and registers their tensors in one go, so that state order is construction order.

use super::layer::{Conv, Norm, Plain, Shape, Tail};
use super::state::{Initial, Role, State};
use crate::Result;
use tch::{Device, Kind, Tensor};
use torch::{Activation, During};

/// Which tensors a convolution block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Weight and batch normalisation.
    Trainable,
    /// Weight and bias, the normalisation folded in.
    Fused,
}

/// Collects the state of the network under construction. All tensors start as zeros on the CPU.
pub(super) struct Builder {
    form: Form,
    state: State,
}

impl Builder {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            state: State::default(),
        }
    }

    pub(super) fn finish(self) -> State {
        self.state
    }

    /// The block at `path`, with SiLU.
    pub(super) fn conv(&mut self, path: &str, shape: Shape) -> Result<Conv> {
        self.block(path, shape, Activation::Silu)
    }

    /// The block at `path`, without activation.
    pub(super) fn linear(&mut self, path: &str, shape: Shape) -> Result<Conv> {
        self.block(path, shape, Activation::Linear)
    }

    fn block(&mut self, path: &str, shape: Shape, activation: Activation) -> Result<Conv> {
        let weight = self.weight(format!("{path}.conv.weight"), shape)?;
        let tail = match self.form {
            Form::Trainable => Tail::Norm(self.norm(&format!("{path}.bn"), shape.outputs)?),
            Form::Fused => {
                Tail::Bias(self.vector(format!("{path}.conv.bias"), Role::Parameter, 0.0, shape.outputs)?)
            }
        };
        Ok(Conv::new(weight, tail, shape, activation))
    }

    /// A plain 1x1 convolution with a bias that starts at `bias`.
    pub(super) fn plain(&mut self, path: &str, inputs: i64, outputs: i64, bias: f64) -> Result<Plain> {
        let weight = self.weight(format!("{path}.weight"), Shape::pointwise(inputs, outputs))?;
        let bias = self.vector(format!("{path}.bias"), Role::Parameter, bias, outputs)?;
        Ok(Plain::new(weight, bias))
    }

    fn norm(&mut self, path: &str, channels: i64) -> Result<Norm> {
        Ok(Norm {
            weight: self.vector(format!("{path}.weight"), Role::Parameter, 1.0, channels)?,
            bias: self.vector(format!("{path}.bias"), Role::Parameter, 0.0, channels)?,
            mean: self.vector(format!("{path}.running_mean"), Role::Buffer, 0.0, channels)?,
            variance: self.vector(format!("{path}.running_var"), Role::Buffer, 1.0, channels)?,
            batches: self.register(
                format!("{path}.num_batches_tracked"),
                Role::Buffer,
                Initial::Constant(0.0),
                &[],
                Kind::Int64,
            )?,
        })
    }

    fn weight(&mut self, name: String, shape: Shape) -> Result<Tensor> {
        let sizes = shape.weight_sizes();
        let fan_in = sizes.iter().skip(1).product();
        self.register(
            name,
            Role::Parameter,
            Initial::Uniform { fan_in },
            &sizes,
            Kind::Float,
        )
    }

    fn vector(&mut self, name: String, role: Role, initial: f64, length: i64) -> Result<Tensor> {
        self.register(name, role, Initial::Constant(initial), &[length], Kind::Float)
    }

    fn register(
        &mut self,
        name: String,
        role: Role,
        initial: Initial,
        sizes: &[i64],
        kind: Kind,
    ) -> Result<Tensor> {
        let tensor = Tensor::f_zeros(sizes, (kind, Device::Cpu)).during("zeros")?;
        self.state.push(name, role, initial, tensor.shallow_clone());
        Ok(tensor)
    }
}
