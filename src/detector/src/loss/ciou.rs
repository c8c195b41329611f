//! Complete IoU: overlap less the distance of the centres less the difference in shape.
//!
//! All in `f32`, operation by operation in the order of the reference's forward pass and of autograd's way back through
//! it, so that both have its bits. Eps is added to heights but not to widths, as the reference does. At a tie of min or
//! max each side gets half of the gradient, at the border of the clamp of an empty intersection it passes, and alpha
//! counts as a constant.

use super::elementary;
use std::f64::consts::PI;

const EPS: f32 = 1e-7;
const SHAPE: f32 = (4.0 / (PI * PI)) as f32;

/// CIoU and its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ciou {
    /// The value, at most 1 and above -1.5 for boxes of positive size.
    pub value: f32,
    /// Derivatives with respect to left, top, right, bottom of the first box.
    pub gradient: [f32; 4],
}

/// CIoU of a predicted box with its target, both as left, top, right, bottom.
pub fn ciou(a: [f32; 4], c: [f32; 4]) -> Result<Ciou, torch::Error> {
    let pair = Pair::new(a, c);
    let mut angles = pair.shapes();
    elementary::atan(&mut angles)?;
    Ok(Ciou {
        value: pair.overlap.value(angles),
        gradient: pair.gradient(angles, 1.0),
    })
}

/// IoU, and what the distance of the centres takes from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlap {
    iou: f32,
    ratio: f32,
}

impl Overlap {
    /// Whether CIoU can be above 0, or not a number: the shapes can only lower it, also in rounded arithmetic.
    pub(super) fn may_exceed_zero(&self) -> bool {
        let most = self.iou - self.ratio;
        most > 0.0 || most.is_nan()
    }

    /// CIoU, given the arctangents of [`Pair::shapes`].
    pub(super) fn value(&self, angles: [f32; 2]) -> f32 {
        let turn = angles[1] - angles[0];
        let shape = SHAPE * (turn * turn);
        self.iou - (self.ratio + shape * self.alpha(shape))
    }

    fn alpha(&self, shape: f32) -> f32 {
        shape / (1.0 - self.iou + shape + EPS)
    }
}

/// A pair of boxes a and c, each as left, top, right, bottom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) overlap: Overlap,
    x: Axis,
    y: Axis,
    /// Width and height of both.
    a: [f32; 2],
    c: [f32; 2],
    union: f32,
    diagonal: f32,
}

impl Pair {
    pub(super) fn new(a: [f32; 4], c: [f32; 4]) -> Self {
        let (x, y) = (
            Axis::new(a[0], a[2], c[0], c[2]),
            Axis::new(a[1], a[3], c[1], c[3]),
        );
        let size = |b: [f32; 4]| [b[2] - b[0], b[3] - b[1] + EPS];
        let ([w_a, h_a], [w_c, h_c]) = (size(a), size(c));
        let intersection = x.common() * y.common();
        let union = w_a * h_a + w_c * h_c - intersection + EPS;
        let diagonal = x.hull * x.hull + y.hull * y.hull + EPS;
        let distance = (x.shift * x.shift + y.shift * y.shift) / 4.0;
        Self {
            overlap: Overlap {
                iou: intersection / union,
                ratio: distance / diagonal,
            },
            x,
            y,
            a: [w_a, h_a],
            c: [w_c, h_c],
            union,
            diagonal,
        }
    }

    /// Width by height of a and of c: CIoU depends on their arctangents.
    pub(super) fn shapes(&self) -> [f32; 2] {
        [self.a[0] / self.a[1], self.c[0] / self.c[1]]
    }

    /// The derivatives of `slope` times CIoU by the sides of a, given the arctangents of [`Pair::shapes`].
    pub(super) fn gradient(&self, angles: [f32; 2], slope: f32) -> [f32; 4] {
        let ([w, h], Overlap { iou, ratio }) = (self.a, self.overlap);
        let turn = angles[1] - angles[0];
        let alpha = self.overlap.alpha(SHAPE * (turn * turn));

        // Back through the shape: d atan(q) / dq = 1 / (q^2 + 1).
        let by_angle = -((-slope * alpha * SHAPE) * (2.0 * turn));
        let quotient = w / h;
        let by_quotient = by_angle / (quotient * quotient + 1.0);
        let (w_of_shape, h_of_shape) = (by_quotient / h, -by_quotient * (quotient / h));

        let by_distance = (-slope / self.diagonal) / 4.0;
        let by_diagonal = slope * (ratio / self.diagonal);

        let by_union = -slope * (iou / self.union);
        let by_intersection = slope / self.union - by_union;
        let by_width = w_of_shape + by_union * h;
        let by_height = h_of_shape + by_union * w;

        let along = |axis: &Axis, across: &Axis, by_side: f32| {
            axis.gradient(
                by_distance,
                by_diagonal,
                by_intersection * across.common(),
                by_side,
            )
        };
        let [left, right] = along(&self.x, &self.y, by_width);
        let [top, bottom] = along(&self.y, &self.x, by_height);
        [left, top, right, bottom]
    }
}

/// The intervals of two boxes along one axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    a: [f32; 2],
    c: [f32; 2],
    /// What they have in common; below 0 the gap between them.
    common: f32,
    /// What both span.
    hull: f32,
    /// Twice the distance of the centres.
    shift: f32,
}

impl Axis {
    fn new(a0: f32, a1: f32, c0: f32, c1: f32) -> Self {
        Self {
            a: [a0, a1],
            c: [c0, c1],
            // These drop a NaN of one operand, but it also is in the box's size, and by that in the union.
            common: a1.min(c1) - a0.max(c0),
            hull: a1.max(c1) - a0.min(c0),
            shift: c0 + c1 - a0 - a1,
        }
    }

    fn common(&self) -> f32 {
        // Not `max`, which would turn a NaN into 0.
        if self.common < 0.0 { 0.0 } else { self.common }
    }

    /// The derivatives by both ends of a, from those by distance, diagonal, intersection and side.
    fn gradient(&self, by_distance: f32, by_diagonal: f32, by_common: f32, by_side: f32) -> [f32; 2] {
        let ([a0, a1], [c0, c1]) = (self.a, self.c);
        let by_centre = -(by_distance * (2.0 * self.shift));
        let by_hull = by_diagonal * (2.0 * self.hull);
        let by_common = if self.common < 0.0 { 0.0 } else { by_common };
        [
            by_centre + of_larger(c0, a0, -by_hull) + of_larger(a0, c0, -by_common) - by_side,
            by_centre + of_larger(a1, c1, by_hull) + of_larger(c1, a1, by_common) + by_side,
        ]
    }
}

/// What of a gradient of max(a, c) goes to a, or of one of min(c, a).
fn of_larger(a: f32, c: f32, gradient: f32) -> f32 {
    if a > c {
        gradient
    } else if a == c {
        gradient / 2.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula once more in 64 bits, with alpha given, as plain as can be.
    fn plain(a: [f64; 4], c: [f64; 4], alpha: Option<f64>) -> (f64, f64) {
        let eps = 1e-7;
        let (wa, ha, wc, hc) = (a[2] - a[0], a[3] - a[1] + eps, c[2] - c[0], c[3] - c[1] + eps);
        let i = (a[2].min(c[2]) - a[0].max(c[0])).max(0.0) * (a[3].min(c[3]) - a[1].max(c[1])).max(0.0);
        let iou = i / (wa * ha + wc * hc - i + eps);
        let q = (a[2].max(c[2]) - a[0].min(c[0])).powi(2) + (a[3].max(c[3]) - a[1].min(c[1])).powi(2) + eps;
        let rho = ((c[0] + c[2] - a[0] - a[2]).powi(2) + (c[1] + c[3] - a[1] - a[3]).powi(2)) / 4.0;
        let v = 4.0 / PI.powi(2) * ((wc / hc).atan() - (wa / ha).atan()).powi(2);
        let alpha = alpha.unwrap_or(v / (1.0 - iou + v + eps));
        (iou - (rho / q + v * alpha), alpha)
    }

    fn corners(x: f32, y: f32, w: f32, h: f32) -> [f32; 4] {
        [x, y, x + w, y + h]
    }

    prop_compose! {
        fn any_box()(x in -5f32..5.0, y in -5f32..5.0, w in 0.5f32..8.0, h in 0.5f32..8.0) -> [f32; 4] {
            corners(x, y, w, h)
        }
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_limit_of_differences_with_alpha_held(a in any_box(), c in any_box()) {
            // Away from the kinks of min, max and clamp, where both one-sided slopes agree.
            for (p, q) in [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1), (1, 3), (3, 1), (3, 3)] {
                prop_assume!((a[p] - c[q]).abs() > 1e-4);
            }
            let found = ciou(a, c).unwrap();
            prop_assert!(found.value <= 0.0 || Pair::new(a, c).overlap.may_exceed_zero());
            let (a, c) = (a.map(f64::from), c.map(f64::from));
            let (value, alpha) = plain(a, c, None);
            prop_assert!((f64::from(found.value) - value).abs() < 1e-5);
            for i in 0..4 {
                let step = 1e-6;
                let (mut up, mut down) = (a, a);
                up[i] += step;
                down[i] -= step;
                let slope = (plain(up, c, Some(alpha)).0 - plain(down, c, Some(alpha)).0) / (2.0 * step);
                prop_assert!((f64::from(found.gradient[i]) - slope).abs() < 2e-5 * (1.0 + slope.abs()), "{} {}", found.gradient[i], slope);
            }
        }
    }

    #[test]
    fn equal_boxes_are_at_a_maximum_and_far_ones_below_zero() {
        let a = corners(1.0, 2.0, 3.0, 4.0);
        let equal = ciou(a, a).unwrap();
        assert!((equal.value - 1.0).abs() < 1e-6);
        assert!(equal.gradient.iter().all(|slope| slope.abs() < 1e-7));
        assert!(ciou(a, corners(9.0, 9.0, 1.0, 1.0)).unwrap().value < 0.0);
    }

    #[test]
    fn a_prediction_that_is_not_a_number_does_not_look_like_one() {
        for i in 0..4 {
            let mut b = [1.0, 1.0, 2.0, 2.0];
            b[i] = f32::NAN;
            assert!(ciou(b, [0.0, 0.0, 3.0, 3.0]).unwrap().value.is_nan());
            assert!(ciou([0.0, 0.0, 3.0, 3.0], b).unwrap().value.is_nan());
        }
    }
}
