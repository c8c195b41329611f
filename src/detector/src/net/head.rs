//! The two heads: for each level a branch for boxes and one for classes.

use super::Pass;
use super::builder::Builder;
use super::layer::{Conv, Plain, Shape};
use super::scale::Config;
use crate::decode::Raw;
use crate::loss::Grid;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;
use torch::During;

/// Pixels of the network input in a cell, by level.
pub const STRIDES: [i64; 3] = [8, 16, 32];

/// The two heads. Trained together; either can answer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Several anchors learn each object: its answers need non-maximum suppression. The reference's default.
    One2Many,
    /// One anchor learns each object: its best answers are taken as they are.
    One2One,
}

impl Head {
    /// Names of its box and class branches below `model.23.`.
    pub(super) fn branch_names(self) -> [&'static str; 2] {
        match self {
            Self::One2Many => ["cv2", "cv3"],
            Self::One2One => ["one2one_cv2", "one2one_cv3"],
        }
    }
}

/// Raw output of one head, float32 and contiguous, on the network's device; A anchors: levels with stride 8, 16, 32, each row by row.
pub struct HeadOutput {
    /// B x 4 x A: distances from the anchor's point to left, top, right and bottom, in units of the level's stride.
    pub boxes: Tensor,
    /// B x K x A: class logits.
    pub scores: Tensor,
}

impl HeadOutput {
    /// The same in host memory; shares storage if it is there already.
    ///
    /// # Errors
    /// Memory ran out, or the device failed.
    pub fn to_host(&self) -> Result<Self> {
        let [boxes, scores] = torch::to_host([&self.boxes, &self.scores])?;
        Ok(Self { boxes, scores })
    }

    /// A view of each image's raw output, for decoding; `grid` is that of the network input.
    ///
    /// # Errors
    /// The output is not in host memory, or of another input size.
    pub fn images<'a>(&'a self, grid: &'a Grid) -> Result<Vec<Raw<'a>>> {
        let (boxes, scores) = (torch::slice_f32(&self.boxes)?, torch::slice_f32(&self.scores)?);
        let sizes = self.scores.size();
        let [batch, classes, anchors] = match sizes.as_slice() {
            &[batch, classes, anchors] => {
                [batch, classes, anchors].map(|size| usize::try_from(size).unwrap_or(0))
            }
            _ => [0; 3],
        };
        if anchors != grid.anchors() || boxes.len() != batch * 4 * anchors || batch * classes == 0 {
            let expected = format!("B x K x {} scores and boxes to match", grid.anchors());
            return Err(Error::mismatch(
                "decode",
                expected,
                format!("{sizes:?} and {:?}", self.boxes.size()),
            ));
        }
        let views = boxes
            .chunks_exact(4 * anchors)
            .zip(scores.chunks_exact(classes * anchors));
        views
            .map(|(boxes, scores)| Raw::new(grid, classes, boxes, scores))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::mismatch("decode", "slices of one image each", error.to_string()))
    }
}

/// Raw outputs of both heads.
pub struct Heads {
    /// The head whose answers need suppression.
    pub one2many: HeadOutput,
    /// The head that picks one anchor an object.
    pub one2one: HeadOutput,
}

impl Heads {
    /// The same in host memory; shares storage if it is there already.
    ///
    /// # Errors
    /// Memory ran out, or the device failed.
    pub fn to_host(&self) -> Result<Self> {
        let (many, one) = (&self.one2many, &self.one2one);
        let outputs = [&many.boxes, &many.scores, &one.boxes, &one.scores];
        let [many_boxes, many_scores, one_boxes, one_scores] = torch::to_host(outputs)?;
        let output = |boxes, scores| HeadOutput { boxes, scores };
        Ok(Self {
            one2many: output(many_boxes, many_scores),
            one2one: output(one_boxes, one_scores),
        })
    }
}

struct BoxLevel {
    convs: [Conv; 2],
    last: Plain,
}

struct ClassLevel {
    convs: [Conv; 4],
    last: Plain,
}

/// One head.
pub(super) struct Branch {
    boxes: Vec<BoxLevel>,
    classes: Vec<ClassLevel>,
}

impl Branch {
    pub(super) fn new(b: &mut Builder, config: Config, head: Head) -> Result<Self> {
        let levels = || {
            config
                .scale()
                .head_channels()
                .into_iter()
                .zip(STRIDES)
                .enumerate()
        };
        let [box_name, class_name] = head.branch_names();
        let boxes = levels()
            .map(|(level, (channels, _))| {
                BoxLevel::new(b, &format!("model.23.{box_name}.{level}"), channels, config)
            })
            .collect::<Result<_>>()?;
        let classes = levels()
            .map(|(level, (channels, stride))| {
                ClassLevel::new(
                    b,
                    &format!("model.23.{class_name}.{level}"),
                    channels,
                    stride,
                    config,
                )
            })
            .collect::<Result<_>>()?;
        Ok(Self { boxes, classes })
    }

    pub(super) fn forward(&self, features: &[Tensor; 3], pass: Pass) -> Result<HeadOutput> {
        let boxes = features
            .iter()
            .zip(&self.boxes)
            .map(|(x, level)| level.forward(x, pass));
        let classes = features
            .iter()
            .zip(&self.classes)
            .map(|(x, level)| level.forward(x, pass));
        Ok(HeadOutput {
            boxes: joined(boxes)?,
            scores: joined(classes)?,
        })
    }
}

impl BoxLevel {
    fn new(b: &mut Builder, path: &str, channels: i64, config: Config) -> Result<Self> {
        let hidden = config.box_hidden();
        Ok(Self {
            convs: [
                b.conv(&format!("{path}.0"), Shape::square(channels, hidden))?,
                b.conv(&format!("{path}.1"), Shape::square(hidden, hidden))?,
            ],
            // A fresh network proposes boxes of four by four cells.
            last: b.plain(&format!("{path}.2"), hidden, 4, 2.0)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let [first, second] = &self.convs;
        self.last
            .forward(&second.forward(&first.forward(x, pass)?, pass)?)
    }
}

impl ClassLevel {
    fn new(b: &mut Builder, path: &str, channels: i64, stride: i64, config: Config) -> Result<Self> {
        let (hidden, classes) = (config.class_hidden(), config.classes());
        // A fresh network expects about five objects in a 640-pixel image, spread over the classes.
        let cells = (640.0 / stride as f64).powi(2);
        let prior = (5.0 / classes as f64 / cells).ln();
        Ok(Self {
            convs: [
                b.conv(&format!("{path}.0.0"), Shape::depthwise(channels))?,
                b.conv(&format!("{path}.0.1"), Shape::pointwise(channels, hidden))?,
                b.conv(&format!("{path}.1.0"), Shape::depthwise(hidden))?,
                b.conv(&format!("{path}.1.1"), Shape::pointwise(hidden, hidden))?,
            ],
            last: b.plain(&format!("{path}.2"), hidden, classes, prior)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let [first, rest @ ..] = &self.convs;
        let mut y = first.forward(x, pass)?;
        for conv in rest {
            y = conv.forward(&y, pass)?;
        }
        self.last.forward(&y)
    }
}

/// All levels side by side, cells in one row.
fn joined(levels: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let flat = levels
        .map(|level| Ok(level?.f_flatten(2, 3).during("flatten")?))
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::f_cat(&flat, 2)
        .and_then(|all| all.f_contiguous())
        .during("cat")?)
}
