//! The network: outputs of both heads, gradients, statistics and folded weights, at every scale.

use crate::{
    reference::{Bytes, Tensors, files},
    selections,
    table::{Bound, Gap, Row},
};
use anyhow::{Context, bail};
use detector::{Detector, Head, HeadOutput, Heads, loss::Grid, net::Role};
use std::path::Path;
use tch::Tensor;

/// The input of which gradients and more were kept.
const MAIN: &str = "96x64";
/// Folding changes the order of rounding.
const FOLDED: f64 = 1e-5;
/// Our exponential is not libtorch's; a probability has 24 bits.
const PROBABILITY: f64 = 2e-7;

pub fn compare(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let files = files(&folder.join("network"))?;
    if files.is_empty() {
        bail!("{} holds no network", folder.join("network").display());
    }
    let mut rows = Vec::new();
    for file in files {
        let bytes = Bytes::read(&file)?;
        let found = network(&file, &bytes.tensors()?);
        rows.extend(found.with_context(|| file.display().to_string())?);
    }
    Ok(rows)
}

/// The inputs of one network.
fn network(file: &Path, reference: &Tensors<'_>) -> anyhow::Result<Vec<Row>> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut inputs: Vec<&str> = reference
        .names("")
        .into_iter()
        .filter_map(|name| name.strip_suffix(".input"))
        .collect();
    inputs.sort_unstable();
    let mut rows = Vec::new();
    for input in inputs {
        rows.extend(Case::open(&name, input, reference)?.rows()?);
    }
    Ok(rows)
}

/// A network with one of its inputs.
pub struct Case<'a> {
    name: String,
    input: &'a str,
    /// What the reference gave.
    pub reference: &'a Tensors<'a>,
    detector: Detector,
    images: Tensor,
    /// The anchors of the input's size.
    pub grid: Grid,
    /// Classes of the network.
    pub classes: usize,
}

impl<'a> Case<'a> {
    fn open(name: &str, input: &'a str, reference: &'a Tensors<'a>) -> anyhow::Result<Self> {
        let detector = Detector::from_weights(&reference.weights("state.")?)?;
        let images = reference.tensor(&format!("{input}.input"))?;
        let (height, width) = match images.size()[..] {
            [_, _, height, width] => (height as usize, width as usize),
            _ => bail!("the input has the sizes {:?}", images.size()),
        };
        Ok(Self {
            name: name.to_owned(),
            input,
            reference,
            classes: detector.config().nc(),
            detector,
            images,
            grid: Grid::for_input(width, height)?,
        })
    }

    /// A row about this case; its shape is the input's.
    pub fn row(&self, item: &'static str, gap: Gap, bound: Bound) -> Row {
        Row {
            item,
            case: self.name.clone(),
            gap: gap.shaped(&self.images.size()),
            bound,
        }
    }

    /// What the reference gave for this input.
    pub fn expected(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        self.reference.f32(&format!("{}.{name}", self.input))
    }

    /// Whether this is the input for which everything was kept.
    pub fn is_main(&self) -> bool {
        self.input == MAIN
    }

    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        // Folding and evaluation first: training moves the statistics.
        let eval = self.detector.forward_eval_both(&self.images)?;
        let mut rows = vec![self.row("forward, evaluation", self.heads("eval", &eval)?, Bound::Bits)];
        let mut decoding = selections::decoded(self, &eval)?;
        decoding.extend(self.folded()?);
        let heads = self.detector.forward_train(&self.images)?;
        rows.push(self.row("forward, training", self.heads("train", &heads)?, Bound::Bits));
        if self.is_main() {
            rows.extend(self.trained(&heads)?);
        }
        rows.extend(decoding);
        Ok(rows)
    }

    fn heads(&self, prefix: &str, heads: &Heads) -> anyhow::Result<Gap> {
        parts(heads).into_iter().try_fold(Gap::NONE, |gap, (name, out)| {
            let expected = self.expected(&format!("{prefix}.{name}"))?;
            Ok(gap.and(Gap::of_tensor(torch::slice_f32(out)?, &expected)))
        })
    }

    /// Backward from given gradients of the outputs.
    fn trained(&self, heads: &Heads) -> anyhow::Result<[Row; 2]> {
        let seeds = parts(heads)
            .iter()
            .map(|(name, out)| seed(&format!("seed.{name}"), &out.size()))
            .collect::<Result<Vec<_>, _>>()?;
        let pairs: Vec<_> = parts(heads)
            .into_iter()
            .zip(&seeds)
            .map(|((_, out), seed)| (out, seed))
            .collect();
        torch::backward(&pairs)?;
        let (mut statistics, mut gradients) = (Gap::NONE, Gap::NONE);
        for entry in self.detector.state().entries() {
            let (name, tensor) = (entry.name(), entry.tensor());
            if entry.role() == Role::Parameter {
                let found = torch::gradient(tensor)?.with_context(|| format!("{name} has no gradient"))?;
                let expected = self.reference.f32(&format!("gradient.{name}"))?;
                gradients = gradients.and(Gap::of_tensor(&torch::to_vec_f32(&found)?, &expected));
            } else if self.reference.has(&format!("after.{name}")) && name.contains("running") {
                let expected = self.reference.f32(&format!("after.{name}"))?;
                statistics = statistics.and(Gap::of_tensor(&torch::to_vec_f32(tensor)?, &expected));
            }
        }
        Ok([
            self.row("batch statistics after it", statistics, Bound::Bits),
            self.row("gradients of all weights", gradients, Bound::Bits),
        ])
    }

    fn folded(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut weights = Gap::NONE;
        for (head, name) in [(Head::One2Many, "one2many"), (Head::One2One, "one2one")] {
            let folded = self.detector.fused(head)?;
            for entry in folded.state().entries() {
                let name = format!("fused.{name}.state.{}", entry.name());
                if self.reference.has(&name) {
                    let found = torch::to_vec_f32(entry.tensor())?;
                    weights = weights.and(Gap::of_tensor(&found, &self.reference.f32(&name)?));
                }
            }
            let out = folded.forward(&self.images)?;
            if head == Head::One2Many {
                let gap = self
                    .table("fused.one2many", &out)?
                    .into_iter()
                    .fold(Gap::NONE, Gap::and);
                rows.push(self.row("folded, one-to-many head", gap, Bound::Relative(FOLDED)));
            } else {
                rows.push(selections::end_to_end_row(
                    self,
                    "folded, one-to-one head",
                    "fused.one2one",
                    &out,
                )?);
            }
        }
        if self.is_main() && weights.values > 0 {
            rows.push(self.row("folded weights", weights, Bound::Bits));
        }
        Ok(rows)
    }

    /// Boxes and probabilities of every anchor against the reference's table of that name.
    pub fn table(&self, name: &str, out: &HeadOutput) -> anyhow::Result<[Gap; 2]> {
        let expected = self.expected(name)?;
        let (anchors, images) = (self.grid.anchors(), out.images(&self.grid)?);
        let mut gaps = [Gap::NONE; 2];
        for (image, expected) in images.iter().zip(expected.chunks((4 + self.classes) * anchors)) {
            let found = image.table();
            let parts = [(0, 4 * anchors), (4 * anchors, expected.len())];
            for (gap, (from, to)) in gaps.iter_mut().zip(parts) {
                let [found, expected] =
                    [&found[..], expected].map(|all| all.get(from..to).unwrap_or_default());
                *gap = gap.and(Gap::of_tensor(found, expected));
            }
        }
        Ok(gaps)
    }

    /// Rows about the table of an evaluation.
    pub fn table_rows(&self, out: &HeadOutput) -> anyhow::Result<[Row; 2]> {
        let [boxes, probabilities] = self.table("table", out)?;
        Ok([
            self.row("decoded boxes", boxes, Bound::Bits),
            self.row(
                "decoded probabilities",
                probabilities,
                Bound::Absolute(PROBABILITY),
            ),
        ])
    }
}

fn parts(heads: &Heads) -> [(&'static str, &Tensor); 4] {
    [
        ("one2many.boxes", &heads.one2many.boxes),
        ("one2many.scores", &heads.one2many.scores),
        ("one2one.boxes", &heads.one2one.boxes),
        ("one2one.scores", &heads.one2one.scores),
    ]
}

/// The gradient that backward starts from, by the formula of tests/reference/detector_forward.py: values in -1..1.
fn seed(name: &str, sizes: &[i64]) -> anyhow::Result<Tensor> {
    let base = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let count = sizes.iter().product::<i64>() as u32;
    let values: Vec<f32> = (0..count)
        .map(|i| {
            let mut x = base.wrapping_add(i.wrapping_mul(0x9E37_79B9));
            x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
            x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
            x ^= x >> 16;
            (x >> 8) as f32 * 2f32.powi(-24) * 2.0 - 1.0
        })
        .collect();
    Ok(torch::from_f32(&values, sizes)?)
}
