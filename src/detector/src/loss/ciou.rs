//! Complete IoU: overlap less the distance of the centres less the difference in shape.
//!
//! Two forms. The assigner's is `f32` in the order of operations of the reference, because it decides which anchors
//! win. The loss's is `f64` with an analytic gradient. Both add eps to heights but not to widths, as the reference
//! does. Gradients follow autograd: at a tie of min or max each side gets half, at the border of the clamp of an
//! empty intersection the gradient passes, and alpha counts as a constant.

use std::f64::consts::PI;

/// CIoU and its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ciou {
    /// The value, at most 1 and above -1.5 for boxes of positive size.
    pub value: f64,
    /// Derivatives with respect to left, top, right, bottom of the first box.
    pub gradient: [f64; 4],
}

/// CIoU of a predicted box with its target, both as left, top, right, bottom.
pub fn ciou(a: [f64; 4], c: [f64; 4]) -> Ciou {
    const EPS: f64 = 1e-7;
    let (x, y) = (
        Axis::new(a[0], a[2], c[0], c[2]),
        Axis::new(a[1], a[3], c[1], c[3]),
    );

    let (w_a, h_a) = (a[2] - a[0], a[3] - a[1] + EPS);
    let (w_c, h_c) = (c[2] - c[0], c[3] - c[1] + EPS);
    let intersection = x.overlap * y.overlap;
    let union = w_a * h_a + w_c * h_c - intersection + EPS;
    let iou = intersection / union;

    let diagonal = x.hull * x.hull + y.hull * y.hull + EPS;
    let distance = (x.shift * x.shift + y.shift * y.shift) / 4.0;

    let turn = (w_c / h_c).atan() - (w_a / h_a).atan();
    let shape = 4.0 / (PI * PI) * turn * turn;
    let alpha = shape / (1.0 - iou + shape + EPS);
    let value = iou - (distance / diagonal + shape * alpha);

    // d shape / d w_a and / d h_a, with d atan(w/h) = (h dw - w dh) / (w^2 + h^2).
    let lever = -8.0 / (PI * PI) * turn * alpha / (w_a * w_a + h_a * h_a);
    let shape_by_size = [lever * h_a, -lever * w_a];

    // Per axis: the derivative by its low and its high end. `across` is the other axis's overlap, `other` the other side.
    let by_axis = |axis: &Axis, across: f64, other: f64, shape_by_size: f64| {
        let end = |overlap: f64, hull: f64, side: f64| {
            let d_intersection = overlap * across;
            let d_union = side * other - d_intersection;
            let d_iou = (d_intersection * union - intersection * d_union) / (union * union);
            // Both ends move the centre alike: shift = (c0 + c1) - (a0 + a1).
            let d_distance = -axis.shift / 2.0;
            let d_diagonal = 2.0 * axis.hull * hull;
            let d_ratio = (d_distance * diagonal - distance * d_diagonal) / (diagonal * diagonal);
            d_iou - d_ratio - side * shape_by_size
        };
        [
            end(axis.overlap_by[0], axis.hull_by[0], -1.0),
            end(axis.overlap_by[1], axis.hull_by[1], 1.0),
        ]
    };
    let [left, right] = by_axis(&x, y.overlap, h_a, shape_by_size[0]);
    let [top, bottom] = by_axis(&y, x.overlap, w_a, shape_by_size[1]);
    Ciou {
        value,
        gradient: [left, top, right, bottom],
    }
}

/// What two intervals [a0, a1] and [c0, c1] have in common and what they span, with derivatives by a0 and a1.
struct Axis {
    overlap: f64,
    overlap_by: [f64; 2],
    hull: f64,
    hull_by: [f64; 2],
    /// Twice the distance of the centres.
    shift: f64,
}

impl Axis {
    fn new(a0: f64, a1: f64, c0: f64, c1: f64) -> Self {
        let raw = a1.min(c1) - a0.max(c0);
        let passes = if raw >= 0.0 { 1.0 } else { 0.0 };
        let (a0_high, a1_high) = (part_of_larger(a0, c0), part_of_larger(a1, c1));
        Self {
            // Not `max`, which would turn a NaN into 0.
            overlap: if raw < 0.0 { 0.0 } else { raw },
            overlap_by: [-passes * a0_high, passes * (1.0 - a1_high)],
            hull: a1.max(c1) - a0.min(c0),
            hull_by: [-(1.0 - a0_high), a1_high],
            shift: c0 + c1 - a0 - a1,
        }
    }
}

/// The part of the gradient of max(a, c) that goes to a; that of min(a, c) is the rest.
fn part_of_larger(a: f64, c: f64) -> f64 {
    if a > c {
        1.0
    } else if a == c {
        0.5
    } else {
        0.0
    }
}

/// A ground truth of which many overlaps are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlaps {
    xyxy: [f32; 4],
    area: f32,
    atan: f32,
}

impl Overlaps {
    pub(super) fn new(xyxy: [f32; 4]) -> Self {
        let (w, h) = (xyxy[2] - xyxy[0], xyxy[3] - xyxy[1] + EPS);
        Self {
            xyxy,
            area: w * h,
            atan: (w / h).atan(),
        }
    }

    /// CIoU with a prediction, clamped at 0 from below. The arctangent is only taken where the result depends on it:
    /// the shape term can only lower the value, so what is not above 0 without it is 0.
    pub(super) fn with(&self, b: [f32; 4]) -> f32 {
        let a = self.xyxy;
        let overlap = |low: usize, high: usize| {
            let raw = a[high].min(b[high]) - a[low].max(b[low]);
            if raw < 0.0 { 0.0 } else { raw }
        };
        let intersection = overlap(0, 2) * overlap(1, 3);
        let (w, h) = (b[2] - b[0], b[3] - b[1] + EPS);
        let union = self.area + w * h - intersection + EPS;
        let iou = intersection / union;
        let hull_w = a[2].max(b[2]) - a[0].min(b[0]);
        let hull_h = a[3].max(b[3]) - a[1].min(b[1]);
        let diagonal = hull_w * hull_w + hull_h * hull_h + EPS;
        let (dx, dy) = (b[0] + b[2] - a[0] - a[2], b[1] + b[3] - a[1] - a[3]);
        let distance = (dx * dx + dy * dy) / 4.0;
        let ratio = distance / diagonal;
        // min and max drop a NaN of one operand, but w or h then hold it, and it reaches the ratio or the union.
        if iou - ratio <= 0.0 {
            return 0.0;
        }
        let turn = (w / h).atan() - self.atan;
        let shape = const { (4.0 / (PI * PI)) as f32 } * (turn * turn);
        let alpha = shape / (shape - iou + (1.0 + EPS));
        let value = iou - (ratio + shape * alpha);
        if value < 0.0 { 0.0 } else { value }
    }
}

const EPS: f32 = 1e-7;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula once more, with alpha given, as plain as can be.
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

    fn corners(x: f64, y: f64, w: f64, h: f64) -> [f64; 4] {
        [x, y, x + w, y + h]
    }

    prop_compose! {
        fn any_box()(x in -5f64..5.0, y in -5f64..5.0, w in 0.05f64..8.0, h in 0.05f64..8.0) -> [f64; 4] {
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
            let found = ciou(a, c);
            let (value, alpha) = plain(a, c, None);
            prop_assert!((found.value - value).abs() < 1e-12);
            for i in 0..4 {
                let step = 1e-6;
                let (mut up, mut down) = (a, a);
                up[i] += step;
                down[i] -= step;
                let slope = (plain(up, c, Some(alpha)).0 - plain(down, c, Some(alpha)).0) / (2.0 * step);
                prop_assert!((found.gradient[i] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{} {}", found.gradient[i], slope);
            }
        }

        #[test]
        fn the_assigners_form_agrees_with_the_losses(a in any_box(), c in any_box()) {
            let narrow = |b: [f64; 4]| b.map(|v| (v * 16.0) as f32);
            let (a, c) = (narrow(a), narrow(c));
            let exact = ciou(a.map(f64::from), c.map(f64::from)).value.max(0.0);
            prop_assert!((f64::from(Overlaps::new(c).with(a)) - exact).abs() < 3e-6);
        }
    }

    #[test]
    fn equal_boxes_are_at_a_maximum_and_far_ones_below_zero() {
        let a = corners(1.0, 2.0, 3.0, 4.0);
        assert!((ciou(a, a).value - 1.0).abs() < 1e-6);
        assert!(ciou(a, a).gradient.iter().all(|slope| slope.abs() < 1e-7));
        assert!(ciou(a, corners(9.0, 9.0, 1.0, 1.0)).value < 0.0);
        assert_eq!(
            Overlaps::new([0.0, 0.0, 1.0, 1.0]).with([9.0, 9.0, 10.0, 10.0]),
            0.0
        );
    }

    #[test]
    fn a_prediction_that_is_not_a_number_does_not_look_like_one() {
        for i in 0..4 {
            let mut b = [1.0, 1.0, 2.0, 2.0];
            b[i] = f32::NAN;
            assert!(Overlaps::new([0.0, 0.0, 3.0, 3.0]).with(b).is_nan());
            assert!(ciou(b.map(f64::from), [0.0, 0.0, 3.0, 3.0]).value.is_nan());
        }
    }
}
