//! From numbers to places on a chart: ranges, ticks at round numbers, and curves with no more points than are seen.

use std::fmt;

use crate::number::exponential;

/// The side of the square in which curves are drawn; the page stretches it to the chart's size.
pub(crate) const SPAN: f64 = 1000.0;

/// How far, in parts of [`SPAN`], a simplified curve may run beside the true one: a third of a pixel.
const TOLERANCE: f64 = 0.7;

/// An interval of finite numbers, never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// The unit interval, for shares.
    pub(crate) const UNIT: Self = Self { low: 0.0, high: 1.0 };

    /// The smallest range that holds every finite value; none if there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let finite = values.into_iter().filter(|v| v.is_finite() && v.abs() < 1e300);
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        (low <= high).then(|| Self { low, high }.widened())
    }

    /// From 0 to the highest finite value; to 1 if nothing is above 0. For what is never below 0.
    pub(crate) fn from_zero(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let high = Self::of(values)?.high;
        Self::of([0.0, if high > 0.0 { high } else { 1.0 }])
    }

    /// A single value gets room on both sides.
    fn widened(self) -> Self {
        let least = (self.low.abs().max(self.high.abs()) * 1e-9).max(f64::MIN_POSITIVE);
        if self.high - self.low > least {
            return self;
        }
        let room = if self.low == 0.0 {
            0.5
        } else {
            self.low.abs() * 0.5
        };
        Self {
            low: self.low - room,
            high: self.high + room,
        }
    }

    /// Widened to begin and end at one of about so many round numbers, and these.
    pub(crate) fn rounded(self, about: usize) -> (Self, Vec<Tick>) {
        let step = self.step(about);
        let rounded = Self {
            low: (self.low / step).floor() * step,
            high: (self.high / step).ceil() * step,
        };
        (rounded, rounded.ticks_by(step))
    }

    /// About so many round numbers of it.
    pub(crate) fn ticks(self, about: usize) -> Vec<Tick> {
        self.ticks_by(self.step(about))
    }

    /// About so many whole numbers of it: there is no epoch 2.5.
    pub(crate) fn whole_ticks(self, about: usize) -> Vec<Tick> {
        self.ticks_by(self.step(about).max(1.0))
    }

    fn ticks_by(self, step: f64) -> Vec<Tick> {
        let decimals = (-(step * 1.000_001).log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (self.low / step - 1e-6).ceil();
        let last = (self.high / step + 1e-6).floor();
        let count = (last - first).clamp(-1.0, 50.0) as i64;
        (0..=count)
            .map(|i| Tick {
                value: (first + i as f64) * step,
                decimals,
            })
            .collect()
    }

    /// 1, 2 or 5 times a power of ten, so that about so many of them fit.
    fn step(self, about: usize) -> f64 {
        let raw = (self.high - self.low) / about.max(1) as f64;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0]
            .into_iter()
            .map(|m| m * power)
            .find(|step| *step >= raw * 0.999_999);
        step.unwrap_or(10.0 * power)
    }

    /// Where a value lies in the range, as 0..1; outside of it for values outside.
    pub(crate) fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// A round number on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    decimals: usize,
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An axis of learning rates: 0.0002 is longer than its place is wide. Four digits hide the noise of a
        // multiple of a step.
        if self.decimals > 3 || self.value.abs() >= 1e5 {
            return f.write_str(&exponential(self.value, 4));
        }
        // No "-0".
        write!(
            f,
            "{:.*}",
            self.decimals,
            if self.value == 0.0 { 0.0 } else { self.value }
        )
    }
}

/// A curve placed in a square of [`SPAN`], cut where a point is not finite. It is written as an SVG path.
pub(crate) struct Placed(Vec<Vec<(f64, f64)>>);

impl Placed {
    /// Finite points outside the ranges run along the border.
    pub(crate) fn new(points: &[(f64, f64)], x: Range, y: Range) -> Self {
        let place = |share: f64| share.clamp(0.0, 1.0) * SPAN;
        let runs = points
            .split(|(x, y)| !(x.is_finite() && y.is_finite()))
            .filter(|run| !run.is_empty());
        let placed = runs.map(|run| {
            let run: Vec<_> = run
                .iter()
                .map(|p| (place(x.share(p.0)), place(1.0 - y.share(p.1))))
                .collect();
            simplified(&run)
        });
        Self(placed.collect())
    }

    /// The points without a neighbour, as shares of the square: no line passes through them.
    pub(crate) fn lonely(&self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().filter_map(|run| match run.as_slice() {
            [(x, y)] => Some((x / SPAN, y / SPAN)),
            _ => None,
        })
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in self.0.iter().filter(|run| run.len() > 1) {
            for (i, (x, y)) in run.iter().enumerate() {
                let command = match i {
                    0 => "M",
                    1 => "L",
                    _ => " ",
                };
                write!(f, "{command}{x:.0} {y:.0}")?;
            }
        }
        Ok(())
    }
}

/// Ramer, Douglas and Peucker: leaves out every point that the curve through the others runs past closely enough.
fn simplified(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if run.len() < 3 {
        return run.to_vec();
    }
    let mut keep = vec![false; run.len()];
    let mut spans = vec![(0, run.len() - 1)];
    while let Some((first, last)) = spans.pop() {
        let (Some(&a), Some(&b)) = (run.get(first), run.get(last)) else {
            continue;
        };
        for end in [first, last] {
            if let Some(kept) = keep.get_mut(end) {
                *kept = true;
            }
        }
        let inner = run.iter().enumerate().take(last).skip(first + 1);
        let farthest = inner
            .map(|(i, &p)| (i, distance(p, a, b)))
            .max_by(|p, q| p.1.total_cmp(&q.1));
        if let Some((i, _)) = farthest.filter(|(_, far)| *far > TOLERANCE) {
            spans.extend([(first, i), (i, last)]);
        }
    }
    run.iter()
        .zip(keep)
        .filter_map(|(point, kept)| kept.then_some(*point))
        .collect()
}

/// From a point to the segment between two others.
fn distance(p: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length_squared = dx * dx + dy * dy;
    let along = if length_squared == 0.0 {
        0.0
    } else {
        (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length_squared).clamp(0.0, 1.0)
    };
    (p.0 - a.0 - along * dx).hypot(p.1 - a.1 - along * dy)
}

#[cfg(test)]
mod tests {
    use super::{Placed, Range, simplified};
    use proptest::prelude::*;

    fn range(low: f64, high: f64) -> Range {
        Range::of([low, high]).unwrap()
    }

    fn labels(range: Range, about: usize) -> Vec<String> {
        range.ticks(about).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ticks_are_round_and_written_without_noise() {
        assert_eq!(labels(Range::UNIT, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            range(0.93, 2.41)
                .rounded(4)
                .1
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["0.5", "1.0", "1.5", "2.0", "2.5"]
        );
        assert_eq!(
            labels(range(0.0, 120.0), 6),
            ["0", "20", "40", "60", "80", "100", "120"]
        );
        assert_eq!(
            labels(range(0.0, 0.0004), 4),
            ["0", "1e-4", "2e-4", "3e-4", "4e-4"]
        );
        assert_eq!(labels(range(-1.0, 1.0), 2), ["-1", "0", "1"]);
    }

    #[test]
    fn there_is_no_half_epoch() {
        let ticks = |low, high| {
            range(low, high)
                .whole_ticks(5)
                .iter()
                .map(|t| t.value)
                .collect::<Vec<_>>()
        };
        assert_eq!(ticks(1.0, 3.0), [1.0, 2.0, 3.0]);
        assert_eq!(ticks(1.0, 1.0), [1.0], "a single epoch has its tick");
    }

    #[test]
    fn a_range_of_nothing_is_none_and_of_one_value_has_room() {
        assert_eq!(Range::of([]), None);
        assert_eq!(Range::of([f64::NAN, f64::INFINITY]), None);
        let single = Range::of([f64::NAN, 0.4]).unwrap();
        assert!((single.share(0.4) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_finite_breaks_the_curve_and_what_is_outside_stays_at_the_border() {
        let gaps = [(0.2, f64::INFINITY), (0.4, f64::NAN)];
        let points = [
            (0.0, 0.0),
            (0.1, 0.5),
            gaps[0],
            (0.3, 0.25),
            gaps[1],
            (0.5, 7.0),
            (1.0, -1.0),
        ];
        let placed = Placed::new(&points, Range::UNIT, Range::UNIT);
        assert_eq!(placed.to_string(), "M0 1000L100 500M500 0L1000 1000");
        assert_eq!(placed.lonely().collect::<Vec<_>>(), [(0.3, 0.75)]);
    }

    #[test]
    fn points_on_a_line_are_left_out_and_a_corner_stays() {
        let steps: Vec<_> = (0..1000)
            .map(|i| (f64::from(i), if i < 500 { 0.0 } else { 900.0 }))
            .collect();
        assert_eq!(
            simplified(&steps),
            [(0.0, 0.0), (499.0, 0.0), (500.0, 900.0), (999.0, 900.0)]
        );
    }

    proptest! {
        #[test]
        fn ticks_lie_in_their_range_and_are_few(a in -1e12..1e12_f64, b in -1e12..1e12_f64, about in 1..12_usize) {
            let range = range(a, b);
            let ticks = range.ticks(about);
            prop_assert!(ticks.len() <= about + 2);
            for tick in &ticks {
                prop_assert!((-1e-3..=1.001).contains(&range.share(tick.value)), "{:?} in {:?}", tick, range);
            }
            let (rounded, ticks) = range.rounded(about);
            prop_assert!(!ticks.is_empty() && ticks.len() <= about + 3);
            prop_assert!(rounded.share(a) > -1e-6 && rounded.share(a) < 1.0 + 1e-6);
        }

        #[test]
        fn any_values_make_a_path_of_numbers(points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..200)) {
            let x = Range::of(points.iter().map(|p| p.0)).unwrap_or(Range::UNIT);
            let y = Range::of(points.iter().map(|p| p.1)).unwrap_or(Range::UNIT);
            let path = Placed::new(&points, x, y).to_string();
            prop_assert!(!path.contains("NaN") && !path.contains("inf"), "{}", path);
        }
    }
}
