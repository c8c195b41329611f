//! Precision and recall as curves, and the area under them.

use serde::Serialize;

use super::matching::{Outcome, THRESHOLDS};

/// Points of every curve; point i lies at i / 999 of its axis.
pub const CURVE_POINTS: usize = 1000;
/// Recalls at which average precision is sampled.
const AREA_POINTS: usize = 101;
/// Width of the window that smooths F1 before its maximum is sought.
const SMOOTHING: usize = 101;

/// Curves at IoU 0.5, each of [`CURVE_POINTS`] values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curves {
    /// Precision over confidence.
    pub precision: Vec<f64>,
    /// Recall over confidence.
    pub recall: Vec<f64>,
    /// F1 over confidence.
    pub f1: Vec<f64>,
    /// Precision over recall.
    pub pr: Vec<f64>,
}

/// The position of a curve's point on its axis, 0..1.
pub(super) fn axis(point: usize) -> f64 {
    point as f64 / (CURVE_POINTS - 1) as f64
}

fn sampled(f: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..CURVE_POINTS).map(|point| f(axis(point))).collect()
}

impl Curves {
    fn zero() -> Self {
        let zero = || vec![0.0; CURVE_POINTS];
        Self {
            precision: zero(),
            recall: zero(),
            f1: zero(),
            pr: zero(),
        }
    }

    /// Pointwise means; zeros of no curves.
    pub(super) fn mean<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let count = all.clone().count().max(1) as f64;
        let mean = |curve: fn(&Self) -> &Vec<f64>| {
            let mut sum = vec![0.0; CURVE_POINTS];
            for one in all.clone() {
                sum.iter_mut()
                    .zip(curve(one))
                    .for_each(|(sum, value)| *sum += value);
            }
            sum.iter_mut().for_each(|value| *value /= count);
            sum
        };
        Self {
            precision: mean(|c| &c.precision),
            recall: mean(|c| &c.recall),
            f1: mean(|c| &c.f1),
            pr: mean(|c| &c.pr),
        }
    }

    /// The point where F1, smoothed by a box filter with its ends held, is largest; the first of several.
    pub(super) fn best_f1(&self) -> usize {
        let half = SMOOTHING / 2;
        let held = |i: usize| self.f1[i.saturating_sub(half).min(CURVE_POINTS - 1)];
        let weight = 1.0 / SMOOTHING as f64;
        let smoothed = |point: usize| (point..point + SMOOTHING).map(|i| held(i) * weight).sum::<f64>();
        let mut best = (0, f64::NEG_INFINITY);
        for point in 0..CURVE_POINTS {
            let value = smoothed(point);
            if value > best.1 {
                best = (point, value);
            }
        }
        best.0
    }
}

/// Average precision and curves of a class that occurs.
#[derive(Clone, Debug)]
pub(super) struct ClassCurves {
    pub(super) class: u16,
    pub(super) ap: [f64; 10],
    pub(super) curves: Curves,
}

impl ClassCurves {
    /// `outcomes` are all predictions of the class, by descending score; `instances` is above 0.
    pub(super) fn new(class: u16, instances: u64, outcomes: &[Outcome]) -> Self {
        if outcomes.is_empty() {
            return Self {
                class,
                ap: [0.0; 10],
                curves: Curves::zero(),
            };
        }
        let ap = std::array::from_fn(|threshold| Tally::new(outcomes, threshold, instances).area());
        Self {
            class,
            ap,
            curves: Tally::new(outcomes, 0, instances).curves(outcomes),
        }
    }
}

/// Recall and precision after each prediction, from the surest on.
struct Tally {
    recall: Vec<f64>,
    precision: Vec<f64>,
}

impl Tally {
    fn new(outcomes: &[Outcome], threshold: usize, instances: u64) -> Self {
        debug_assert!(threshold < THRESHOLDS.len());
        let mut hits = 0u64;
        let (recall, precision) = (1u64..)
            .zip(outcomes)
            .map(|(seen, outcome)| {
                hits += u64::from(outcome.hits >> threshold & 1);
                (
                    hits as f64 / (instances as f64 + 1e-16),
                    hits as f64 / seen as f64,
                )
            })
            .unzip();
        Self { recall, precision }
    }

    /// Precision over recall, closed at both ends and made non-increasing.
    fn envelope(&self) -> (Vec<f64>, Vec<f64>) {
        let last = self.recall.last().copied().unwrap_or(0.0);
        let recall = [0.0]
            .into_iter()
            .chain(self.recall.iter().copied())
            .chain([last, 1.0])
            .collect();
        let mut precision: Vec<f64> = [1.0]
            .into_iter()
            .chain(self.precision.iter().copied())
            .chain([0.0, 0.0])
            .collect();
        let mut highest = 0.0;
        for value in precision.iter_mut().rev() {
            highest = value.max(highest);
            *value = highest;
        }
        (recall, precision)
    }

    fn area(&self) -> f64 {
        let (recall, precision) = self.envelope();
        let at = |i: usize| i as f64 / (AREA_POINTS - 1) as f64;
        let heights: Vec<f64> = (0..AREA_POINTS)
            .map(|i| interpolate(at(i), &recall, &precision, 1.0))
            .collect();
        heights
            .windows(2)
            .enumerate()
            .map(|(i, pair)| (at(i + 1) - at(i)) * (pair[0] + pair[1]) / 2.0)
            .sum()
    }

    fn curves(&self, outcomes: &[Outcome]) -> Curves {
        let (recall, envelope) = self.envelope();
        // Interpolation wants an ascending axis.
        let doubt: Vec<f64> = outcomes.iter().map(|o| -f64::from(o.score)).collect();
        let precision_curve = sampled(|confidence| interpolate(-confidence, &doubt, &self.precision, 1.0));
        let recall_curve = sampled(|confidence| interpolate(-confidence, &doubt, &self.recall, 0.0));
        let f1 = precision_curve
            .iter()
            .zip(&recall_curve)
            .map(|(p, r)| 2.0 * p * r / (p + r + 1e-16))
            .collect();
        Curves {
            precision: precision_curve,
            recall: recall_curve,
            f1,
            pr: sampled(|r| interpolate(r, &recall, &envelope, 1.0)),
        }
    }
}

/// Linear interpolation over ascending `xs`; `left` before the first, the last value after the last. Of equal `xs` the
/// last counts.
fn interpolate(x: f64, xs: &[f64], ys: &[f64], left: f64) -> f64 {
    let after = xs.partition_point(|&known| known <= x);
    if after == 0 {
        return left;
    }
    let (x0, y0) = (xs[after - 1], ys[after - 1]);
    match (xs.get(after), ys.get(after)) {
        (Some(x1), Some(y1)) => (y1 - y0) / (x1 - x0) * (x - x0) + y0,
        _ => y0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_holds_the_ends_and_takes_the_last_of_equal_points() {
        let (xs, ys) = ([1.0, 2.0, 2.0, 4.0], [10.0, 20.0, 40.0, 60.0]);
        let at = |x| interpolate(x, &xs, &ys, -1.0);
        assert_eq!(
            [at(0.5), at(1.0), at(1.5), at(2.0), at(3.0), at(4.0), at(9.0)],
            [-1.0, 10.0, 15.0, 40.0, 50.0, 60.0, 60.0]
        );
    }

    #[test]
    fn the_first_of_equal_maxima_is_the_best_confidence() {
        let mut curves = Curves::zero();
        assert_eq!(curves.best_f1(), 0);
        curves.f1[500..600].fill(1.0);
        // The window of 101 points first covers all 100 with its centre at 549.
        assert_eq!(curves.best_f1(), 549);
    }
}
