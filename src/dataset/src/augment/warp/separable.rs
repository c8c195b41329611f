//! Transforms that only zoom, shift and mirror.
//!
//! A row of the output lies between two canvas rows: these are blended into a row of f32, which is contiguous and so
//! vectorises, and that is read at columns computed once. Edges of tiles need no special case, because the blended row
//! is the canvas, background included.

use multiversion::multiversion;

use super::super::Canvas;
use super::super::canvas::Tile;
use super::{Buffers, Flips, MAGIC, Sums, bounded, pack};
use crate::letterbox::BACKGROUND;

const BACKGROUND_F32: f32 = BACKGROUND as f32;

/// Where an output column reads in the blended row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    left: u32,
    /// Always the next pixel. Were it worked out from `left`, the compiler would see that the fourth sample read there
    /// is the first one here, and take both reads apart into single samples.
    right: u32,
    fraction: f32,
}

/// Makes the rows of one output.
pub(super) struct Separable<'a> {
    /// Canvas row of output row y: `slope * y + start`.
    slope: f64,
    start: f64,
    /// Output columns that touch a tile; the others are background.
    first: usize,
    taps: &'a [Tap],
    /// Canvas columns `low..high`, blended.
    low: i64,
    high: i64,
    blended: &'a mut [f32],
    sums: &'a mut [Sums],
}

impl<'a> Separable<'a> {
    /// Prepares the columns: `column` maps them to the canvas, and `slope * y + start` the rows. `None` if no tile is
    /// in view.
    pub(super) fn new(
        canvas: &Canvas<'_>,
        column: impl Fn(usize) -> f64,
        [slope, start]: [f64; 2],
        side: usize,
        flips: Flips,
        buffers: &'a mut Buffers,
    ) -> Option<Separable<'a>> {
        let content = canvas.content_columns();
        let source = |x: usize| {
            let at = bounded(column(if flips.horizontal { side - 1 - x } else { x }));
            (at.floor() as i64, (at - at.floor()) as f32)
        };
        let touches = |&x: &usize| {
            let (i, _) = source(x);
            i + 1 >= content.start && i < content.end
        };
        let first = (0..side).find(touches)?;
        let last = (0..side).rfind(touches)?;
        let [(one_end, _), (other_end, _)] = [source(first), source(last)];
        let (low, high) = (one_end.min(other_end), one_end.max(other_end) + 2);
        let Buffers { taps, blended, sums } = buffers;
        taps.clear();
        taps.extend((first..=last).map(|x| {
            let (i, fraction) = source(x);
            let left = (i - low) as u32 * 3;
            Tap {
                left,
                right: left + 3,
                fraction,
            }
        }));
        // One sample more than the columns, so that every tap can read two groups of four.
        blended.clear();
        blended.resize((high - low) as usize * 3 + 1, BACKGROUND_F32);
        sums.resize(taps.len(), Sums::default());
        Some(Separable {
            slope,
            start,
            first,
            taps,
            low,
            high,
            blended,
            sums,
        })
    }

    /// Writes the output row that reads at canvas row `slope * y + start`.
    pub(super) fn row(&mut self, canvas: &Canvas<'_>, y: usize, out: &mut [u8]) {
        let at = bounded(self.slope * y as f64 + self.start);
        let (upper, fraction) = (at.floor() as i64, (at - at.floor()) as f32);
        let touches = |tile: &Tile<'_>| tile.rows().contains(&upper) || tile.rows().contains(&(upper + 1));
        if !canvas.tiles().iter().any(touches) {
            out.fill(BACKGROUND);
            return;
        }
        self.blend(canvas.tiles(), upper, fraction);
        let (before, rest) = out.split_at_mut(self.first * 3);
        let (inside, after) = rest.split_at_mut(self.taps.len() * 3);
        before.fill(BACKGROUND);
        read_columns(self.blended, self.taps, self.sums);
        pack(self.sums, inside.as_chunks_mut::<3>().0);
        after.fill(BACKGROUND);
    }

    /// Blends canvas rows `upper` and `upper + 1`.
    fn blend(&mut self, tiles: &[Tile<'_>], upper: i64, fraction: f32) {
        let (low, high) = (self.low, self.high);
        let index = |column: i64| (column - low) as usize * 3;
        let cut = |tile: &Tile<'_>| {
            let columns = tile.columns();
            let (from, to) = (columns.start.max(low), columns.end.min(high));
            (from < to).then_some((from, to))
        };
        let covers = |tile: &&Tile<'_>, row: i64| tile.rows().contains(&row);
        if tiles
            .iter()
            .all(|tile| covers(&tile, upper) == covers(&tile, upper + 1))
        {
            // Both rows see the same tiles, from left to right, and background between.
            let mut done = low;
            for tile in tiles.iter().filter(|tile| covers(tile, upper)) {
                let Some((from, to)) = cut(tile) else { continue };
                self.blended[index(done)..index(from)].fill(BACKGROUND_F32);
                let out = &mut self.blended[index(from)..index(to)];
                mix_rows(
                    tile.span(upper, from, to),
                    tile.span(upper + 1, from, to),
                    fraction,
                    out,
                );
                done = to;
            }
            self.blended[index(done)..].fill(BACKGROUND_F32);
        } else {
            self.blended.fill(BACKGROUND_F32);
            for (row, weight) in [(upper, 1.0 - fraction), (upper + 1, fraction)] {
                for tile in tiles.iter().filter(|tile| covers(tile, row)) {
                    let Some((from, to)) = cut(tile) else { continue };
                    for (out, &p) in self.blended[index(from)..index(to)]
                        .iter_mut()
                        .zip(tile.span(row, from, to))
                    {
                        *out += weight * (f32::from(p) - BACKGROUND_F32);
                    }
                }
            }
        }
    }
}

/// Vertical interpolation; also the widest loop, so it pays to use what vectors the processor has.
#[multiversion(targets("x86_64+avx2"))]
fn mix_rows(upper: &[u8], lower: &[u8], fraction: f32, out: &mut [f32]) {
    for ((out, &u), &l) in out.iter_mut().zip(upper).zip(lower) {
        let (u, l) = (f32::from(u), f32::from(l));
        *out = u + (l - u) * fraction;
    }
}

/// Reads the blended row at every tap.
#[multiversion(targets("x86_64+avx2"))]
fn read_columns(blended: &[f32], taps: &[Tap], sums: &mut [Sums]) {
    for (sums, tap) in sums.iter_mut().zip(taps) {
        let four = |at: u32| blended.get(at as usize..)?.first_chunk::<4>();
        if let (Some(left), Some(right)) = (four(tap.left), four(tap.right)) {
            *sums =
                std::array::from_fn(|c| (left[c] + (right[c] - left[c]) * tap.fraction + MAGIC).to_bits());
        }
    }
}
