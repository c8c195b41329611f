//! Backbone and neck: layers 0 to 22.

use super::Pass;
use super::block::{C2Psa, C3k2, C3k2Shape, Inner, Sppf, concat};
use super::builder::Builder;
use super::layer::{Conv, Shape};
use super::scale::Scale;
use crate::Result;
use tch::Tensor;
use torch::During;

/// Fields are named by kind and layer number; 11, 12, 14, 15, 18 and 21 (upsampling, joining) hold no tensors.
pub(super) struct Body {
    conv0: Conv,
    conv1: Conv,
    stage2: C3k2,
    conv3: Conv,
    stage4: C3k2,
    conv5: Conv,
    stage6: C3k2,
    conv7: Conv,
    stage8: C3k2,
    pool9: Sppf,
    attention10: C2Psa,
    stage13: C3k2,
    stage16: C3k2,
    conv17: Conv,
    stage19: C3k2,
    conv20: Conv,
    stage22: C3k2,
}

impl Body {
    pub(super) fn new(b: &mut Builder, scale: Scale) -> Result<Self> {
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|generic| scale.channels(generic));
        let repeats = scale.repeats();
        let early = if scale.nests_early() {
            Inner::C3k
        } else {
            Inner::Bottleneck
        };
        let narrow = |inputs, outputs| C3k2Shape {
            inputs,
            outputs,
            hidden: outputs / 4,
            repeats,
            inner: early,
        };
        let wide = |inputs, outputs| C3k2Shape {
            inputs,
            outputs,
            hidden: outputs / 2,
            repeats,
            inner: Inner::C3k,
        };
        Ok(Self {
            conv0: b.conv("model.0", Shape::halving(3, c64))?,
            conv1: b.conv("model.1", Shape::halving(c64, c128))?,
            stage2: C3k2::new(b, "model.2", narrow(c128, c256))?,
            conv3: b.conv("model.3", Shape::halving(c256, c256))?,
            stage4: C3k2::new(b, "model.4", narrow(c256, c512))?,
            conv5: b.conv("model.5", Shape::halving(c512, c512))?,
            stage6: C3k2::new(b, "model.6", wide(c512, c512))?,
            conv7: b.conv("model.7", Shape::halving(c512, c1024))?,
            stage8: C3k2::new(b, "model.8", wide(c1024, c1024))?,
            pool9: Sppf::new(b, "model.9", c1024)?,
            attention10: C2Psa::new(b, "model.10", c1024, repeats)?,
            stage13: C3k2::new(b, "model.13", wide(c1024 + c512, c512))?,
            stage16: C3k2::new(b, "model.16", wide(c512 + c512, c256))?,
            conv17: b.conv("model.17", Shape::halving(c256, c256))?,
            stage19: C3k2::new(b, "model.19", wide(c256 + c512, c512))?,
            conv20: b.conv("model.20", Shape::halving(c512, c512))?,
            stage22: C3k2::new(
                b,
                "model.22",
                C3k2Shape {
                    repeats: 1,
                    inner: Inner::Attention,
                    ..wide(c512 + c1024, c1024)
                },
            )?,
        })
    }

    /// The features at strides 8, 16 and 32 that the heads work on. A feature lives no longer than it is needed.
    pub(super) fn forward(&self, images: &Tensor, pass: Pass) -> Result<[Tensor; 3]> {
        let x = self.conv1.forward(&self.conv0.forward(images, pass)?, pass)?;
        let x = self.conv3.forward(&self.stage2.forward(&x, pass)?, pass)?;
        let p3 = self.stage4.forward(&x, pass)?;
        let p4 = self.stage6.forward(&self.conv5.forward(&p3, pass)?, pass)?;
        let x = self.stage8.forward(&self.conv7.forward(&p4, pass)?, pass)?;
        let p5 = self.attention10.forward(&self.pool9.forward(&x, pass)?, pass)?;

        let n4 = self.stage13.forward(&concat(&[&doubled(&p5)?, &p4])?, pass)?;
        drop(p4);
        let out8 = self.stage16.forward(&concat(&[&doubled(&n4)?, &p3])?, pass)?;
        drop(p3);
        let out16 = self
            .stage19
            .forward(&concat(&[&self.conv17.forward(&out8, pass)?, &n4])?, pass)?;
        drop(n4);
        let out32 = self
            .stage22
            .forward(&concat(&[&self.conv20.forward(&out16, pass)?, &p5])?, pass)?;
        Ok([out8, out16, out32])
    }
}

/// Every pixel twice in both directions.
fn doubled(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.size4().during("upsample")?;
    Ok(x.f_upsample_nearest2d([2 * height, 2 * width], 2.0, 2.0)
        .during("upsample")?)
}
