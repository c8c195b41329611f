//! The orthogonalised part of MuSGD (specification 6.4, steps 1 to 3).
//!
//! Every kernel is taken as a matrix (rows = output channels); its momentum is replaced by the nearest orthogonal
//! matrix, found by five Newton-Schulz iterations in bfloat16. Matrices of equal width are batched and padded as the
//! reference batches them, because rounding in bfloat16 depends on it.

use super::{Group, GroupKind, Slot, kernels};
use crate::schedule::Settings;
use tch::{Kind, TchError, Tensor};
use torch::During;

/// Share of the orthogonalised update beside the plain SGD update.
const SHARE: f64 = 0.2;
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;
/// Tallest and shortest matrix of a batch differ by at most this factor.
const MAX_ROW_RATIO: usize = 16;

/// A kernel seen as a matrix.
struct Matrix {
    slot: usize,
    rows: usize,
    columns: usize,
    update: Vec<f32>,
}

pub(super) fn update(
    slots: &mut [Slot],
    groups: &[Group],
    gradients: &[Option<Tensor>],
    settings: &Settings,
    clip: f32,
) -> Result<(), torch::Error> {
    let beta = settings.momentum as f32;
    let mut matrices = Vec::new();
    for (index, (slot, gradient)) in slots.iter_mut().zip(gradients).enumerate() {
        let Some(gradient) = gradient else { continue };
        if groups[slot.group].kind != GroupKind::Muon {
            continue;
        }
        let rows = slot.tensor.size().first().map_or(1, |&r| r.max(1) as usize);
        let mut update: Vec<f32> = torch::dense_f32(gradient)?.iter().map(|g| g * clip).collect();
        kernels::lerp(&mut slot.second, &update, 1.0 - beta);
        kernels::lerp(&mut update, &slot.second, beta);
        matrices.push(Matrix {
            slot: index,
            rows,
            columns: update.len() / rows,
            update,
        });
    }
    for mut run in batches(matrices) {
        orthogonalise(&mut run)?;
        for matrix in run {
            let slot = &mut slots[matrix.slot];
            let lr = settings.lr(groups[slot.group].initial_lr, false);
            let scale = (-lr * SHARE) as f32;
            torch::update_f32(&slot.tensor, |parameter| {
                for (p, y) in parameter.iter_mut().zip(&matrix.update) {
                    *p = scale.mul_add(*y, *p);
                }
            })?;
        }
    }
    Ok(())
}

/// Buckets of equal width, tallest first, cut where the tallest is more than 16 times the shortest.
fn batches(matrices: Vec<Matrix>) -> Vec<Vec<Matrix>> {
    let mut buckets: Vec<Vec<Matrix>> = Vec::new();
    for matrix in matrices {
        match buckets
            .iter_mut()
            .find(|bucket| bucket[0].columns == matrix.columns)
        {
            Some(bucket) => bucket.push(matrix),
            None => buckets.push(vec![matrix]),
        }
    }
    let mut runs: Vec<Vec<Matrix>> = Vec::new();
    for mut bucket in buckets {
        bucket.sort_by_key(|m| std::cmp::Reverse(m.rows));
        let mut run: Vec<Matrix> = Vec::new();
        for matrix in bucket {
            if run
                .first()
                .is_some_and(|tallest| tallest.rows > MAX_ROW_RATIO * matrix.rows)
            {
                runs.push(std::mem::take(&mut run));
            }
            run.push(matrix);
        }
        runs.push(run);
    }
    runs
}

/// Replaces every update of the run by its orthogonalised form.
fn orthogonalise(run: &mut [Matrix]) -> Result<(), torch::Error> {
    let Some(tallest) = run.first() else { return Ok(()) };
    let (rows, columns) = (tallest.rows, tallest.columns);
    let mut padded = vec![0.0_f32; run.len() * rows * columns];
    for (matrix, place) in run.iter().zip(padded.chunks_exact_mut(rows * columns)) {
        place[..matrix.update.len()].copy_from_slice(&matrix.update);
    }
    let x = torch::from_f32(&padded, &[run.len() as i64, rows as i64, columns as i64])?;
    let y = torch::no_grad(|| newton_schulz(&x, rows > columns)).during("orthogonalise")?;
    for (matrix, place) in run
        .iter_mut()
        .zip(torch::slice_f32(&y)?.chunks_exact(rows * columns))
    {
        matrix.update.copy_from_slice(&place[..matrix.rows * columns]);
    }
    Ok(())
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

    fn matrix(rows: usize, columns: usize) -> Matrix {
        let update = (0..rows * columns)
            .map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
            .collect();
        Matrix {
            slot: 0,
            rows,
            columns,
            update,
        }
    }

    #[test]
    fn an_orthogonalised_update_has_singular_values_near_one() {
        let mut run = vec![matrix(12, 40)];
        orthogonalise(&mut run).unwrap();
        let y = Tensor::from_slice(&run[0].update).view([12, 40]);
        let (_, singular, _) = y.svd(true, false);
        let (low, high) = (singular.min().double_value(&[]), singular.max().double_value(&[]));
        assert!(low > 0.5 && high < 1.4, "{low} {high}");
    }

    #[test]
    fn a_run_is_cut_where_heights_differ_too_much() {
        let runs = batches(vec![matrix(2, 9), matrix(64, 9), matrix(33, 9), matrix(8, 3)]);
        let shape: Vec<Vec<usize>> = runs.iter().map(|r| r.iter().map(|m| m.rows).collect()).collect();
        assert_eq!(shape, [vec![64, 33], vec![2], vec![8]]);
    }
}
