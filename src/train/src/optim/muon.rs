//! The orthogonalised part of MuSGD (specification 6.4, steps 1 to 3).
//!
//! Every kernel is taken as a matrix (rows = output channels); its momentum is replaced by the nearest orthogonal
//! matrix, found by five Newton-Schulz iterations in bfloat16. The reference pads kernels of equal width to the tallest
//! of its batch and multiplies the zeros too, more than half of its work. Here only equal shapes share a batch. What else
//! its batches decide is kept, because rounding depends on it: on which side the products are taken, and whether a small
//! matrix is multiplied alone. With that the result has the reference's bits.

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

/// Up to this many rows (or columns, where those are multiplied) a matrix is rounded otherwise alone than in a batch: one
/// entry in some hundred thousand, seen with oneDNN at 16 rows.
const SMALL_SIDE: usize = 16;

/// How a kernel is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub rows: usize,
    pub columns: usize,
    /// Products are taken over rows: the tallest of the reference's batch is taller than wide.
    pub transposed: bool,
    /// The reference's batch has other matrices too.
    pub in_company: bool,
}

impl Shape {
    /// The side that is multiplied, and the one that products are taken over.
    fn sides(self) -> (usize, usize) {
        if self.transposed {
            (self.columns, self.rows)
        } else {
            (self.rows, self.columns)
        }
    }

    fn is_small(self) -> bool {
        self.sides().0 <= SMALL_SIDE
    }

    /// Multiplications that a matrix takes.
    fn cost(self) -> usize {
        let (side, over) = self.sides();
        ITERATIONS * side * side * (2 * over + side)
    }

    /// Whether a batch may have `count` matrices of it.
    fn fits(self, count: usize) -> bool {
        let alone = self.is_small() && !self.in_company;
        count == 1 || (!alone && count * self.cost() <= BATCH_COST)
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
        let room = |batch: &&mut Batch<'_>| batch.shape == shape && shape.fits(batch.parts.len() + 1);
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

/// A batch of the reference's: matrices of a group of equal width.
struct Run {
    tallest: usize,
    shortest: usize,
    count: usize,
}

/// Matrices of a group of equal width, tallest first, are batched by the reference until one is less than a sixteenth
/// of the batch's tallest; that one decides on which side all of them are multiplied.
pub(super) fn shapes(sizes: &[Size]) -> Vec<Shape> {
    let mut by_width: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for size in sizes {
        let heights = by_width.entry((size.group, size.columns)).or_default();
        heights.push(size.rows);
    }
    let runs: BTreeMap<_, Vec<Run>> = by_width
        .into_iter()
        .map(|(width, heights)| (width, runs(heights)))
        .collect();
    let shape = |size: &Size| {
        let runs = runs.get(&(size.group, size.columns)).into_iter().flatten();
        let (tallest, count) = runs
            .filter(|run| run.shortest <= size.rows)
            .map(|run| (run.tallest, run.count))
            .next()
            .unwrap_or((size.rows, 1));
        Shape {
            rows: size.rows,
            columns: size.columns,
            transposed: tallest > size.columns,
            in_company: count > 1,
        }
    };
    sizes.iter().map(shape).collect()
}

fn runs(mut heights: Vec<usize>) -> Vec<Run> {
    heights.sort_unstable_by_key(|&rows| Reverse(rows));
    let mut runs: Vec<Run> = Vec::new();
    for rows in heights {
        match runs.last_mut() {
            Some(run) if run.tallest <= MAX_ROW_RATIO * rows => {
                run.shortest = rows;
                run.count += 1;
            }
            _ => runs.push(Run {
                tallest: rows,
                shortest: rows,
                count: 1,
            }),
        }
    }
    runs
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
        let orthogonal = torch::no_grad(|| orthogonalise(&momenta, self.shape));
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

/// The orthogonalised forms of a batch of one shape, (matrices, rows, columns).
pub(super) fn orthogonalise(batch: &Tensor, shape: Shape) -> Result<Tensor, TchError> {
    if batch.size().first() == Some(&1) && shape.is_small() && shape.in_company {
        let beside_zeros = Tensor::f_cat(&[batch, &batch.f_zeros_like()?], 0)?;
        return newton_schulz(&beside_zeros, shape.transposed)?.f_narrow(0, 0, 1);
    }
    newton_schulz(batch, shape.transposed)
}

fn newton_schulz(x: &Tensor, transposed: bool) -> Result<Tensor, TchError> {
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
        let in_company: Vec<bool> = shapes(&sizes).iter().map(|shape| shape.in_company).collect();
        assert_eq!(in_company, [true, true, false, true, false, false]);
    }

    #[test]
    fn without_the_padding_the_bits_are_those_of_the_padded_batch() {
        if !torch::is_bf16_fast() {
            println!(
                "skipped: this processor has no products in bf16 of its own, others may round otherwise"
            );
            return;
        }
        torch::set_threads(1).unwrap();
        let (tall, short) = (32, 16);
        for columns in [27, 144, 288] {
            let sizes = [tall, short].map(|rows| Size {
                group: 0,
                rows: rows as usize,
                columns: columns as usize,
            });
            let shape = shapes(&sizes)[1];
            for seed in 0..1500 {
                tch::manual_seed(seed);
                let padded = Tensor::randn([2, tall, columns], (Kind::Float, Device::Cpu));
                let _zeros = padded.get(1).narrow(0, short, tall - short).zero_();
                let alone = padded.narrow(0, 1, 1).narrow(1, 0, short).contiguous();
                let expected = newton_schulz(&padded, shape.transposed).unwrap();
                let expected = expected.narrow(0, 1, 1).narrow(1, 0, short);
                let found = orthogonalise(&alone, shape).unwrap();
                assert!(found.equal(&expected), "{columns} columns, seed {seed}");
            }
        }
    }

    #[test]
    fn a_small_kernel_that_the_reference_multiplies_alone_stays_alone() {
        let sizes = [0, 1].map(|group| Size {
            group,
            rows: 16,
            columns: 27,
        });
        let shape = shapes(&sizes)[0];
        assert_eq!(shape, shapes(&sizes)[1]);
        assert!(shape.fits(1) && !shape.fits(2));
        assert!(
            Shape {
                in_company: true,
                ..shape
            }
            .fits(2)
        );
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
