//! The orthogonalised part of MuSGD (specification 6.4, steps 1 to 3).
//!
//! Every kernel is taken as a matrix (rows = output channels); its momentum is replaced by the nearest orthogonal
//! matrix, found by five Newton-Schulz iterations in bfloat16. The reference pads kernels of equal width to the tallest
//! of its batch and multiplies the zeros too, more than half of its work. Here only equal shapes share a batch; what the
//! padding decides beside the zeros, on which side the products are taken, is kept, because rounding depends on it.

use super::{Part, kernels};
use std::{cmp::Reverse, collections::BTreeMap};
use tch::{Device, Kind, TchError, Tensor};
use torch::During;

/// Share of the orthogonalised update beside the plain SGD update.
pub(super) const SHARE: f64 = 0.2;
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;
/// Tallest and shortest matrix of the reference's batches differ by at most this factor.
const MAX_ROW_RATIO: usize = 16;
/// Multiplications after which a batch is cut: enough that a call's overhead does not count, and small enough that
/// several threads end together.
const BATCH_COST: usize = 50_000_000;

/// How a kernel is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub rows: usize,
    pub columns: usize,
    /// Products are taken over rows: the tallest of the reference's batch is taller than wide.
    pub transposed: bool,
}

impl Shape {
    /// Multiplications that a matrix takes.
    fn cost(self) -> usize {
        let (short, long) = if self.transposed {
            (self.columns, self.rows)
        } else {
            (self.rows, self.columns)
        };
        ITERATIONS * short * short * (2 * long + short)
    }
}

/// Kernels of one shape.
pub(super) struct Batch<'a> {
    shape: Shape,
    parts: Vec<Part<'a>>,
}

/// A kernel's part of a step, seen as a matrix.
pub(super) struct Kernel<'a> {
    /// Its parameter group.
    pub group: usize,
    pub rows: usize,
    pub part: Part<'a>,
}

/// The kernels in batches of one shape, the costliest first.
pub(super) fn batches(kernels: Vec<Kernel<'_>>) -> Vec<Batch<'_>> {
    let sizes: Vec<Size> = kernels
        .iter()
        .map(|kernel| Size {
            group: kernel.group,
            rows: kernel.rows,
            columns: kernel.part.parameter.len() / kernel.rows,
        })
        .collect();
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for (shape, Kernel { part, .. }) in shapes(&sizes).into_iter().zip(kernels) {
        let room = |batch: &&mut Batch<'_>| {
            batch.shape == shape && (batch.parts.len() + 1) * shape.cost() <= BATCH_COST
        };
        match batches.iter_mut().find(room) {
            Some(batch) => batch.parts.push(part),
            None => batches.push(Batch {
                shape,
                parts: vec![part],
            }),
        }
    }
    batches.sort_by_key(|batch| Reverse(batch.parts.len() * batch.shape.cost()));
    batches
}

/// What the reference batches a matrix by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub group: usize,
    pub rows: usize,
    pub columns: usize,
}

/// Matrices of a group of equal width, tallest first, are batched by the reference until one is less than a sixteenth
/// of the batch's tallest; that one decides on which side all of them are multiplied.
pub(super) fn shapes(sizes: &[Size]) -> Vec<Shape> {
    let mut by_width: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for size in sizes {
        by_width
            .entry((size.group, size.columns))
            .or_default()
            .push(size.rows);
    }
    for heights in by_width.values_mut() {
        heights.sort_unstable_by_key(|&rows| Reverse(rows));
    }
    let tallest = |size: &Size| {
        let heights = by_width.get(&(size.group, size.columns));
        heights.into_iter().flatten().fold(usize::MAX, |tallest, &other| {
            let starts_batch = tallest == usize::MAX || tallest > MAX_ROW_RATIO * other;
            if other >= size.rows && starts_batch {
                other
            } else {
                tallest
            }
        })
    };
    sizes
        .iter()
        .map(|size| Shape {
            rows: size.rows,
            columns: size.columns,
            transposed: tallest(size) > size.columns,
        })
        .collect()
}

impl Batch<'_> {
    /// Moves momenta and parameters by one step, both parts of the update.
    pub(super) fn update(self) -> Result<(), torch::Error> {
        let Shape { rows, columns, .. } = self.shape;
        let sizes = [self.parts.len(), rows, columns].map(|size| size as i64);
        let mut momenta = Tensor::f_empty(sizes, (Kind::Float, Device::Cpu)).during("orthogonalise")?;
        let places = torch::slice_f32_mut(&mut momenta)?.chunks_exact_mut(rows * columns);
        let mut parts = self.parts;
        for (part, place) in parts.iter_mut().zip(places) {
            // Subtracted in 64 bit: in 32, 1 - 0.8 is not the number next to 0.2.
            let (beta, rest) = (part.rates.momentum as f32, (1.0 - part.rates.momentum) as f32);
            for ((u, m), g) in place.iter_mut().zip(&mut *part.second).zip(part.gradient) {
                let g = g * part.rates.clip;
                *m = rest.mul_add(g, *m * beta);
                *u = rest.mul_add(g, *m * beta);
            }
        }
        let orthogonal = torch::no_grad(|| newton_schulz(&momenta, self.shape.transposed));
        let orthogonal = orthogonal.during("orthogonalise")?;
        let places = torch::slice_f32(&orthogonal)?.chunks_exact(rows * columns);
        for (part, place) in parts.into_iter().zip(places) {
            let scale = (-part.rates.lr * SHARE) as f32;
            for (p, y) in part.parameter.iter_mut().zip(place) {
                *p = scale.mul_add(*y, *p);
            }
            kernels::nesterov(part.parameter, part.gradient, part.first, part.rates);
        }
        Ok(())
    }
}

pub(super) fn newton_schulz(x: &Tensor, transposed: bool) -> Result<Tensor, TchError> {
    let (a, b, c) = COEFFICIENTS;
    let x = x.f_to_kind(Kind::BFloat16)?;
    let norm = x.f_norm_scalaropt_dim(2.0, [-2, -1].as_slice(), true)?;
    let mut x = x.f_div(&norm.f_add_scalar(1e-7)?)?;
    if transposed {
        x = x.f_transpose(-2, -1)?;
    }
    for _ in 0..ITERATIONS {
        let gram = x.f_bmm(&x.f_transpose(-2, -1)?)?;
        let mixed = gram.f_baddbmm(&gram, &gram, b, c)?;
        x = x.f_baddbmm(&mixed, &x, a, 1.0)?;
    }
    let x = if transposed { x.f_transpose(-2, -1)? } else { x };
    x.f_to_kind(Kind::Float)?.f_contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orthogonalised_update_has_singular_values_near_one() {
        for (rows, columns) in [(12, 40), (40, 12)] {
            let values: Vec<f32> = (0..rows * columns)
                .map(|i| ((i * 2_654_435_761_i64) % 1000) as f32 / 500.0 - 1.0)
                .collect();
            let x = Tensor::from_slice(&values).view([1, rows, columns]);
            let (_, singular, _) = newton_schulz(&x, rows > columns).unwrap().svd(true, false);
            let (low, high) = (singular.min().double_value(&[]), singular.max().double_value(&[]));
            assert!(low > 0.5 && high < 1.4, "{low} {high}");
        }
    }

    #[test]
    fn the_tallest_of_the_reference_s_batch_decides_the_side() {
        let sizes = [
            (0, 64, 9),
            (0, 33, 9),
            (0, 2, 9),
            (0, 8, 9),
            (0, 8, 16),
            (1, 8, 9),
        ];
        let sizes = sizes.map(|(group, rows, columns)| Size { group, rows, columns });
        let transposed: Vec<bool> = shapes(&sizes).iter().map(|shape| shape.transposed).collect();
        // 2 rows are less than a sixteenth of 64: a batch of their own. Groups share none.
        assert_eq!(transposed, [true, true, false, true, false, false]);
    }

    #[test]
    fn a_batch_is_cut_where_it_costs_enough() {
        let mut values = vec![0.0; 256 * 64 * 40];
        let kernels = values
            .chunks_exact_mut(256 * 64)
            .map(|parameter| {
                let part = Part {
                    parameter,
                    gradient: &[],
                    first: &mut [],
                    second: &mut [],
                    rates: kernels::Rates {
                        lr: 0.0,
                        weight_decay: 0.0,
                        momentum: 0.0,
                        clip: 1.0,
                    },
                };
                Kernel {
                    group: 0,
                    rows: 256,
                    part,
                }
            })
            .collect();
        let batches = batches(kernels);
        assert!(batches.len() > 1, "{}", batches.len());
        assert_eq!(batches.iter().map(|batch| batch.parts.len()).sum::<usize>(), 40);
        let cost = |batch: &Batch<'_>| batch.parts.len() * batch.shape.cost();
        assert!(batches.iter().all(|batch| cost(batch) <= BATCH_COST));
    }
}
