//! The blocks between the convolutions: residual, split and attention blocks.
//!
//! Residual sums are made in place on the freshly computed side: no backward of the operations here needs its own
//! output, so training allows it too, and each saved allocation is memory that need not be mapped and cleared.

use super::Pass;
use super::builder::Builder;
use super::layer::{Conv, Shape};
use crate::Result;
use tch::Tensor;
use torch::{During, MemoryFormat};

fn plus(mut fresh: Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(fresh.f_add_(x).during("add_")?)
}

pub(super) fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    Ok(Tensor::f_cat(parts, 1).during("cat")?)
}

/// The two halves of the channels, as views.
fn halves(x: &Tensor, half: i64) -> Result<(Tensor, Tensor)> {
    let parts = x.f_split_with_sizes([half, half], 1).during("split")?;
    match <[Tensor; 2]>::try_from(parts) {
        Ok([first, second]) => Ok((first, second)),
        Err(parts) => Err(crate::Error::mismatch(
            "split",
            "2 parts",
            parts.len().to_string(),
        )),
    }
}

/// x + cv2(cv1(x)), two 3x3 convolutions.
pub(super) struct Bottleneck {
    cv1: Conv,
    cv2: Conv,
}

impl Bottleneck {
    pub(super) fn new(b: &mut Builder, path: &str, channels: i64, hidden: i64) -> Result<Self> {
        Ok(Self {
            cv1: b.conv(&format!("{path}.cv1"), Shape::square(channels, hidden))?,
            cv2: b.conv(&format!("{path}.cv2"), Shape::square(hidden, channels))?,
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        plus(self.cv2.forward(&self.cv1.forward(x, pass)?, pass)?, x)
    }
}

/// Two bottlenecks on one half-width path, the other path beside them.
pub(super) struct C3k {
    cv1: Conv,
    cv2: Conv,
    cv3: Conv,
    m: [Bottleneck; 2],
}

impl C3k {
    fn new(b: &mut Builder, path: &str, channels: i64) -> Result<Self> {
        let half = channels / 2;
        Ok(Self {
            cv1: b.conv(&format!("{path}.cv1"), Shape::pointwise(channels, half))?,
            cv2: b.conv(&format!("{path}.cv2"), Shape::pointwise(channels, half))?,
            cv3: b.conv(&format!("{path}.cv3"), Shape::pointwise(2 * half, channels))?,
            m: [
                Bottleneck::new(b, &format!("{path}.m.0"), half, half)?,
                Bottleneck::new(b, &format!("{path}.m.1"), half, half)?,
            ],
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut deep = self.cv1.forward(x, pass)?;
        for bottleneck in &self.m {
            deep = bottleneck.forward(&deep, pass)?;
        }
        self.cv3
            .forward(&concat(&[&deep, &self.cv2.forward(x, pass)?])?, pass)
    }
}

/// What a C3k2 repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    Bottleneck,
    C3k,
    /// A bottleneck followed by attention: the last stage of the neck.
    Attention,
}

enum InnerBlock {
    Bottleneck(Bottleneck),
    C3k(C3k),
    Attention(Bottleneck, PsaBlock),
}

impl InnerBlock {
    fn new(b: &mut Builder, path: &str, channels: i64, inner: Inner) -> Result<Self> {
        Ok(match inner {
            Inner::Bottleneck => Self::Bottleneck(Bottleneck::new(b, path, channels, channels / 2)?),
            Inner::C3k => Self::C3k(C3k::new(b, path, channels)?),
            Inner::Attention => Self::Attention(
                Bottleneck::new(b, &format!("{path}.0"), channels, channels / 2)?,
                PsaBlock::new(b, &format!("{path}.1"), channels)?,
            ),
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        match self {
            Self::Bottleneck(block) => block.forward(x, pass),
            Self::C3k(block) => block.forward(x, pass),
            Self::Attention(first, second) => second.forward(&first.forward(x, pass)?, pass),
        }
    }
}

/// Splits the channels, sends one half through the inner blocks and joins all intermediate results.
pub(super) struct C3k2 {
    cv1: Conv,
    cv2: Conv,
    m: Vec<InnerBlock>,
    hidden: i64,
}

/// Sizes of a C3k2.
#[derive(Clone, Copy, Debug)]
pub(super) struct C3k2Shape {
    pub inputs: i64,
    pub outputs: i64,
    /// Channels of each half.
    pub hidden: i64,
    pub repeats: usize,
    pub inner: Inner,
}

impl C3k2 {
    pub(super) fn new(b: &mut Builder, path: &str, shape: C3k2Shape) -> Result<Self> {
        let C3k2Shape {
            inputs,
            outputs,
            hidden,
            repeats,
            inner,
        } = shape;
        let joined = (2 + repeats as i64) * hidden;
        Ok(Self {
            cv1: b.conv(&format!("{path}.cv1"), Shape::pointwise(inputs, 2 * hidden))?,
            cv2: b.conv(&format!("{path}.cv2"), Shape::pointwise(joined, outputs))?,
            m: (0..repeats)
                .map(|j| InnerBlock::new(b, &format!("{path}.m.{j}"), hidden, inner))
                .collect::<Result<_>>()?,
            hidden,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (first, mut last) = halves(&self.cv1.forward(x, pass)?, self.hidden)?;
        let mut parts = vec![first];
        for block in &self.m {
            let next = block.forward(&last, pass)?;
            parts.push(std::mem::replace(&mut last, next));
        }
        parts.push(last);
        self.cv2
            .forward(&concat(&parts.iter().collect::<Vec<_>>())?, pass)
    }
}

/// Three poolings in a row see ever larger surroundings of each cell; all of them are joined.
pub(super) struct Sppf {
    cv1: Conv,
    cv2: Conv,
}

impl Sppf {
    pub(super) fn new(b: &mut Builder, path: &str, channels: i64) -> Result<Self> {
        let half = channels / 2;
        Ok(Self {
            cv1: b.linear(&format!("{path}.cv1"), Shape::pointwise(channels, half))?,
            cv2: b.conv(&format!("{path}.cv2"), Shape::pointwise(4 * half, channels))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let pool = |z: &Tensor| {
            z.f_max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false)
                .during("max_pool2d")
        };
        let z0 = self.cv1.forward(x, pass)?;
        let z1 = pool(&z0)?;
        let z2 = pool(&z1)?;
        let z3 = pool(&z2)?;
        plus(self.cv2.forward(&concat(&[&z0, &z1, &z2, &z3])?, pass)?, x)
    }
}

/// Channels of one attention head: of its values, and of its queries and keys.
const VALUE: i64 = 64;
const KEY: i64 = VALUE / 2;

/// Attention of every cell to every cell, with a depthwise convolution of the values as position encoding.
struct Attention {
    qkv: Conv,
    proj: Conv,
    pe: Conv,
    heads: i64,
}

impl Attention {
    fn new(b: &mut Builder, path: &str, channels: i64) -> Result<Self> {
        let heads = channels / VALUE;
        Ok(Self {
            qkv: b.linear(
                &format!("{path}.qkv"),
                Shape::pointwise(channels, channels + 2 * heads * KEY),
            )?,
            proj: b.linear(&format!("{path}.proj"), Shape::pointwise(channels, channels))?,
            pe: b.linear(&format!("{path}.pe"), Shape::depthwise(channels))?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4().during("attention")?;
        let qkv = self.qkv.forward(x, pass)?;
        let by_head = qkv
            .f_view([batch, self.heads, 2 * KEY + VALUE, height * width])
            .during("view")?;
        let part = |start, length| by_head.f_narrow(2, start, length).during("narrow");
        let (q, k, v) = (part(0, KEY)?, part(KEY, KEY)?, part(2 * KEY, VALUE)?);

        let scale = (KEY as f64).powf(-0.5);
        let scaled = q
            .f_mul_scalar(scale)
            .and_then(|q| q.f_transpose(-2, -1))
            .during("scale")?;
        let weights = scaled
            .f_matmul(&k)
            .and_then(|p| p.f_softmax(-1, None))
            .during("attention weights")?;
        let mixed = weights
            .f_transpose(-2, -1)
            .and_then(|p| v.f_matmul(&p))
            .and_then(|o| o.f_reshape([batch, channels, height, width]))
            .during("attention values")?;
        let position = self
            .pe
            .forward(&as_image(&v, &qkv, [batch, channels, height, width])?, pass)?;
        // The sum takes the memory format of its left side, and that of the convolution is the network's.
        self.proj.forward(&plus(position, &mixed)?, pass)
    }
}

/// The values of all heads as an image, in the memory format of `like`: a slice of every head's channels is a view of
/// nothing, so this is a copy, and it had better be the one that the convolution wants.
fn as_image(v: &Tensor, like: &Tensor, [batch, channels, height, width]: [i64; 4]) -> Result<Tensor> {
    let image = if MemoryFormat::ChannelsLast.is_of(like)? && !MemoryFormat::Contiguous.is_of(like)? {
        v.f_permute([0, 3, 1, 2])
            .and_then(|v| v.f_reshape([batch, height, width, channels]))
            .and_then(|v| v.f_permute([0, 3, 1, 2]))
    } else {
        v.f_reshape([batch, channels, height, width])
    };
    Ok(image.during("reshape")?)
}

/// Attention and a two-layer network on each cell, both residual.
pub(super) struct PsaBlock {
    attn: Attention,
    ffn: [Conv; 2],
}

impl PsaBlock {
    fn new(b: &mut Builder, path: &str, channels: i64) -> Result<Self> {
        Ok(Self {
            attn: Attention::new(b, &format!("{path}.attn"), channels)?,
            ffn: [
                b.conv(&format!("{path}.ffn.0"), Shape::pointwise(channels, 2 * channels))?,
                b.linear(&format!("{path}.ffn.1"), Shape::pointwise(2 * channels, channels))?,
            ],
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let attended = plus(self.attn.forward(x, pass)?, x)?;
        let [widen, narrow] = &self.ffn;
        plus(narrow.forward(&widen.forward(&attended, pass)?, pass)?, &attended)
    }
}

/// Attention on one half of the channels.
pub(super) struct C2Psa {
    cv1: Conv,
    cv2: Conv,
    m: Vec<PsaBlock>,
    hidden: i64,
}

impl C2Psa {
    pub(super) fn new(b: &mut Builder, path: &str, channels: i64, repeats: usize) -> Result<Self> {
        let hidden = channels / 2;
        Ok(Self {
            cv1: b.conv(&format!("{path}.cv1"), Shape::pointwise(channels, 2 * hidden))?,
            cv2: b.conv(&format!("{path}.cv2"), Shape::pointwise(2 * hidden, channels))?,
            m: (0..repeats)
                .map(|j| PsaBlock::new(b, &format!("{path}.m.{j}"), hidden))
                .collect::<Result<_>>()?,
            hidden,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (kept, mut attended) = halves(&self.cv1.forward(x, pass)?, self.hidden)?;
        for block in &self.m {
            attended = block.forward(&attended, pass)?;
        }
        self.cv2.forward(&concat(&[&kept, &attended])?, pass)
    }
}
