//! Anchor points: where the cells of the three levels lie.

use super::LossError;

/// Strides of the levels in pixels, finest first.
const STRIDES: [usize; 3] = [8, 16, 32];

/// One level of the head's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Cells in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixels of the network input in a cell.
    pub stride: f32,
    /// Index of the level's first anchor.
    pub start: usize,
}

/// The point of one anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Centre in units of the stride.
    pub x: f32,
    /// Centre in units of the stride.
    pub y: f32,
    /// Pixels in a unit.
    pub stride: f32,
}

/// All anchors of a network input: levels in order, in each level rows from the top, in each row cells from the left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    width: usize,
    height: usize,
    levels: [Level; 3],
}

impl Grid {
    /// The grid of a network input of this size in pixels.
    pub fn for_input(width: usize, height: usize) -> Result<Self, LossError> {
        if width == 0 || height == 0 || !width.is_multiple_of(32) || !height.is_multiple_of(32) {
            return Err(LossError::InputSize { width, height });
        }
        let mut start = 0;
        let levels = STRIDES.map(|stride| {
            let level = Level {
                width: width / stride,
                height: height / stride,
                stride: stride as f32,
                start,
            };
            start += level.width * level.height;
            level
        });
        Ok(Self {
            width,
            height,
            levels,
        })
    }

    /// Width of the network input in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the network input in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The levels, finest first.
    pub fn levels(&self) -> &[Level; 3] {
        &self.levels
    }

    /// Number of anchors of all levels.
    pub fn anchors(&self) -> usize {
        self.levels.iter().map(|l| l.width * l.height).sum()
    }

    /// The point of an anchor; an index beyond the last counts on in the coarsest level.
    pub fn cell(&self, anchor: usize) -> Cell {
        let [fine, middle, coarse] = &self.levels;
        let level = match anchor {
            a if a < middle.start => fine,
            a if a < coarse.start => middle,
            _ => coarse,
        };
        let inside = anchor - level.start;
        Cell {
            x: (inside % level.width) as f32 + 0.5,
            y: (inside / level.width) as f32 + 0.5,
            stride: level.stride,
        }
    }
}

impl Level {
    /// The range of cell indices along one axis whose points lie strictly between two limits in pixels, with the same
    /// margin of 1e-9 on both sides as the test of a single point has.
    pub(super) fn span(&self, cells: usize, low: f32, high: f32) -> std::ops::Range<usize> {
        let inside = |i: usize| {
            let p = (i as f32 + 0.5) * self.stride;
            p - low > 1e-9 && high - p > 1e-9
        };
        // The division locates the ends to within a cell; the exact test decides. Casts saturate, NaN becomes 0.
        let mut first = ((low / self.stride - 1.5).floor().max(0.0) as usize).min(cells);
        let mut end = (((high / self.stride + 1.5).ceil()).max(0.0) as usize).min(cells);
        while first < end && !inside(first) {
            first += 1;
        }
        while end > first && !inside(end - 1) {
            end -= 1;
        }
        first..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn anchors_follow_each_other_by_level_row_and_cell() {
        let grid = Grid::for_input(96, 64).unwrap();
        assert_eq!(grid.anchors(), 96 + 24 + 6);
        assert_eq!(
            grid.cell(0),
            Cell {
                x: 0.5,
                y: 0.5,
                stride: 8.0
            }
        );
        assert_eq!(
            grid.cell(12),
            Cell {
                x: 0.5,
                y: 1.5,
                stride: 8.0
            }
        );
        assert_eq!(
            grid.cell(96 + 7),
            Cell {
                x: 1.5,
                y: 1.5,
                stride: 16.0
            }
        );
        assert_eq!(
            grid.cell(125),
            Cell {
                x: 2.5,
                y: 1.5,
                stride: 32.0
            }
        );
    }

    #[test]
    fn sizes_that_do_not_divide_by_32_are_refused() {
        for (width, height) in [(0, 32), (32, 0), (48, 64), (64, 63)] {
            let error = Grid::for_input(width, height).unwrap_err().to_string();
            assert!(error.contains(&format!("{width} x {height} px")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_span_holds_exactly_the_points_inside(low in -100f32..400.0, size in -10f32..300.0, level in 0usize..3, snap: bool) {
            let grid = Grid::for_input(320, 320).unwrap();
            let level = grid.levels()[level];
            let (low, high) = (low, low + size);
            // Limits that fall on points exactly are the interesting ones.
            let (low, high) = if snap { (low.round() * 4.0, high.round() * 4.0) } else { (low, high) };
            let expected: Vec<usize> = (0..level.width)
                .filter(|&i| {
                    let p = (i as f32 + 0.5) * level.stride;
                    p - low > 1e-9 && high - p > 1e-9
                })
                .collect();
            prop_assert_eq!(level.span(level.width, low, high).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn limits_that_are_not_numbers_hold_nothing() {
        let level = Grid::for_input(64, 64).unwrap().levels()[0];
        assert!(level.span(8, f32::NAN, 64.0).is_empty());
        assert!(level.span(8, 0.0, f32::NAN).is_empty());
        assert_eq!(level.span(8, f32::NEG_INFINITY, f32::INFINITY), 0..8);
    }
}
